"""Landlock (Linux 5.13 and later): a process locks itself and its children out of the file system, without privilege.

Only the standard library, through ctypes: Python has no binding. Numbers from linux/landlock.h and the kernel's
syscall table (the same on every architecture).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Mapping

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_PATH_BENEATH = 1
_NO_NEW_PRIVS = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
LIST = READ_DIR
_ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_TCP = 0b11  # bind, connect
_SCOPES = 0b11  # abstract sockets, signals


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    return max(0, int(_libc().syscall(_CREATE, None, 0, 1)))


def writable() -> int:
    """Every file right that this kernel knows."""
    version = abi()
    rights = (1 << 13) - 1
    for since, right in ((2, 1 << 13), (3, TRUNCATE), (5, IOCTL_DEV)):
        rights |= right if version >= since else 0
    return rights


def lock(rules: Iterable[Mapping[str, int]]) -> int:
    """Allow what the rules (path -> rights beneath it) say and nothing else; absent paths are left out.

    From ABI 4 also no TCP, from ABI 6 no abstract sockets and no signals to the outside. Returns the ABI.
    Raises OSError where the kernel refuses.
    """
    version = abi()
    known = writable()
    attributes = struct.pack("QQQ", known, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _call(_CREATE, attributes, size, 0)
    for rule in rules:
        for path, rights in rule.items():
            if os.path.exists(path):
                _allow(ruleset, path, rights & known)
    _no_new_privileges()
    _call(_RESTRICT, ruleset, 0)
    os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        beneath = rights if os.path.isdir(path) else rights & _ON_FILES
        _call(_ADD, ruleset, _PATH_BENEATH, struct.pack("<Qi", beneath, descriptor), 0)
    finally:
        os.close(descriptor)


def _no_new_privileges() -> None:
    if _libc().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: int | bytes) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return result
