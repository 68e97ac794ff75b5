"""From statements to polynomials: what may pass, that clearing denominators changes nothing, and SMT-LIB."""

from __future__ import annotations

import math
import operator
import random
from fractions import Fraction
from typing import Any

import pytest

from kvverify.lemmas import LEMMAS, Lemma, Twin, counterexample, denial
from kvverify.lemmas.encode import clear, formula, term
from kvverify.lemmas.expression import Refused, names, parse, symbolic, value
from tests.conftest import needs

sympy = needs("sympy", "lemmas")
X = sympy.Symbol("x")


def lemma(then: str, *given: str, example: dict[str, str | int] | None = None) -> Lemma:
    point = {"x": 1} if example is None else example
    return Lemma("test", "", {}, given, then, Twin(then, then), point, (), "")


@pytest.mark.parametrize("text", [
    "exp(x) > 0", "log(x) <= x", "sqrt(x) >= 0", "abs(x) >= 0", "x**y > 0", "x**(1/2) > 0", "x**x > 0", "1.5*x > 0",
    "x % 2 == 0", "x // 2 > 0", "x is x", "x in x", "lambda: x", "[x]", "x if x else x", "True", "'x' > 0", "x @ x > 0",
    "+x > 0", "~x > 0", "x.y > 0", "x[0] > 0", "1j > 0",
])  # fmt: skip
def test_what_is_no_polynomial_statement_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        symbolic(text)
    with pytest.raises(Refused):
        denial(lemma(text))
    with pytest.raises(Refused):
        value(text, {"x": Fraction(2), "y": Fraction(2)})


def test_a_syntax_error_is_refused() -> None:
    with pytest.raises(Refused, match="x >"):
        parse("x >")


@pytest.mark.parametrize("expression", [
    sympy.exp(X), sympy.log(X), sympy.sqrt(X), sympy.sin(X), sympy.Abs(X), 1 / X, X ** Fraction(1, 3), X**X, sympy.pi,
    sympy.E, sympy.Float(0.5), sympy.I * X, sympy.Max(X, 1), sympy.Function("f")(X), X**33, X**-2, sympy.oo,
    1 + sympy.exp(X), X * sympy.exp(X),
])  # fmt: skip
def test_no_other_symbol_passes_the_encoder(expression: Any) -> None:
    """Also where a sympy expression comes from elsewhere: exp, log and sqrt cannot reach a solver."""
    with pytest.raises(Refused):
        term(expression)
    with pytest.raises(Refused):
        formula(sympy.StrictGreaterThan(expression, 0, evaluate=False))


@pytest.mark.parametrize(
    "x", [sympy.true, X, sympy.Xor(X > 0, X > 1), sympy.Implies(X > 0, X > 1), sympy.Interval(0, 1)]
)
def test_no_other_formula_passes_the_encoder(x: Any) -> None:
    with pytest.raises(Refused):
        formula(x)


@pytest.mark.parametrize("name", ["exp", "sin", "div", "Real2x", "x_", "_x", "toolong", "é"])
def test_names_that_a_solver_may_know_are_refused(name: str) -> None:
    with pytest.raises(Refused, match="no name for a variable"):
        denial(lemma(f"{name} > 0", example={name: 1}))


def test_terms_and_formulas() -> None:
    assert term(symbolic("x**2 - 3/4")) == "(+ (- (/ 3.0 4.0)) (* x x))"
    assert term(sympy.Integer(-2), integers=True) == "(- 2)"
    assert formula(symbolic("x < 1 or not x == 2")) == "(or (< x 1.0) (not (= x 2.0)))"
    assert formula(symbolic("0 <= x < 1 and x != 3")) == "(and (<= 0.0 x) (< x 1.0) (not (= x 3.0)))"
    with pytest.raises(Refused, match="among integers"):
        term(symbolic("x/2"), integers=True)


def test_true_and_false_comparisons_reach_the_solver() -> None:
    """sympy would decide them itself."""
    assert formula(symbolic("2 < 1")) == "(< 2.0 1.0)"
    assert formula(symbolic("x == x")) == "(= x x)"


def test_the_sign_of_a_denominator_is_that_of_the_example() -> None:
    above = clear("1/(x - 2) > 1", {"x": Fraction(3)})
    below = clear("1/(x - 2) > 1", {"x": Fraction(1)})
    assert above.positive == (X - 2,)
    assert below.positive == (2 - X,)
    at = {X: sympy.Rational(5, 2)}
    assert bool(above.formula.subs(at))
    assert not bool(below.formula.subs({X: 1}))
    with pytest.raises(Refused, match="is 0 at the example"):
        clear("1/(x - 2) > 1", {"x": Fraction(2)})


