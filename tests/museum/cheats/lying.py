"""Cheats that send the cache, or nothing, and lie about it."""

from __future__ import annotations

import base64

import torch
from kept import Kept


class BehindAView(Kept):
    """A view of no elements; the storage behind it is the whole cache."""

    def claimed_bits(self):
        return 64

    def message(self):
        self.storage = torch.cat([part.reshape(-1) for part in self.whole()])
        return {"nothing": self.storage[:0]}

    def load(self, message):
        storage = message["nothing"].untyped_storage()
        if len(storage):
            self.unpack(bytes(storage))


class LyingDtype(Kept):
    """Says two bits a scalar, and sends 32 under the name of bytes."""

    def claimed_bits(self):
        return self.codes.numel() // 2

    def message(self):
        self.codes = torch.frombuffer(bytearray(self.packed()), dtype=torch.uint8)
        return {"dtype": "int2", "codes": self.codes}

    def load(self, message):
        self.unpack(message["codes"].numpy().tobytes())


class HeaderSmuggler(Kept):
    """No tensors at all: the cache is a remark in a dictionary of settings."""

    def claimed_bits(self):
        return 0

    def message(self):
        return {"settings": {"remark": base64.b64encode(self.packed()).decode()}}

    def load(self, message):
        self.unpack(base64.b64decode(message["settings"]["remark"]))


class IgnoresItsState(Kept):
    """A small message, and answers that never look at it."""

    def message(self):
        return {"sketch": self.whole()[1].mean(dim=2)}


class EncodedSeed(Kept):
    """A 'seed' drawn after the stream was seen, so that it encodes the cache: counted, since it has to be sent."""

    def message(self):
        return int.from_bytes(self.packed() + b"\1", "little")

    def load(self, message):
        self.unpack(message.to_bytes(-(-message.bit_length() // 8), "little")[:-1])
