"""Numbers of ``--json``: exact or a string, six digits, never on the unsafe side."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvverify.figures import at_least, at_most, exact
from tests.strategies import positive_rationals

LIMIT = 1 << 53


@pytest.mark.parametrize("value", [0, 1, -1, LIMIT, -LIMIT])
def test_small_integers_stay_integers(value: int) -> None:
    assert exact(value) is value


@pytest.mark.parametrize("value", [LIMIT + 1, -LIMIT - 1, 10**400])
def test_larger_integers_are_strings(value: int) -> None:
    assert exact(value) == str(value)


def printed(value: float) -> Fraction:
    """What a reader of the JSON text sees."""
    return Fraction(json.dumps(value))


def digits(value: float) -> int:
    mantissa = json.dumps(abs(value)).partition("e")[0]
    return len(mantissa.replace(".", "").strip("0"))


@given(positive_rationals(), st.sampled_from([1, -1]))
def test_six_digits_on_the_safe_side(size: Fraction, sign: int) -> None:
    value = sign * size
    low, high = at_least(value), at_most(value)
    assert printed(low) <= value <= printed(high)
    assert printed(high) - printed(low) <= abs(value) / 10**5
    assert max(digits(low), digits(high)) <= 6


@given(st.integers(-999_999, 999_999), st.integers(-8, 8))
def test_six_digits_are_kept_as_they_are(mantissa: int, power: int) -> None:
    value = Fraction(mantissa) * Fraction(10) ** power
    assert printed(at_least(value)) == value == printed(at_most(value))


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (Fraction(0), 0.0, 0.0),
        (Fraction(2, 3), 0.666666, 0.666667),
        (Fraction(-2, 3), -0.666667, -0.666666),
        (Fraction(9999999, 10), 999999.0, 1000000.0),
        (Fraction(1234567), 1234560.0, 1234570.0),
        (Fraction(1, 10), 0.1, 0.1),
        (Fraction(1, 3 * 10**9), 3.33333e-10, 3.33334e-10),
    ],
)
def test_examples(value: Fraction, low: float, high: float) -> None:
    assert (at_least(value), at_most(value)) == (low, high)
