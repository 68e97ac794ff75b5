"""From a statement with divisions to polynomials over the reals or the integers, and to SMT-LIB.

sympy clears the denominators. The sign of each is read off the lemma's example and becomes part of what is to be
proved: it must follow from the hypotheses. The encoder walks the result, and nothing but polynomials passes it: z3
accepts exp, and its answers about it are worthless.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

from kvverify.lemmas.base import Lemma
from kvverify.lemmas.expression import Refused, divisors, symbolic

_NAME = re.compile(r"[A-Za-z][A-Za-z]{0,4}[0-9]?")
# Words that solvers know; a variable must not be mistaken for one.
_TAKEN = {
    "abs", "acos", "and", "as", "asin", "atan", "cos", "cot", "csc", "distinct", "div", "exp", "false", "int", "ite",
    "let", "ln", "log", "max", "min", "mod", "not", "or", "par", "pi", "power", "real", "sec", "sin", "sinh", "sqrt",
    "tan", "tanh", "true", "xor",
}  # fmt: skip
_MAX_EXPONENT = 32


@dataclass(frozen=True)
class Cleared:
    """A formula without divisions, and the denominators' factors that must be positive for it to mean the same."""

    formula: Any
    positive: tuple[Any, ...]


def clear(text: str, at: Mapping[str, Fraction]) -> Cleared:
    """``text`` without denominators, whose signs are those at the point ``at``. Raises Refused."""
    return _clear(text, tuple(at.items()))


@cache
def _clear(text: str, at: tuple[tuple[str, Fraction], ...]) -> Cleared:
    import sympy

    positive: dict[Any, None] = {}

    def signed(factors: Any) -> int:
        """The product's sign; its factors are noted."""
        sign = 1
        for factor in sympy.Mul.make_args(factors):
            base, exponent = factor.as_base_exp()
            here = base.subs({sympy.Symbol(name): sympy.Rational(str(number)) for name, number in at})
            if here == 0:
                raise Refused(f"{text}: {base} is 0 at the example, and is divided by")
            if not base.is_number:
                positive[base if here > 0 else -base] = None
            sign *= (1 if here > 0 else -1) ** int(exponent)
        return sign

    def one(relation: Any) -> Any:
        if relation.lhs.is_polynomial() and relation.rhs.is_polynomial():
            return relation
        (left, below), (right, beside) = (sympy.fraction(sympy.together(side)) for side in relation.args)
        if below == beside:
            return relation.func(signed(below) * left, signed(below) * right, evaluate=False)
        sign = signed(below) * signed(beside)
        return relation.func(sign * left * beside, sign * right * below, evaluate=False)

    def walk(formula: Any) -> Any:
        if formula.is_Relational:
            return one(formula)
        return formula.func(*map(walk, formula.args), evaluate=False)

    for divisor in divisors(text):
        for part in sympy.fraction(sympy.together(divisor)):
            signed(part)
    return Cleared(walk(symbolic(text)), tuple(positive))


def is_settled(lemma: Lemma) -> bool:
    """Whether sympy left the solvers nothing but x = x to judge."""
    import sympy

    conclusion = clear(lemma.then, lemma.point).formula
    return isinstance(conclusion, sympy.Equality) and sympy.expand(conclusion.lhs - conclusion.rhs) == 0


def denial(lemma: Lemma) -> str:
    """SMT-LIB: values at which the lemma fails or a denominator has another sign; ``unsat`` means that it is proved."""
    given = [clear(text, lemma.point) for text in lemma.given]
    then = clear(lemma.then, lemma.point)
    goal = _all(lemma, then.positive, formula(then.formula, lemma.integers))
    for hypothesis in given:  # those without denominators may decide the signs in the others
        if hypothesis.positive:
            implied = f"(or (not {formula(hypothesis.formula, lemma.integers)}) {goal})"
            goal = _all(lemma, hypothesis.positive, implied)
    plain = [formula(hypothesis.formula, lemma.integers) for hypothesis in given if not hypothesis.positive]
    return _script(lemma, [*plain, f"(not {goal})"], "unsat")


