"""Controls of covering numbers: every form on both sides, each count the best that the form proves."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

from kvverify.kernel import document
from tests.kernel import covered
from tests.kernel.controls import Control, step

Node = dict[str, Any]


def claim(dim: int, size: Fraction | int | str, *, sphere: bool = False, **bounds: int) -> Node:
    """``size``: the caps' angle; for a ball the ratio of the radii, the ball's own radius being 3."""
    sizes = {"angle": Fraction(size)} if sphere else {"radius": Fraction(3), "ball_radius": 3 / Fraction(size)}
    body = "sphere" if sphere else "ball"
    numbers = {"dim": dim, **sizes, **bounds}
    return {"claim": "cover", "body": body, **{name: str(value) for name, value in numbers.items()}}


def lower(form: str, count: int) -> Node:
    return step("lower", "cover-at-least", {}, {"form": form}, {"at_least": count})


def upper(form: str, count: int, shrink: Fraction | None = None) -> Node:
    given = {"form": form} | ({"shrink": shrink} if shrink else {})
    return step("upper", "cover-at-most", {}, given, {"at_most": count})


def control(name: str, claimed: Node, below: str, above: str, shrink: Fraction | str | None = None) -> Control:
    """Both sides, joined; one alone where the other form is empty."""
    question = covered.statement({**claimed, "at_least": "1"})
    share = None if shrink is None else Fraction(shrink)
    bounds, steps = {}, []
    if below:
        bounds["at_least"] = covered.below(question, below)
        steps.append(lower(below, bounds["at_least"]))
    if above:
        bounds["at_most"] = covered.above(question, above, share)
        steps.append(upper(above, bounds["at_most"], share))
    if len(steps) == 2:
        steps.append(step("both", "cover", {"lower": "lower", "upper": "upper"}, {}, bounds))
    return Control(name, document.build({**claimed, **{side: str(count) for side, count in bounds.items()}}, steps))


@cache
def controls() -> tuple[Control, ...]:
    """All of them."""
    return (
        control("interval", claim(1, "7/2"), "volume", "arcs"),
        control("circle", claim(2, "1/2", sphere=True), "caps", "arcs"),
        control("caps, packed", claim(3, "1/2", sphere=True), "caps", "packing"),
        control("caps, a simplex", claim(3, "13/10", sphere=True), "few", "few"),
        control("caps, a cross-polytope", claim(4, "11/10", sphere=True), "few", "few"),
        control("caps, two", claim(5, 2, sphere=True), "few", "few"),
        control("caps, random", claim(8, "1/2", sphere=True), "caps", "lovasz-stein", "61/64"),
        control("caps, random, an odd dimension", claim(17, "9/10", sphere=True), "caps", "lovasz-stein", "31/32"),
        control("a ball, one", claim(3, 1), "", "few"),
        control("a ball, few", claim(5, "11/10"), "few", "few"),
        control("a ball, packed", claim(4, "5/3"), "ball-through-sphere", "packing"),
        control("a ball, a lattice", claim(3, 4), "volume", "lattice"),
        control("a ball, a lattice, an even dimension", claim(6, "7/3"), "ball-through-sphere", "lattice"),
        control("a ball, random", claim(3, 9), "volume", "lovasz-stein", "3/4"),
        control("a ball, one shell", claim(9, "4/3"), "ball-through-sphere", "shells", "15/16"),
        control("a ball, a shell and its middle", claim(8, "3/2"), "ball-through-sphere", "shells", "15/16"),
        control("a ball, shells", claim(12, 4), "volume", "shells", "31/32"),
        control("from below alone", claim(16, "3/4", sphere=True), "caps", ""),
        control("from above alone", claim(16, "3/2"), "", "shells", "63/64"),
    )
