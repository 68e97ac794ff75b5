"""Mount, network and IPC namespaces, where Landlock is missing: the whole file system read-only, scratch excepted.

Needs root or unprivileged user namespaces. Files outside stay readable, but nobody in a game can write one; the system
call filter keeps a player from mounting anything back.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_NEW_MOUNT, _NEW_IPC, _NEW_USER, _NEW_NET = 0x00020000, 0x08000000, 0x10000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MOUNT_SETATTR, _HERE, _RECURSIVE, _READ_ONLY = 442, -100, 0x8000, 1


def lock(scratch: str) -> None:
    """Enter fresh namespaces in which only ``scratch`` can be written. Raises OSError where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    kinds = _NEW_MOUNT | _NEW_IPC | _NEW_NET | (_NEW_USER if user else 0)
    _check(libc.unshare(kinds), "unshare")
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    place = os.fsencode(scratch)
    _check(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "private mounts")
    _check(libc.mount(place, place, None, _MS_BIND, None), "bind scratch")
    _attributes(libc, b"/", _RECURSIVE, struct.pack("QQQQ", _READ_ONLY, 0, 0, 0))
    _attributes(libc, place, 0, struct.pack("QQQQ", 0, _READ_ONLY, 0, 0))
    os.chdir(scratch)  # until now the working folder was on the mount beneath


def _attributes(libc: ctypes.CDLL, path: bytes, flags: int, attributes: bytes) -> None:
    _check(libc.syscall(_MOUNT_SETATTR, _HERE, path, flags, attributes, len(attributes)), "mount_setattr")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
