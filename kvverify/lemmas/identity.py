"""Identities of rational functions, proved by exact values on a grid: independent of sympy and of the solvers.

l = r is N/D = 0 with a polynomial N whose degree in each variable is bounded by the text. N is 0 if it vanishes on a
grid with more points in each direction than its degree (induction on the variables; a polynomial of degree d has at
most d roots). N vanishes where l and r are defined and equal. Source: textbook.
"""

from __future__ import annotations

import ast
from collections import Counter
from fractions import Fraction
from itertools import product

from kvverify.lemmas.expression import Refused, names, parse, value

_TRIES = 8
Degrees = Counter[str]


def is_identity(text: str) -> bool:
    """Whether ``text``, one equation, holds wherever both sides are defined. Raises Refused for other texts."""
    equation = parse(text)
    if not (isinstance(equation, ast.Compare) and [type(op) for op in equation.ops] == [ast.Eq]):
        raise Refused(f"{text}: no equation")
    (left, below), (right, beside) = _degrees(equation.left), _degrees(equation.comparators[0])
    bound = (left + beside) | (right + below)
    for start in range(2, 2 + _TRIES):  # another grid where a division fails
        sides = [[Fraction(start + 7 * i + k) for k in range(bound[name] + 1)] for i, name in enumerate(names(text))]
        try:
            return all(value(text, dict(zip(names(text), point, strict=True))) for point in product(*sides))
        except ZeroDivisionError:
            continue
    raise Refused(f"{text}: divides by 0 on every grid that was tried")


def _degrees(node: ast.expr) -> tuple[Degrees, Degrees]:
    """Bounds for numerator and denominator, nothing cancelled, in each variable."""
    match node:
        case ast.Constant():
            return Degrees(), Degrees()
        case ast.Name(id=name):
            return Degrees([name]), Degrees()
        case ast.UnaryOp(operand=inner):
            return _degrees(inner)
        case ast.BinOp(left=base, op=ast.Pow(), right=ast.Constant(value=int() as power)):
            up, down = _degrees(base)
            return Degrees({x: n * power for x, n in up.items()}), Degrees({x: n * power for x, n in down.items()})
        case ast.BinOp(left=left, op=operation, right=right):
            (a, b), (c, d) = _degrees(left), _degrees(right)
            match operation:
                case ast.Add() | ast.Sub():
                    return (a + d) | (c + b), b + d
                case ast.Mult():
                    return a + c, b + d
                case ast.Div():
                    return a + d, b + c
    raise Refused(f"{ast.unparse(node)}: no rational function of an equation")
