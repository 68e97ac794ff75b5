"""Comparisons as leaves, each with its whole formula in it; positive polynomials stay with the kernel."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb, factorial, prod

from kvverify.export import expression
from kvverify.export.expression import Expression, Inequality, Number, Power, at_most, below, total, wrap
from kvverify.export.facts import Case, Fact
from kvverify.kernel.document import Malformed, OverLimit, integer, rational, short, strings

_LINES = 256  # of a program whose comparisons are written out
_NODES = 1 << 14  # of one side
_COUNT = 4096  # of binomials and factorials
_REAL: dict[str, Callable[[Expression], Expression]] = {
    "exp": expression.exp, "ln": expression.ln, "log2": expression.log2, "sqrt": expression.sqrt,
}  # fmt: skip


class Held(Fact):
    """The claim itself."""


def comparison(case: Case) -> Fact:
    """Each comparison of the claim."""
    lines, claims = strings(case.fields.get("program"), "program"), strings(case.fields.get("holds"), "holds")
    if max(len(lines), len(claims)) > _LINES:
        raise OverLimit(f"limit: a program of more than {_LINES} lines is not written out")
    values: list[tuple[Expression, int]] = []
    defined: list[Inequality] = []

    def value(word: str) -> tuple[Expression, int]:
        if word[:1] != "@":
            return Number(rational(word, "program")), 1
        line = integer(word[1:], "program")
        if not 0 <= line < len(values):
            raise Malformed(f"program: @{line} is no earlier line")
        return values[line]

    for i, line in enumerate(lines):
        operation, *words = line.split(" ")
        operands = [value(word) for word in words]
        nodes = 1 + sum(size for _, size in operands)
        if nodes > _NODES:
            raise OverLimit(f"limit: a number of more than {_NODES} operations is not written out")
        defined += _defined(operation, [x for x, _ in operands])
        values.append((_applied(f"program[{i}]", operation, [x for x, _ in operands]), nodes))
    for i, claim in enumerate(claims):
        left, sign, right = [*claim.split(" "), "", ""][:3]
        if sign not in ("<", "<="):
            raise Malformed(f"holds[{i}]: expected < or <=, found {short(sign)!r}")
        relation = (below if sign == "<" else at_most)(value(left)[0], value(right)[0])
        case.leaf(f"holds_{i}", f"holds[{i}]: left {sign} right", relation)
    if defined:
        asked = "squares of divisors and arguments of logarithms above 0, arguments of roots at least 0"
        case.leaf("defined", asked, *defined)
    return Held()


def _defined(operation: str, x: list[Expression]) -> list[Inequality]:
    """What the operation asks of its operands, as inequalities."""
    if operation == "quotient" and len(x) == 2:
        return [below(0, x[1] * x[1])]
    if operation == "power" and len(x) == 2 and isinstance(x[1], Number) and x[1].value < 0:
        return [below(0, x[0] * x[0])]
    if operation in ("ln", "log2"):
        return [below(0, x[0])] if x else []
    return [at_most(0, x[0])] if operation == "sqrt" and x else []


def _applied(where: str, operation: str, x: list[Expression]) -> Expression:
    if not x or (len(x) != 1 and operation in _REAL):
        raise Malformed(f"{where}: expected operands")
    match operation:
        case "sum":
            return total(x)
        case "product":
            return prod(x[1:], start=x[0])
        case "difference":
            return x[0] - x[1]
        case "quotient":
            return x[0] / x[1]
        case "power":
            exponent = _whole(where, x[1])
            return Power(x[0], exponent) if exponent >= 0 else 1 / Power(x[0], -exponent)
    if operation in _REAL:
        return _REAL[operation](x[0])
    n, k = _whole(where, x[0]), _whole(where, x[-1])
    if n > _COUNT:
        raise OverLimit(f"limit: binomials and factorials of more than {_COUNT}")
    if n < 0 or operation not in ("binomial", "binomial-tail", "factorial"):
        raise Malformed(f"{where}: unknown operation {short(operation)!r}, or of a number below 0")
    if operation == "factorial":
        return wrap(factorial(n))
    if operation == "binomial":
        return wrap(comb(n, k) if k >= 0 else 0)
    return wrap(sum(comb(n, j) for j in range(min(n, k) + 1)))


def _whole(where: str, x: Expression) -> int:
    if not isinstance(x, Number) or x.value.denominator != 1:
        raise OverLimit(f"limit: {where}: an integer that is written out is needed")
    return int(Fraction(x.value))


def polynomial(case: Case) -> Fact:
    """Signs of integers."""
    case.kept("the polynomial has no root in the interval, or is a sum of terms that are not negative there")
    return Held()


def held(case: Case, last: Fact) -> None:
    """The step decides the claim itself."""
    if not isinstance(last, Held):
        raise Malformed("the last step is not about this claim")
