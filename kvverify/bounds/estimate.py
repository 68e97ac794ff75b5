"""Floats for the search: what a family of keys would give. Nothing here is trusted; the kernel has the last word."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from kvverify.codes.base import KeyFamily, SignKeys
from kvverify.codes.paraboloid import Paraboloid
from kvverify.problem import Problem

BF16_ROUNDING = Fraction(1, 512)  # of a value in [-1, 1]; bounds on outputs move by as much


@dataclass(frozen=True)
class Scaling:
    """Logit per unit of the scale on the whole body, and the least exponents of a pad and of an own token."""

    unit: Fraction
    pad: int
    own: int


@dataclass(frozen=True)
class Candidate:
    """``payload`` keys of ``family``, read by ``method``: ``bits`` of one value coordinate of one stream, a float.

    ``miss`` is the factor by which the method's condition failed (at most 1 when it holds).
    """

    family: KeyFamily
    payload: int
    method: str
    alphabet: int
    bits: float
    miss: float


def scaling(family: KeyFamily, problem: Problem) -> Scaling:
    """How the family lies in the problem's body (docs/proofs/codes.md)."""
    ball, bf16 = problem.body == "ball", problem.inputs == "bf16"
    if isinstance(family, SignKeys):
        even = family.length.bit_length() % 2 == 1 and family.length & (family.length - 1) == 0
        unit = family.unit * (Fraction(128, 127) if ball and bf16 and not even else 1)
        return Scaling(unit, family.length // 2, family.length)
    if isinstance(family, Paraboloid):
        top = family.top
        if not ball:
            return Scaling(family.unit, top, top)
        root = math.isqrt(top + top * top)
        return Scaling(Fraction(math.isqrt((4 * top + 1) * (top + top * top)) + 1), root, root)
    return Scaling(family.unit, family.own_exponent // 2, family.own_exponent)


def divergence(tolerance: float, failure: float) -> float:
    """g(eps, delta) in bits (bounds: the volume rule)."""
    bits = (1 - failure) * math.log2((1 - failure) / tolerance)
    return bits + (failure * math.log2(failure / (1 - tolerance)) if failure else 0.0)


def fano(alphabet: int, failure: float) -> float:
    """F(L, delta) in bits."""
    bits = math.log2(alphabet)
    if failure:
        bits += (1 - failure) * math.log2(1 - failure) + failure * math.log2(failure / (alphabet - 1))
    return bits


def candidates(family: KeyFamily, payload: int, problem: Problem) -> list[Candidate]:
    """Every method on the first ``payload`` keys of a family; the other tokens are pads."""
    if problem.inputs == "bf16" and not family.bf16_exact:
        return []
    place = scaling(family, problem)
    c = float(problem.max_logit / place.unit)
    table = family.exponents()
    exponents = np.array(sorted(table), dtype=float)
    numbers = np.array([float(table[e]) for e in sorted(table)])
    numbers = np.diff(np.minimum(np.cumsum(numbers), float(payload - 1)), prepend=0.0)
    weights = np.exp(-c * exponents)
    sigma, squares = float(numbers @ weights), float(numbers @ weights**2)
    rest = math.exp(-c * place.own) + float(problem.tokens - payload) * math.exp(-c * place.pad)
    if problem.relative is not None:
        miss = sigma * float((1 + problem.relative) / (1 - problem.relative))
        bits = payload * fano(2, float(problem.failure)) if miss < 1 else 0.0
        return [Candidate(family, payload, "separation", 2, bits, miss)]
    return [_volume(family, payload, problem, sigma, squares, rest), _levels(family, payload, problem, sigma, rest)]


def _volume(family: KeyFamily, payload: int, problem: Problem, sigma: float, squares: float, rest: float) -> Candidate:
    assert problem.tolerance is not None
    eps = float(problem.tolerance + (BF16_ROUNDING if problem.inputs == "bf16" else 0))
    delta = float(problem.failure)
    if eps >= 1 or delta > 1 - eps or sigma >= 1:
        return Candidate(family, payload, "volume", 0, 0.0, max(sigma, 1.0))
    gain = divergence(eps, delta)
    ratio = 0.5 if sigma < 1e-4 else (-sigma - math.log1p(-sigma)) / sigma**2
    loss = math.log2(1 + sigma + rest) + ratio * squares / math.log(2)
    miss = loss / gain if gain > 0 else math.inf
    return Candidate(family, payload, "volume", 0, max(0.0, payload * (gain - loss)), miss)


def _levels(family: KeyFamily, payload: int, problem: Problem, sigma: float, rest: float) -> Candidate:
    assert problem.tolerance is not None
    best = Candidate(family, payload, "levels", 0, 0.0, math.inf)
    for rounding in (Fraction(0), BF16_ROUNDING) if problem.inputs == "bf16" else (Fraction(0),):
        need = float(problem.tolerance + rounding) * (1 + sigma + rest) + sigma
        gaps = math.ceil(1 / need * (1 - 1e-9)) - 1  # strictly more room than needed
        if problem.inputs == "bf16" and not rounding:
            gaps = min(128, 1 << gaps.bit_length() - 1) if gaps else 0  # these levels are exact in bf16
        possible = gaps >= 1 and problem.failure <= 1 - Fraction(1, gaps + 1)
        bits = payload * fano(gaps + 1, float(problem.failure)) if possible else 0.0
        if (bits, -need) > (best.bits, -best.miss):
            best = Candidate(family, payload, "levels", gaps + 1, bits, need)
    return best
