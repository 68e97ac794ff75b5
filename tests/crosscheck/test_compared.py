"""The second opinion on comparisons and polynomials: it agrees with controls, and contradicts what is false."""

from __future__ import annotations

from typing import Any

import pytest

from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.check import Verdict, check
from tests.kernel import comparison_controls, polynomials_controls
from tests.kernel.comparison_controls import compared
from tests.kernel.controls import Control, rebuild
from tests.kernel.polynomials_controls import positive

CONTROLS = (*comparison_controls.controls(), *polynomials_controls.controls())


@pytest.mark.parametrize("control", CONTROLS, ids=str)
def test_it_agrees(control: Control) -> None:
    opinion = second_opinion(control.tree)
    assert (opinion.verdict, opinion.reason) == ("agrees", "")


@pytest.mark.parametrize("control", comparison_controls.controls(), ids=str)
def test_every_comparison_turned_round_is_contrary(control: Control) -> None:
    for claim in control.tree["statement"]["holds"]:
        left, sign, right = claim.split(" ")
        turned = f"{right} {'<=' if sign == '<' else '<'} {left}"
        holds = [turned, *control.tree["statement"]["holds"]]
        tree = rebuild({**control.tree, "statement": {**control.tree["statement"], "holds": holds}})
        assert second_opinion(tree).verdict == "contrary", turned


@pytest.mark.parametrize(
    ("program", "holds", "verdict"),
    [
        ("sqrt 2; product @0 @0", "@1 <= 2", "undecided"), ("exp 1; ln @0", "@1 <= 1", "undecided"),
        ("power 2 1000000000; log2 @0", "@1 < 1000000001", "agrees"), ("factorial 1000000", "1 < @0", "undecided"),
        ("ln -1", "@0 < 1", "contrary"), ("sqrt 2; difference @0 2; sqrt @1", "@2 < 1", "contrary"),
        ("quotient 1 0", "@0 < 1", "contrary"), ("power 0 -1", "@0 < 1", "contrary"),
        ("power 2 1/2", "@0 < 2", "contrary"), ("sqrt 2; power 2 @0", "@1 < 3", "undecided"),
        ("binomial 10 1/2", "@0 < 2", "contrary"), ("binomial 100000000000000000000 2", "1 < @0", "agrees"),
        ("sqrt 2; binomial @0 1", "1 < @1", "undecided"), ("exp @0", "@0 < 1", "contrary"),
        ("exp 1; exp 2", "@0 < @1", "agrees"), ("exp 1", "@1 < 2", "contrary"), ("cosh 1", "@0 < 2", "contrary"),
    ],
)  # fmt: skip
def test_what_it_says(program: str, holds: str, verdict: str) -> None:
    tree = compared("", program, holds).tree
    assert second_opinion(tree).verdict == verdict
    assert verdict != "contrary" or check(tree).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("arguments", "keywords", "verdict"),
    [
        (("-2 0 1", ">=", -1, 1), {}, "contrary"), (("-2 0 1", ">", 2), {}, "agrees"),
        (("1 -2 1", ">"), {}, "contrary"), (("1 -2 1", ">="), {"square": "1", "rest": "1 -2 1"}, "agrees"),
        (("0 1", ">=", 0), {}, "agrees"), (("0 1", ">", 0), {}, "contrary"), (("-1", ">"), {}, "contrary"),
        (("-1/3 1", ">=", "1/3", 1), {}, "agrees"), (("-1/3 1", ">=", "333333333/1000000000", 1), {}, "contrary"),
    ],
)  # fmt: skip
def test_signs_of_polynomials(arguments: tuple[Any, ...], keywords: dict[str, Any], verdict: str) -> None:
    assert second_opinion(positive("", *arguments, **keywords).tree).verdict == verdict
