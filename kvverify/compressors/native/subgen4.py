"""SubGen4Cache: SubGen's samples of the four caches of tensor attention, as recorded (what is open: docs/subgen.md).

Chen et al., Limits of KV Cache Compression for Tensor Attention (2025, arXiv:2503.11108), after SubGen
(Zandieh, Han, Mirrokni, Karbasi 2024, arXiv:2402.06082).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from kvverify.compressors.native.subgen import SubGen
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 1 << 22  # scores that are computed at a time
_MOST_PAIRS = 1 << 25  # of one read: a quarter of a gigabyte


class SubGen4(SubGen):
    """SubGen's state of each factor head by itself; pairs of slots, one of either factor, stand for pairs of tokens.

    tau is the sum over pairs of cells and of their slots of (n_a n_b / t^2) e^<q, k1 o k2>, z the one over pairs of
    norm slots of (|V1|_F^2 |V2|_F^2 / (s^2 |v1|^2 |v2|^2)) e^<q, k1 o k2> (v1 o v2): both are unbiased, since the
    factors' coins are independent. The own token is one more entry of either list, of weight 1. State
    bits: `state_bits` of SubGen with two streams a tensor head. Settings are SubGen's.
    """

    attention = ("tensor",)

    def attend(self, queries: Tensor, own_keys: Tensor, own_values: Tensor) -> Tensor:
        """z / tau in float64, then rounded to float32 unless the queries were float64; shapes as in the protocol.

        Raises UsageError where a read takes more than 2^25 pairs of slots.
        """
        shape, heads, reads = self.settings.shape, self.streams // 2, queries.shape[2]
        asked = queries.double().cpu().numpy().reshape(heads, shape.group, reads, shape.key_dim) * self.settings.scale
        keys, values = (side.double().cpu().flatten(0, 1).numpy() for side in (own_keys, own_values))
        answers = np.empty((heads, shape.group, reads, shape.value_dim))
        for head in range(heads):
            pair = (2 * head, 2 * head + 1)
            cells = [Weighted(*self.cells[stream].weighted(), None) for stream in pair]
            samples = [Weighted(*self.samples[stream].weighted()) for stream in pair]
            own = [(keys[stream], values[stream]) for stream in pair]
            pairs = max(len(cells[0].logs) * len(cells[1].logs), self.s**2, 1)
            if pairs > _MOST_PAIRS:
                raise UsageError(f"subgen4: {pairs} pairs of slots a read, at most {_MOST_PAIRS}; take smaller t and s")
            step = max(1, _BLOCK // pairs)
            for member in range(shape.group):
                for start in range(0, reads, step):
                    rows = slice(start, start + step)
                    mine = [(key[rows], value[rows]) for key, value in own]
                    query = asked[head, member, rows]
                    below, tau, _ = sums(query, cells, mine)
                    above, _, z = sums(query, samples, mine)
                    answers[head, member, rows] = z / tau * np.exp(above - below)
        found = torch.from_numpy(answers).reshape(*queries.shape[:3], shape.value_dim)
        return found.to(self.settings.device, queries.dtype if queries.dtype == torch.float64 else torch.float32)


@dataclass(frozen=True)
class Weighted:
    """Entries of one factor: logs of weights (m,), keys (m, d_k), and values (m, d_v) unless these do not count."""

    logs: np.ndarray
    keys: np.ndarray
    values: np.ndarray | None

    def joined(self, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """With the own token of each reader last, of weight 1: (m + 1,), (r, m + 1, d_k), (r, m + 1, d_v)."""
        values = np.zeros((len(self.logs), value.shape[1])) if self.values is None else self.values
        return np.append(self.logs, 0.0), _with_own(self.keys, key), _with_own(values, value)


def _with_own(rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    return np.concatenate([np.broadcast_to(rows, (len(own), *rows.shape)), own[:, None]], axis=1)


def sums(
    queries: np.ndarray, factors: list[Weighted], own: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logs (r, 1) of what both sums were divided by, the sum of weights (r, 1), and that of weights times values
    (r, d_v), over all pairs of entries of two factors; queries (r, d_k) are scaled, own keys (r, d_k), values (r, d_v).
    """
    (logs1, keys1, values1), (logs2, keys2, values2) = (
        one.joined(*mine) for one, mine in zip(factors, own, strict=True)
    )
    scores = (queries[:, None] * keys1) @ keys2.transpose(0, 2, 1) + logs1[:, None] + logs2
    largest = scores.max(axis=(1, 2))
    weights = np.exp(scores - largest[:, None, None])
    return largest[:, None], weights.sum(axis=(1, 2))[:, None], (values1 * (weights @ values2)).sum(axis=1)
