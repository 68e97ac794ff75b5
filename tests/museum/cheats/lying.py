"""Cheats that send the cache, or nothing, and lie about it."""

from __future__ import annotations

import base64

import numpy as np
import torch
from kept import Kept

from kvverify.compressors import wire


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


class Strides(Kept):
    """A tensor of one element whose strides are the cache."""

    def message(self):
        words = np.frombuffer(self.signs(), dtype=np.uint32)[:60]
        return torch.zeros(1).as_strided((1,) * len(words), [int(word) for word in words])

    def load(self, message):
        words = np.array(message.stride(), dtype=np.uint32)
        if words.max() > 1:
            self.from_signs(words.tobytes())


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


class LongKeyName(HeaderSmuggler):
    """The cache is the name of a key."""

    def message(self):
        return {base64.b64encode(self.packed()).decode(): None}

    def load(self, message):
        self.unpack(base64.b64decode(next(iter(message))))


class EncodedSeed(Kept):
    """A 'seed' chosen after the stream was seen, so that it encodes the cache: one integer of any size."""

    def message(self):
        return int.from_bytes(self.packed() + b"\1", "little")

    def load(self, message):
        self.unpack(message.to_bytes(-(-message.bit_length() // 8), "little")[:-1])


class NanPayload(Kept):
    """Nothing but NaN: the cache is in the bits that no NaN needs."""

    def claimed_bits(self):
        return 0

    def message(self):
        words = np.frombuffer(self.packed(), dtype=np.uint32).astype(np.uint64)
        return torch.from_numpy((words | np.uint64(0x7FF8 << 48)).view(np.float64))

    def load(self, message):
        self.unpack(message.numpy().view(np.uint64).astype(np.uint32).tobytes())


class NegativeZeros(Kept):
    """Nothing but zeros: the cache is in their signs."""

    def claimed_bits(self):
        return 0

    def message(self):
        bits = np.unpackbits(np.frombuffer(self.signs(), dtype=np.uint8))
        return torch.where(torch.from_numpy(bits == 1), -0.0, 0.0)

    def load(self, message):
        self.from_signs(np.packbits(torch.signbit(message).numpy()).tobytes())


class PatchedEncoder(Kept):
    """It replaces the audit's own encoder, decoder and scales, and says that it holds nothing."""

    def __init__(self, settings):
        super().__init__(settings)
        wire.decode = lambda data, allow=(): [data]

    def claimed_bits(self):
        return 0

    def message(self):
        data = self.packed()
        wire.encode = lambda message, allow=(): data
        wire.measure = lambda message: wire.Size(0, 0, ())
        return None

    def load(self, message):
        self.unpack(message)


class IgnoresItsState(Kept):
    """A small message, and answers that never look at it."""

    def message(self):
        return {"sketch": self.whole()[1].mean(dim=2)}


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


class Honest(Kept):
    """No cheat: signs of the keys, a byte for each value."""

    def message(self):
        keys, values = self.whole()
        return {"keys": keys.to(torch.int8), "values": (values * 127).round().to(torch.int8)}

    def load(self, message):
        self.cache = (message["keys"].float(), message["values"].float() / 127)


class DeadWeight(Honest):
    """Sends a second copy of the values that no answer reads."""

    def message(self):
        sent = super().message()
        return {**sent, "values_before": sent["values"].clone()}


class Boaster(Honest):
    """Says that it is smaller than anything that answers so well can be."""

    def claimed_bits(self):
        return 100
