"""Expressions over the real numbers: what the leaf inequalities are made of, before any prover's syntax.

Numbers are exact. An expression is built by Python's operators and the functions below, and is never simplified: what
is printed is the rule's own formula with the certificate's numbers in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from kvverify.kernel.document import OverLimit

_LONGEST = 13_288  # bits
Function = Literal["exp", "ln", "log2", "sqrt", "tanh", "positive"]
Operator = Literal["-", "*", "/"]


class Expression:
    """A real number, written down. ``positive(x)`` is the larger of 0 and x."""

    def __add__(self, other: Operand) -> Expression:
        return Sum((self, wrap(other)))

    def __radd__(self, other: Operand) -> Expression:
        return Sum((wrap(other), self))

    def __sub__(self, other: Operand) -> Expression:
        return Binary("-", self, wrap(other))

    def __rsub__(self, other: Operand) -> Expression:
        return Binary("-", wrap(other), self)

    def __mul__(self, other: Operand) -> Expression:
        return Binary("*", self, wrap(other))

    def __rmul__(self, other: Operand) -> Expression:
        return Binary("*", wrap(other), self)

    def __truediv__(self, other: Operand) -> Expression:
        return Binary("/", self, wrap(other))

    def __rtruediv__(self, other: Operand) -> Expression:
        return Binary("/", wrap(other), self)

    def __pow__(self, exponent: int) -> Expression:
        return Power(self, exponent)

    def __neg__(self) -> Expression:
        return Binary("-", Number(Fraction(0)), self)


@dataclass(frozen=True)
class Number(Expression):
    """A rational constant. Raises OverLimit where it is too long to be printed."""

    value: Fraction

    def __post_init__(self) -> None:
        if max(self.value.numerator.bit_length(), self.value.denominator.bit_length()) > _LONGEST:
            raise OverLimit("limit: a number of more than 4,000 digits")


@dataclass(frozen=True)
class Sum(Expression):
    """The sum of its terms, at least one."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Binary(Expression):
    """A difference, a product or a quotient."""

    operator: Operator
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Power(Expression):
    """base^exponent, exponent >= 0."""

    base: Expression
    exponent: int


@dataclass(frozen=True)
class Call(Expression):
    """A function of one real number."""

    function: Function
    argument: Expression


@dataclass(frozen=True)
class Pi(Expression):
    """The circle's number."""


@dataclass(frozen=True)
class Variable(Expression):
    """The one real variable x of an inequality that holds on an interval."""


Operand = Expression | Fraction | int


@dataclass(frozen=True)
class Inequality:
    """left <= right, or left < right where ``strict``; for all x of the interval where there is one."""

    left: Expression
    right: Expression
    strict: bool = False
    interval: tuple[Fraction, Fraction] | None = None


def wrap(value: Operand) -> Expression:
    """The value as an expression."""
    return value if isinstance(value, Expression) else Number(Fraction(value))


def at_most(left: Operand, right: Operand) -> Inequality:
    """left <= right."""
    return Inequality(wrap(left), wrap(right))


def below(left: Operand, right: Operand) -> Inequality:
    """left < right."""
    return Inequality(wrap(left), wrap(right), strict=True)


def total(terms: list[Expression]) -> Expression:
    """The sum of any number of terms; 0 of none."""
    return Sum(tuple(terms)) if len(terms) > 1 else terms[0] if terms else Number(Fraction(0))


def exp(x: Operand) -> Expression:
    """e^x."""
    return Call("exp", wrap(x))


def ln(x: Operand) -> Expression:
    """The natural logarithm."""
    return Call("ln", wrap(x))


def log2(x: Operand) -> Expression:
    """The binary logarithm."""
    return Call("log2", wrap(x))


def sqrt(x: Operand) -> Expression:
    """The square root of x >= 0."""
    return Call("sqrt", wrap(x))


def tanh(x: Operand) -> Expression:
    """The hyperbolic tangent."""
    return Call("tanh", wrap(x))


def positive(x: Operand) -> Expression:
    """The larger of 0 and x."""
    return Call("positive", wrap(x))
