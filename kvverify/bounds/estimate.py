"""Floats for the search: what a family of keys would give. Nothing here is trusted; the kernel has the last word."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np

from kvverify.codes.base import KeyFamily, SignKeys
from kvverify.codes.paraboloid import Paraboloid
from kvverify.problem import Problem

STRENGTHS = [Fraction(k, 16) for k in (*range(4, 64), *range(64, 132, 4))]
BF16_ROUNDING = Fraction(1, 512)  # of a value in [-1, 1]; bounds on outputs move by as much


@dataclass(frozen=True)
class Scaling:
    """Logit per unit of the scale on the whole body, and the least exponents of a pad (twice) and an own token."""

    unit: Fraction
    pad_twice: int
    own: int


@dataclass(frozen=True)
class Candidate:
    """``payload`` keys of ``family``, read by ``method``: ``bits`` of one stream, a float.

    ``miss`` is the factor by which the method's condition failed (at most 1 when it holds); ``strength`` the tilt of a
    joint bound's key reads.
    """

    family: KeyFamily
    payload: int
    method: str
    alphabet: int
    bits: float
    miss: float
    strength: Fraction = Fraction(0)


def scaling(family: KeyFamily, problem: Problem) -> Scaling:
    """How the family lies in the problem's body (docs/proofs/codes.md)."""
    ball, bf16 = problem.body == "ball", problem.inputs == "bf16"
    if isinstance(family, SignKeys):
        even = family.length.bit_length() % 2 == 1 and family.length & (family.length - 1) == 0
        unit = family.unit * (Fraction(128, 127) if ball and bf16 and not even else 1)
        return Scaling(unit, family.length, family.length)
    if isinstance(family, Paraboloid):
        top = family.top
        if not ball:
            return Scaling(family.unit, 2 * top, top)
        root = math.isqrt(top + top * top)
        return Scaling(Fraction(math.isqrt((4 * top + 1) * (top + top * top)) + 1), 2 * root, root)
    return Scaling(family.unit, family.own_exponent, family.own_exponent)


def divergence(tolerance: float, failure: float) -> float:
    """g(eps, delta) in bits (docs/proofs/volume.md)."""
    bits = (1 - failure) * math.log2((1 - failure) / tolerance)
    return bits + (failure * math.log2(failure / (1 - tolerance)) if failure else 0.0)


def fano(alphabet: np.ndarray, failure: float) -> np.ndarray:
    """F(L, delta) in bits (docs/proofs/information.md)."""
    bits: np.ndarray = np.log2(alphabet)
    if failure:
        bits = bits + (1 - failure) * math.log2(1 - failure) + failure * np.log2(failure / (alphabet - 1))
    return bits


@dataclass(frozen=True)
class _Sizes:
    """Payload sizes, ascending: as integers, as floats, and the pads beside each."""

    exact: tuple[int, ...]
    payload: np.ndarray
    pads: np.ndarray

    def __len__(self) -> int:
        return len(self.exact)

    def upto(self, size: int) -> _Sizes:
        """Those that a family of so many keys can carry."""
        count = bisect_right(self.exact, size)
        return _Sizes(self.exact[:count], self.payload[:count], self.pads[:count])

    def pick(self, places: list[int]) -> _Sizes:
        """Those at the places."""
        return _Sizes(tuple(self.exact[i] for i in places), self.payload[places], self.pads[places])


@lru_cache(maxsize=8)
def _sizes(payloads: tuple[int, ...], tokens: int) -> _Sizes:
    return _Sizes(payloads, np.array(payloads, dtype=float), np.array([float(tokens - size) for size in payloads]))


def candidates(family: KeyFamily, payloads: Sequence[int], problem: Problem) -> list[Candidate]:
    """For every method the best of the payload sizes (ascending) that the family has keys for, beside pads."""
    sizes = _sizes(tuple(payloads), problem.tokens).upto(family.size)
    if not sizes or (problem.inputs == "bf16" and not family.bf16_exact):
        return []
    rows = _rows(family, sizes, problem)
    if problem.relative is not None:
        miss = rows.sigma * float((1 + problem.relative) / (1 - problem.relative))
        gain = float(fano(np.array(2.0), float(problem.failure)))
        gains = np.where(miss < 1, gain * problem.value_dim, 0.0)
        return [_best(family, sizes, "separation", np.full(len(sizes), 2.0), gains, miss)]
    found = [_volume(family, sizes, problem, rows), _levels(family, sizes, problem, rows)]
    return found + _joint(family, sizes, problem, rows)


@dataclass(frozen=True)
class _Rows:
    """Per payload size: off-target mass, its squares, mass of pads and own token; all relative to the target."""

    sigma: np.ndarray
    squares: np.ndarray
    rest: np.ndarray


def _rows(family: KeyFamily, sizes: _Sizes, problem: Problem) -> _Rows:
    c = float(problem.max_logit / scaling(family, problem).unit)
    sigma, squares, rest = _masses(family, sizes, problem, np.array([c]))
    return _Rows(sigma[:, 0], squares[:, 0], rest[:, 0])


