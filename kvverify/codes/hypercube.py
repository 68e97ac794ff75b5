"""All corners of the cube {+-1}^d: 2^d keys, the most that sign keys of that dimension allow."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

from kvverify.codes.base import SignKeys
from kvverify.errors import UsageError


@dataclass(frozen=True)
class Hypercube(SignKeys):
    """Every word of ``length`` letters; key i is the binary expansion of i."""

    length: int

    def __post_init__(self) -> None:
        if not 1 <= self.length <= 128:
            raise UsageError(f"a hypercube of keys has 1 to 128 coordinates, not {self.length}")

    @property
    def name(self) -> str:
        """``hypercube(d)``."""
        return f"hypercube({self.length})"

    @property
    def size(self) -> int:
        """2^d."""
        return 1 << self.length

    def words(self, tokens: int) -> list[int]:
        """0, 1, 2, ..."""
        return list(range(tokens))

    def exponents(self) -> dict[int, int]:
        """Binomial coefficients."""
        return {weight: comb(self.length, weight) for weight in range(1, self.length + 1)}

    def step(self) -> dict[str, Any]:
        """Rule ``hypercube``."""
        return {
            "rule": "hypercube",
            "given": {"dimension": str(self.length)},
            "gives": {"size": str(self.size)},
        }
