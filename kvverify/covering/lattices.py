"""Points of a shifted lattice, counted: for balls in few dimensions. Proof: docs/proofs/nets.md, lattice-points."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor, isqrt

MAX_DIM = 8
_WORK = 1 << 21  # pairs of a sum and a coordinate, of all shifts together
_SCALE = 10**6  # scales are multiples of 1/_SCALE of ball_radius
_RANDOM_SHIFTS = 12


@dataclass(frozen=True)
class Counted:
    """``count`` points within reach of the ball, and the rule's parameters."""

    count: int
    given: dict[str, str | list[str]]


def counted(dim: int, radius: Fraction, ball_radius: Fraction) -> Counted | None:
    """The least count over some shifts of A_dim*, of the largest scale; None where that would be much work.

    Shifts are points of symmetry and some at random, always the same ones.
    """
    size = dim + 1
    hole = Fraction(size * size - 1, 12 * size)
    scale = Fraction(isqrt(floor(_SCALE**2 / hole)), _SCALE) * ball_radius
    best, left = None, _WORK
    for unit, places in _shifts(size):
        most = ((radius + ball_radius) * unit / scale) ** 2
        found, left = _count(size, places, unit, most, left)
        if found is not None and (best is None or found < best.count):
            shift = [str(Fraction(place, unit)) for place in places]
            best = Counted(found, {"lattice": "A*", "scale": str(scale), "shift": shift})
    return best


def _shifts(size: int) -> Iterator[tuple[int, list[int]]]:
    """Shifts as places over a unit: a point, middles of edges and faces, the deep hole, then others."""
    for unit, first in ((1, [0]), (2, [1]), (2, [1, 1]), (3, [1]), (3, [1, 1]), (3, [1, 2]), (2, [1] * (size // 2))):
        yield unit, (first + [0] * size)[:size]
    yield size, list(range(size))
    chance = random.Random(size)
    for _ in range(_RANDOM_SHIFTS):
        yield 4, [chance.randrange(4) for _ in range(size)]


def _count(size: int, places: list[int], unit: int, most: Fraction, left: int) -> tuple[int | None, int]:
    """How many points have a square norm of at most ``most`` / unit^2, and the work that is left; None if it is none.

    One integer vector x of each class modulo unit (1, .., 1) is counted, by its sum and its sum of squares.
    """
    top = floor(most + Fraction(unit * unit * size, 4))
    tally = {(0, 0): 1}
    for place in places:
        reach = isqrt(top)
        steps = range(-reach + (place + reach) % unit, reach + 1, unit)
        left -= len(tally) * (1 + len(steps))
        if left < 0:
            return None, left
        found: dict[tuple[int, int], int] = {}
        for (total, square), many in tally.items():
            for x in steps:
                if square + x * x <= top:
                    key = total + x, square + x * x
                    found[key] = found.get(key, 0) + many
        tally = found
    near = (
        many for (total, square), many in tally.items()
        if -unit * size < 2 * total <= unit * size and size * square - total * total <= size * most
    )  # fmt: skip
    return sum(near), left
