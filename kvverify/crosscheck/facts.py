"""What a step states, taken at its word by the steps that use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from flint import arb, arb_mat, fmpq

from kvverify.crosscheck.goal import Fact, must
from kvverify.crosscheck.settle import Case
from kvverify.kernel.document import Node

_NOTHING = fmpq(0)


@dataclass(frozen=True)
class Keys(Fact):
    """``size`` keys; token l weighs exp(-c e) relative to its row's target, e counted by ``exponents`` (dominating).

    ``square``: of the largest logit on the whole body at c = 1, so that no root is taken. ``pad_twice``: twice the
    least exponent of a fixed further key; ``own``: the least of the asker's own. ``bf16``: exact in bf16.
    ``beside``: the norm of what may stand beside every key in further coordinates of a ball. ``signs``: keys are sign
    vectors (over one number in a ball), e the number of places where two differ, and the pad is 0.
    """

    size: int
    dim: int
    exponents: dict[int, int]
    square: fmpq
    pad_twice: int
    own: int
    bf16: bool
    beside: fmpq = _NOTHING
    signs: bool = False


@dataclass(frozen=True)
class Decay(Fact):
    """exp(-exponent) <= z."""

    exponent: fmpq
    z: fmpq


@dataclass(frozen=True)
class Tilt(Fact):
    """A query's tilt along a secret coordinate: u = e^(strength y).

    ``law`` bounds E u from above and (h(u) - 2 E log2(1 + u)) a coordinate from below, at the present precision.
    ``ball``: radius and dimensions of the ball that the secret is uniform in. ``rounding``: how far bf16 moves it.
    """

    strength: fmpq
    law: Callable[[], tuple[arb, arb]]
    ball: tuple[fmpq, int] | None = None
    rounding: fmpq = _NOTHING


@dataclass(frozen=True)
class Scaled(Fact):
    """Keys at a scale where e weighs exp(-exponent e) <= z^e, within the logit budget; ``payload`` of them are read.

    With a tilt the budget holds for queries of one more coordinate, of the tilt's strength.
    """

    keys: Keys
    z: fmpq
    payload: int
    tilt: Tilt | None
    exponent: fmpq


class Rows(Protocol):
    """Attention rows that are known one by one, as balls at the present precision."""

    most: int

    def masses(self) -> list[tuple[arb, arb]]:
        """(off-target mass, all other mass) of each row, relative to its target."""

    def matrix(self) -> arb_mat:
        """Relative weights among the payload tokens, ones on the diagonal."""


@dataclass(frozen=True)
class Leak(Fact):
    """Off-target mass <= sigma and other mass <= rest in every row, mean sum of squares <= squares.

    ``rows`` of a file's keys, or a family's keys as ``scaled``.
    """

    payload: int
    sigma: fmpq
    rest: fmpq
    squares: fmpq
    rows: Rows | None = None
    scaled: Scaled | None = None


@dataclass(frozen=True)
class Reading(Fact):
    """Each payload value is one of ``alphabet`` levels that the tolerance tells apart.

    ``top``: the least mass that a causal row has on one token, where every token is asked for; else 0.
    """

    alphabet: int
    payload: int
    top: fmpq = _NOTHING


@dataclass(frozen=True)
class Determinant(Fact):
    """log2 |det W| >= bits for the square matrix of the payload."""

    payload: int
    bits: fmpq


Rule = Callable[[Case, dict[str, Fact], Node, Node], Fact]
T = TypeVar("T", bound=Fact)


def premise(uses: dict[str, Fact], name: str, kind: type[T]) -> T:
    """The premise of that name, which must be of that kind."""
    fact = uses.get(name)
    must(isinstance(fact, kind), f"premise {name!r} is of the kind {kind.__name__}")
    assert isinstance(fact, kind)
    return fact
