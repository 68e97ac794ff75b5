"""The language of the lemmas: arithmetic, comparisons, and / or / not, written as Python writes them.

One text, two readings that share nothing but Python's parser: exact values in Fractions, and a sympy expression. There
are no calls in it, so exp, log and sqrt cannot be written down.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from typing import Any

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
_RELATIONS: dict[type[ast.cmpop], tuple[Callable[[Any, Any], Any], str]] = {
    ast.Lt: (operator.lt, "StrictLessThan"), ast.LtE: (operator.le, "LessThan"),
    ast.Gt: (operator.gt, "StrictGreaterThan"), ast.GtE: (operator.ge, "GreaterThan"),
    ast.Eq: (operator.eq, "Equality"), ast.NotEq: (operator.ne, "Unequality"),
}  # fmt: skip


class Refused(ValueError):
    """No polynomial statement: it has something else than + - * /, integer powers, comparisons and booleans in it."""


@cache
def parse(text: str) -> ast.expr:
    """The tree of ``text``. Raises Refused."""
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise Refused(f"{text!r}: {error.msg}") from None


def names(*texts: str) -> tuple[str, ...]:
    """The variables, in the order in which they appear."""
    nodes = [node for text in texts for node in sorted(_names(text), key=lambda node: node.col_offset)]
    return tuple(dict.fromkeys(node.id for node in nodes))


def _names(text: str) -> list[ast.Name]:
    return [node for node in ast.walk(parse(text)) if isinstance(node, ast.Name)]


def value(text: str, at: Mapping[str, Fraction]) -> Fraction | bool:
    """The exact value of a term, or the truth of a formula. Raises Refused, and ZeroDivisionError."""
    found: Fraction | bool = _value(parse(text), at)
    return found


def _value(node: ast.expr, at: Mapping[str, Fraction]) -> Any:
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return Fraction(number)
        case ast.Name(id=name):
            return at[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, at)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not _value(inner, at)
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            return _value(base, at) ** _integer(exponent)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _ARITHMETIC:
            return _ARITHMETIC[type(operation)](_value(left, at), _value(right, at))
        case ast.Compare(ops=relations) if all(type(relation) in _RELATIONS for relation in relations):
            return all(_RELATIONS[type(r)][0](_value(x, at), _value(y, at)) for x, r, y in _links(node))
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, at) for part in parts)
        case ast.BoolOp(op=ast.Or(), values=parts):
            return any(_value(part, at) for part in parts)
    raise Refused(f"{ast.unparse(node)}: only + - * /, integer powers, comparisons and booleans may be used")


def symbolic(text: str) -> Any:
    """The same as a sympy expression; relations stay as they are, true or not. Raises Refused."""
    return _symbolic(parse(text))


def _symbolic(node: ast.expr) -> Any:
    import sympy

    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return sympy.Integer(number)
        case ast.Name(id=name):
            return sympy.Symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_symbolic(inner)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return sympy.Not(_symbolic(inner))
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            return _symbolic(base) ** _integer(exponent)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _ARITHMETIC:
            return _ARITHMETIC[type(operation)](_symbolic(left), _symbolic(right))
        case ast.Compare(ops=relations) if all(type(relation) in _RELATIONS for relation in relations):
            relations = [
                getattr(sympy, _RELATIONS[type(r)][1])(_symbolic(x), _symbolic(y), evaluate=False)
                for x, r, y in _links(node)
            ]
            return relations[0] if len(relations) == 1 else sympy.And(*relations, evaluate=False)
        case ast.BoolOp(op=ast.And(), values=parts):
            return sympy.And(*map(_symbolic, parts), evaluate=False)
        case ast.BoolOp(op=ast.Or(), values=parts):
            return sympy.Or(*map(_symbolic, parts), evaluate=False)
    raise Refused(f"{ast.unparse(node)}: only + - * /, integer powers, comparisons and booleans may be used")


def divisors(text: str) -> list[Any]:
    """Every term that the text divides by, as it stands there: sympy may cancel it, which does not make it non-zero."""
    found = []
    for node in ast.walk(parse(text)):
        match node:
            case ast.BinOp(op=ast.Div(), right=divisor):
                found.append(_symbolic(divisor))
            case ast.BinOp(left=divisor, op=ast.Pow(), right=exponent) if _integer(exponent) < 0:
                found.append(_symbolic(divisor))
    return found


def sides(text: str) -> tuple[str, str]:
    """Left and right of one comparison "left <= right". Raises Refused."""
    match parse(text):
        case ast.Compare(left=left, ops=[ast.LtE()], comparators=[right]):
            return ast.unparse(left), ast.unparse(right)
    raise Refused(f"{text}: one comparison <= is expected")


def _links(node: ast.Compare) -> list[tuple[ast.expr, ast.cmpop, ast.expr]]:
    """x < y <= z as its two comparisons."""
    return list(zip([node.left, *node.comparators[:-1]], node.ops, node.comparators, strict=True))


def _integer(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
            return -number
    raise Refused(f"{ast.unparse(node)}: an exponent must be an integer")