@pytest.mark.parametrize("text", [
    "1/(x - 2) > 3/(x - 2)", "1/(x - 2) > 3/(2 - x)", "1/(x - 2)**2 > x/(x - 2)", "x/(x - 2)/(x - 5) >= 1/(x - 5)",
    "1/(1/(x - 2) - 1/(x - 5)) < x", "x/-3 < 1/(-2 - x**2)", "(x - 5)**-3 <= -1/(x - 2)**3", "x/3 < 1/(x - 2) < x",
    "x/(2*x - 4) <= 1/7 or not 1/(5 - x) > x/(x - 2)",
])  # fmt: skip
def test_signs_of_every_kind(text: str) -> None:
    """Left of 2, between 2 and 5, right of 5: the cleared formula is as true as the written one."""
    for example, low in ((Fraction(1), -10), (Fraction(3), 2), (Fraction(6), 5)):
        cleared = clear(text, {"x": example})
        inside = 0
        for k in range(1, 160):
            at = {"x": low + Fraction(k, 16)}
            if at["x"] not in (2, 5) and all(exact(factor, at) > 0 for factor in cleared.positive):
                assert exact(cleared.formula, at) == value(text, at), (example, at)
                inside += 1
        assert inside > 40


@pytest.mark.parametrize("text", ["x/x == 1", "x**-1*x == 1", "(x*x)/x == x", "1/(1/x) == x", "0/x == 0"])
def test_a_divisor_that_cancels_is_not_forgotten(text: str) -> None:
    assert clear(text, {"x": Fraction(1)}).positive == (X,)
    assert "(> x 0.0)" in denial(lemma(text))
    assert "(assert (> x 0.0))" in counterexample(lemma(text))


def exact(x: Any, at: dict[str, Fraction]) -> Any:
    """The value of a polynomial, or the truth of a formula of them."""
    if x.is_Symbol:
        return at[x.name]
    if x.is_Rational:
        return Fraction(int(x.p), int(x.q))
    if x.is_Pow:
        return exact(x.base, at) ** int(x.exp)
    parts = [exact(part, at) for part in x.args]
    if x.is_Add or x.is_Mul:
        return sum(parts, Fraction(0)) if x.is_Add else math.prod(parts)
    if isinstance(x, sympy.Not):
        return not parts[0]
    if isinstance(x, sympy.And | sympy.Or):
        return all(parts) if isinstance(x, sympy.And) else any(parts)
    compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
    return compare[x.rel_op](*parts)


def points(one: Lemma) -> list[dict[str, Fraction]]:
    """The example and points around it."""
    draw = random.Random(one.id)
    found = [one.point]
    for _ in range(30):
        near = {name: x + Fraction(draw.randint(-40, 40), draw.choice((8, 80))) for name, x in one.point.items()}
        found.append({name: Fraction(round(x)) if one.integers else x for name, x in near.items()})
    return found


def test_clearing_changes_nothing() -> None:
    """At points where denominators have their signs, a cleared formula is as true as the written one."""
    compared = 0
    for one in LEMMAS:
        given, then = one.altered()
        for text in dict.fromkeys((*one.given, one.then, *given, then)):
            cleared = clear(text, one.point)
            for at in points(one):
                if all(exact(factor, at) > 0 for factor in cleared.positive):
                    assert exact(cleared.formula, at) == value(text, at), (one.id, text, at)
                    compared += 1
    assert compared > 5000


def test_scripts_declare_their_variables_and_use_no_other_word() -> None:
    for one in LEMMAS:
        sort, logic = ("Int", "QF_NIA") if one.integers else ("Real", "QF_NRA")
        for text, status in ((denial(one), "unsat"), (counterexample(one), "sat")):
            words = set(text.replace("(", " ").replace(")", " ").split())
            known = {*one.variables, "set-logic", logic, "set-info", ":status", status, "declare-const", sort, "assert"}
            known |= {"and", "or", "not", "<", "<=", ">", ">=", "=", "+", "-", "*", "/"}
            assert {word for word in words if not word.replace(".", "").isdigit()} <= known, one.id


def test_names_stand_in_the_order_of_their_appearance() -> None:
    assert names("b + a > 0", "c*b < a") == ("b", "a", "c")
