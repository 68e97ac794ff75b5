"""The rule ``positive-polynomial``: all small polynomials against their roots, both forms, and hostile ones."""

from __future__ import annotations

import time
from collections.abc import Iterable
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from flint import fmpq_poly
from hypothesis import given, settings
from hypothesis import strategies as st

from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Fact, Rejected
from kvverify.kernel.rules import polynomials
from tests.kernel import compared
from tests.kernel.controls import rebuild
from tests.kernel.polynomials_controls import controls, positive

Node = dict[str, Any]
INTERVALS: tuple[tuple[int | None, int | None], ...] = ((None, None), (0, None), (None, 1), (-1, 1), (0, 2))


def words(numbers: Iterable[Any]) -> str:
    return " ".join(map(str, numbers))


def valid(*args: Any, **kwargs: Any) -> bool:
    found = check(positive("", *args, **kwargs).tree)
    assert found.verdict is not Verdict.INCOMPLETE, found.reason
    return found.verdict is Verdict.VALID


def truth(coefficients: list[int], relation: str, low: Any, high: Any) -> bool:
    return compared.true(compared.polynomial(positive("", words(coefficients), relation, low, high).tree["statement"]))


def without_square(coefficients: list[int]) -> tuple[str, str]:
    """(square, rest): the largest square, so that the rest has simple roots."""
    square, rest = fmpq_poly([1]), fmpq_poly(coefficients)
    for factor, order in rest.numer().factor_squarefree()[1]:
        square *= fmpq_poly(factor) ** (order // 2)
    rest //= square**2
    return words(square.coeffs()), words(rest.coeffs())


# Brute force


@pytest.mark.parametrize(("low", "high"), INTERVALS)
@pytest.mark.parametrize("relation", [">", ">="])
def test_sturm_decides_every_small_polynomial(relation: str, low: int | None, high: int | None) -> None:
    """Degrees up to 4, coefficients -1, 0, 1 (-2..2 up to degree 2): VALID exactly where it is true."""
    shapes = [*product((-2, -1, 0, 1, 2), repeat=3), *product((-1, 0, 1), repeat=5)]
    seen = {True: 0, False: 0}
    for shape in shapes:
        coefficients = list(shape)
        while coefficients and not coefficients[-1]:
            coefficients.pop()
        if not coefficients:
            continue
        hints: Node = {}
        if relation == ">=":
            hints["square"], hints["rest"] = without_square(coefficients)
        true = truth(coefficients, relation, low, high)
        assert valid(words(coefficients), relation, low, high, **hints) == true, (coefficients, relation, low, high)
        seen[true] += 1
    assert min(seen.values()) > 10


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.fractions(-3, 3, max_denominator=6), min_size=1, max_size=7).filter(lambda c: c[-1] != 0),
    st.sampled_from(INTERVALS), st.sampled_from([">", ">="]), st.integers(0, 6), st.sampled_from(["", "1/3", "0 1/2"]),
)  # fmt: skip
def test_bernstein_is_never_wrong(
    coefficients: list[Fraction], interval: tuple[int | None, int | None], relation: str, elevation: int, cuts: str
) -> None:
    low, high = interval
    if cuts and low == 0:
        cuts = cuts.removeprefix("0 ")
    tree = positive("", words(coefficients), relation, low, high, form="bernstein", cuts=cuts, elevation=elevation).tree
    found = check(tree).verdict
    assert found is not Verdict.INCOMPLETE
    if found is Verdict.VALID:
        assert compared.holds(tree)
        assert compared.positive(compared.polynomial(tree["statement"]), tree["steps"][0], {}, None)
        assert second_opinion(tree).verdict == "agrees"


def test_elevation_and_cuts_reach_what_is_positive() -> None:
    """(x - 1/2)^2 + 1/12: the least elevation is known, 9 for discriminant -1/3; or one cut."""
    elevations = [k for k in range(30) if valid("1/3 -1 1", low=0, high=1, form="bernstein", elevation=k)]
    assert elevations
    assert elevations == list(range(elevations[0], 30))
    assert valid("1/3 -1 1", low=0, high=1, form="bernstein", cuts="1/2")
    assert not valid("1/4 -1 1", low=0, high=1, form="bernstein", elevation=300)
    assert valid("1/4 -1 1", ">=", 0, 1, form="bernstein", cuts="1/2")
    assert not valid("1/4 -1 1", ">", 0, 1, form="bernstein", cuts="1/2")
    assert not valid("1/4 -1 1", ">=", 0, 1, form="bernstein", cuts="1/4 3/4")


def test_ends_belong_to_the_interval() -> None:
    for form in ({}, {"form": "bernstein"}):
        assert valid("0 1", ">=", 0, 1, **form)
        assert not valid("0 1", ">", 0, 1, **form)
        assert valid("1/1000000 1", ">", 0, 1, **form)
        assert not valid("-1/1000000 1", ">=", 0, 1, **form)
        assert not valid("1 -1", ">", 0, 1, **form)
        assert valid("1 -1", ">=", 0, 1, **form)
    assert valid("0 -1", ">=", high=0)
    assert not valid("0 -1", ">", high=0)


