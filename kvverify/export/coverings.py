"""Covering numbers: the bounds themselves are measures of caps and counts, which stay with the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from kvverify.export.expression import Inequality, at_most
from kvverify.export.facts import Case, Fact
from kvverify.kernel.document import Malformed, integer


@dataclass(frozen=True)
class Covering(Fact):
    """Stated bounds of the covering number; None where nothing is stated."""

    at_least: Fraction | None = None
    at_most: Fraction | None = None


def at_least_so_many(case: Case) -> Fact:
    """A measure over a measure, from below."""
    case.kept("so many balls or caps are needed, by volumes or by the measure of a cap")
    return Covering(at_least=case.gives("at_least"))


def at_most_so_many(case: Case) -> Fact:
    """A count from above, by whichever rule."""
    case.kept("so many balls or caps are enough")
    return Covering(at_most=case.gives("at_most"))


def cover(case: Case) -> Fact:
    """Two bounds in one."""
    lower, upper = case.premise("lower", Covering), case.premise("upper", Covering)
    stated = Covering(case.gives("at_least"), case.gives("at_most"))
    case.leaf("bounds", "at_least <= the lower bound, the upper bound <= at_most", *_follows(stated, lower, upper))
    return stated


def claim(case: Case, last: Fact) -> None:
    """The statement's bounds, from the last step's."""
    if not isinstance(last, Covering):
        raise Malformed("the last step bounds no covering number")
    bounds = {
        name: Fraction(integer(case.fields[name], f"statement.{name}"))
        for name in ("at_least", "at_most") if name in case.fields
    }  # fmt: skip
    parts = _follows(Covering(bounds.get("at_least"), bounds.get("at_most")), last, last)
    case.leaf("covering", "the statement's bounds follow from the last step's", *parts)


def _follows(stated: Covering, lower: Covering, upper: Covering) -> list[Inequality]:
    """Stated bounds that are no stronger than those of the two facts."""
    parts = []
    if stated.at_least is not None:
        parts.append(at_most(stated.at_least, 1 if lower.at_least is None else lower.at_least))
    if stated.at_most is not None:
        if upper.at_most is None:
            raise Malformed("no bound from above is there")
        parts.append(at_most(upper.at_most, stated.at_most))
    return parts
