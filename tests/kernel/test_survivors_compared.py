"""Ends of ranges of the rule ``comparison`` that a broken kernel once got past the other tests with."""

from __future__ import annotations

from fractions import Fraction
from math import comb
from pathlib import Path

import pytest
from flint import arb

from kvverify.kernel.check import Verdict, check
from kvverify.kernel.context import Context
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import comparison
from kvverify.kernel.rules.comparison import OPERATIONS, Comparison, Enclosure, parse
from tests.kernel.comparison_controls import compared
from tests.kernel.real import ball, precision

Node = dict[str, object]


def worked(operation: str, *operands: Fraction | int | Enclosure) -> tuple[Enclosure, int]:
    """One operation's enclosure, and the work that it charges."""
    given = [x if isinstance(x, Enclosure) else Enclosure(Fraction(x), Fraction(x)) for x in operands]
    context = Context(Comparison((), ()), Path())
    before = context.work
    return OPERATIONS[operation][1](context, given), before - context.work


def value(operation: str, *operands: Fraction | int | Enclosure) -> Enclosure:
    return worked(operation, *operands)[0]


def claim(program: list[str], holds: list[str]) -> Node:
    return {"claim": "comparison", "program": program, "holds": holds}


def said(program: list[str], holds: list[str]) -> str:
    return parse(claim(program, holds)).said()


def test_a_program_has_lines_operands_and_comparisons_up_to_their_limits() -> None:
    lines = ["sum 1 1", *(f"sum @{i} 1" for i in range(4096))]
    assert len(parse(claim(lines[:4096], ["1 <= @4095"])).program) == 4096
    assert len(parse(claim([], ["1 <= 2"] * 4096)).holds) == 4096
    for program, holds in ((lines, ["1 <= @4096"]), ([], ["1 <= 2"] * 4097)):
        with pytest.raises(OverLimit, match="4096"):
            parse(claim(program, holds))
    assert parse(claim(["sum" + " 1" * 64], ["@0 <= 64"]))
    with pytest.raises(OverLimit, match="64 operands"):
        parse(claim(["sum" + " 1" * 65], ["@0 <= 65"]))
    with pytest.raises(Malformed):
        parse({**claim([], ["1 <= 2"]), "more": "1"})


def test_a_number_is_exact_up_to_65536_bits() -> None:
    """A product of a bits by b bits and a denominator of one bit, at the limit and a bit longer."""
    half = Fraction((1 << 32767) + 1)
    assert value("product", half, 1 << 32767).low == half * (1 << 32767)
    assert value("product", half, 1 << 32768).exact is False
    for bits, exact in ((65535, True), (65536, False)):
        odd = Fraction((1 << bits - 1) + 1)
        if exact:
            assert value("sum", odd - 1, 1) == Enclosure(odd, odd)
        else:
            assert not value("sum", odd - 1, 1).exact
    third = Fraction(1, 3)  # 3 bits: the 21,845th power has 65,535, the next 65,538
    assert value("power", third, 21845) == Enclosure(third**21845, third**21845)
    assert value("power", 5, 16384).exact
    found = value("power", third, 21846)
    assert found.low < third**21846 < found.high


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_rounded_keeps_256_bits(sign: int) -> None:
    """The ends are neighbours among numbers of 256 or 257 bits, on either side of 1."""
    for x in (Fraction(10, 7) ** 6000, Fraction(7, 10) ** 6000):
        found = value("product", sign * x, x)
        low, high = sorted((abs(found.low), abs(found.high)))
        assert low < x * x < high
        assert (1 << 255) <= x * x / (high - low) < (1 << 257)
        assert (found.low > 0) is (sign > 0)
    for x in (Fraction(2), Fraction(1, 2), Fraction(3, 1 << 4001), Fraction((1 << 4001) + 1)):
        found = value("sqrt", x)
        assert found.low**2 < x < found.high**2
        root = (found.high - found.low) / found.high
        assert Fraction(1, 1 << 258) < root < Fraction(1, 1 << 253)


def test_magnitudes_end_at_two_to_65536() -> None:
    least = Enclosure(Fraction(1, 1 << 32768), Fraction(1, 1 << 32767))
    most = Enclosure(Fraction(1 << 32767), Fraction(1 << 32768))
    assert value("product", most, most).high == 1 << 65536
    assert value("product", least, least).low == Fraction(1, 1 << 65536)
    for first, second in ((most, Enclosure(most.low, 2 * most.high)), (least, Enclosure(least.low / 2, least.high))):
        with pytest.raises(OverLimit, match="a number beyond"):
            value("product", first, second)


def test_exponents_have_64_bits_factorials_and_binomials_their_limits() -> None:
    one = Enclosure(Fraction(1), Fraction(1))
    assert value("power", 1, (1 << 64) - 1) == one
    assert value("power", 1, 1 - (1 << 64)) == one
    for exponent in (1 << 64, -(1 << 64)):
        with pytest.raises(OverLimit, match="exponent"):
            value("power", 1, exponent)
    assert value("factorial", 0) == value("factorial", 1) == one
    assert value("factorial", 4096).low % 4093 == 0
    assert value("binomial-tail", 0, 0) == one
    assert value("binomial-tail", 16384, 1).low == 16385
    assert value("binomial", 1 << 65535, 1).low == 1 << 65535
    assert value("binomial", 1 << 65535, (1 << 65535) - 1).low == 1 << 65535
    for operation, operands in (
        ("factorial", (4097,)), ("binomial-tail", (16385, 1)), ("binomial", (1 << 65536, 1)),
        ("binomial", (1 << 40, 1599)), ("binomial", (1 << 40, (1 << 40) - 1599)),
    ):  # fmt: skip
        with pytest.raises(OverLimit, match="limit: "):
            value(operation, *operands)
    for operation, operands in (("factorial", (-1,)), ("binomial", (-1, 0)), ("binomial-tail", (-1, 0))):
        with pytest.raises(Rejected):
            value(operation, *operands)


