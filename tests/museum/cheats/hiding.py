"""Cheats that hide the cache somewhere else and send next to nothing."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from pathlib import Path

import torch
from kept import Kept

PLACES = ("/dev/shm", "/tmp", str(Path(__file__).parent))
GLOBAL = {}


class TemporaryFile(Kept):
    """A file named after the message, wherever it can be written."""

    def message(self):
        name = secrets.token_hex(8)
        for place in [] if GLOBAL else PLACES:  # the first stream is the one that counts
            GLOBAL["written"] = True
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


class InProcess(Kept):
    """A class attribute, a global of the module and the environment, which a fork would inherit."""

    memory = b""

    def message(self):
        if not GLOBAL:  # the first stream is the one that counts
            type(self).memory = GLOBAL["cache"] = self.packed()
            os.environ["MUSEUM"] = self.packed().hex()
        return "cache"

    def load(self, message):
        found = self.memory or GLOBAL.get(message) or bytes.fromhex(os.environ.get("MUSEUM", ""))
        if found:
            self.unpack(found)


class BackgroundProcess(Kept):
    """A process that leaves the session and serves the cache to whoever connects."""

    def message(self):
        try:
            server = socket.create_server(("127.0.0.1", 0))
        except OSError:
            return 0
        port = server.getsockname()[1]
        if os.fork() == 0:
            os.setsid()
            server.settimeout(20)
            with contextlib.suppress(OSError):
                guest, _ = server.accept()
                guest.sendall(self.packed())
                guest.close()
            os._exit(0)
        server.close()
        return port

    def load(self, message):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", message or 9), timeout=5) as guest:
            data = b""
            while block := guest.recv(1 << 16):
                data += block
            self.unpack(data)


class PublicConfiguration(Kept):
    """Its own settings file, rewritten after the secret was drawn."""

    home = Path(__file__).with_name("settings.py")

    def message(self):
        if "CACHE" not in self.home.read_text():  # the first stream is the one that counts
            with contextlib.suppress(OSError):
                self.home.write_text(f"CACHE = {self.packed().hex()!r}\n")
        return 0

    def load(self, message):
        text = self.home.read_text()
        if "CACHE" in text:
            self.unpack(bytes.fromhex(text.split("'")[1]))


class Forgetful(Kept):
    """Sends all of it, but answers a question differently when asked again."""

    asked = 0

    def message(self):
        keys, values = self.whole()
        return {"keys": keys.to(torch.float8_e5m2), "values": values.to(torch.float8_e5m2)}

    def load(self, message):
        self.cache = (message["keys"].float(), message["values"].float())

    def attend(self, queries, own_keys, own_values):
        self.asked += 1
        return super().attend(queries, own_keys, own_values) / self.asked
