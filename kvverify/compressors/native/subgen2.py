"""SubGen2Cache: SubGen on the product rows of tensor attention, as recorded (docs/subgen.md says what is open).

Chen et al., Limits of KV Cache Compression for Tensor Attention (2025, arXiv:2503.11108), after SubGen
(Zandieh, Han, Mirrokni, Karbasi 2024, arXiv:2402.06082).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from kvverify.attention.tensor import split
from kvverify.compressors.native.subgen import SubGen, estimates
from kvverify.compressors.parameters import choice, complete
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from kvverify.compressors.protocol import Settings


class SubGen2:
    """SubGen whose tokens are the pairs: token n brings (n, 0) .. (n, n), then (0, n) .. (n - 1, n).

    A new token's 2 n + 1 rows are made of the factors of all old ones, which have to be there: the state is SubGen's
    sketch of n^2 rows and the four caches themselves, 2 (d_k + d_v) scalars a token, so it never is smaller than they
    are. With ``factors`` drop the message is the sketch alone: such a state answers, without the pairs of an own and a
    cached token, and takes no further one. The other settings are SubGen's; distances are those of product rows.
    """

    attention = ("tensor",)
    parameters = (*SubGen.parameters, choice("factors", "keep", "drop"))

    def __init__(self, settings: Settings) -> None:
        options = complete(settings.compressor, self.parameters, settings.parameters)
        self.settings = replace(settings, parameters=options)
        self.keep = options["factors"] == "keep"
        sketched = {name: value for name, value in options.items() if name != "factors"}
        shape = settings.shape
        halved = replace(shape, kv_heads=shape.kv_heads // 2, heads=shape.heads // 2)  # of tensor heads
        self.sketch = SubGen(replace(settings, shape=halved, parameters=sketched, attention="softmax"))
        factors = shape.batch * shape.kv_heads
        self.keys = torch.empty((factors, 0, shape.key_dim), dtype=self.sketch.dtype, device="cpu")
        self.values = torch.empty((factors, 0, shape.value_dim), dtype=self.sketch.dtype, device="cpu")
        self.whole = True

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Take the chunk token by token, as in `Compressor.absorb`. Raises UsageError without the old factors."""
        if not self.whole:
            raise UsageError("subgen2: a state without the factors cannot form the rows of a new token")
        old = self.keys.shape[1]
        chunk = [side.to(self.sketch.dtype).cpu().flatten(0, 1) for side in (keys, values)]
        self.keys, self.values = (
            torch.cat([kept, new], dim=1) for kept, new in zip((self.keys, self.values), chunk, strict=True)
        )
        for last in range(old, self.keys.shape[1]):
            self.sketch.absorb(None, self._rows(self.keys, last), self._rows(self.values, last))

    def _rows(self, factors: Tensor, last: int) -> Tensor:
        """The product rows of a new token, (batch, tensor heads, 2 last + 1, dim)."""
        first, second = split(factors.double().reshape(self.settings.shape.batch, -1, *factors.shape[1:]))
        own1, own2 = first[:, :, last, None], second[:, :, last, None]
        return torch.cat([own1 * second[:, :, : last + 1], first[:, :, :last] * own2], dim=2)

    def message(self) -> dict[str, Tensor]:
        """The sketch, and the factors (batch * factor heads, tokens, dim) unless they are dropped."""
        kept = {"factor_keys": self.keys, "factor_values": self.values} if self.keep else {}
        return {**self.sketch.message(), **kept}

    def load(self, message: Mapping[str, Tensor]) -> None:
        """Become the state of that message."""
        sketch = dict(message)
        self.whole = self.keep
        if self.keep:
            self.keys, self.values = (sketch.pop(f"factor_{side}").cpu() for side in ("keys", "values"))
        self.sketch.load(sketch)

    def attend(self, queries: Tensor, own_keys: Tensor, own_values: Tensor) -> Tensor:
        """z / tau in float64, then rounded to float32 unless the queries were float64; shapes as in the protocol.

        The pairs of the own token are summed exactly, and enter as one token of their weight and mean value.
        """
        shape, reads = self.settings.shape, queries.shape[2]
        heads, group = self.sketch.streams, self.settings.shape.group
        asked = (queries.double().cpu() * self.settings.scale).reshape(heads, group, reads, shape.key_dim)
        own = [side.double().cpu().flatten(0, 1).numpy() for side in (own_keys, own_values)]
        answers = np.empty((heads, group, reads, shape.value_dim))
        for head in range(heads):
            cells, sample = self.sketch.cells[head], self.sketch.samples[head]
            parts = (*cells.weighted(), *sample.weighted())
            for member in range(group):
                query = asked[head, member].numpy()
                scores, value = self._own(query, head, *(side[2 * head : 2 * head + 2] for side in own))
                z, tau, weight = estimates(query, scores, *parts)
                answers[head, member] = (z + weight * value) / (tau + weight)
        found = torch.from_numpy(answers).reshape(*queries.shape[:3], shape.value_dim)
        return found.to(self.settings.device, queries.dtype if queries.dtype == torch.float64 else torch.float32)

    def _own(self, query: np.ndarray, head: int, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log of the weight (r,) and the mean value (r, d_v) of the own token's pairs; own factors (2, r, dim)."""
        pairs = slice(2 * head, 2 * head + 2)
        used = slice(None) if self.keep and self.whole else slice(0)
        (keys1, keys2), (values1, values2) = (side[pairs, used].double().numpy() for side in (self.keys, self.values))
        parts = [
            (query * key[0]) @ keys2.T,
            (query * key[1]) @ keys1.T,
            (query * key[0] * key[1]).sum(1, keepdims=True),
        ]
        scores = np.concatenate(parts, axis=1)
        largest = scores.max(axis=1, keepdims=True)
        weights = np.exp(scores - largest)
        with_second, with_first, alone = np.split(weights, [len(keys2), len(keys1) + len(keys2)], axis=1)
        mine = value[0] * (with_second @ values2) + value[1] * (with_first @ values1) + alone * value[0] * value[1]
        whole = weights.sum(axis=1)
        return largest[:, 0] + np.log(whole), mine / whole[:, None]

    def claimed_bits(self) -> int:
        """Of the sketch, and of the factors unless they are dropped."""
        factors = (self.keys.numel() + self.values.numel()) * 8 * self.keys.element_size()
        return self.sketch.claimed_bits() + (factors if self.keep else 0)