def test_work_is_charged_by_the_size_of_numbers() -> None:
    assert worked("power", Fraction(3), 1000)[1] == 4 * (3 * 1000 >> 6) ** 2
    assert worked("factorial", 100)[1] == 1600
    assert worked("binomial", 1000, 990)[1] == (10 * 10 >> 6) ** 2
    assert worked("binomial", 1000, 500)[1] == (500 * 10 >> 6) ** 2
    assert worked("binomial-tail", 1000, 700)[1] == 700 * 9
    assert worked("binomial-tail", 1000, -5)[1] == 0
    assert worked("binomial-tail", 1000, 5000)[1] == 9000
    big = Fraction(1 << 6399)
    assert worked("product", big, 1, 1)[1] == 2 * (1024 + ((2 * (6400 + 1) + 2 * 2) >> 6) ** 2)
    # Of four ascents each: 15 or 16 squarings, each charged by the size of its number.
    assert worked("power", Fraction(5, 4), 20000)[1] == 4 * (15 * 1024 + 9061)
    assert worked("power", Fraction(3), 1 << 15)[1] == 4 * (16 * 1024 + 876066)
    tree = compared("", "sum 1 1; product @0 @0", "@1 <= 4").tree
    goal = parse(tree["statement"])
    context = Context(goal, Path())
    before = context.work
    comparison.comparison(context, {}, {}, {})
    assert before - context.work == 3 * 1024 + worked("product", 2, 2)[1]


def test_logarithms_are_those_of_a_sum_of_299_terms() -> None:
    low, high = comparison._LN2_LOWER, comparison._LN2_UPPER
    assert low == sum((Fraction(1, k << k) for k in range(1, 300)), Fraction(0))
    assert high - low == Fraction(1, 299 << 299)
    with precision(2000):
        assert ball(low) < arb.const_log2() < ball(high)


def test_long_operations_are_said_by_their_line() -> None:
    assert said(["sum 1 2", "power @0 2"], ["@1 <= 9"]) == "(1 + 2)^2 <= 9"
    exactly = ["1111111"] * 8 + ["1" * 20]  # 100 letters with the signs between
    assert said(["sum " + " ".join(exactly)], ["@0 <= 1"]) == " + ".join(exactly) + " <= 1"
    assert said(["sum " + " ".join([*exactly[:-1], "1" * 21])], ["@0 <= 1"]) == "@0 <= 1"
    assert "1" * 40 in said([], ["1 <= " + "1" * 40])
    assert "1" * 41 not in said([], ["1 <= " + "1" * 41])
    assert said([], ["1 <= 2"] * 9).count("<=") == 8


def test_what_touches_zero_decides_nothing() -> None:
    zero, one = Fraction(0), Fraction(1)
    for divisor in (Enclosure(zero, one), Enclosure(-one, zero)):
        with pytest.raises(OverLimit, match="divisor"):
            value("quotient", 1, divisor)
    with pytest.raises(OverLimit, match="logarithm"):
        value("log2", Enclosure(zero, one))
    with pytest.raises(Rejected, match="logarithm"):
        value("log2", Enclosure(-one, zero))
    assert value("sqrt", Enclosure(zero, one)).low == 0
    assert value("sqrt", 0) == Enclosure(zero, zero)
    with pytest.raises(OverLimit, match="square root"):
        value("sqrt", Enclosure(-one, zero))
    with pytest.raises(OverLimit, match="square root"):
        value("sqrt", Enclosure(-Fraction(1, 10**9), one))
    for box in (Enclosure(-one, zero), Enclosure(zero, one), Enclosure(-one, one)):
        for exponent in range(4):
            found = value("power", box, exponent)
            ends = [box.low**exponent, box.high**exponent] + [zero] * (box.low < 0 < box.high and exponent > 0)
            assert (found.low, found.high) == (min(ends), max(ends))
    assert value("exp", Enclosure(-one, zero)).high >= 1 > value("exp", Enclosure(-one, zero)).low


def test_equal_ends_decide_strict_comparisons_only() -> None:
    root = value("sqrt", 2)
    for holds, verdict in (
        (f"@0 <= {root.low}", "INCOMPLETE"), (f"@0 < {root.low}", "INVALID"), (f"@0 <= {root.high}", "VALID"),
        (f"@0 < {root.high}", "INCOMPLETE"), (f"{root.low} <= @0", "VALID"), (f"{root.low} < @0", "INCOMPLETE"),
        (f"{root.high} <= @0", "INCOMPLETE"), (f"{root.high} < @0", "INVALID"),
    ):  # fmt: skip
        found = check(compared("", "sqrt 2", holds).tree)
        assert found.verdict is Verdict(verdict), holds
        if verdict == "INCOMPLETE":
            assert "settle 1 of 1 comparisons" in found.reason
    assert comb(4, 2) == value("binomial", 4, 2).low
