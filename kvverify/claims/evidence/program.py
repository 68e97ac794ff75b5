"""Programs of the rule ``comparison``, written as formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from math import comb
from operator import add, mul
from typing import Any

from flint import arb, ctx, fmpq

from kvverify.errors import UsageError
from kvverify.kernel import document

_SEARCH_BITS = 512
_LARGEST = 1 << 256
Node = dict[str, Any]


@dataclass(frozen=True)
class Term:
    """A rational, or an operation on terms. Equal terms become one line of a program."""

    operation: str
    operands: tuple[Term, ...] = ()
    value: Fraction = Fraction(0)

    def __add__(self, other: Operand) -> Term:
        return Term("sum", (self, term(other)))

    def __radd__(self, other: Operand) -> Term:
        return term(other) + self

    def __sub__(self, other: Operand) -> Term:
        return Term("difference", (self, term(other)))

    def __rsub__(self, other: Operand) -> Term:
        return term(other) - self

    def __mul__(self, other: Operand) -> Term:
        return Term("product", (self, term(other)))

    def __rmul__(self, other: Operand) -> Term:
        return term(other) * self

    def __truediv__(self, other: Operand) -> Term:
        return Term("quotient", (self, term(other)))

    def __rtruediv__(self, other: Operand) -> Term:
        return term(other) / self

    def __pow__(self, exponent: int) -> Term:
        return Term("power", (self, term(exponent)))

    def __lt__(self, other: Operand) -> Relation:
        return Relation(self, "<", term(other))

    def __le__(self, other: Operand) -> Relation:
        return Relation(self, "<=", term(other))

    def __gt__(self, other: Operand) -> Relation:
        return term(other) < self

    def __ge__(self, other: Operand) -> Relation:
        return term(other) <= self


Operand = Term | Fraction | int


@dataclass(frozen=True)
class Relation:
    """left < right or left <= right."""

    left: Term
    sign: str
    right: Term

    def __invert__(self) -> Relation:
        """Its contrary."""
        return Relation(self.right, "<=" if self.sign == "<" else "<", self.left)

    def __bool__(self) -> bool:
        raise TypeError("a relation is for the kernel to decide, not for Python")


def term(value: Operand) -> Term:
    """The value as a term."""
    return value if isinstance(value, Term) else Term("", value=Fraction(value))


def _function(operation: str) -> Callable[..., Term]:
    return lambda *operands: Term(operation, tuple(map(term, operands)))


exp, ln, log2, sqrt = map(_function, ("exp", "ln", "log2", "sqrt"))
binomial, binomial_tail = map(_function, ("binomial", "binomial-tail"))


def total(terms: Iterable[Operand]) -> Term:
    """Their sum; 0 of none."""
    found = tuple(map(term, terms))
    return Term("sum", found) if len(found) > 1 else found[0] if found else term(0)


def equal(left: Operand, right: Operand) -> tuple[Relation, Relation]:
    """left = right, as two relations."""
    return term(left) <= right, term(right) <= left


@dataclass
class _Lines:
    """The lines so far, each once."""

    texts: list[str] = field(default_factory=list)
    known: dict[Term, str] = field(default_factory=dict)

    def name(self, wanted: Term) -> str:
        """How an operand of a line is written."""
        if not wanted.operation:
            return str(wanted.value)
        if wanted not in self.known:
            words = [wanted.operation, *map(self.name, wanted.operands)]
            self.known[wanted] = f"@{len(self.texts)}"
            self.texts.append(" ".join(words))
        return self.known[wanted]


def comparison(*relations: Relation) -> Node:
    """The certificate that all of them hold."""
    lines = _Lines()
    holds = [f"{lines.name(r.left)} {r.sign} {lines.name(r.right)}" for r in relations]
    statement = {"claim": "comparison", "program": lines.texts, "holds": holds}
    return document.build(statement, [{"id": "comparison", "rule": "comparison", "uses": {}, "given": {}, "gives": {}}])


def threshold(condition: Callable[[int], Relation], start: int) -> tuple[int, tuple[Relation, ...]]:
    """The least integer >= ``start`` at which the condition holds, and that it does and did not one before.

    The condition must hold at all integers after one at which it does; where ``start`` is the least, only that it
    holds is in the relations. Raises UsageError where none up to 2^256 is found.
    """
    low, step = start - 1, 1
    while not _holds(condition(low + step)):
        low, step = low + step, 2 * step
        if low > _LARGEST:
            raise UsageError("no number up to 2^256 passes: a hypothesis of the claim is not met")
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _holds(condition(middle)) else (middle, high)
    return high, (condition(high),) if high == start else (condition(high), ~condition(high - 1))


def _holds(relation: Relation) -> bool:
    """For the search; the kernel has the last word."""
    with ctx.workprec(_SEARCH_BITS):
        left, right = _number(relation.left), _number(relation.right)
        return bool(left < right if relation.sign == "<" else left <= right)


def _number(wanted: Term) -> Any:
    """A rational where it is one, else a ball."""
    x = [_number(operand) for operand in wanted.operands]
    match wanted.operation:
        case "":
            return fmpq(wanted.value.numerator, wanted.value.denominator)
        case "sum":
            return reduce(add, x)
        case "product":
            return reduce(mul, x)
        case "difference":
            return x[0] - x[1]
        case "quotient":
            return x[0] / x[1]
        case "power":
            return x[0] ** int(x[1].p)
        case "binomial":
            return fmpq(comb(int(x[0].p), int(x[1].p)))
        case "binomial-tail":
            return fmpq(sum(comb(int(x[0].p), j) for j in range(int(x[1].p) + 1)))
        case "log2":
            power = _binary(x[0])
            return power if power is not None else arb(x[0]).log() / arb.const_log2()
    return {"exp": arb.exp, "ln": arb.log, "sqrt": arb.sqrt}[wanted.operation](arb(x[0]))


def _binary(x: Any) -> fmpq | None:
    """k where x is 2^k: there the kernel knows equalities."""
    if not isinstance(x, fmpq) or x <= 0:
        return None
    power = int(x.p).bit_length() - int(x.q).bit_length()
    return fmpq(power) if x == fmpq(2) ** power else None


def within(condition: bool, hypothesis: str, given: object) -> None:
    """Raise UsageError that names the hypothesis unless it holds."""
    if not condition:
        raise UsageError(f"{hypothesis} is needed, {given} was given")
