"""The smallest tolerance for a size: excluded there by proof, and hardly above it by the search."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from kvverify.bounds import best_bound
from kvverify.bounds.inverse import tolerance_floor
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem

PROBLEM = Problem(64, 16, 16, Fraction(16), Fraction(1, 10), tolerance=Fraction(1, 2))


@pytest.mark.parametrize("size", [Fraction(20), Fraction(60), Fraction(301, 3)])
def test_the_size_is_excluded_there_and_not_two_percent_above(size: Fraction) -> None:
    floor = tolerance_floor(PROBLEM, size)
    assert floor.tolerance is not None
    assert floor.bound.certificate is not None
    result = check(floor.bound.certificate)
    assert result.verdict is Verdict.VALID
    assert result.statement is not None
    assert result.statement.tolerance == floor.tolerance
    assert result.bits is not None
    assert result.bits > size * PROBLEM.tokens
    above = replace(PROBLEM, tolerance=floor.tolerance * Fraction(102, 100))
    assert best_bound(above).bits <= size * PROBLEM.tokens


def test_fewer_bits_promise_less() -> None:
    found = [tolerance_floor(PROBLEM, Fraction(size)).tolerance for size in (10, 40, 80)]
    assert all(tolerance is not None for tolerance in found)
    assert found == sorted(found, reverse=True, key=lambda tolerance: tolerance or 0)
    assert len(set(found)) == 3


def test_a_size_that_excludes_nothing() -> None:
    floor = tolerance_floor(PROBLEM, Fraction(10**6))
    assert floor.tolerance is None
    assert floor.bound.bits < 10**6 * PROBLEM.tokens


def test_less_than_one_bit_in_all_ends() -> None:
    """The kernel's bounds begin at one bit, the search's floats below it."""
    tiny = replace(PROBLEM, tokens=1, key_dim=1, value_dim=1, max_logit=Fraction(1, 100))
    floor = tolerance_floor(tiny, Fraction(1, 10))
    assert floor.tolerance is None or floor.bound.bits > Fraction(1, 10)
