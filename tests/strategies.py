"""The vocabulary of the property tests: rationals of many sizes, problems, JSON trees."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from kvverify.problem import Problem


@st.composite
def positive_rationals(draw: st.DrawFn, *, low: int = -300, high: int = 300, digits: int = 300) -> Fraction:
    """Between 2^low and 2^high, the logarithm spread evenly, with numerators up to some hundred bits."""
    bits = draw(st.integers(1, digits))
    mantissa = Fraction(draw(st.integers(1 << (bits - 1), (1 << bits) - 1)), 1 << (bits - 1))  # 1 <= m < 2
    return min(mantissa * Fraction(2) ** draw(st.integers(low, high)), Fraction(2) ** high)


@st.composite
def probabilities(draw: st.DrawFn, *, least: Fraction = Fraction(0), most: Fraction = Fraction(1)) -> Fraction:
    """A rational from ``least`` to ``most``, both included, sometimes very close to an end."""
    share = draw(st.one_of(st.fractions(0, 1, max_denominator=1000), positive_rationals(low=-200, high=0, digits=20)))
    share = 1 - share if draw(st.booleans()) else share
    return least + share * (most - least)


@st.composite
def problems(draw: st.DrawFn, *, relative: bool | None = None, tokens: int = 1 << 14, dim: int = 64) -> Problem:
    """A problem of the class, with round numbers as people write them."""
    if draw(st.booleans()) if relative is None else relative:
        target: dict[str, Any] = {"relative": draw(st.fractions(0, Fraction(9, 10), max_denominator=20))}
        failure = draw(st.fractions(0, Fraction(1, 2), max_denominator=20))
    else:
        tolerance = draw(st.fractions(Fraction(1, 1000), Fraction(9, 10), max_denominator=1000))
        target, failure = {"tolerance": tolerance}, draw(st.fractions(0, 1 - tolerance, max_denominator=1000))
    return Problem(
        tokens=draw(st.integers(1, tokens)),
        key_dim=draw(st.integers(1, dim)),
        value_dim=draw(st.integers(1, 128)),
        max_logit=draw(st.fractions(Fraction(1, 10), 64, max_denominator=10)),
        failure=failure,
        body=draw(st.sampled_from(["cube", "ball"])),
        inputs=draw(st.sampled_from(["real", "bf16"])),
        **target,
    )


def json_trees() -> st.SearchStrategy[Any]:
    """What JSON can hold, and more numbers in strings than usual."""
    number = st.integers().map(str) | st.fractions().map(str)
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | number
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    )
