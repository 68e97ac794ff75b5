"""Identities on grids, against sympy's expansion."""

from __future__ import annotations

import pytest

from kvverify.lemmas import LEMMAS, Lemma
from kvverify.lemmas.encode import is_settled
from kvverify.lemmas.expression import Refused
from kvverify.lemmas.identity import is_identity
from tests.conftest import needs

needs("sympy", "lemmas")

SETTLED = [lemma for lemma in LEMMAS if is_settled(lemma)]


@pytest.mark.parametrize("lemma", SETTLED, ids=lambda lemma: lemma.id)
def test_identities_hold_and_their_twins_do_not(lemma: Lemma) -> None:
    assert is_identity(lemma.then)
    assert not is_identity(lemma.altered()[1])


@pytest.mark.parametrize(("text", "holds"), [
    ("(x + y)**2 == x**2 + 2*x*y + y**2", True), ("x**3 == x", False), ("1/(1/x) == x", True), ("x/x == 1", True),
    ("1/(x - 2) - 1/(x - 2) == 0", True), ("x == x + 1/10**30", False), ("-x == 0 - x", True), ("3 == 3", True),
    ("1/x + 1/y == (x + y)/(x*y)", True), ("1/x + 1/y == (x + y)/(x*x)", False), ("2 == 3", False),
])  # fmt: skip
def test_small_cases(text: str, holds: bool) -> None:
    assert is_identity(text) is holds


def test_a_polynomial_that_vanishes_on_fewer_points_than_its_degree_allows() -> None:
    """The grid has one point more than the degree: zeros at all its first points do not help."""
    roots = "*".join(f"(x - {start})" for start in range(2, 8))
    assert not is_identity(f"{roots} == 0")
    assert not is_identity("x - 14 + 132/(x + 9) == 0")  # (x - 2)(x - 3)/(x + 9)


@pytest.mark.parametrize(
    "text", ["x < 1", "x == y == x", "x == 1 or x == 2", "x**y == x", "x*exp(x) == x", "x**-1 == x"]
)
def test_what_is_no_equation_of_rational_functions_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        is_identity(text)


def test_a_division_that_always_fails() -> None:
    with pytest.raises(Refused, match="divides by 0"):
        is_identity("1/(x - x) == 1")
