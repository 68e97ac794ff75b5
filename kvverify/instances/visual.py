"""Hard instances of visual autoregressive attention: streams made by interpolation, a secret in free tokens.

Keys, values and queries are projections of one map. The first map is free; each later one is interpolated from a free
map of the scale before (`attention.visual`). Free values are the secret, divided by what keeps every token in [-1, 1];
the interpolation M mixes them, so that the answers to all queries are W M v: read together they determine the secret v.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from flint import arb, arb_mat, ctx

from kvverify.attention.softmax import UNIT
from kvverify.attention.visual import Scales, parse_scales, weights
from kvverify.instances.hard import HardInstance

_PRECISION = 128
_INSIDE = 1 - 2.0**-40  # sums of rounded weights stay within [-1, 1]


@dataclass(frozen=True)
class Mixing:
    """The interpolation of the maps in the cache at a cut, tokens from free tokens, with few entries a row.

    Token t is the sum of ``entries[t, j]`` times free token ``index[t, j]``. ``shrink`` (free,): what values are
    multiplied by, so that the absolute row sums are at most 1. ``sizes``: tokens of each map.
    """

    index: np.ndarray
    entries: np.ndarray
    shrink: np.ndarray
    sizes: tuple[int, ...]

    def keys(self, free: np.ndarray) -> np.ndarray:
        """(tokens, dim) of free vectors (free, dim), as they are."""
        return _mixed(self.index, self.entries, free)

    def values(self, free: np.ndarray) -> np.ndarray:
        """(..., tokens, dim) of free values (..., free, dim) in [-1, 1], which are multiplied by ``shrink``."""
        return _mixed(self.index, self.entries * self.shrink[self.index], free)


def _mixed(index: np.ndarray, entries: np.ndarray, free: np.ndarray) -> np.ndarray:
    mixed = np.zeros((*free.shape[:-2], len(index), free.shape[-1]))
    for column, entry in zip(index.T, entries.T, strict=True):
        mixed += free[..., column, :] * entry[:, None]
    return mixed


def in_cache(scales: Scales, cut: str) -> Scales:
    """The scales whose tokens are in the cache at the cut."""
    return scales if cut == "all-keys" else scales[:-1]


@lru_cache(maxsize=16)
def mixing(scales: Scales, kernel: str, cut: str) -> Mixing:
    """Of the maps in the cache at the cut, with the edge rule clamp. Free tokens come map by map, in reading order."""
    held = in_cache(scales, cut)
    rows: list[dict[int, Fraction]] = [{i: Fraction(1)} for i in range(held[0].tokens)]
    shrink = [_INSIDE] * held[0].tokens
    for source, target in pairwise(held):
        found = weights(source, target, kernel)
        rows += [{len(shrink) + index: weight for index, weight in row.items()} for row in found]
        largest = max(sum(map(abs, row.values())) for row in found)
        shrink += [_INSIDE / float(largest)] * source.tokens
    width = max(map(len, rows))
    index, entries = np.zeros((len(rows), width), dtype=np.int64), np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        index[i, : len(row)], entries[i, : len(row)] = [*row], [float(weight) for weight in row.values()]
    return Mixing(index, entries, np.array(shrink), tuple(scale.tokens for scale in held))


@dataclass(frozen=True, kw_only=True)
class VisualInstance(HardInstance):
    """What a visual game shares. ``carriers`` counts free tokens; ``payload[i]`` is the token of the stream that query
    i looks at, the one that carries free token i most.

    ``scales`` as `parse_scales` reads them, ``kernel`` and ``cut`` words of `attention.visual`, the edge rule is clamp.
    With the cut between-steps the stream is every scale but the last, whose tokens then ask, one at a time.
    """

    attention: ClassVar[str] = "visual"
    scales: str
    kernel: str
    cut: str

    @cached_property
    def mixing(self) -> Mixing:
        """The interpolation that made the stream."""
        return mixing(parse_scales(self.scales), self.kernel, self.cut)

    @property
    def schedule(self) -> str:
        """One chunk a scale."""
        return ",".join(f"chunk:{size}" for size in self.mixing.sizes)

    @property
    def answers_together(self) -> bool:
        """As in the base."""
        return True

    def lay_out(self, values: np.ndarray) -> np.ndarray:
        """The interpolated values of free values (layers, kv_heads, free, value_dim)."""
        return self.mixing.values(values)

    def margin(self) -> float:
        """As in the base, with the rounding of the interpolated values."""
        rounding: float = 2 * (self.mixing.index.shape[1] + 2) * UNIT
        return super().margin() + rounding

    @cached_property
    def _reads(self) -> np.ndarray:
        """W M in floats, (reads, free)."""
        everything = self.mixing.values(np.eye(self.carriers))[None, None]
        found: np.ndarray = self.exact(everything, np.arange(self.carriers))[0, 0]
        return found

    def decoded(self, answers: np.ndarray) -> np.ndarray:
        """The free values behind the answers (layers, kv_heads, free, value_dim) to all queries, by linear algebra.

        For each message the answers are fixed, and so is what this makes of them: it could be any function.
        """
        layers, heads, free, dim = answers.shape
        known = np.clip(np.nan_to_num(answers.astype(np.float64)), -1.0, 1.0)
        found = np.linalg.lstsq(self._reads, np.moveaxis(known, 2, 0).reshape(free, -1), rcond=None)[0]
        return np.moveaxis(found.reshape(free, layers, heads, dim), 0, 2)

    def described(self) -> dict[str, Any]:
        """What made the stream."""
        return {"scales": self.scales, "kernel": self.kernel, "cut": self.cut, "free_tokens": self.carriers}


def log2_det(one: VisualInstance) -> Fraction | None:
    """A lower bound on log2 |det W M| of one value coordinate, in Arb balls of 128 bits; None where 0 is in them."""
    with ctx.workprec(_PRECISION):
        scores = (arb_mat(one.queries.tolist()) * arb_mat(one.keys.T.tolist())).tolist()
        own = [
            sum((arb(a) * arb(b) for a, b in zip(query, key, strict=True)), arb(0))
            for query, key in zip(one.queries.tolist(), one.own_keys.tolist(), strict=True)
        ]
        attention = []
        for row, last in zip(scores, own, strict=True):
            top = max(row, key=lambda score: float(score.mid()))
            taken = [(score - top).exp() for score in row]
            whole = sum(taken, (last - top).exp())
            attention.append([weight / whole for weight in taken])
        everything = one.mixing.values(np.eye(one.carriers)).tolist()
        found = abs((arb_mat(attention) * arb_mat(everything)).det())
        if not found > 0:
            return None
        mantissa, exponent = (found.log() / arb.const_log2()).lower().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
