"""Floats for the search: what a family of keys would give. Nothing here is trusted; the kernel has the last word."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kvverify.bounds import joint
from kvverify.bounds.candidate import (
    BF16_ROUNDING,
    Candidate,
    Rows,
    Sizes,
    best_of,
    distortion,
    fano,
    read_gain,
    rows_of,
    sizes_of,
)
from kvverify.codes.base import KeyFamily
from kvverify.problem import Problem


def candidates(
    family: KeyFamily, payloads: Sequence[int], problem: Problem, method: str | None = None
) -> list[Candidate]:
    """For every method, or one, the best of the payload sizes (ascending) that the family has keys for, beside pads."""
    sizes = sizes_of(tuple(payloads), problem.tokens).upto(family.size)
    if not sizes or (problem.inputs == "bf16" and not family.bf16_exact):
        return []
    if method == "joint":
        return joint.estimate(family, sizes, problem) if problem.tolerance is not None else []
    rows = rows_of(family, sizes, problem)
    if problem.relative is not None:
        miss = rows.sigma * float((1 + problem.relative) / (1 - problem.relative))
        gain = float(fano(np.array(2.0), float(problem.failure)))
        gains = np.where(miss < 1, gain * problem.value_dim, 0.0)
        return [best_of(family, sizes, "separation", np.full(len(sizes), 2.0), gains, miss)]
    ways = {"volume": _volume, "levels": _levels}
    found = [way(family, sizes, problem, rows) for name, way in ways.items() if method in (None, name)]
    return found + (joint.estimate(family, sizes, problem) if method is None else [])


def _volume(family: KeyFamily, sizes: Sizes, problem: Problem, rows: Rows) -> Candidate:
    gain = read_gain(problem)
    loss = np.log2(1 + rows.sigma + rows.rest) + distortion(rows.sigma, rows.squares)
    holds = (rows.sigma < 1) & (gain > loss)
    miss = np.maximum(loss / gain, rows.sigma) if gain > 0 else np.full(len(sizes), math.inf)
    gains = np.where(holds, (gain - loss) * problem.value_dim, 0.0)
    return best_of(family, sizes, "volume", np.zeros(len(sizes)), gains, miss)


def _levels(family: KeyFamily, sizes: Sizes, problem: Problem, rows: Rows) -> Candidate:
    """Levels that are exact in bf16 need no room for rounding: there a power of two of gaps is tried as well."""
    assert problem.tolerance is not None
    found = []
    for exact in (True, False) if problem.inputs == "bf16" else (False,):
        rounding = BF16_ROUNDING if problem.inputs == "bf16" and not exact else 0
        room = float(problem.tolerance + rounding) * (1 + rows.sigma + rows.rest) + rows.sigma
        gaps = np.ceil((1 - 1e-9) / room) - 1  # strictly more room than needed
        if exact:
            gaps = np.where(gaps >= 1, np.minimum(512, 2.0 ** np.floor(np.log2(np.maximum(gaps, 1)))), 0)
        alphabet = np.maximum(gaps + 1, 2)
        possible = (gaps >= 1) & (float(problem.failure) <= 1 - 1 / alphabet)
        bits = np.where(possible, fano(alphabet, float(problem.failure)) * problem.value_dim, 0.0)
        room = np.where((gaps >= 1) & (bits <= 0), math.inf, room)  # apart, but such a failure leaves nothing
        found.append(best_of(family, sizes, "levels", alphabet, bits, room))
    return max(found, key=lambda candidate: (candidate.bits, -candidate.miss))
