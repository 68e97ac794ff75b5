"""The rule ``comparison``: enclosures against Arb, exactness, what is not defined, and hostile programs."""

from __future__ import annotations

import time
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

import pytest
from flint import arb
from hypothesis import given, settings
from hypothesis import strategies as st

from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.context import Context
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Fact, Rejected
from kvverify.kernel.rules import comparison
from kvverify.kernel.rules.comparison import OPERATIONS, Enclosure
from tests.engines.mpfr import third_opinion
from tests.kernel.compared import apply
from tests.kernel.comparison_controls import compared, controls
from tests.kernel.controls import rebuild
from tests.kernel.real import ball, precision

NUMBER = st.fractions(min_value=-50, max_value=50, max_denominator=40)


def verdict(program: str, *holds: str) -> str:
    """Of the kernel; the second opinion never contradicts it."""
    tree = compared("", program, *holds).tree
    found = check(tree)
    opinion = second_opinion(tree).verdict
    assert (
        opinion != ("contrary" if found.verdict is Verdict.VALID else "agrees") or found.verdict.value == "INCOMPLETE"
    )
    return found.verdict.value


def value(operation: str, *operands: Fraction | int | Enclosure) -> Enclosure:
    """One operation's enclosure."""
    given = [x if isinstance(x, Enclosure) else Enclosure(Fraction(x), Fraction(x)) for x in operands]
    context = Context(comparison.Comparison((), ()), Path())
    found: Enclosure = OPERATIONS[operation][1](context, given)
    return found


# Enclosures


def contains(found: Enclosure, truth: Any, width: Fraction) -> None:
    """The truth lies in the enclosure, which is no wider than that, relative to its size or 1."""
    with precision(1000):
        assert ball(found.low) <= ball(truth) or found.low == truth
        assert ball(truth) <= ball(found.high) or found.high == truth
    assert found.high - found.low <= width * max(Fraction(1), abs(found.high))


@settings(max_examples=60)
@given(st.sampled_from(["exp", "ln", "log2", "sqrt"]), NUMBER)
def test_real_functions_against_arb(operation: str, x: Fraction) -> None:
    x = x if operation == "exp" else abs(x) + Fraction(1, 1000)
    with precision(1000):
        truth = apply(operation, [x])
    contains(value(operation, x), truth, Fraction(1, 1 << (62 if operation in ("ln", "log2") else 160)))


@settings(max_examples=60)
@given(st.sampled_from(["sum", "difference", "product", "quotient"]), NUMBER, NUMBER, st.booleans())
def test_arithmetic_of_enclosures(operation: str, x: Fraction, y: Fraction, inexact: bool) -> None:
    """Corners of boxes: the operation of any two points inside is inside."""
    box = [Enclosure(z - Fraction(1, 3), z + Fraction(1, 7)) if inexact else Enclosure(z, z) for z in (x, y)]
    if operation == "quotient" and box[1].low <= 0 <= box[1].high:
        return
    found = value(operation, *box)
    for a in (box[0].low, box[0].high, (box[0].low + box[0].high) / 2):
        for b in (box[1].low, box[1].high, (box[1].low + box[1].high) / 2):
            assert found.low <= apply(operation, [a, b]) <= found.high
    assert inexact or found.exact


@settings(max_examples=80)
@given(NUMBER, st.fractions(0, 3, max_denominator=9), st.integers(-9, 9))
def test_powers_of_enclosures(x: Fraction, width: Fraction, exponent: int) -> None:
    box = Enclosure(x, x + width)
    if exponent < 0 and box.low <= 0 <= box.high:
        with pytest.raises(Rejected if box.exact else OverLimit):
            value("power", box, exponent)
        return
    found = value("power", box, exponent)
    points = [x + width * i / 8 for i in range(9)] + ([Fraction(0)] if box.low <= 0 <= box.high else [])
    powers: list[Fraction] = [Fraction(p**exponent) for p in points]
    assert found.low <= min(powers)
    assert found.high >= max(powers)
    if width and not (exponent % 2 == 0 and box.low < 0 < box.high):
        assert found.high - max(powers) <= Fraction(1, 1 << 200) * max(Fraction(1), abs(found.high))


def test_powers_by_squaring() -> None:
    """Beyond 2^16 bits: rounded, and still around the exact power."""
    for base, exponent in ((Fraction(101, 100), 20000), (Fraction(-3, 2), 20001), (Fraction(2, 3), 30000)):
        found = value("power", base, exponent)
        assert found.low < base**exponent < found.high
        assert found.high - found.low < abs(base**exponent) / 2**200
    assert value("power", 1, 1 << 60) == Enclosure(Fraction(1), Fraction(1))
    assert value("power", 0, 1 << 60).high == 0


