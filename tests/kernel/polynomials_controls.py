"""Positive polynomials by both forms, on every kind of interval, with and without a square taken out."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

from kvverify.kernel import document
from tests.kernel.controls import Control

Node = dict[str, Any]
End = Fraction | int | str | None


def positive(
    name: str, coefficients: str, relation: str = ">", low: End = None, high: End = None, *, form: str = "sturm",
    cuts: str | None = None, elevation: int = 0, square: str = "", rest: str = "",
) -> Control:  # fmt: skip
    """Coefficients in ascending order; without an end the interval is infinite there."""
    statement: Node = {"claim": "polynomial", "coefficients": coefficients.split(" "), "relation": relation}
    statement |= {key: str(end) for key, end in (("from", low), ("to", high)) if end is not None}
    given: Node = {"form": form}
    if form == "bernstein":
        given |= {"cuts": cuts.split(" ") if cuts else [], "elevation": str(elevation)}
    if square:
        given |= {"square": square.split(" "), "rest": rest.split(" ")}
    step = {"id": "positive", "rule": "positive-polynomial", "uses": {}, "given": given, "gives": {}}
    return Control(name, document.build(statement, [step]))


@cache
def controls() -> tuple[Control, ...]:
    """All of them."""
    return (
        positive("polynomial, a line", "1 -1 1"),
        positive("polynomial, a constant", "3/7", low=0),
        positive("polynomial, two intervals' ends", "2 0 -1", low="-7/5", high="7/5"),
        positive("polynomial, right half line", "-2 0 1", low="17/12"),
        positive("polynomial, left half line", "-2 0 1", high="-17/12"),
        positive("polynomial, roots at both ends", "0 1 -1", ">=", 0, 1),
        positive("polynomial, a root at one end", "0 1", ">=", 0),
        positive("polynomial, a square", "1/4 -1 1", ">=", square="-1/2 1", rest="1"),
        positive("polynomial, a square and a root", "0 0 0 1", ">=", 0, square="0 1", rest="0 1"),
        positive("polynomial, Motzkin's section", "1 0 -3 0 4"),
        positive("polynomial, double roots elsewhere", "4 -4 -3 2 1", low=2),
        positive("Bernstein, a parabola", "2 0 -1", low=0, high=1, form="bernstein"),
        positive("Bernstein, elevated", "1 -3 3", low=0, high=1, form="bernstein", elevation=9),
        positive("Bernstein, cut", "1 -3 3", low=0, high=1, form="bernstein", cuts="1/2"),
        positive("Bernstein, the line", "1 -1 1", form="bernstein", cuts="-1 1/2 3", elevation=4),
        positive("Bernstein, a half line", "3 1 2", low=0, form="bernstein"),
        positive("Bernstein, zeros at both ends", "0 1 -1", ">=", 0, 1, form="bernstein"),
        positive("Bernstein, a square", "1/4 -1 1", ">=", 0, 1, form="bernstein", square="-1/2 1", rest="1"),
        positive("Bernstein, left half line", "3 -1 2", high=0, form="bernstein"),
    )
