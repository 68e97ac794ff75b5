"""Nets of the two bodies, and what replacing keys by their nearest points costs: docs/proofs/net_merging.md.

The cube has the middles of ``steps``^dim equal cells, the ball the lattice A_d* (Conway and Sloane, Sphere Packings,
chapter 4), 1/``steps`` of its size. A point is a row of digits 0 <= digit < ``radix``. Bounds are exact rationals, or
rounded to the safe side (Arb); points are computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Protocol

import numpy as np
from flint import arb, fmpq


class Net(Protocol):
    """A net of a body in R^dim: its points, and how far it moves a score of budget 1."""

    @property
    def dim(self) -> int:
        """Scalars of a point."""

    @property
    def radix(self) -> int:
        """Digits of a point are below it."""

    def moved_squared(self) -> Fraction:
        """The square of the most by which |<q, k>| changes, for a query whose norm (dual to the body's) is 1."""

    def points_at_most(self) -> int:
        """How many points can be nearest to a key of the body."""

    def nearest(self, keys: np.ndarray) -> np.ndarray:
        """Digits (n, dim), int64, of the points nearest to keys (n, dim); keys outside go to the body first."""

    def points(self, digits: np.ndarray) -> np.ndarray:
        """The points (n, dim) of these digits."""


@dataclass(frozen=True)
class Grid:
    """The cube |k|_inf <= 1 under queries of bounded 1-norm: a point is 1/steps from every key of its cell, at most."""

    dim: int
    steps: int

    @staticmethod
    def of(dim: int, moved: Fraction) -> Grid:
        """The coarsest that moves scores of budget 1 by at most ``moved``."""
        return Grid(dim, math.ceil(1 / moved))

    @property
    def radix(self) -> int:
        """Cells along an axis."""
        return self.steps

    def moved_squared(self) -> Fraction:
        """1 / steps^2: |<q, e>| <= |q|_1 |e|_inf."""
        return Fraction(1, self.steps**2)

    def points_at_most(self) -> int:
        """All of them; no net of the cube that moves scores by so little has fewer (docs/proofs/net_merging.md)."""
        return int(self.steps**self.dim)

    def nearest(self, keys: np.ndarray) -> np.ndarray:
        """The cell."""
        cells = np.floor((np.clip(keys, -1, 1) + 1) / 2 * self.steps).astype(np.int64)
        inside: np.ndarray = np.minimum(cells, self.steps - 1)
        return inside

    def points(self, digits: np.ndarray) -> np.ndarray:
        """Its middle."""
        return (2 * digits + 1) / self.steps - 1


@dataclass(frozen=True)
class DualRootLattice:
    """The ball |k|_2 <= 1 under queries of bounded 2-norm: A_d* / steps, whose covering radius is known.

    A_d* is the projection of Z^(d+1) along (1, .., 1); a point's digits are z_j - z_d, j < d, shifted to be >= 0.
    """

    dim: int
    steps: int

    @staticmethod
    def of(dim: int, moved: Fraction) -> DualRootLattice:
        """The coarsest that moves scores of budget 1 by at most ``moved``."""
        needed = math.ceil(_covering_radius_squared(dim) / moved**2)
        return DualRootLattice(dim, math.isqrt(needed - 1) + 1)

    @property
    def radix(self) -> int:
        """|z_j - z_d| <= sqrt(2) |point| and a point is at most steps + covering radius long, before the division."""
        return 2 * self._shift + 1

    @cached_property
    def _shift(self) -> int:
        return math.floor(upper(lambda: arb(2).sqrt() * (self.steps + _root(_covering_radius_squared(self.dim)))))

    @cached_property
    def _frame(self) -> np.ndarray:
        """Orthonormal rows (dim, dim + 1), at right angles to (1, .., 1)."""
        rows = np.zeros((self.dim, self.dim + 1))
        for j in range(self.dim):
            rows[j, : j + 1], rows[j, j + 1] = 1, -(j + 1)
        normed: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return normed

    def moved_squared(self) -> Fraction:
        """The square of the covering radius: |<q, e>| <= |q|_2 |e|_2."""
        return _covering_radius_squared(self.dim) / self.steps**2

    def points_at_most(self) -> int:
        """V_d sqrt(d + 1) (steps + 2 covering radii)^d: their Voronoi cells lie in a ball of that radius."""
        d, radius = self.dim, _root(_covering_radius_squared(self.dim))

        def volume() -> arb:
            ball = arb.pi() ** (arb(d) / 2) / (arb(d) / 2 + 1).gamma()
            return ball * arb(d + 1).sqrt() * (self.steps + 2 * radius) ** d

        return min(math.floor(upper(volume)), int(self.radix**d))

    def nearest(self, keys: np.ndarray) -> np.ndarray:
        """Nearest points: round, then add 1 where the remainders are largest; the best of d + 1 numbers of ones."""
        norms = np.linalg.norm(keys, axis=1, keepdims=True)
        lifted = keys / np.maximum(norms, 1) * self.steps @ self._frame
        rounded = np.floor(lifted + 0.5)
        rest = lifted - rounded
        order = np.argsort(-rest, axis=1, kind="stable")
        ones = np.arange(self.dim + 1)
        # With ones at the i largest: |rest - ones|^2 - (sum of that)^2 / (d + 1), i = 0 .. d.
        largest = np.take_along_axis(rest, order, axis=1)
        before = np.concatenate([np.zeros((len(keys), 1)), np.cumsum(largest, axis=1)], axis=1)[:, :-1]
        length = np.square(rest).sum(axis=1, keepdims=True) - 2 * before + ones
        along = rest.sum(axis=1, keepdims=True) - ones
        best = (length - np.square(along) / (self.dim + 1)).argmin(axis=1)
        z = rounded + (np.argsort(order, axis=1) < best[:, None])
        digits: np.ndarray = (z[:, :-1] - z[:, -1:]).astype(np.int64) + self._shift
        return digits

    def points(self, digits: np.ndarray) -> np.ndarray:
        """The projections of (digits, 0)."""
        found: np.ndarray = (digits - self._shift) @ self._frame[:, :-1].T / self.steps
        return found


def error_at_most(moved_squared: Fraction, value_levels: int) -> Fraction:
    """How far an answer is off, rounded up, when scores move by at most a, of which the square is given.

    Values in [-1, 1] are replaced by middles of L = ``value_levels`` cells: 2 tanh(a/2) (1 - 1/L) + 1/L for a <= ln 2,
    sharp on the cube; 2 tanh(a/2) + 1/L for any a.
    """
    step = Fraction(1, value_levels)
    span = 2 - 2 * step if moved_squared <= Fraction(12, 25) else Fraction(2)  # 12/25 < (ln 2)^2
    return upper(lambda: (_root(moved_squared) / 2).tanh() * _exact(span) + _exact(step))


def state_bits_at_most(
    tokens: int, points: int, *, radix: int, key_dim: int, value_dim: int, value_levels: int, streams: int = 1
) -> int:
    """Bits that the net compressor's state never exceeds, whatever the ``tokens`` tokens of each stream are.

    m = min(tokens, points) cells at most, each with a point, a count and value_dim sums of levels; and m itself; all
    streams together up to a whole byte.
    """
    cells = min(tokens, points)
    if cells == 0:
        return 0
    fixed = count_bits(tokens) + cells * (digits_bits(radix, key_dim) + count_bits(tokens))
    if tokens <= points:  # every token a cell of its own is dearest
        sums = cells * sums_bits(1, value_levels, value_dim)
    else:
        mean = 1 + Fraction(tokens * (value_levels - 1), cells)
        sums = cells + math.ceil(upper(lambda: cells * value_dim * _exact(mean).log() / arb(2).log()))
    return -(-streams * (fixed + sums) // 8) * 8


def digits_bits(radix: int, dim: int) -> int:
    """Bits of ``dim`` digits below ``radix`` as one integer; at least 1."""
    return max(1, int((radix**dim - 1).bit_length()))


def count_bits(tokens: int) -> int:
    """Bits of a number 1 .. ``tokens``, less 1."""
    return max(0, tokens - 1).bit_length()


def sums_bits(count: int, value_levels: int, value_dim: int) -> int:
    """Bits of the sums of ``count`` levels 0 .. value_levels - 1, of all value coordinates as one integer."""
    return digits_bits(count * (value_levels - 1) + 1, value_dim)


def upper(compute: Callable[[], arb]) -> Fraction:
    """The upper end of what is computed."""
    mantissa, power = compute().upper().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(power)


def _covering_radius_squared(dim: int) -> Fraction:
    """Of A_d* (Conway and Sloane, chapter 4, section 6.6)."""
    return Fraction(dim * (dim + 2), 12 * (dim + 1))


def _exact(value: Fraction) -> arb:
    return arb(fmpq(value.numerator, value.denominator))


def _root(square: Fraction) -> arb:
    return _exact(square).sqrt()
