"""Reed-Muller codes (Reed 1954, Muller 1954): values of polynomials of bounded degree on the binary cube."""

from __future__ import annotations

from itertools import combinations

from kvverify.codes.linear import LinearCode
from kvverify.errors import UsageError


def reed_muller(order: int, variables: int) -> LinearCode:
    """RM(order, variables), length 2^variables, distance 2^(variables - order); rows by degree, so codes are nested."""
    if not (0 <= order <= variables <= 12):
        raise UsageError(f"RM(r, m) needs 0 <= r <= m <= 12, not r = {order}, m = {variables}")
    length = 1 << variables
    rows = [
        sum(1 << point for point in range(length) if all(point >> v & 1 for v in chosen))
        for degree in range(order + 1)
        for chosen in combinations(range(variables), degree)
    ]
    return LinearCode(length, tuple(rows), f"reed-muller({order},{variables})")