def counterexample(lemma: Lemma) -> str:
    """SMT-LIB: values at which the twin is defined and fails; ``sat`` with a model, which is then evaluated exactly."""
    given, then = lemma.altered()
    *hypotheses, last = [clear(text, lemma.point) for text in (*given, then)]
    signs = [_positive(lemma, factor) for cleared in (*hypotheses, last) for factor in cleared.positive]
    assumed = [formula(hypothesis.formula, lemma.integers) for hypothesis in hypotheses]
    denied = f"(not {formula(last.formula, lemma.integers)})"
    return _script(lemma, [*dict.fromkeys(signs), *assumed, denied], "sat")


def _positive(lemma: Lemma, factor: Any) -> str:
    return f"(> {term(factor, lemma.integers)} {_number(0, 1, lemma.integers)})"


def _all(lemma: Lemma, positive: tuple[Any, ...], last: str) -> str:
    parts = [_positive(lemma, factor) for factor in positive]
    return f"(and {' '.join([*parts, last])})" if parts else last


def _script(lemma: Lemma, assertions: list[str], status: str) -> str:
    sort, logic = ("Int", "QF_NIA") if lemma.integers else ("Real", "QF_NRA")
    for name in lemma.variables:
        if name in _TAKEN or not _NAME.fullmatch(name):
            raise Refused(f"{name} is no name for a variable")
    declared = [f"(declare-const {name} {sort})" for name in lemma.variables]
    return "\n".join([
        f"(set-logic {logic})", f"(set-info :status {status})", *declared, *(f"(assert {a})" for a in assertions), "",
    ])  # fmt: skip


def formula(x: Any, integers: bool = False) -> str:
    """A formula in SMT-LIB. Raises Refused for anything but comparisons of polynomials, and, or, not."""
    import sympy

    relations = {
        sympy.StrictLessThan: "<", sympy.LessThan: "<=", sympy.StrictGreaterThan: ">", sympy.GreaterThan: ">=",
        sympy.Equality: "=",
    }  # fmt: skip
    if type(x) in relations:
        return f"({relations[type(x)]} {term(x.lhs, integers)} {term(x.rhs, integers)})"
    if isinstance(x, sympy.Unequality):
        return f"(not (= {term(x.lhs, integers)} {term(x.rhs, integers)}))"
    if isinstance(x, sympy.Not):
        return f"(not {formula(x.args[0], integers)})"
    if isinstance(x, sympy.And | sympy.Or):
        word = "and" if isinstance(x, sympy.And) else "or"
        return f"({word} {' '.join(formula(part, integers) for part in x.args)})"
    raise Refused(f"{x} is no comparison of polynomials")


def term(x: Any, integers: bool = False) -> str:
    """A polynomial in SMT-LIB. Raises Refused for anything but numbers, variables, sums, products, powers."""
    if x.is_Symbol:
        return str(x.name)
    if x.is_Rational:
        return _number(int(x.p), int(x.q), integers)
    if x.is_Add or x.is_Mul:
        return f"({'+' if x.is_Add else '*'} {' '.join(term(part, integers) for part in x.args)})"
    if x.is_Pow and x.exp.is_Integer and 2 <= x.exp <= _MAX_EXPONENT:
        return f"(* {' '.join([term(x.base, integers)] * int(x.exp))})"
    raise Refused(f"{x} is no polynomial")


def _number(numerator: int, denominator: int, integers: bool) -> str:
    if integers:
        if denominator != 1:
            raise Refused(f"{numerator}/{denominator} among integers")
        return str(numerator) if numerator >= 0 else f"(- {-numerator})"
    text = f"{abs(numerator)}.0" if denominator == 1 else f"(/ {abs(numerator)}.0 {denominator}.0)"
    return text if numerator >= 0 else f"(- {text})"
