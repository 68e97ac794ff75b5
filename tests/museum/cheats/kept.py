"""What every cheat has: it keeps the whole stream in float32, and answers well from whatever it got hold of."""

from __future__ import annotations

import numpy as np
import torch

from kvverify.attention.softmax_torch import attend_with_own


class Kept:
    def __init__(self, settings):
        self.settings = settings
        self.chunks = []
        self.cache = None

    def absorb(self, queries, keys, values):
        self.chunks.append((keys.float(), values.float()))

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

    def load(self, message):
        self.cache = None

    def attend(self, queries, own_keys, own_values):
        if self.cache is None:  # nothing was found: answer zero
            return torch.zeros(*queries.shape[:3], own_values.shape[3])
        return attend_with_own(queries, *self.cache, own_keys, own_values, self.settings.scale)
