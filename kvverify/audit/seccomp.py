"""A system call filter for what file-system isolation leaves open: sockets, shared memory and mailboxes of the kernel.

None of these needs a file: a UDP socket to a process that stayed behind, System V memory, message queues, key rings,
the host name. Leaving the session is refused too, so that the referee ends all that a player started. Needs no
privilege once no_new_privs is set (Landlock sets it).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_SECCOMP, _FILTER, _NO_NEW_PRIVS = 22, 2, 38
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_FOREIGN_ABI = 0x40000000  # x32 calls on x86-64: the same calls under other numbers

# name: (x86-64, AArch64)
_DENIED = {
    "socket": (41, 198), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "setsid": (112, 157),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "pivot_root": (155, 41), "mount": (165, 40),
    "umount2": (166, 39), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "io_uring_setup": (425, 425), "bpf": (321, 280),
    "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "reboot": (169, 142), "init_module": (175, 105),
    "finit_module": (313, 273), "kexec_load": (246, 104),
}  # fmt: skip
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def available() -> bool:
    """Whether the call numbers of this machine are known here."""
    return platform.machine() in _ARCHITECTURES


def lock() -> None:
    """Refuse the calls above (EPERM) from now on, in this process and its children. Raises OSError where it cannot."""
    column, architecture = _ARCHITECTURES[platform.machine()]
    program = _program([numbers[column] for numbers in _DENIED.values()], architecture)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, header, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def _program(denied: list[int], architecture: int) -> bytes:
    """Classic BPF: refuse a foreign architecture and the listed numbers, allow the rest."""
    count = len(denied)
    lines = [(_LOAD, 0, 0, 4), (_EQUAL, 0, count + 2, architecture), (_LOAD, 0, 0, 0)]
    lines.append((_AT_LEAST, count + 1, 0, _FOREIGN_ABI))
    lines += [(_EQUAL, count - index, 0, number) for index, number in enumerate(denied)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)
