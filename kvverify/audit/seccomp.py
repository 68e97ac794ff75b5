"""A system call filter for what file-system isolation leaves open, and for what outlives a player elsewhere.

Sockets, shared memory and mailboxes of the kernel need no file. Landlock restricts neither the metadata of files that
can be named (times, modes, extended attributes, flags: megabytes in a folder of packages) nor what another process of
the same user is set to (its limits, its priority: the referee's last longer than a player), and whoever can read files
can ask which of their pages are in memory. Leaving the session is refused too, so that the referee ends all that a
player started. Needs no privilege once no_new_privs is set (Landlock sets it).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable

_SECCOMP, _FILTER, _NO_NEW_PRIVS = 22, 2, 38
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_FOREIGN_ABI = 0x40000000  # x32 calls on x86-64: the same calls under other numbers
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # places in what the kernel shows: low halves of the arguments

# name: (x86-64, AArch64); None where the architecture has no such call
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "setsid": (112, 157),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "kcmp": (312, 272), "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "pivot_root": (155, 41),
    "mount": (165, 40), "umount2": (166, 39), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "io_uring_setup": (425, 425), "bpf": (321, 280),
    "perf_event_open": (298, 241), "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "reboot": (169, 142),
    "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104), "syslog": (103, 116),
    "acct": (163, 89), "swapon": (167, 224), "swapoff": (168, 225), "quotactl": (179, 60),
    # metadata of files
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    # which pages of a file are in memory
    "mincore": (27, 232), "cachestat": (451, 451), "preadv2": (327, 286), "fadvise64": (221, 223),
    # other processes
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setattr": (314, 274), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
}  # fmt: skip
# Calls whose first argument, a process, must be 0, which is the caller itself.
_ONESELF = {"prlimit64": (302, 261), "sched_setaffinity": (203, 122)}
# Calls that set flags, versions and hints of a file that is open for reading, by their second argument.
_FILE_HINTS = {"fcntl": (72, 25)}
_HINTS = (1036, 1038)  # F_SET_RW_HINT, F_SET_FILE_RW_HINT
_FILE_FLAGS = {"ioctl": (16, 29)}
_FILE_SYSTEMS = (0x6600, 0x7600, 0x5800, 0x9400, 0xF500)  # kinds of requests: f, v, X (generic, ext4, xfs), btrfs, f2fs
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

Line = tuple[int, int | str, int | str, int]
"""A classic BPF instruction: code, jumps if true and if false (a count of lines, or "deny"), operand."""


def available() -> bool:
    """Whether the call numbers of this machine are known here."""
    return platform.machine() in _ARCHITECTURES


def lock() -> None:
    """Refuse the calls above (EPERM) from now on, in this process and its children. Raises OSError where it cannot."""
    program = _program(*_ARCHITECTURES[platform.machine()])
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, header, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def _program(column: int, architecture: int) -> bytes:
    """Refuse a foreign architecture, the listed numbers, and the listed arguments; allow the rest."""
    lines: list[Line] = [
        (_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 0, "deny", architecture),
        (_LOAD, 0, 0, _NUMBER), (_AT_LEAST, "deny", 0, _FOREIGN_ABI),
    ]  # fmt: skip
    lines += [(_EQUAL, "deny", 0, number) for calls in _DENIED.values() if (number := calls[column]) is not None]
    for calls in _ONESELF.values():
        lines += _argument(calls[column], _FIRST, 0xFFFFFFFF, [(_EQUAL, 0, "deny", 0)])
    for calls in _FILE_HINTS.values():
        lines += _argument(calls[column], _SECOND, 0xFFFFFFFF, [(_EQUAL, "deny", 0, hint) for hint in _HINTS])
    for calls in _FILE_FLAGS.values():
        lines += _argument(calls[column], _SECOND, 0xFF00, [(_EQUAL, "deny", 0, kind) for kind in _FILE_SYSTEMS])
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    return b"".join(_packed(lines))


def _argument(number: int, place: int, mask: int, tests: list[Line]) -> list[Line]:
    """Tests of one argument, masked, of one call."""
    return [
        (_EQUAL, 0, 3 + len(tests), number), (_LOAD, 0, 0, place), (_AND, 0, 0, mask), *tests, (_LOAD, 0, 0, _NUMBER),
    ]  # fmt: skip


def _packed(lines: list[Line]) -> Iterable[bytes]:
    """Jumps to "deny" go to the last line."""
    for at, (code, true, false, operand) in enumerate(lines):
        jumps = (len(lines) - 2 - at if jump == "deny" else jump for jump in (true, false))
        yield struct.pack("HBBI", code, *jumps, operand)
