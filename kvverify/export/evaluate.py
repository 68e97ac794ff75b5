"""The value of an expression: exactly where it is a rational of moderate size, else as an Arb ball.

Only the choice of a tactic and of its precision rests on this, never the truth of what is printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from operator import add

from flint import arb, ctx, fmpq

from kvverify.export.expression import Binary, Call, Expression, Inequality, Number, Pi, Power, Sum, Variable

PRECISIONS = (64, 128, 256, 512, 1024, 2048)  # bits
LARGE = 1 << 20  # bits of a rational that is still computed
INTERVALS = 1 << 10  # parts of an interval that are looked at


@dataclass(frozen=True)
class Settled:
    """Whether an inequality is true (None: could not be decided), at which precision; None where it is exact."""

    truth: bool | None
    precision: int | None


def settle(inequality: Inequality, small: int = 512) -> Settled:
    """Decide an inequality: exactly where both sides are rationals of at most ``small`` bits, else by balls.

    What balls cannot tell apart, an equality for instance, is decided exactly where its size allows.
    """
    if inequality.interval is not None:
        return Settled(_everywhere(inequality, *inequality.interval), PRECISIONS[0])
    found = _exactly(inequality, small)
    if found is not None:
        return Settled(found, None)
    for precision in PRECISIONS:
        with ctx.workprec(precision):
            gap = ball(inequality.right) - ball(inequality.left)
        if gap > 0 or gap < 0:
            return Settled(bool(gap > 0), precision)
    return Settled(_exactly(inequality, LARGE), None)


def _everywhere(inequality: Inequality, low: Fraction, high: Fraction) -> bool | None:
    """By halving intervals; false where a middle says so, undecided after so many of them."""
    intervals = [(low, high)]
    for _ in range(INTERVALS):
        if not intervals:
            return True
        low, high = intervals.pop()
        if _gap(inequality, low, high) > 0:
            continue
        middle = (low + high) / 2
        if _gap(inequality, middle, middle) < 0:
            return False
        intervals += [(low, middle), (middle, high)]
    return None


def _gap(inequality: Inequality, low: Fraction, high: Fraction) -> arb:
    with ctx.workprec(PRECISIONS[0]):
        x = ball(Number(low)).union(ball(Number(high)))
        return ball(inequality.right, x) - ball(inequality.left, x)


def _exactly(inequality: Inequality, bits: int) -> bool | None:
    left, right = exact(inequality.left, bits), exact(inequality.right, bits)
    if left is None or right is None:
        return None
    return left < right if inequality.strict else left <= right


def exact(x: Expression, bits: int = LARGE) -> Fraction | None:
    """The rational that ``x`` is; None where it is none, or is computed through one of more than ``bits`` bits."""
    match x:
        case Number(value):
            found: Fraction | None = value
        case Sum(terms):
            values = [exact(term, bits) for term in terms]
            found = sum((v for v in values if v is not None), Fraction(0)) if None not in values else None
        case Binary(operator, left, right):
            found = _binary(operator, exact(left, bits), exact(right, bits))
        case Power(base, exponent):
            inner = exact(base, bits)
            found = inner**exponent if inner is not None and size(inner) * exponent <= bits else None
        case Call("log2", argument):
            power = binary_power(argument)
            found = None if power is None else Fraction(power)
        case Call("positive", argument):
            inner = exact(argument, bits)
            found = None if inner is None else max(inner, Fraction(0))
        case _:
            found = None
    return found if found is not None and size(found) <= bits else None


def _binary(operator: str, left: Fraction | None, right: Fraction | None) -> Fraction | None:
    if left is None or right is None or (operator == "/" and right == 0):
        return None
    return {"-": left - right, "*": left * right}[operator] if operator != "/" else left / right


def size(x: Fraction) -> int:
    """Bits of numerator and denominator."""
    return x.numerator.bit_length() + x.denominator.bit_length()


def binary_power(x: Expression) -> int | None:
    """k where ``x`` is exactly 2^k, k >= 1: its binary logarithm is an integer, and inequalities may be equalities."""
    value = exact(x, 1 << 12)
    if value is None or value.denominator != 1 or value < 2 or value.numerator & (value.numerator - 1):
        return None
    return value.numerator.bit_length() - 1


def ball(x: Expression, variable: arb | None = None) -> arb:
    """A ball that contains ``x`` at flint's precision, for any value of its variable in a ball; no number where it is
    undefined.
    """
    match x:
        case Number(value):
            return arb(fmpq(value.numerator, value.denominator))
        case Sum(terms):
            return reduce(add, (ball(term, variable) for term in terms))
        case Binary(operator, left, right):
            a, b = ball(left, variable), ball(right, variable)
            return a - b if operator == "-" else a * b if operator == "*" else a / b
        case Power(base, exponent):
            return ball(base, variable) ** exponent
        case Call(function, argument):
            return _call(function, ball(argument, variable))
        case Pi():
            return arb.pi()
        case Variable() if variable is not None:
            return variable
    raise TypeError(f"no expression without a variable: {x!r}")


def _call(function: str, x: arb) -> arb:
    if function == "log2":
        return x.log() / arb.const_log2()
    if function == "positive":
        return x.max(arb(0))
    result: arb = {"exp": x.exp, "ln": x.log, "sqrt": x.sqrt, "tanh": x.tanh}[function]()
    return result
