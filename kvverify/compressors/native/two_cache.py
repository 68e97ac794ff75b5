"""The two-cache form of tensor attention: product rows K1 * K2 and V1 * V2, one of each for every pair of tokens.

Chen et al., Limits of KV Cache Compression for Tensor Attention (2025, arXiv:2503.11108), as the ledger records it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kvverify.attention.tensor import require_two_cache, split
from kvverify.compressors.base import StoredCache
from kvverify.compressors.parameters import choice, integer

if TYPE_CHECKING:
    from torch import Tensor

    from kvverify.compressors.protocol import Settings

_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_SCORES = 1 << 24  # of one chunk of reads


class TwoCache(StoredCache):
    """Keeps the product rows of all pairs, rounded to ``dtype``, and answers from them as softmax attention would.

    A new token forms 2 n - 1 new rows out of the factors of all old ones, and the asker's own token 2 n + 1 in the same
    way; products alone do not tell the factors (any c_j could go from k1_j to k2_j), so the four factor caches stay.
    State bits of a tensor head of n tokens, F bits a scalar: F (d_k + d_v) (n^2 + 2 n), of which the record counts
    n^2. More than ``memory`` MiB of product rows are refused.
    """

    attention = ("tensor",)
    parameters = (choice("dtype", "bf16", "fp32"), integer("memory", 4096, 1, 1 << 24))

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.dtype = _DTYPES[str(self.options["dtype"])]

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Append to the factors, and add the product rows of every pair with a new token. Raises UsageError."""
        shape = self.settings.shape
        old = self.pair()[0].shape[2]
        self._require(old + keys.shape[2])
        self.append(keys=keys.to(self.dtype), values=values.to(self.dtype))
        for side, dim in (("keys", shape.key_dim), ("values", shape.value_dim)):
            first, second = split(self.state[side])
            grid = self.state.get(f"{side}_products", first.new_empty((*first.shape[:2], 0, 0, dim)))
            right = first[:, :, :old, None] * second[:, :, None, old:]
            below = first[:, :, old:, None] * second[:, :, None]
            self.state[f"{side}_products"] = torch.cat([torch.cat([grid, right], dim=3), below], dim=2)

    def _require(self, tokens: int) -> None:
        shape = self.settings.shape
        heads = shape.batch * shape.kv_heads // self.settings.factors
        width = heads * (shape.key_dim + shape.value_dim)
        require_two_cache(tokens, width, 0, self.dtype.itemsize, int(self.options["memory"]) << 20)

    def read(self) -> tuple[Tensor, Tensor]:
        """The four factor caches."""
        return self.pair()

    def attend(self, queries: Tensor, own_keys: Tensor, own_values: Tensor) -> Tensor:
        """From the product rows, and from the factors for the pairs with the own token."""
        device, dtype = self.settings.device, torch.float64 if queries.dtype == torch.float64 else torch.float32
        keys, values, *mine = (split(part.to(device, dtype)) for part in (*self.pair(), own_keys, own_values))
        batch, heads, reads, dim = queries.shape
        kv_heads, tokens, value_dim = keys[0].shape[1], keys[0].shape[2], values[0].shape[3]
        rows = [
            self.state[f"{side}_products"].to(device, dtype).flatten(2, 3)
            if tokens
            else keys[0].new_empty((batch, kv_heads, 0, width))
            for side, width in (("keys", dim), ("values", value_dim))
        ]
        asked = queries.to(device, dtype).reshape(batch, kv_heads, heads // kv_heads, reads, dim) * self.settings.scale
        answers = asked.new_empty((*asked.shape[:-1], value_dim))
        step = max(1, _SCORES // (batch * heads * (tokens + 1) ** 2))
        for start in range(0, reads, step):
            some = slice(start, start + step)
            own = [part[:, :, None, some] for part in (*mine[0], *mine[1])]
            answers[..., some, :] = _answer(asked[..., some, :], rows, keys, values, own)
        return answers.view(batch, heads, reads, value_dim)

    def claimed_bits(self) -> int:
        """Product rows and factors, in full."""
        tokens = self.pair()[0].shape[2]
        rows = self.scalars_bits(tokens * tokens, 8 * self.dtype.itemsize) // self.settings.factors
        return rows + self.scalars_bits(tokens, 8 * self.dtype.itemsize)


def _answer(
    queries: Tensor, rows: list[Tensor], keys: tuple[Tensor, Tensor], values: tuple[Tensor, Tensor], own: list[Tensor]
) -> Tensor:
    """Queries (batch, kv_heads, group, r, d), rows (batch, kv_heads, n^2, .), own ones (batch, kv_heads, 1, r, .)."""
    key1, key2, value1, value2 = own
    (keys1, keys2), (values1, values2) = ([part[:, :, None] for part in side] for side in (keys, values))
    parts = [
        queries @ rows[0][:, :, None].mT,
        (queries * key1) @ keys2.mT,
        (queries * key2) @ keys1.mT,
        (queries * key1 * key2).sum(-1, keepdim=True),
    ]
    weights: tuple[Tensor, ...] = torch.split(
        torch.cat(parts, dim=-1).softmax(-1), [part.shape[-1] for part in parts], dim=-1
    )
    cached = weights[0] @ rows[1][:, :, None]
    mine: Tensor = value1 * (weights[1] @ values2) + value2 * (weights[2] @ values1)
    return cached + mine + weights[3] * value1 * value2
