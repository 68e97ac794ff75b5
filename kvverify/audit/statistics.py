"""What one game proves: bits that a state must have held, from the number of wrong reads and nothing else.

Theorem (ours; docs/proofs/game.md). Fix everything public. For each message m the answers are fixed, so the secrets
that score at most k wrong reads with it are few: at most ``sum_{j<=k} C(N, j) (L-1)^j`` of L^N for N symbols, and at
most a share ``sum_{j<=k} C(N, j) eps^(N-j) / |det W|`` of the cube [-1, 1]^N for N outputs W v read within eps. Summed
over prefix-free messages of their own lengths: a message of fewer bits than the certified floor occurs with
probability at most 2^-40 over the secret. Nothing is averaged, and nothing is assumed of the compressor.

All logarithms are bounds in Arb balls (python-flint), rounded so that the floor is never overstated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb, ctx, fmpq

MARGIN_BITS = 40
GRID = tuple(Fraction(1, 1 << power) for power in range(1, 11))
CONFIDENCE = Fraction(999, 1000)
_PRECISION = 256


def log2_ball(reads: int, wrong: int, weight: Fraction) -> Fraction:
    """An upper bound (bits) on ``log2 sum_{j <= wrong} C(reads, j) weight^j``, for 0 <= wrong <= reads and weight > 0.

    Seen from the last term, each earlier one is smaller by at least the ratio q = wrong / ((reads - wrong + 1) weight)
    of the last two, so the sum is at most the last term / (1 - q); never more than the whole, (1 + weight)^reads.
    """
    if not (0 <= wrong <= reads and weight > 0):
        raise ValueError(f"expected 0 <= wrong <= reads and weight > 0, not {wrong}, {reads}, {weight}")
    with ctx.workprec(_PRECISION):
        whole = reads * _log2(1 + weight)
        ratio = wrong / ((reads - wrong + 1) * weight)
        if ratio >= 1:
            return _upper(whole)
        choices = arb(reads + 1).lgamma() - arb(wrong + 1).lgamma() - arb(reads - wrong + 1).lgamma()
        tail = choices / arb.const_log2() + wrong * _log2(weight) - _log2(1 - ratio)
        return min(_upper(whole), _upper(tail))


def discrete_floor_bits(reads: int, wrong: int, alphabet: int) -> int:
    """Certified bits of a message from which all but ``wrong`` of ``reads`` uniform symbols were read; at least 0."""
    with ctx.workprec(_PRECISION):
        total = -_upper(-reads * _log2(Fraction(alphabet)))
    return max(0, math.floor(total - log2_ball(reads, wrong, Fraction(alphabet - 1)) - MARGIN_BITS))


def continuous_floor_bits(log2_det: Fraction, reads: int, wrong: int, tolerance: Fraction, rounding: Fraction) -> int:
    """Certified bits of a message from which all but ``wrong`` of ``reads`` outputs were read within ``tolerance``.

    ``log2_det`` bounds log2 |det W| of all reads from below; ``rounding`` is how far the inputs' format moved an output
    (0 for real inputs). Includes the price of having chosen the best of GRID. At least 0.
    """
    within = tolerance + rounding
    with ctx.workprec(_PRECISION):
        scale, choice = _upper(reads * _log2(within)), _upper(_log2(Fraction(len(GRID))))
    share = log2_ball(reads, wrong, 1 / within) + scale
    return max(0, math.floor(log2_det - share - MARGIN_BITS - choice))


@dataclass(frozen=True)
class Point:
    """One point of the error curve: reads that missed ``tolerance``, and the bits certified by that."""

    tolerance: Fraction
    wrong_reads: int
    floor_bits: int | None


def interval(wrong: int, reads: int) -> tuple[float, float]:
    """Two-sided exact confidence interval at 99.9% for the error of a read (Clopper and Pearson 1934).

    Reads count as independent draws; ends are floats, to be rounded outward when printed.
    """
    from scipy.stats import beta

    tail = float(1 - CONFIDENCE) / 2
    low = 0.0 if wrong == 0 else float(beta.ppf(tail, wrong, reads - wrong + 1))
    high = 1.0 if wrong == reads else float(beta.isf(tail, wrong + 1, reads - wrong))
    return low, high


def sampled_upper(wrong: int, reads_asked: int, positions_asked: int, reads: int) -> int:
    """Upper confidence end for the wrong ones of all ``reads`` when only ``positions_asked`` random tokens were asked.

    Hoeffding (1963), Theorems 1 and 4: shares in [0, 1], one a position, drawn without replacement, have
    P(mean <= x) <= exp(-m KL(x || p)) for x <= p. Confidence 99.9% for all points of GRID together.
    """
    if reads_asked == reads:
        return wrong
    mean = wrong / reads_asked
    budget = math.log(len(GRID) / float(1 - CONFIDENCE)) / positions_asked
    low, high = mean, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _divergence(mean, middle) < budget else (low, middle)
    return min(reads, math.ceil(reads * (high + 1e-9)))


def _divergence(x: float, p: float) -> float:
    """Kullback-Leibler divergence of Bernoulli(x) from Bernoulli(p), in nats, for 0 <= x <= p <= 1."""
    hit = x * math.log(x / p) if x > 0 else 0.0
    miss = (1 - x) * math.log((1 - x) / (1 - p)) if p < 1 else math.inf
    return hit + (miss if x < 1 else 0.0)


def _log2(value: Fraction) -> Any:
    return arb(fmpq(value.numerator, value.denominator)).log() / arb.const_log2()


def _upper(value: Any) -> Fraction:
    mantissa, exponent = value.upper().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