def test_binomials_and_tails() -> None:
    for n in range(12):
        for k in range(-2, 14):
            assert value("binomial", n, k).low == (comb(n, k) if 0 <= k <= n else 0)
            assert value("binomial-tail", n, k).low == sum(comb(n, j) for j in range(min(n, k) + 1))
    assert value("binomial", 10**30, 2).low == 10**30 * (10**30 - 1) // 2


# Decisions


@pytest.mark.parametrize(
    ("program", "holds", "expected"),
    [
        ("power 10 100; power 2 47; power 9 90; product @1 @2", "@0 <= @3", "VALID"),
        ("power 10 100; power 2 46; power 9 90; product @1 @2", "@0 <= @3", "INVALID"),
        ("power 3 300; power 2 476", "@0 <= @1", "VALID"),
        ("power 3 300; power 2 475", "@0 <= @1", "INVALID"),
        ("sum 1/3 1/6", "@0 <= 1/2", "VALID"),
        ("sum 1/3 1/6", "@0 < 1/2", "INVALID"),
        ("sqrt 4/9", "@0 <= 2/3", "VALID"),
        ("sqrt 4/9", "@0 < 2/3", "INVALID"),
        ("log2 1/8", "@0 <= -3", "VALID"),
        ("exp 0", "@0 <= 1", "VALID"),
        ("ln 1", "0 <= @0", "VALID"),
        ("sqrt 2; product @0 @0", "@1 <= 2", "INCOMPLETE"),
        ("exp 1; ln @0", "1 <= @1", "INCOMPLETE"),
        ("exp 1; ln @0", "99999999999/100000000000 < @1", "VALID"),
        ("sqrt 2; difference @0 @0; power @1 0", "@2 <= 1", "VALID"),
        ("power 0 0", "1 <= @0", "VALID"),
        ("difference 1 1; quotient 1 @0", "@1 < 1", "INVALID"),
        ("sqrt 2; difference @0 @0; quotient 1 @1", "@2 < 1", "INCOMPLETE"),
        ("sqrt 2; difference @0 @0; power @1 -2", "@2 < 1", "INCOMPLETE"),
        ("power 0 -1", "@0 < 1", "INVALID"),
        ("sqrt -1", "@0 < 1", "INVALID"),
        ("sqrt 2; difference @0 @0; sqrt @1", "@2 < 1", "INCOMPLETE"),
        ("ln 0", "@0 < 1", "INVALID"),
        ("log2 -3", "@0 < 1", "INVALID"),
        ("sqrt 2; difference @0 2; ln @1", "@2 < 1", "INVALID"),
        ("sqrt 2; difference @0 @0; ln @1", "@2 < 1", "INCOMPLETE"),
        ("power 2 1/2", "@0 < 2", "INVALID"),
        ("sqrt 2; power 2 @0", "@1 < 3", "INCOMPLETE"),
        ("binomial -1 2", "@0 < 2", "INVALID"),
        ("binomial-tail 5/2 2", "@0 < 2", "INVALID"),
        ("factorial -1", "@0 < 2", "INVALID"),
    ],
)
def test_what_is_decided(program: str, holds: str, expected: str) -> None:
    assert verdict(program, holds) == expected


def test_one_false_comparison_beats_an_open_one() -> None:
    assert verdict("sqrt 2; product @0 @0", "@1 <= 2", "2 < 1") == "INVALID"
    assert verdict("sqrt 2; product @0 @0", "@1 <= 2", "1 < 2") == "INCOMPLETE"


@pytest.mark.parametrize(
    ("program", "holds"),
    [
        ("exp @0", "@0 < 1"), ("exp @1; exp 1", "@0 < 1"), ("exp @-1", "@0 < 1"), ("exp @01", "@0 < 1"),
        ("exp @", "@0 < 1"), ("exp 1", "@1 < 1"), ("exp 1", "1 < 2"), ("sum 1", "@0 < 1"), ("exp 1 2", "@0 < 1"),
        ("difference 1 2 3", "@0 < 1"), ("cosh 1", "@0 < 1"), ("exp  1", "@0 < 1"), ("exp 1 ", "@0 < 1"),
        ("exp", "@0 < 1"), ("", "1 <2"), ("", "1 > 2"), ("", "1 = 1"), ("", "1 < 2 < 3"), ("", "2/4 < 1"),
        ("", "1.5 < 2"), ("exp 1; exp @0; sum 3 0", "@1 < 99"), ("exp inf", "@0 < 1"), ("Exp 1", "@0 < 1"),
    ],
)  # fmt: skip
def test_what_is_no_program(program: str, holds: str) -> None:
    tree = compared("", program, holds).tree
    assert check(tree).verdict is Verdict.INVALID
    with pytest.raises(Malformed):
        comparison.parse(tree["statement"])


