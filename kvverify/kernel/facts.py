"""What a proved step gives to later steps, what a certificate claims, and how a rule says no.

Facts are made by rules only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn, TypeVar

from kvverify.kernel.document import short


class Rejected(Exception):
    """A step does not hold: what was tested, and both sides of it where it is an inequality."""

    def __init__(self, test: str, left: object = "", right: object = "") -> None:
        sides = f" ({_side(left)} against {_side(right)})" if left != "" else ""
        super().__init__(test + sides)


class Fact:
    """What a proved step gives to later steps."""


class Goal(ABC):
    """What a certificate claims, as its statement says it."""

    @abstractmethod
    def said(self) -> str:
        """The claim in one line for people."""

    @abstractmethod
    def met_by(self, last: Fact) -> Fraction | None:
        """The bits of state that the last step gives, where the claim is about these.

        Raises Rejected unless that fact is of this goal's kind and at least as strong.
        """


@dataclass(frozen=True)
class Keys(Fact):
    """``size`` distinct keys with queries such that token l weighs exp(-c e_il) relative to target i, for any c > 0.

    ``exponents`` dominates every row: at most as many off-target tokens with e_il <= e as its counts up to e say.
    ``unit``: the logit that a query costs on the whole body, per unit of c. ``pad_twice``: twice the least exponent of
    a fixed further key in the body; ``own``: the least exponent of a key that the asker chooses. ``bf16``: keys are
    exact in bf16. ``beside``: in a ball, the radius that all these keys leave for a secret in further coordinates.
    ``signs``: keys are sign vectors (divided by one number in a ball), e_il the places where two differ, the pad is 0.
    """

    size: int
    dim: int
    exponents: tuple[tuple[int, int], ...]
    unit: Fraction
    pad_twice: int
    own: int
    bf16: bool
    beside: Fraction = Fraction(0)
    signs: bool = False


@dataclass(frozen=True)
class Decay(Fact):
    """exp(-exponent) <= at_most."""

    exponent: Fraction
    at_most: Fraction


@dataclass(frozen=True)
class Tilt(Fact):
    """A key query's tilt along one secret coordinate y, and the law of u = e^(strength y), symmetric about y = 0.

    E u <= ``mean``; a token's h(u) - 2 E log2(1 + u) is at least ``entropy`` bits for each of its secret coordinates.
    ``ball``: radius and number of coordinates where y is uniform in a ball. |y| <= ``reach``, a power of two.
    """

    strength: Fraction
    mean: Fraction
    entropy: Fraction
    ball: tuple[Fraction, int] | None = None
    reach: Fraction = Fraction(1)


@dataclass(frozen=True)
class Scaled(Fact):
    """Keys and a scale within the budget: weights exp(-exponent e) <= decay^e; ``payload`` tokens carry the secret.

    With a tilt the budget leaves room for one more coordinate of the query, of the tilt's strength.
    """

    keys: Keys
    decay: Fraction
    payload: int
    tilt: Tilt | None = None
    exponent: Fraction = Fraction(0)


@dataclass(frozen=True)
class Row:
    """One row relative to its target: bounds on the other payload tokens' mass, and on all further tokens' mass."""

    off_target: Fraction
    rest: Fraction


@dataclass(frozen=True)
class Matrix:
    """Weights among payload tokens, each row over a factor of its own that leaves none above 1 + 2^-40.

    low[i][l] <= 2^bits * weight <= low[i][l] + span. ``totals``: upper bounds of the rows' whole masses over the same
    factors, the asker's own token included.
    """

    low: list[list[int]]
    bits: int
    span: int
    totals: tuple[Fraction, ...]


@dataclass(frozen=True)
class Leak(Fact):
    """Attention relative to the target, over ``payload`` rows: bounds for the worst row, and row by row where known.

    ``squares`` bounds the mean over rows of the sum of squared off-target weights. ``matrix`` encloses the weights
    among payload tokens of explicit instances. ``scaled``: the keys and the scale that it is about, where they come
    from a family.
    """

    payload: int
    worst: Row
    squares: Fraction
    scaled: Scaled | None = None
    rows: tuple[Row, ...] = ()
    matrix: Callable[[], Matrix] | None = None


@dataclass(frozen=True)
class Reading(Fact):
    """Every payload value can be read back within the tolerance when it is one of ``alphabet`` levels."""

    alphabet: int
    payload: int


@dataclass(frozen=True)
class Determinant(Fact):
    """log2 |det W| >= log2_at_least for the payload's square attention matrix (it may be negative)."""

    payload: int
    log2_at_least: Fraction


@dataclass(frozen=True)
class StateBits(Fact):
    """log2 of the number of states of all streams together is at least this."""

    at_least: Fraction


@dataclass(frozen=True)
class Enough(Fact):
    """Some compressor of the class has at most 2^at_most states, of all streams together."""

    at_most: int


T = TypeVar("T", bound=Fact)
V = TypeVar("V")


def need(condition: bool, test: str, left: object = "", right: object = "") -> None:
    """Reject the step unless ``condition`` holds."""
    if not condition:
        reject(test, left, right)


def premise(uses: dict[str, Fact], name: str, kind: type[T]) -> T:
    """The premise of that name, which must be a fact of that kind."""
    return of_kind(uses[name], kind, f"premise {name!r}")


def of_kind(fact: Fact, kind: type[T], what: str) -> T:
    """The fact, which must be of that kind."""
    if not isinstance(fact, kind):
        reject(f"{what} is of the kind {kind.__name__}", type(fact).__name__, kind.__name__)
    return fact


def present(value: V | None, test: str) -> V:
    """Reject where the rule needs something that the statement or a premise does not have."""
    if value is None:
        reject(test)
    return value


def reject(test: str, left: object = "", right: object = "") -> NoReturn:
    """The step does not hold."""
    raise Rejected(test, left, right)


def _side(value: object) -> str:
    """One side of an inequality for people: exact when short, else its size as a power of two."""
    if isinstance(value, int | Fraction):
        top, bottom = Fraction(value).numerator, Fraction(value).denominator
        if top.bit_length() + bottom.bit_length() > 200:
            return f"{'-' if top < 0 else ''}about 2^{top.bit_length() - bottom.bit_length()}"
    return short(str(value))
