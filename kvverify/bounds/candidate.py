"""A candidate for a bound, and what every method measures of a family of keys: floats, none of them trusted."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from kvverify.codes.base import KeyFamily, SignKeys
from kvverify.codes.paraboloid import Paraboloid
from kvverify.problem import Problem

BF16_ROUNDING = Fraction(1, 512)  # of a value in [-1, 1]; bounds on outputs move by as much


@dataclass(frozen=True)
class Scaling:
    """Logit per unit of the scale on the whole body, and the least exponents of a pad (twice) and an own token."""

    unit: Fraction
    pad_twice: int
    own: int


@dataclass(frozen=True)
class Amplitudes:
    """Numbers of an `amplitude` step: amplitudes lie in [1 - width, 1]; ``strength`` is the tilt of their reads,
    ``reference`` the asker's own weight in them, ``slack`` by how much the others' mass may miss its mean."""

    width: Fraction
    strength: Fraction
    reference: Fraction
    slack: Fraction


@dataclass(frozen=True)
class Candidate:
    """``payload`` keys of ``family``, read by ``method``: ``bits`` of one stream, a float.

    ``miss`` is the factor by which the method's condition failed (at most 1 when it holds); ``strength`` the tilt of a
    joint bound's key reads, ``code_radius`` the part of a ball's radius that its code keeps, ``amplitudes`` the numbers
    of a secret in the code's own coordinates.
    """

    family: KeyFamily
    payload: int
    method: str
    alphabet: int
    bits: float
    miss: float
    strength: Fraction = Fraction(0)
    code_radius: Fraction = Fraction(1)
    amplitudes: Amplitudes | None = None


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


def unit(family: KeyFamily, problem: Problem, code_radius: Fraction = Fraction(1)) -> Fraction:
    """Logit per unit of the scale, for keys that keep so much of a ball's radius."""
    if code_radius != 1 and problem.inputs == "bf16":
        return family.unit * Fraction(128, 127) / code_radius
    return scaling(family, problem).unit / code_radius


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
class Sizes:
    """Payload sizes, ascending: as integers, as floats, and the pads beside each."""

    exact: tuple[int, ...]
    payload: np.ndarray
    pads: np.ndarray

    def __len__(self) -> int:
        return len(self.exact)

    def upto(self, size: int) -> Sizes:
        """Those that a family of so many keys can carry."""
        count = bisect_right(self.exact, size)
        return Sizes(self.exact[:count], self.payload[:count], self.pads[:count])

    def pick(self, places: list[int]) -> Sizes:
        """Those at the places."""
        return Sizes(tuple(self.exact[i] for i in places), self.payload[places], self.pads[places])


@lru_cache(maxsize=8)
def sizes_of(payloads: tuple[int, ...], tokens: int) -> Sizes:
    """Payload sizes, ascending, of so many tokens."""
    return Sizes(payloads, np.array(payloads, dtype=float), np.array([float(tokens - size) for size in payloads]))


@dataclass(frozen=True)
class Rows:
    """Per payload size: off-target mass, its squares, mass of pads and own token; all relative to the target."""

    sigma: np.ndarray
    squares: np.ndarray
    rest: np.ndarray


def rows_of(family: KeyFamily, sizes: Sizes, problem: Problem) -> Rows:
    """At the whole logit budget."""
    c = float(problem.max_logit / scaling(family, problem).unit)
    sigma, squares, rest = masses(family, sizes, problem, np.array([c]))
    return Rows(sigma[:, 0], squares[:, 0], rest[:, 0])


def masses(
    family: KeyFamily, sizes: Sizes, problem: Problem, scales: np.ndarray
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


def read_gain(problem: Problem, reach: float = 1.0) -> float:
    """g at the tolerance plus ``reach`` roundings of the inputs; 0 beyond its range."""
    assert problem.tolerance is not None
    eps = float(problem.tolerance) + (reach * float(BF16_ROUNDING) if problem.inputs == "bf16" else 0.0)
    delta = float(problem.failure)
    return divergence(eps, delta) if eps < 1 and delta <= 1 - eps else 0.0


def distortion(sigma: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """-log2 det(I + A) a row, where the off-target mass is below 1."""
    s = np.clip(sigma, 1e-4, 0.999999)
    ratio = np.where(sigma < 1e-4, 0.5, (-s - np.log1p(-s)) / s**2)
    loss: np.ndarray = ratio * squares / math.log(2)
    return loss


def best_of(
    family: KeyFamily, sizes: Sizes, method: str, alphabet: np.ndarray, gains: np.ndarray, miss: np.ndarray
) -> Candidate:
    """The payload size with the most bits in all, or where none has any the one that misses least.

    ``gains`` are bits of one token.
    """
    bits = sizes.payload * gains
    best = int(bits.argmax() if bits.any() else miss.argmin())
    return Candidate(family, sizes.exact[best], method, int(alphabet[best]), float(bits[best]), float(miss[best]))