def test_there_is_something_to_compare() -> None:
    with pytest.raises(Malformed):
        comparison.parse({"claim": "comparison", "program": [], "holds": []})


HOSTILE = [
    ("power 10 1000000000", "1 < @0"), ("power 2 65536; power @0 65536", "1 < @1"), ("factorial 1000000", "1 < @0"),
    ("power 1/2 1000000000", "@0 < 1"), ("power 2 100000000000000000000", "1 < @0"), ("exp 5000", "1 < @0"),
    ("binomial 1000000 500000", "1 < @0"), ("binomial-tail 1000000 3", "1 < @0"), ("exp -5000", "@0 < 1"),
    ("; ".join(["power 3 41000"] + [f"product @{i} @{i}" for i in range(60)]), "1 < @60"),
    ("; ".join(["quotient 1 3"] + [f"power @{i} 3" for i in range(200)]), "@200 < 1"),
    ("; ".join([f"factorial {4096 - i}" for i in range(30)] + [f"quotient 1 @{i}" for i in range(30)]
               + ["sum " + " ".join(f"@{i + 30}" for i in range(30))]), "@60 < 1"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "holds"), HOSTILE)
def test_hostile_programs_end_soon(program: str, holds: str) -> None:
    start = time.process_time()
    tree = compared("", program, *holds.split("; ")).tree
    found = check(tree)
    assert found.verdict is Verdict.INCOMPLETE, found.reason
    assert "limit" in found.reason
    assert time.process_time() - start < 10


def test_too_many_lines_or_operands() -> None:
    line = "sum 1 1"
    many = [f"{line}"] + [f"sum @{i} 1" for i in range(4096)]
    with pytest.raises(OverLimit):
        comparison.parse({"claim": "comparison", "program": many, "holds": ["1 < @4096"]})
    with pytest.raises(OverLimit):
        comparison.parse({"claim": "comparison", "program": ["sum" + " 1" * 65], "holds": ["1 < @0"]})


# The claim and its step


def test_the_step_is_about_the_claim() -> None:
    tree = controls()[0].tree
    (step,) = tree["steps"]
    for part, extra in (("given", {"precision": "9"}), ("gives", {"left": "1"}), ("uses", {"a": "comparison"})):
        assert check(rebuild({**tree, "steps": [{**step, part: extra}]})).verdict is Verdict.INVALID
    others = ({"rule": "positive-polynomial", "given": {"form": "sturm"}}, {"rule": "exp-bound"})
    for other in others:
        assert check(rebuild({**tree, "steps": [{**step, **other}]})).verdict is Verdict.INVALID
    goal = comparison.parse(tree["statement"])
    with pytest.raises(Rejected):
        goal.met_by(Fact())
    with pytest.raises(Rejected):
        goal.met_by(comparison.Compared(comparison.parse(controls()[1].tree["statement"])))


def test_a_comparison_is_said_in_the_usual_notation() -> None:
    found = comparison.parse(
        compared("", "power 10 100; power 2 47; power 9 90; product @1 @2", "@0 <= @3").tree["statement"]
    )
    assert found.said() == "10^100 <= 2^47 * 9^90"
    deep = "; ".join(["sum 1 2", *(f"product @{i} @{i}" for i in range(300))])
    assert len(comparison.parse(compared("", deep, "1 < @300").tree["statement"]).said()) < 1000


def test_a_third_engine_contradicts_what_is_false() -> None:
    """Every comparison of every control turned round: MPFR proves the contrary, or leaves an equality open."""
    seen = 0
    for control in controls():
        for claim in control.tree["statement"]["holds"]:
            left, sign, right = claim.split(" ")
            turned = f"{right} {'<=' if sign == '<' else '<'} {left}"
            statement = {**control.tree["statement"], "holds": [turned]}
            outcomes = third_opinion(rebuild({**control.tree, "statement": statement}), Path())
            assert outcomes[-1].verdict == "contrary", (control.name, turned)
            seen += 1
    assert seen > 60


def test_arb_agrees_about_the_constants() -> None:
    with precision(500):
        assert ball(comparison._LN2_LOWER) < arb(2).log() < ball(comparison._LN2_UPPER)
