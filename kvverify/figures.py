"""Numbers as ``--json`` prints them: exact integers, and figures of six digits rounded to the safe side."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor

_SAFE_INTEGER = 1 << 53
_DIGITS = 6


def exact(value: int) -> int | str:
    """A JSON integer up to 2^53, a decimal string above that."""
    return value if abs(value) <= _SAFE_INTEGER else str(value)


def at_least(value: Fraction) -> float:
    """At most six significant digits, rounded down."""
    return _rounded(value, floor)


def at_most(value: Fraction) -> float:
    """At most six significant digits, rounded up."""
    return _rounded(value, ceil)


def _rounded(value: Fraction, direction: Callable[[Fraction], int]) -> float:
    if not value:
        return 0.0
    size = abs(value)
    power = len(str(size.numerator // size.denominator)) if size >= 1 else -_leading_zeros(size)
    step = Fraction(10) ** (_DIGITS - power)
    return float(Fraction(direction(value * step)) / step)


def _leading_zeros(size: Fraction) -> int:
    """Zeros between the point and the first digit of a number below 1."""
    zeros = 0
    while size * 10 < 1:
        size, zeros = size * 10, zeros + 1
    return zeros
