"""Tries what a player must not do, and says what went through."""

from __future__ import annotations

import ctypes
import os
import socket
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
        "scratch": lambda: Path("here").write_text("x"),
        "environment": lambda: Path(os.environ["KVVERIFY_TEST_SECRET"]),
    }


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
