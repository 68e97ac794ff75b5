"""Maps of tokens that are interpolated from smaller maps, exactly, each told by as many of its own tokens.

Proofs: docs/proofs/visual.md. Source of the kernels: Keys, Cubic convolution interpolation (1981); the rest ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import lcm

from kvverify.kernel.context import Context
from kvverify.kernel.facts import need
from kvverify.kernel.numbers import log2_lower

KERNELS = ("nearest", "bilinear", "bicubic", "catmull-rom")
_CUBIC = {"bicubic": Fraction(-3, 4), "catmull-rom": Fraction(-1, 2)}

Vector = list[Fraction]
Sparse = tuple[tuple[int, int], ...]  # (index, numerator), no zeros


@dataclass(frozen=True)
class Axis:
    """An axis of the interpolation Phi, and its target indices T that carry a map: as many as it has source indices.

    ``rows``: C = Phi Phi_T^-1 over the denominator ``below``; target index i is the sum of C_is times carrier s.
    ``carriers`` is T, ``determinant`` is |det Phi_T|, ``reach`` the largest absolute row sum of Phi.
    """

    carriers: tuple[int, ...]
    rows: tuple[Sparse, ...]
    below: int
    determinant: Fraction
    reach: Fraction

    @property
    def sums(self) -> list[int]:
        """The absolute column sums of C, over ``below``."""
        found = [0] * len(self.carriers)
        for row in self.rows:
            for s, x in row:
                found[s] += abs(x)
        return found


def whole(size: int) -> Axis:
    """An axis that is not interpolated: every index carries itself."""
    return Axis(tuple(range(size)), tuple(((i, 1),) for i in range(size)), 1, Fraction(1), Fraction(1))


def axis(context: Context, source: int, target: int, kernel: str, carriers: Sequence[int]) -> Axis:
    """The axis with these carriers. Rejects the step unless they determine all other indices."""
    need(len(carriers) == source, "as many carriers along an axis as source indices", len(carriers), source)
    growing = all(a < b for a, b in pairwise(carriers))
    need(growing and carriers[0] >= 0 and carriers[-1] < target, "carriers along an axis are target indices that grow")
    context.charge(source**2 * (source + target) * (8 + source))
    phi = [_weights(source, target, kernel, i) for i in range(target)]
    inverse, determinant = _inverse([list(phi[i]) for i in carriers])
    found = []
    for row in phi:
        used = [(x, inverse[s]) for s, x in enumerate(row) if x]
        found.append([sum((x * entries[s] for x, entries in used), Fraction(0)) for s in range(source)])
    below = lcm(*(x.denominator for row in found for x in row))
    rows = tuple(tuple((s, int(x * below)) for s, x in enumerate(row) if x) for row in found)
    return Axis(tuple(carriers), rows, below, determinant, max(sum(map(abs, row), Fraction(0)) for row in phi))


def _weights(source: int, target: int, kernel: str, index: int) -> Vector:
    """The weights of the source indices in a target index: centres at half pixels, indices outside mean the border."""
    place = Fraction((2 * index + 1) * source, 2 * target) - Fraction(1, 2)
    below = place.numerator // place.denominator
    found = [Fraction(0)] * source
    for s in range(below - 1, below + 3):
        found[max(0, min(s, source - 1))] += _kernel(place - s, kernel)
    return found


def _kernel(x: Fraction, kernel: str) -> Fraction:
    """Its value at x. Of two nearest indices, ``nearest`` takes the higher one."""
    if kernel == "nearest":
        return Fraction(Fraction(-1, 2) <= x < Fraction(1, 2))
    x = abs(x)
    if kernel == "bilinear":
        return max(1 - x, Fraction(0))
    a = _CUBIC[kernel]
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else Fraction(0)


def _inverse(matrix: list[Vector]) -> tuple[list[Vector], Fraction]:
    """The inverse and the absolute determinant, by elimination. Rejects a singular matrix."""
    size, determinant = len(matrix), Fraction(1)
    rows = [[*row, *(Fraction(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for k in range(size):
        pivot = next((i for i in range(k, size) if rows[i][k]), None)
        need(pivot is not None, "the carriers along an axis determine its other indices")
        assert pivot is not None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        determinant *= abs(rows[k][k])
        rows[k] = [x / rows[k][k] if x else x for x in rows[k]]
        for i in range(size):
            if i != k and rows[i][k]:
                factor = rows[i][k]
                rows[i] = [x - factor * y if y else x for x, y in zip(rows[i], rows[k], strict=True)]
    return [row[size:] for row in rows], determinant


@dataclass(frozen=True)
class Map:
    """The tokens of one scale, in reading order: C = C_down x C_across (Kronecker) over ``below``."""

    down: Axis
    across: Axis

    @property
    def carriers(self) -> int:
        """Tokens that carry the map."""
        return len(self.down.carriers) * len(self.across.carriers)

    @property
    def tokens(self) -> int:
        """All its tokens."""
        return len(self.down.rows) * len(self.across.rows)

    @property
    def below(self) -> int:
        """The denominator of C."""
        return self.down.below * self.across.below

    @property
    def work(self) -> int:
        """Multiplications of one `spread` or `gather`."""
        entries = [sum(map(len, axis.rows)) for axis in (self.down, self.across)]
        return entries[0] * len(self.across.carriers) + entries[1] * len(self.down.rows)

    @property
    def width(self) -> int:
        """Units of work of one of these, by the length of its numbers."""
        return 1 + self.below.bit_length() // 256

    @property
    def sums(self) -> list[int]:
        """The absolute column sums of C, over ``below``."""
        return [x * y for x in self.down.sums for y in self.across.sums]

    def log2_volume(self) -> Fraction:
        """A lower bound on log2 |det| of u -> carriers, where free tokens u in [-1, 1] are scaled by 1/reach.

        Then no token of the map leaves [-1, 1].
        """
        high, wide = len(self.down.carriers), len(self.across.carriers)
        scaled = ((wide, high, self.down), (high, wide, self.across))
        return sum((n * log2_lower(axis.determinant / axis.reach**m) for n, m, axis in scaled), Fraction(0))

    def spread(self, carried: Sequence[int]) -> list[int]:
        """C carried, over ``below``: what all tokens are where the carriers are ``carried``."""
        wide = len(self.across.carriers)
        found = []
        for row in self.down.rows:
            line = [sum(x * carried[s * wide + t] for s, x in row) for t in range(wide)]
            found += [sum(y * line[t] for t, y in entries) for entries in self.across.rows]
        return found

    def gather(self, weights: Sequence[int]) -> list[int]:
        """weights C, over ``below``: what all tokens together, so weighted, weigh in each carrier."""
        width, high, wide = len(self.across.rows), len(self.down.carriers), len(self.across.carriers)
        found = [[0] * wide for _ in range(high)]
        for i, row in enumerate(self.down.rows):
            line = [0] * wide
            for weight, entries in zip(weights[i * width : (i + 1) * width], self.across.rows, strict=True):
                for t, y in entries:
                    line[t] += weight * y
            for s, x in row:
                found[s] = [before + x * y for before, y in zip(found[s], line, strict=True)]
        return [x for row in found for x in row]
