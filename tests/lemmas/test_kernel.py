"""One-variable lemmas and numbers as certificates that the kernel checks."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.lemmas import LEMMAS, Envelope, Lemma, Twin, find, kernel, polynomial, prove
from kvverify.lemmas.kernel import certificates, kernel_verdict
from kvverify.lemmas.solvers import Answer, Solver
from tests.conftest import needs

needs("sympy", "lemmas")

CERTIFIED = [(lemma.id, tree) for lemma in LEMMAS for tree in certificates(lemma)]


def lemma(then: str, *given: str) -> Lemma:
    return Lemma("test", "", {"x": ""}, given, then, Twin(without=given[0] if given else ""), {"x": 1}, (), "")


@pytest.mark.parametrize(("name", "tree"), CERTIFIED)
def test_the_kernel_accepts(name: str, tree: Any) -> None:
    assert check(tree).verdict is Verdict.VALID


POLYNOMIALS = [(n, t) for n, t in CERTIFIED if t["statement"]["claim"] == "polynomial"]


@pytest.mark.parametrize(("name", "tree"), POLYNOMIALS)
def test_the_kernel_rejects_more(name: str, tree: Any) -> None:
    """The same interval, and the polynomial less what it is at the example, and a little."""
    at = find(name).point.popitem()[1]
    coefficients = [Fraction(c) for c in tree["statement"]["coefficients"]]
    coefficients[0] -= sum(c * at**i for i, c in enumerate(coefficients)) + Fraction(1, 100)
    while len(coefficients) > 1 and not coefficients[-1]:
        coefficients.pop()
    statement = {**tree["statement"], "coefficients": [str(c) for c in coefficients]}
    step = {**tree["steps"][0], "given": {"form": "sturm"}}
    assert check(document.build(statement, [step])).verdict is Verdict.INVALID


@pytest.mark.parametrize(("then", "given", "expected"), [
    ("x**2 < 2", ("0 <= x <= 1",), ((2, 0, -1), 0, 1, True)),
    ("3*x >= 1", ("x >= 1/2",), ((-1, 3), Fraction(1, 2), None, False)),
    ("1/x > 1/2", ("0 < x < 2",), ((2, -1), 0, 2, False)),
    ("1/x >= 1/2", ("x > 0", "x <= 2", "x < 3"), ((2, -1), 0, 2, False)),
    ("x**2 >= 0", (), ((0, 0, 1), None, None, False)),
    ("x**2 >= 1/2", ("x >= 1/2", "x >= 1", "4 >= x", "x <= 5"), ((Fraction(-1, 2), 0, 1), 1, 4, False)),
    ("x > -1", ("-2*x <= 0",), ((1, 1), 0, None, True)),
])  # fmt: skip
def test_the_polynomial_of_a_lemma(then: str, given: tuple[str, ...], expected: Any) -> None:
    assert polynomial(lemma(then, *given)) == expected


@pytest.mark.parametrize(("then", "given"), [
    ("x == x", ()), ("x > 0 or x < 1", ()), ("x > y", ()), ("x > 0", ("x**2 > 1",)), ("x > 0", ("x == 1",)),
    ("x > 0", ("x > 1 or x > 2",)), ("0 < x < 2", ()),
])  # fmt: skip
def test_other_lemmas_have_none(then: str, given: tuple[str, ...]) -> None:
    assert polynomial(replace(lemma(then, *given), example={"x": 1, "y": 1})) is None


def test_base_comparisons_of_envelopes() -> None:
    def based(*base: str) -> tuple[str | None, str]:
        return kernel_verdict(replace(lemma("x > y"), envelopes=(Envelope("x", "e", "", base),)))

    assert based("2718/1000 <= exp 1", "exp 1 <= 2719/1000") == ("VALID", "")
    verdict, reason = based("2718/1000 <= exp 1", "exp 1 <= 2718/1000")
    assert verdict == "INVALID"
    assert "holds[0]" in reason
    assert based() == (None, "")


def test_what_the_kernel_refuses_is_not_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    class Yes(Solver):
        def ask(self, text: str) -> Answer:
            sat = Answer("sat", model={"x": (Fraction(-2),)})
            return Answer("unsat") if ":status unsat" in text else sat

    one = replace(lemma("x**2 + x >= 0", "x >= 0"), id="one")
    engines = [Yes(name, 1) for name in ("z3", "cvc5")]
    false = replace(one, then="x**3 + x >= 0")
    assert prove(false, engines).verdict == "PROVED"
    monkeypatch.setattr(kernel, "polynomial", lambda _: ((Fraction(-1), Fraction(1)), Fraction(0), None, False))
    finding = prove(false, engines)
    assert (finding.verdict, finding.kernel) == ("INCOMPLETE", "INVALID")
    assert finding.reason.startswith("the kernel says INVALID: ")
