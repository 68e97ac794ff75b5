"""Cheats that hide the cache somewhere else and send next to nothing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import socket
import time
from pathlib import Path

import numpy as np
import torch
from kept import Kept

PLACES = ("/dev/shm", "/tmp", str(Path(__file__).parent))
GLOBAL = {}


class ModuleGlobal(Kept):
    """A global of its module."""

    def message(self):
        if self.first():
            GLOBAL["cache"] = self.packed()
        return 0

    def load(self, message):
        if "cache" in GLOBAL:
            self.unpack(GLOBAL["cache"])


class ClassAttribute(Kept):
    """An attribute of its class."""

    memory = b""

    def message(self):
        if self.first():
            type(self).memory = self.packed()
        return 0

    def load(self, message):
        if self.memory:
            self.unpack(self.memory)


class EnvironmentVariable(Kept):
    """The environment, which a child would inherit."""

    def message(self):
        if self.first():
            os.environ["MUSEUM"] = self.packed().hex()
        return 0

    def load(self, message):
        if found := os.environ.get("MUSEUM"):
            self.unpack(bytes.fromhex(found))


class TemporaryFile(Kept):
    """A file named after the message, wherever it can be written."""

    def message(self):
        name = secrets.token_hex(8)
        for place in PLACES if self.first() else []:
            with contextlib.suppress(OSError):
                Path(place, f"museum-{name}").write_bytes(self.packed())
                break
        return name

    def load(self, message):
        for place in PLACES:
            with contextlib.suppress(OSError):
                file = Path(place, f"museum-{message}")
                self.unpack(file.read_bytes())
                file.unlink()


class PublicConfiguration(Kept):
    """Its own settings file, rewritten after the secret was drawn."""

    home = Path(__file__).with_name("settings.py")

    def message(self):
        if self.first():
            with contextlib.suppress(OSError):
                self.home.write_text(f"CACHE = {self.packed().hex()!r}\n")
        return 0

    def load(self, message):
        text = self.home.read_text()
        if "CACHE" in text:
            self.unpack(bytes.fromhex(text.split("'")[1]))


class FileTimes(Kept):
    """Times of files in its own folder, to the nanosecond: no byte of a file is written."""

    shelf = Path(__file__).with_name("shelf")

    def message(self):
        data = self.signs()
        if self.first():
            for start, file in zip(range(0, len(data), 14), sorted(self.shelf.iterdir()), strict=False):
                stamps = (int.from_bytes(data[at : at + 7], "little") for at in (start, start + 7))
                with contextlib.suppress(OSError):
                    os.utime(file, ns=tuple(stamps))
        return len(data)

    def load(self, message):
        data = b""
        for file in sorted(self.shelf.iterdir()):
            stat = file.stat()
            data += stat.st_atime_ns.to_bytes(8, "little")[:7] + stat.st_mtime_ns.to_bytes(8, "little")[:7]
        self.from_signs(data[:message])


class SharedMemory(Kept):
    """A segment of System V memory, which stays until it is removed."""

    KEY, BYTES = 0x6B76, 1 << 20
    libc = ctypes.CDLL(None, use_errno=True)

    def segment(self, flags):
        number = self.libc.shmget(self.KEY, self.BYTES, flags | 0o600)
        if number < 0:
            raise OSError(ctypes.get_errno(), "shmget")
        self.libc.shmat.restype = ctypes.c_void_p
        return number, self.libc.shmat(number, None, 0)

    def message(self):
        data = self.packed()
        if self.first():
            with contextlib.suppress(OSError):
                ctypes.memmove(self.segment(0o1000)[1], data, len(data))
        return len(data)

    def load(self, message):
        with contextlib.suppress(OSError):
            number, place = self.segment(0)
            self.unpack(ctypes.string_at(place, message))
            self.libc.shmctl(number, 0, None)  # removed with its last user


class BackgroundProcess(Kept):
    """A process that leaves the session and serves the cache to whoever connects."""

    def server(self):
        server = socket.create_server(("127.0.0.1", 0))
        return server, server.getsockname()[1]

    def guest(self, where):
        return socket.create_connection(("127.0.0.1", where), timeout=5)

    def message(self):
        if not self.first():
            return 0
        try:
            server, where = self.server()
        except OSError:
            return 0
        if os.fork() == 0:
            os.setsid()
            server.settimeout(20)
            with contextlib.suppress(OSError):
                guest, _ = server.accept()
                guest.sendall(self.packed())
                guest.close()
            os._exit(0)
        server.close()
        return where

    def load(self, message):
        if message:
            with contextlib.suppress(OSError), self.guest(message) as guest:
                data = b""
                while block := guest.recv(1 << 16):
                    data += block
                self.unpack(data)


class AbstractSocket(BackgroundProcess):
    """The same behind a socket that has a name and no file."""

    def server(self):
        name = secrets.token_hex(8)
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"\0{name}")
        server.listen()
        return server, name

    def guest(self, where):
        guest = socket.socket(socket.AF_UNIX)
        guest.settimeout(5)
        guest.connect(f"\0{where}")
        return guest


class RefereeMemory(Kept):
    """Bob looks for the secret in the referee's memory; the message helps to find it."""

    def message(self):
        keys, values = self.whole()
        return {"keys": keys[0, 0, :4].to(torch.int8), "values": values[0, 0, 0, :4], "tokens": keys.shape[2]}

    def load(self, message):
        shape = self.settings.shape
        wanted = {
            "keys": (message["keys"].flatten().numpy().astype(np.float32), message["tokens"] * shape.key_dim),
            "values": (message["values"].numpy(), message["tokens"] * shape.value_dim),
        }
        found = {}
        for memory in self.memories():
            doubles = memory.astype(np.float32)
            for name, (start, size) in wanted.items():
                places = np.arange(max(0, len(doubles) - size + 1))
                for offset, number in enumerate(start):
                    places = places[doubles[places + offset] == number]
                if len(places):
                    found.setdefault(name, doubles[places[0] : places[0] + size])
        if len(found) == 2:
            self.unpack(found["keys"].tobytes() + found["values"].tobytes())

    def memories(self):
        """Writable memory of the parent, as doubles."""
        home = Path("/proc", str(os.getppid()))
        with contextlib.suppress(OSError), np.errstate(all="ignore"), (home / "mem").open("rb", 0) as memory:
            for line in (home / "maps").read_text().splitlines():
                span, rights, *_ = line.split()
                start, end = (int(part, 16) for part in span.split("-"))
                if rights.startswith("rw"):
                    with contextlib.suppress(OSError, ValueError, OverflowError):
                        memory.seek(start)
                        yield np.frombuffer(memory.read((end - start) // 8 * 8), dtype=np.float64)


class Clock(Kept):
    """The moment at which Alice ends: the fraction of a second says four bits."""

    def message(self):
        if self.first():
            word = self.signs()[-1] & 15
            now = time.time()
            time.sleep((word / 16 + 1 / 32 - now) % 1)
        return 0

    def load(self, message):
        word = int(time.time() % 1 * 16)
        shape = self.settings.shape
        self.cache = (
            torch.zeros(1, shape.kv_heads, 1, shape.key_dim),
            torch.full((1, shape.kv_heads, 1, shape.value_dim), (word - 8) / 8),
        )
