"""SubGen's two samples of one stream (Zandieh, Han, Mirrokni, Karbasi 2024, arXiv:2402.06082) as docs/subgen.md has it.

`Cells` estimates the softmax normaliser, `NormSample` the product of weights and values. Both take coins, uniform on
[0, 1), from outside: so that chunks do not matter, and so that tests can go through every outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Cells:
    """Streaming clusters: a key joins its nearest representative (ties: the oldest) within ``radius``, or opens a cell.

    Of every cell there are its representative (m, dim), its number of keys (m,), and ``samples`` (m, t, dim): t slots,
    independent, each uniform over the keys of the cell. Representatives are further apart than ``radius``.
    """

    radius_squared: float
    representatives: np.ndarray
    samples: list[np.ndarray]
    counts: list[int]

    @staticmethod
    def empty(dim: int, radius_squared: float) -> Cells:
        """Before the first key; distances are compared squared."""
        return Cells(radius_squared, np.empty((0, dim)), [], [])

    def add(self, keys: np.ndarray, coins: np.ndarray) -> None:
        """Take keys (tokens, dim) in their order, with coins (tokens, t)."""
        representatives = np.concatenate([self.representatives, np.empty_like(keys)])
        for key, coin in zip(keys, coins, strict=True):
            cells = len(self.counts)
            distances = np.square(representatives[:cells] - key).sum(axis=1)
            nearest = int(distances.argmin()) if cells else -1
            if nearest < 0 or distances[nearest] > self.radius_squared:
                representatives[cells] = key
                self.counts.append(1)
                self.samples.append(np.repeat(key[None], len(coin), axis=0))
            else:
                self.counts[nearest] += 1
                self.samples[nearest][coin < 1 / self.counts[nearest]] = key
        self.representatives = representatives[: len(self.counts)].copy()

    def weighted(self) -> tuple[np.ndarray, np.ndarray]:
        """Logs of weights (m t,) and keys (m t, dim): sum of weight * e^<q, k> is the estimate of the normaliser."""
        dim = self.representatives.shape[1]
        if not self.counts:
            return np.empty(0), np.empty((0, dim))
        samples = np.stack(self.samples)
        slots = samples.shape[1]
        return np.log(np.repeat(self.counts, slots) / slots), samples.reshape(-1, dim)


@dataclass
class NormSample:
    """s slots, independent, each a token (k, v) with probability |v|_2^2 / ``total``; ``total`` is the sum of |v|_2^2.

    A token with v = 0 is dropped: it adds nothing to the product, and as the first token its share would be 0/0.
    """

    keys: np.ndarray
    values: np.ndarray
    total: float = 0.0

    @staticmethod
    def empty(slots: int, key_dim: int, value_dim: int) -> NormSample:
        """Before the first token with a value; what the slots hold then does not count."""
        return NormSample(np.zeros((slots, key_dim)), np.zeros((slots, value_dim)))

    def add(self, keys: np.ndarray, values: np.ndarray, coins: np.ndarray) -> None:
        """Take tokens (tokens, key_dim), (tokens, value_dim) in their order, with coins (tokens, s)."""
        norms = np.square(values).sum(axis=1)
        totals = np.cumsum(np.concatenate([[self.total], norms]))[1:]  # one after the other: chunks do not matter
        shares = np.divide(norms, totals, out=np.zeros_like(norms), where=norms > 0)
        taken = coins < shares[:, None]
        newest = len(taken) - 1 - taken[::-1].argmax(axis=0)
        slots = taken.any(axis=0)
        self.keys[slots], self.values[slots] = keys[newest[slots]], values[newest[slots]]
        self.total = float(totals[-1])

    def weighted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logs of weights (s,), keys, values: sum of weight * e^<q, k> v is the estimate of the product."""
        if self.total == 0:
            return np.empty(0), self.keys[:0], self.values[:0]
        weights = self.total / (len(self.keys) * np.square(self.values).sum(axis=1))
        return np.log(weights), self.keys, self.values


def state_bits(cells: int, *, t: int, s: int, key_dim: int, value_dim: int, scalar_bits: int, streams: int = 1) -> int:
    """Bits of SubGen's state with so many cells in all streams together: d (m t + s) words and what goes with them.

    A cell: t + 1 keys, and its count in 32 bits. A stream: s keys and values, the sum of |v|^2 in 64 bits, its number
    of cells in 32.
    """
    cell = scalar_bits * (t + 1) * key_dim + 32
    stream = scalar_bits * s * (key_dim + value_dim) + 64 + 32
    return cells * cell + streams * stream
