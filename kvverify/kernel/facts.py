"""What a proved step gives to later steps, what a certificate claims, and how a rule says no.

Facts are made by rules only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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
class StateBits(Fact):
    """log2 of the number of states of all streams together is at least this.

    ``top_mass``: so much lies on one token in every causal row of the hard input, if that was proved.
    """

    at_least: Fraction
    top_mass: Fraction = Fraction(0)


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
