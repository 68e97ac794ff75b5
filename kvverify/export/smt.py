"""Leaf inequalities as an SMT-LIB script: the rational ones, each denied; a solver answers ``unsat`` to every one.

Powers are chains of squarings in constant definitions, so that a solver with exact rationals computes them at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from kvverify.export.coq import header
from kvverify.export.evaluate import LARGE, binary_power, exact
from kvverify.export.expression import Binary, Call, Expression, Inequality, Number, Power, Sum
from kvverify.export.facts import Leaf
from kvverify.export.leaves import Leaves

_BITS = LARGE >> 3  # of the largest rational that is left to a solver


class _Inexpressible(Exception):
    """No rational term, or one through a rational of too many bits."""


def to_smt(found: Leaves) -> tuple[str, tuple[Leaf, ...]]:
    """The script, and the leaves that are not in it."""
    checks, refused = [], []
    for leaf in found.leaves:
        try:
            checks.append(_check(leaf))
        except _Inexpressible:
            refused.append(leaf)
    head = header(found, ";", "", tuple(refused))
    return "\n".join([head, "(set-logic QF_NRA)\n", *checks]), tuple(refused)


@dataclass
class _Script:
    """Terms of one leaf; powers of one base share their squarings."""

    lines: list[str] = field(default_factory=list)
    names: dict[tuple[Expression, int], str] = field(default_factory=dict)

    def term(self, x: Expression) -> str:
        """The expression as a term. Raises _Inexpressible."""
        match x:
            case Number(value):
                return _number(value)
            case Sum(terms):
                return f"(+ {' '.join(map(self.term, terms))})"
            case Binary(operator, left, right):
                return f"({operator} {self.term(left)} {self.term(right)})"
            case Power(base, exponent):
                return self.power(base, exponent) if exponent else "1.0"
            case Call("log2", argument) if power := binary_power(argument):
                return _number(Fraction(power))
            case Call("positive", argument):
                inner = self.term(argument)
                return f"(ite (< 0.0 {inner}) {inner} 0.0)"
        raise _Inexpressible

    def power(self, base: Expression, exponent: int) -> str:
        """The name of base^exponent, exponent >= 1: of the half's square, times the base where it is odd."""
        if (base, exponent) not in self.names:
            if exponent == 1:
                value = self.term(base)
            else:
                half = self.power(base, exponent // 2)
                value = f"(* {half} {half})"
                if exponent % 2:
                    value = f"(* {value} {self.power(base, 1)})"
            name = f"p{len(self.names)}"
            self.lines.append(f"(define-fun {name} () Real {value})")
            self.names[base, exponent] = name
        return self.names[base, exponent]


def _check(leaf: Leaf) -> str:
    script = _Script()
    parts = [_part(script, part) for part in leaf.parts]
    denied = f"(not {parts[0] if len(parts) == 1 else '(and ' + ' '.join(parts) + ')'})"
    lines = ["(push 1)", *script.lines, f"(assert {denied})", "(check-sat)", "(pop 1)"]
    return "\n".join([f"; {leaf.name}: {leaf.words}", *lines, ""])


def _part(script: _Script, part: Inequality) -> str:
    if exact(part.left, _BITS) is None or exact(part.right, _BITS) is None:
        raise _Inexpressible
    return f"({'<' if part.strict else '<='} {script.term(part.left)} {script.term(part.right)})"


def _number(value: Fraction) -> str:
    text = f"{abs(value.numerator)}.0"
    if value.denominator != 1:
        text = f"(/ {text} {value.denominator}.0)"
    return f"(- {text})" if value < 0 else text
