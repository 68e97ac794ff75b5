"""Reed-Muller codes whose words are counted by formulas, so that a code or its dual of order 2 may have any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import comb, perm
from typing import Any

from kvverify.codes.base import SignKeys, decimal
from kvverify.codes.linear import WALK, LinearCode, macwilliams
from kvverify.codes.reed_muller import reed_muller
from kvverify.errors import UsageError


@dataclass(frozen=True)
class CountedReedMuller(SignKeys):
    """RM(order, variables), its last letters shortened, of what is left the last ones punctured: up to three in all.

    As ``reed-muller(order,variables) shortened .. punctured ..``, by rule ``reed-muller`` and not by a walk.
    """

    order: int
    variables: int
    shortened: int = 0
    punctured: int = 0

    def __post_init__(self) -> None:
        r, m, removed = self.order, self.variables, self.shortened + self.punctured
        if not (0 <= r < m <= 10 and min(r, m - 1 - r) <= 2):
            raise UsageError(
                f"words are counted of RM(r, m) with m <= 10, r < m, r or m - 1 - r at most 2, not {r}, {m}"
            )
        if min(self.shortened, self.punctured) < 0 or removed >= min(4, 1 << m):
            raise UsageError(f"at most 3 letters of RM({r}, {m}) are removed and not all of them: {removed} asked for")
        if self._histogram[0] > 1:
            raise UsageError(f"two words of {self.name} coincide")

    @property
    def name(self) -> str:
        """``counted-reed-muller(order,variables,shortened,punctured)``."""
        return f"counted-reed-muller({self.order},{self.variables},{self.shortened},{self.punctured})"

    @property
    def length(self) -> int:  # type: ignore[override]
        """2^variables less the letters removed."""
        return (1 << self.variables) - self.shortened - self.punctured

    @property
    def size(self) -> int:
        """Number of words."""
        return sum(self._histogram.values())

    @cached_property
    def code(self) -> LinearCode:
        """The code itself."""
        return reed_muller(self.order, self.variables).shorten(self.shortened).puncture(self.punctured)

    def words(self, tokens: int) -> list[int]:
        """Word i is the sum of the rows at the bits of i."""
        return self.code.words(tokens)

    def exponents(self) -> dict[int, int]:
        """Exact, and the same from every word."""
        return {weight: count for weight, count in self._histogram.items() if weight}

    def step(self) -> dict[str, Any]:
        """Rule ``reed-muller``."""
        names = ("order", "variables", "shortened", "punctured")
        given = {name: str(getattr(self, name)) for name in names}
        return {"rule": "reed-muller", "given": given, "gives": {"weights": decimal(self.exponents())}}

    @cached_property
    def _histogram(self) -> dict[int, int]:
        return _without(_whole(self.order, self.variables), 1 << self.variables, self.shortened, self.punctured)


def counted(given: dict[str, str]) -> CountedReedMuller:
    """The code of a step's ``given``."""
    return CountedReedMuller(**{name: int(number) for name, number in given.items()})


def too_large_to_walk(tokens: int, key_dim: int) -> Iterator[CountedReedMuller]:
    """Of codes that a ``linear-code`` step does not reach, those with that many words of at most so many letters."""
    for m in range(7, min(10, (key_dim + 3).bit_length() - 1) + 1):
        for order in (2, m - 3):
            dimension = sum(comb(m, i) for i in range(order + 1))
            if min(dimension, (1 << m) - dimension) > WALK and dimension >= (tokens - 1).bit_length():
                found = (CountedReedMuller(order, m, s, p) for s in range(4) for p in range(4 - s))
                yield from (code for code in found if code.size >= tokens and code.length <= key_dim)


@lru_cache(maxsize=128)
def _whole(order: int, m: int) -> dict[int, int]:
    """Of RM(order, m), by its dual where that is the smaller one."""
    low = min(order, m - 1 - order)
    weights = _weights(low, m)
    return macwilliams(1 << m, weights) if order > low else weights


def _weights(order: int, m: int) -> dict[int, int]:
    """Of RM(order, m), order at most 2: cosets of RM(1, m) by the rank 2h of their alternating form.

    Forms of a rank are those of a regular form on 2h variables, times the subspaces that they can be trivial on.
    """
    if order == 0:
        return {0: 1, 1 << m: 1}
    total: Counter[int] = Counter()
    for h in range(m // 2 + 1 if order == 2 else 1):
        radicals = regular = 1
        for i in range(2 * h):
            radicals = radicals * ((1 << m - i) - 1) // ((1 << i + 1) - 1)
        for i in range(1, h + 1):
            regular *= ((1 << 2 * i - 1) - 1) << 2 * i - 2
        for weight in (((1 << h) - 1) << m - h - 1, ((1 << h) + 1) << m - h - 1):
            total[weight] += radicals * regular << 2 * h
        total[1 << m - 1] += radicals * regular * ((2 << m) - (2 << 2 * h))
    return {weight: count for weight, count in sorted(total.items()) if count}


def _without(weights: dict[int, int], length: int, shortened: int, punctured: int) -> dict[int, int]:
    """The words are a design of strength 3: among any three letters their ones lie evenly."""
    total: Counter[int] = Counter()
    removed = shortened + punctured
    for weight, count in weights.items():
        for ones in range(min(punctured, weight) + 1):
            ways = comb(punctured, ones) * perm(weight, ones) * perm(length - weight, removed - ones)
            total[weight - ones] += count * ways // perm(length, removed)
    return {weight: count for weight, count in sorted(total.items()) if count}
