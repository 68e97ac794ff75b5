"""Positive polynomials, decided anew: flint isolates the real roots of the square-free factors.

Whatever hints the step gives, the question is whether the polynomial is positive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flint import arb, ctx, fmpq, fmpq_poly, fmpz_poly

from kvverify.crosscheck.facts import Rule
from kvverify.crosscheck.goal import Fact, Goal, must
from kvverify.crosscheck.settle import FIRST_PRECISION, LAST_PRECISION, Case
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, rational, strings

_DEGREE = 256


@dataclass(frozen=True)
class Polynomial(Goal):
    """Positive (``strict``) or not negative on a closed interval; an end that is None is infinite."""

    polynomial: fmpq_poly
    low: fmpq | None
    high: fmpq | None
    strict: bool

    def met_by(self, last: Fact) -> None:
        """The last step is about this polynomial."""
        must(isinstance(last, Positive) and last.goal is self, "the last step is about the claim's polynomial")


@dataclass(frozen=True)
class Positive(Fact):
    """It is."""

    goal: Polynomial


def read(node: Node) -> Polynomial:
    """The claim ``polynomial``."""
    fields(node, "statement", {"claim", "coefficients", "relation"}, {"from", "to"})
    texts = strings(node["coefficients"], "coefficients")
    if len(texts) > _DEGREE + 1:
        raise OverLimit(f"limit: a polynomial of degree {len(texts) - 1}")
    values = [rational(text, "coefficients") for text in texts]
    if not values or not values[-1] or node["relation"] not in (">", ">="):
        raise Malformed("statement: coefficients, the last one not 0, and > or >=")
    ends = [rational(node[name], name) if name in node else None for name in ("from", "to")]
    low, high = (None if end is None else fmpq(end.numerator, end.denominator) for end in ends)
    if low is not None and high is not None and low >= high:
        raise Malformed("statement: from < to")
    polynomial = fmpq_poly([fmpq(value.numerator, value.denominator) for value in values])
    return Polynomial(polynomial, low, high, node["relation"] == ">")


def positive_polynomial(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Positive:
    """No root in the interval (for >= none inside where the sign changes), and positive at one point of it."""
    fields(uses, "uses", set())
    fields(given, "given", {"form"}, {"cuts", "elevation", "square", "rest"})
    fields(gives, "gives", set())
    goal = case.about(Polynomial)
    ends = [end for end in (goal.low, goal.high) if end is not None]
    for end in ends:
        value = goal.polynomial(end)
        must(value > 0 or (value == 0 and not goal.strict), "not negative, and where > is claimed positive, at an end")
    _, factors = goal.polynomial.numer().factor_squarefree()
    deciding = [factor for factor, order in factors if goal.strict or order % 2]
    for factor in deciding:
        settled = _no_root(_without_roots(factor, ends), goal.low, goal.high)
        if settled is None:
            case.open.append("a root near an end of the interval")
        must(settled is not False, "no root inside of the interval")
    point = _inside(goal)
    must(goal.polynomial(point) > 0, "positive at a point inside")
    return Positive(goal)


def _without_roots(factor: fmpz_poly, points: list[fmpq]) -> fmpz_poly:
    """The square-free polynomial divided by x - point where that is a root."""
    for point in points:
        if fmpq_poly(factor)(point) == 0:
            factor = (fmpq_poly(factor) // fmpq_poly([-point, 1])).numer()
    return factor


def _no_root(factor: fmpz_poly, low: fmpq | None, high: fmpq | None) -> bool | None:
    """Whether a square-free polynomial has no real root between the ends, which are no roots."""
    if factor.degree() < 1:
        return True
    bits = FIRST_PRECISION
    while bits <= LAST_PRECISION:
        with ctx.workprec(bits):
            roots = [root.real for root, _ in factor.complex_roots() if root.imag == 0]
            places = [_place(root, low, high) for root in roots]
        if True in places:
            return False
        if None not in places:
            return True
        bits *= 2
    return None


def _place(root: arb, low: fmpq | None, high: fmpq | None) -> bool | None:
    """Whether the root lies between the ends."""
    if (low is not None and root < low) or (high is not None and root > high):
        return False
    inside = (low is None or root > low) and (high is None or root < high)
    return True if inside else None


def _inside(goal: Polynomial) -> fmpq:
    """A point inside of the interval that is no root: one of as many points as the degree, and one more."""
    low = goal.low if goal.low is not None else (goal.high - 1 if goal.high is not None else fmpq(0))
    high = goal.high if goal.high is not None else low + 1
    steps = goal.polynomial.degree() + 2
    points = [low + (high - low) * i / steps for i in range(1, steps)]
    return next(point for point in points if goal.polynomial(point) != 0)


RULES: dict[str, Rule] = {"positive-polynomial": positive_polynomial}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"polynomial": read}