def test_a_square_is_taken_out_rightly() -> None:
    """Of (x - 1)^2 (x^2 + 1)."""
    p, square, rest = "1 -2 2 -2 1", "-1 1", "1 0 1"
    assert valid(p, ">=", square=square, rest=rest)
    assert valid(p, ">=", square="1 -1", rest=rest)
    assert valid(p, ">=", square="-2 2", rest="1/4 0 1/4")
    assert not valid(p, ">=")  # a double root inside is one root more
    assert not valid(p, ">", square=square, rest=rest)
    assert not valid(p, ">=", square=square, rest="1 0 2")
    assert not valid(p, ">=", square="-1 2", rest=rest)
    assert not valid(p, ">=", square="1", rest="1 0 1")
    assert not valid("-1 2 -2 2 -1", ">=", square=square, rest="-1 0 -1")
    tree = positive("", p, ">=", square=square, rest=rest).tree
    for part in ("square", "rest"):
        given_ = {k: v for k, v in tree["steps"][0]["given"].items() if k != part}
        assert check(rebuild({**tree, "steps": [{**tree["steps"][0], "given": given_}]})).verdict is Verdict.INVALID


# What is refused


@pytest.mark.parametrize(
    "change",
    [
        {"coefficients": []}, {"coefficients": ["1", "0"]}, {"coefficients": ["0"]}, {"coefficients": ["1.5"]},
        {"coefficients": "1 2"}, {"relation": "<"}, {"relation": "="}, {"from": "1", "to": "1"},
        {"from": "2", "to": "1"}, {"from": "2/4"}, {"to": "inf"}, {"degree": "2"},
    ],
)  # fmt: skip
def test_what_is_no_polynomial(change: Node) -> None:
    tree = controls()[0].tree
    statement = {**tree["statement"], **change}
    assert check(rebuild({**tree, "statement": statement})).verdict is Verdict.INVALID
    with pytest.raises(Malformed):
        polynomials.parse(statement)


@pytest.mark.parametrize(
    "given_",
    [
        {}, {"form": "roots"}, {"form": "sturm", "cuts": []}, {"form": "sturm", "elevation": "0"},
        {"form": "bernstein", "cuts": []}, {"form": "bernstein", "elevation": "0"},
        {"form": "bernstein", "cuts": [], "elevation": "0"},
        {"form": "bernstein", "cuts": ["1", "1"], "elevation": "9"},
        {"form": "bernstein", "cuts": ["2", "1"], "elevation": "9"}, {"form": ["sturm"]},
        {"form": "bernstein", "cuts": ["1"], "elevation": "-1"},
        {"form": "bernstein", "cuts": ["1"], "elevation": "9", "square": ["1"], "rest": ["1", "-1", "1"]},
    ],
)  # fmt: skip
def test_hints_that_are_none(given_: Node) -> None:
    """Of the polynomial x^2 - x + 1 on the line, with >."""
    tree = controls()[0].tree
    assert check(tree).verdict is Verdict.VALID
    assert check(rebuild({**tree, "steps": [{**tree["steps"][0], "given": given_}]})).verdict is Verdict.INVALID


def test_cuts_lie_inside() -> None:
    for cuts in ("0", "1", "-1", "2", "1/2 1", "0 1/2", "1/2 1/3"):
        assert not valid("1 1", low=0, high=1, form="bernstein", cuts=cuts), cuts
    assert valid("1 1", low=0, high=1, form="bernstein", cuts="1/3 1/2")


def test_the_step_is_about_the_claim() -> None:
    goal, other = (polynomials.parse(control.tree["statement"]) for control in controls()[:2])
    with pytest.raises(Rejected):
        goal.met_by(Fact())
    with pytest.raises(Rejected):
        goal.met_by(polynomials.Positive(other))
    goal.met_by(polynomials.Positive(goal))
    assert goal.said() == "1 x^2 + -1 x + 1 > 0 for x from -inf to inf"


# Work


def test_hostile_polynomials_end_soon() -> None:
    """Long numbers, high degrees, many cuts, all of them positive but the third: within the account, or INCOMPLETE."""
    long, falling = "9" * 2000, words([1, *(-i for i in range(2, 130))])
    dear = [
        positive("", words([f"{long}{i}" for i in range(40)])),
        positive("", words([f"1/{i}{long}" for i in range(1, 130)]), low=0),
        positive("", falling, low=0, high=f"1/{long}", form="bernstein", elevation=512),
        positive("", words(range(1, 130)), low=0, form="bernstein", elevation=99,
                 cuts=words([f"{i}/{i + 1}" for i in range(1, 9)])),
        positive("", words([(-1) ** i * (i + 7) for i in range(129)])),
    ]  # fmt: skip
    for control in dear:
        start = time.process_time()
        assert check(control.tree).verdict is not Verdict.INVALID
        assert time.process_time() - start < 10
    for change in ({"elevation": 513}, {"cuts": words(range(1, 1025))}):
        arguments: Node = {"low": 0, "form": "bernstein", **change}
        assert check(positive("", "1 1", **arguments).tree).verdict is Verdict.INCOMPLETE
    with pytest.raises(OverLimit):
        polynomials.parse(positive("", words([1] * 130)).tree["statement"])
    assert check(positive("", words([1] * 129), low=0).tree).verdict is Verdict.VALID
