"""What the kernel can re-prove of a lemma: its polynomial where it has one variable, its numbers, the envelopes' base.

Certificates of the claims ``polynomial`` (rule ``positive-polynomial``) and ``comparison``.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.lemmas.base import Lemma
from kvverify.lemmas.encode import clear
from kvverify.lemmas.expression import sides, value

End = Fraction | None  # of an interval; None is infinite


def polynomial(lemma: Lemma) -> tuple[tuple[Fraction, ...], End, End, bool] | None:
    """(coefficients, lower, upper, strict): the conclusion as p > 0, or p >= 0, on the hypotheses' closed interval.

    Ascending coefficients. Where p is 0 at an end that the hypotheses exclude, ``strict`` is False. None for a lemma
    that is not one inequality in one variable on an interval.
    """
    import sympy

    if len(lemma.variables) != 1:
        return None
    x = sympy.Symbol(lemma.variables[0])
    then = clear(lemma.then, lemma.point).formula
    bounds = [part for text in lemma.given for part in _relations(clear(text, lemma.point).formula)]
    if not _inequality(then) or any(not _inequality(bound) or _ascending(bound, x)[2:] for bound in bounds):
        return None
    coefficients = _ascending(then, x)
    ends = [(-c[0] / c[1], c[1] > 0, _strict(bound)) for bound in bounds for c in [_ascending(bound, x)]]
    lower = max((end for end, from_below, _ in ends if from_below), default=None)
    upper = min((end for end, from_below, _ in ends if not from_below), default=None)
    excluded = {end for end, _, strict in ends if strict}
    touches = any(end in excluded and _at(coefficients, end) == 0 for end in (lower, upper) if end is not None)
    return coefficients, lower, upper, _strict(then) and not touches


def certificates(lemma: Lemma) -> list[dict[str, Any]]:
    """Certificates beside the solvers' answers: of the lemma's polynomial or numbers, and of its envelopes' base."""
    found = []
    if (known := polynomial(lemma)) is not None:
        found.append(_positive(lemma, *known))
    if not lemma.variables:
        left, right = (value(side, {}) for side in sides(lemma.then))
        found.append(_comparison([f"{left} <= {right}"]))
    found += [_comparison([base]) for envelope in lemma.envelopes for base in envelope.base]
    return found


def kernel_verdict(lemma: Lemma) -> tuple[str | None, str]:
    """The least of the kernel's verdicts, None where it has nothing to check; and the reason where it is not VALID."""
    results = [check(tree) for tree in certificates(lemma)]
    for verdict in (Verdict.INVALID, Verdict.INCOMPLETE):
        for result in results:
            if result.verdict is verdict:
                return verdict.value, result.reason
    return (Verdict.VALID.value if results else None), ""


def _positive(lemma: Lemma, coefficients: tuple[Fraction, ...], lower: End, upper: End, strict: bool) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "claim": "polynomial", "coefficients": [str(c) for c in coefficients], "relation": ">" if strict else ">=",
    }  # fmt: skip
    statement |= {name: str(end) for name, end in (("from", lower), ("to", upper)) if end is not None}
    given = {"form": "sturm", **({} if strict else _square(coefficients))}
    return document.build(statement, [_step("positive-polynomial", given)])


def _square(coefficients: tuple[Fraction, ...]) -> dict[str, list[str]]:
    """The polynomial as square^2 rest, where a factor is in it twice."""
    import sympy

    x = sympy.Symbol("x")
    whole = sympy.Poly([sympy.Rational(str(c)) for c in reversed(coefficients)], x)
    square = sympy.Poly(1, x)
    for factor, times in whole.factor_list()[1]:
        square *= factor ** (times // 2)
    if square.degree() == 0:
        return {}
    rest = whole.quo(square**2)
    return {name: [str(c) for c in reversed(p.all_coeffs())] for name, p in (("square", square), ("rest", rest))}


def _comparison(texts: list[str]) -> dict[str, Any]:
    """Comparisons "left <= right" of rationals and "exp p"."""
    program: list[str] = []

    def operand(text: str) -> str:
        if not text.startswith("exp "):
            return str(Fraction(text))
        program.append(text)
        return f"@{len(program) - 1}"

    holds = [" <= ".join(operand(side) for side in text.split(" <= ")) for text in texts]
    return document.build({"claim": "comparison", "program": program, "holds": holds}, [_step("comparison", {})])


def _step(rule: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"id": "all", "rule": rule, "uses": {}, "given": given, "gives": {}}


def _relations(formula: Any) -> tuple[Any, ...]:
    """The comparisons that are all asked for; a formula of another form is left whole."""
    import sympy

    return formula.args if isinstance(formula, sympy.And) else (formula,)


def _inequality(relation: Any) -> bool:
    return bool(relation.is_Relational and relation.rel_op in ("<", "<=", ">", ">="))


def _strict(relation: Any) -> bool:
    return relation.rel_op in ("<", ">")


def _ascending(relation: Any, x: Any) -> tuple[Fraction, ...]:
    """p of p > 0 or p >= 0."""
    import sympy

    difference = relation.lhs - relation.rhs if relation.rel_op[0] == ">" else relation.rhs - relation.lhs
    return tuple(Fraction(str(c)) for c in reversed(sympy.Poly(difference, x).all_coeffs()))


def _at(coefficients: tuple[Fraction, ...], point: Fraction) -> Fraction:
    return sum((c * point**i for i, c in enumerate(coefficients)), Fraction(0))
