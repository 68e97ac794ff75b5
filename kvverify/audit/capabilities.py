"""Giving up what root may do: a player of root's would read the referee's memory, where the secret is.

Without capabilities a process cannot look into one that has any, whoever owns both; with no_new_privs it never gets one
back.
"""

from __future__ import annotations

import ctypes
import os
import struct

_VERSION, _NO_NEW_PRIVS = 0x20080522, 38


def drop() -> None:
    """Give up every capability, for good. Raises OSError where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, nothing = struct.pack("Ii", _VERSION, 0), bytes(24)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.capset(header, nothing):
        number = ctypes.get_errno()
        raise OSError(number, f"capabilities: {os.strerror(number)}")
