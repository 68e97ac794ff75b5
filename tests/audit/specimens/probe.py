"""Tries what a player must not do, and says what went through."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import socket
import struct
from pathlib import Path

from failing import Nothing


def attempts(foreign: str, home: Path):
    libc = ctypes.CDLL(None, use_errno=True)

    def call(result):
        if result < 0:
            raise OSError(ctypes.get_errno(), "refused")

    return {
        "write /tmp": lambda: Path("/tmp/kvverify-probe").write_text("x"),
        "write /dev/shm": lambda: Path("/dev/shm/kvverify-probe").write_text("x"),
        "write its own folder": lambda: (home / "written").write_text("x"),
        "write to the foreign file": lambda: Path(foreign).write_text("x"),
        "read the foreign file": lambda: Path(foreign).read_text(),
        "tcp": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
        "abstract socket": lambda: socket.socket(socket.AF_UNIX).bind("\0kvverify"),
        "shared memory": lambda: call(libc.shmget(0x6B76, 4096, 0o1666)),
        "message queue": lambda: call(libc.msgget(0x6B76, 0o1666)),
        "host name": lambda: call(libc.sethostname(b"kvverify", 8)),
        "leave the session": leave,
        "its own file's times": lambda: os.utime(__file__, ns=(1, os.stat(__file__).st_mtime_ns)),
        "its own file's attributes": lambda: os.setxattr(__file__, "user.kvverify", b"x"),
        "its own file's mode": lambda: os.chmod(__file__, os.stat(__file__).st_mode),
        "its own file's flags": lambda: on_file(lambda file: fcntl.ioctl(file, 0x40086602, struct.pack("q", 64))),
        "its own file's hint": lambda: on_file(lambda file: fcntl.fcntl(file, 1036, struct.pack("Q", 2))),
        "pages in memory": lambda: on_file(lambda file: os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)),
        "out of memory": lambda: on_file(lambda file: os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)),
        "the referee's limits": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE),
        "the referee's priority": lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 0),
        "the referee's processors": lambda: os.sched_setaffinity(os.getppid(), os.sched_getaffinity(0)),
        "the referee's memory": lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY),
        "scratch": lambda: Path("here").write_text("x"),
        "environment": lambda: Path(os.environ["KVVERIFY_TEST_SECRET"]),
    }


def on_file(attempt):
    with open(__file__, "rb") as file:
        attempt(file)


def leave():
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise OSError("refused")


class Probe(Nothing):
    def message(self):
        through = []
        home = Path(__file__).parent
        for name, attempt in attempts(self.settings.parameters["foreign"], home).items():
            try:
                attempt()
            except (OSError, KeyError):
                continue
            through.append(name)
        raise RuntimeError("went through: " + ", ".join(through))
