"""Keys on a paraboloid: any number of them in any dimension from 2 on, where the norms may grow (ours)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np

from kvverify.codes.base import require_size
from kvverify.errors import UsageError

_CUTOFF = 64


@dataclass(frozen=True)
class Paraboloid:
    """Keys ``(a, -|a|^2)``, a in {0..side-1}^(dim-1), read by ``c (2a, 1)``: the exponent is ``|a - a'|^2``.

    Divided by ``top``, their largest entry, the keys lie in the cube. Bob's own key is ``(0, ..., 0, -top)``, on the
    cube's boundary after the division: the read of a gives it exponent ``|a|^2 + top``.
    """

    side: int
    dim: int
    bf16_exact = False
    query_unit = Fraction(1)

    def __post_init__(self) -> None:
        if self.side < 2 or self.dim < 2:
            raise UsageError(f"a paraboloid has side and dimension at least 2, not {self.side} and {self.dim}")

    @property
    def name(self) -> str:
        """``paraboloid(side,dim)``."""
        return f"paraboloid({self.side},{self.dim})"

    @property
    def size(self) -> int:
        """side^(dim - 1)."""
        return int(self.side ** (self.dim - 1))

    @property
    def top(self) -> int:
        """Largest absolute entry of a key."""
        return int((self.dim - 1) * (self.side - 1) ** 2)

    @property
    def unit(self) -> Fraction:
        """1-norm of the longest (2a, 1) times the largest entry of a key."""
        return Fraction((2 * (self.dim - 1) * (self.side - 1) + 1) * self.top)

    @property
    def own_exponent(self) -> int:
        """Attained at a = 0."""
        return self.top

    @property
    def cutoff(self) -> int:
        """Exponents above it are counted as one more than it."""
        return min(self.top, _CUTOFF)

    def exponents(self) -> dict[int, int]:
        """Integer vectors of each squared norm up to the cutoff, in all directions; never more than there are keys."""
        left = self.size - 1
        counts = {}
        for square, vectors in enumerate(_theta_power(self.side, self.dim - 1, self.cutoff)):
            if square and vectors and left:
                counts[square] = min(vectors, left)
                left -= counts[square]
        if left:
            counts[self.cutoff + 1] = left
        return counts

    def keys(self, tokens: int) -> np.ndarray:
        """(tokens, dim) int64; the base-``side`` digits of i are the a of key i."""
        a = self._digits(tokens)
        return np.concatenate([a, -(a**2).sum(axis=1, keepdims=True)], axis=1)

    def queries(self, tokens: int) -> np.ndarray:
        """(2a, 1)."""
        a = self._digits(tokens)
        return np.concatenate([2 * a, np.ones((tokens, 1), np.int64)], axis=1)

    def own_keys(self, tokens: int) -> np.ndarray:
        """(0, ..., 0, -top), the same for every read."""
        own = np.zeros((tokens, self.dim), np.int64)
        own[:, -1] = -self.top
        return own

    def step(self) -> dict[str, Any]:
        """Rule ``paraboloid``."""
        given = {"side": str(self.side), "dimension": str(self.dim), "cutoff": str(self.cutoff)}
        return {"rule": "paraboloid", "given": given, "gives": {"size": str(self.size)}}

    def _digits(self, tokens: int) -> np.ndarray:
        require_size(self, tokens)
        rest, digits = np.arange(tokens, dtype=np.int64), []
        for _ in range(self.dim - 1):
            rest, digit = np.divmod(rest, self.side)
            digits.append(digit)
        return np.stack(digits, axis=1)


def _theta_power(side: int, power: int, cutoff: int) -> list[int]:
    """Coefficients up to x^cutoff of (sum over |t| < side of x^(t^2))^power."""
    result = [1] + [0] * cutoff
    squares = [t * t for t in range(1, min(side, isqrt(cutoff) + 1))]
    for _ in range(power):
        result = [result[s] + 2 * sum(result[s - t] for t in squares if t <= s) for s in range(cutoff + 1)]
    return result
