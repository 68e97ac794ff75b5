"""What every cheat has: it keeps the whole stream in float32, and answers well from whatever it got hold of."""

from __future__ import annotations

import numpy as np
import torch

from kvverify.attention.softmax_torch import attend_with_own


class Kept:
    """The cache as it came. Alice's player makes a second, shorter stream: only the first message counts."""

    sent = False

    def __init__(self, settings):
        self.settings = settings
        self.chunks = []
        self.cache = None

    def absorb(self, queries, keys, values):
        self.chunks.append((keys.float(), values.float()))

    def first(self):
        """True once in a process for each kind of cheat."""
        before, type(self).sent = type(self).sent, True
        return not before

    def whole(self):
        return tuple(torch.cat(parts, dim=2) for parts in zip(*self.chunks, strict=True))

    def packed(self):
        return b"".join(part.numpy().tobytes() for part in self.whole())

    def unpack(self, data):
        shape = self.settings.shape
        width = shape.kv_heads * (shape.key_dim + shape.value_dim)
        tokens = len(data) // 4 // width
        flat = torch.from_numpy(np.frombuffer(data, dtype=np.float32).copy())
        cut = shape.kv_heads * shape.key_dim * tokens
        self.cache = (
            flat[:cut].reshape(1, shape.kv_heads, tokens, shape.key_dim),
            flat[cut:].reshape(1, shape.kv_heads, tokens, shape.value_dim),
        )

    def signs(self):
        """A bit a scalar, for hiding places that are small."""
        return b"".join(np.packbits(part.numpy() > 0).tobytes() for part in self.whole())

    def from_signs(self, data):
        """Half of each sign: right within 1/2 for every value."""
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8)).astype(np.float32) * 2 - 1
        shape = self.settings.shape
        cut = len(bits) * shape.key_dim // (shape.key_dim + shape.value_dim)
        self.unpack(np.concatenate([bits[:cut], bits[cut:] / 2]).tobytes())

    def message(self):
        return 0

    def load(self, message):
        self.cache = None

    def attend(self, queries, own_keys, own_values):
        if self.cache is None:  # nothing was found: answer zero
            return torch.zeros(*queries.shape[:3], own_values.shape[3])
        return attend_with_own(queries, *self.cache, own_keys, own_values, self.settings.scale)