def _masses(
    family: KeyFamily, sizes: _Sizes, problem: Problem, scales: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Off-target mass, its squares, and the rest: (payload sizes, scales) each."""
    place = scaling(family, problem)
    table = sorted(family.exponents().items())
    exponents = np.array([e for e, _ in table], dtype=float)
    numbers = np.array([float(n) for _, n in table])
    nearest = np.minimum(np.cumsum(numbers)[None, :], sizes.payload[:, None] - 1)
    capped = np.diff(nearest, prepend=0.0, axis=1)
    weights = np.exp(-np.outer(exponents, scales))
    rest = np.exp(-scales * place.own) + sizes.pads[:, None] * np.exp(-scales * place.pad_twice / 2)
    return capped @ weights, capped @ weights**2, rest


def _gain(problem: Problem, reach: float = 1.0) -> float:
    """g at the tolerance plus ``reach`` roundings of the inputs; 0 beyond its range."""
    assert problem.tolerance is not None
    eps = float(problem.tolerance) + (reach * float(BF16_ROUNDING) if problem.inputs == "bf16" else 0.0)
    delta = float(problem.failure)
    return divergence(eps, delta) if eps < 1 and delta <= 1 - eps else 0.0


def _distortion(sigma: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """-log2 det(I + A) a row, where the off-target mass is below 1."""
    s = np.clip(sigma, 1e-4, 0.999999)
    ratio = np.where(sigma < 1e-4, 0.5, (-s - np.log1p(-s)) / s**2)
    loss: np.ndarray = ratio * squares / math.log(2)
    return loss


def _volume(family: KeyFamily, sizes: _Sizes, problem: Problem, rows: _Rows) -> Candidate:
    gain = _gain(problem)
    loss = np.log2(1 + rows.sigma + rows.rest) + _distortion(rows.sigma, rows.squares)
    holds = (rows.sigma < 1) & (gain > loss)
    miss = np.maximum(loss / gain, rows.sigma) if gain > 0 else np.full(len(sizes), math.inf)
    gains = np.where(holds, (gain - loss) * problem.value_dim, 0.0)
    return _best(family, sizes, "volume", np.zeros(len(sizes)), gains, miss)


@lru_cache(maxsize=4)
def _tilts(problem: Problem) -> tuple[list[Fraction], np.ndarray, np.ndarray]:
    """Strengths within the budget, the same as floats, and g of a key read at each."""
    strengths = [t for t in STRENGTHS if t < problem.max_logit]
    return (
        strengths,
        np.array([float(t) for t in strengths]),
        np.array([_gain(problem, float(t) / 2) for t in strengths]),
    )


def _joint(family: KeyFamily, sizes: _Sizes, problem: Problem, rows: _Rows) -> list[Candidate]:
    """A second secret in the key coordinates beside the code; every strength of a fixed grid is tried.

    Payloads are all tokens or a power of two of them; below a sixteenth they are left to the value bounds.
    """
    chosen = [
        i for i, size in enumerate(sizes.exact)
        if size == problem.tokens or (16 * size >= problem.tokens and size & (size - 1) == 0)
    ]  # fmt: skip
    sizes = sizes.pick(chosen)
    coordinates = problem.key_dim - family.dim
    strengths, t, gain = _tilts(problem)
    if problem.body != "cube" or coordinates < 1 or not strengths or not sizes:
        return []
    scales = (float(problem.max_logit) - t) / float(scaling(family, problem).unit)
    sigma, squares, rest = _masses(family, sizes, problem, scales)
    half = np.tanh(t / 2)
    crowd = 1 + (sigma * (t / half - 1) + rest) / 2
    read = np.maximum(gain + np.log2(half) - 2 * np.log2(crowd) - _distortion(sigma, squares), 0.0)
    off, mean, other = rows.sigma[chosen], rows.squares[chosen], rows.rest[chosen]
    loss = np.log2(1 + off + other) + _distortion(off, mean)
    value = np.maximum(_gain(problem) - loss, 0.0) * (problem.value_dim - 1)
    # Off-target mass of 1 or more on either side leaves no determinant, hence no joint bound.
    total = np.where((sigma < 1) & (off < 1)[:, None], value[:, None] + coordinates * read, 0.0)
    best = total.argmax(axis=1)
    gains = total[np.arange(len(sizes)), best]
    found = _best(family, sizes, "joint", np.zeros(len(sizes)), gains, np.full(len(sizes), math.inf))
    return [replace(found, strength=strengths[int(best[sizes.exact.index(found.payload)])])] if found.bits else []


def _levels(family: KeyFamily, sizes: _Sizes, problem: Problem, rows: _Rows) -> Candidate:
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
        found.append(_best(family, sizes, "levels", alphabet, bits, room))
    return max(found, key=lambda candidate: (candidate.bits, -candidate.miss))


def _best(
    family: KeyFamily, sizes: _Sizes, method: str, alphabet: np.ndarray, gains: np.ndarray, miss: np.ndarray
) -> Candidate:
    """The payload size with the most bits in all, or where none has any the one that misses least.

    ``gains`` are bits of one token.
    """
    bits = sizes.payload * gains
    best = int(bits.argmax() if bits.any() else miss.argmin())
    return Candidate(family, sizes.exact[best], method, int(alphabet[best]), float(bits[best]), float(miss[best]))
