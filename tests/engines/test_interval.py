"""Intervals contain what they should: exact rationals for arithmetic, Arb for the functions."""

from __future__ import annotations

from fractions import Fraction
from operator import add, mul, sub
from typing import Any

import pytest
from flint import arb, ctx, fmpq
from gmpy2 import mpq
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines import interval
from tests.engines.bits import log_ratio
from tests.engines.interval import Case, Contrary, Interval, Wide, precision

rationals = st.fractions(-1000, 1000, max_denominator=10**6)
positive = st.fractions(Fraction(1, 10**6), 1000, max_denominator=10**6)


def exact(x: Any) -> Fraction:
    return Fraction(*(int(part) for part in x.as_integer_ratio()))


def contains(found: Interval, value: Fraction) -> bool:
    return exact(found.low) <= value <= exact(found.high)


def q(x: Fraction) -> Any:
    return mpq(x.numerator, x.denominator)


@given(rationals, rationals, rationals, rationals, st.integers(0, 7))
def test_arithmetic(a: Fraction, b: Fraction, c: Fraction, d: Fraction, n: int) -> None:
    with precision(30):
        x, y = (Interval(interval.interval(q(min(p))).low, interval.interval(q(max(p))).high) for p in ((a, b), (c, d)))
        for operation in (add, sub, mul):
            found = operation(x, y)
            assert all(contains(found, operation(s, t)) for s in (a, b) for t in (c, d))
        assert contains(-x, -a)
        assert contains(abs(x), abs(a))
        assert contains(abs(x), abs((a + b) / 2))
        assert contains(abs(x) ** n, abs(a) ** n)
        assert contains(x.max(y), max(a, c))
        if min(c, d) > 0 or max(c, d) < 0:
            assert contains(x / y, a / c)
            assert contains(3 / y, 3 / c)


FUNCTIONS = {"exp": arb.exp, "expm1": arb.expm1, "tanh": arb.tanh, "log": arb.log, "log1p": arb.log1p}
FUNCTIONS |= {"sqrt": arb.sqrt, "log2": lambda x: x.log() / arb.const_log2()}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=40)
@given(x=positive)
def test_functions(name: str, x: Fraction) -> None:
    with precision(40):
        found = getattr(interval, name)(q(x))
    with ctx.workprec(200):
        true = FUNCTIONS[name](arb(fmpq(x.numerator, x.denominator)))
        assert arb(fmpq(*exact(found.low).as_integer_ratio())) <= true.upper()
        assert true.lower() <= arb(fmpq(*exact(found.high).as_integer_ratio()))
    assert exact(found.high) - exact(found.low) <= abs(exact(found.high)) / 2**27


@pytest.mark.parametrize("x", [Fraction(0), Fraction(1, 1 << 90), Fraction(1, 3), Fraction(1, 2), Fraction(99, 100)])
def test_the_ratio_of_the_distortion(x: Fraction) -> None:
    with precision(100):
        found = log_ratio(q(x))
    least = sum((x ** (k - 2) / k for k in range(2, 60)), Fraction(0))
    most = least + x**58 / (60 * (1 - x))
    assert exact(found.low) <= most
    assert least <= exact(found.high)
    assert exact(found.high) - exact(found.low) <= Fraction(1, 2**90)


def test_constants_and_what_is_not_defined() -> None:
    with precision(60):
        assert contains(interval.pi(), Fraction(314159265358979323846264338327950288, 10**35))
        assert contains(interval.log2_e() * interval.log(2), Fraction(1))
        around = Interval(interval.interval(-1).low, interval.interval(1).high)
        for undefined in (lambda: 1 / around, lambda: interval.log(around), lambda: interval.sqrt(around)):
            with pytest.raises(Wide):
                undefined()
        with pytest.raises(Wide):
            around**2
        with pytest.raises(Wide):
            interval.log1p(around)


def test_settling() -> None:
    case = Case({}, None, None)  # type: ignore[arg-type]
    third = mpq(1, 3)
    case.at_most("1/3 <= 1/3 + tiny", lambda: (third, third + mpq(1, 1 << 900)))
    case.at_most("1 <= 1", lambda: (1, 1))
    case.at_most("log2 8 <= 3", lambda: (interval.log2(8), 3))
    assert case.open == []
    with pytest.raises(Contrary):
        case.at_most("1/3 + tiny <= 1/3", lambda: (third + mpq(1, 1 << 900), third))
    with pytest.raises(Contrary):
        case.at_most("1 < 1", lambda: (1, 1), strict=True)
    case.at_most("e^ln 3 <= 3", lambda: (interval.exp(interval.log(3)), 3))
    case.at_most("ln of 0", lambda: (interval.log(0), 3))
    assert len(case.open) == 2
