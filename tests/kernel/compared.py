"""Comparisons and positive polynomials a second time: programs as Python expressions over Fractions and Arb; roots by
flint.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import comb, factorial, isqrt, prod
from typing import Any

from flint import arb, fmpq, fmpq_poly

from tests.kernel.families import TooLarge, require
from tests.kernel.real import at_most, ball, precision

Node = dict[str, Any]
Number = Any  # a Fraction or a ball
LONGEST = 1 << 22  # bits


@dataclass(frozen=True)
class Program:
    values: list[Number]
    holds: list[tuple[Number, str, Number]]


def program(node: Node) -> Program:
    """The values of a program; Wrong where one is not defined."""
    values: list[Number] = []

    def value(word: str) -> Number:
        return values[int(word[1:])] if word[0] == "@" else Fraction(word)

    with precision(1000):
        for line in node["program"]:
            operation, *words = line.split(" ")
            values.append(apply(operation, [value(word) for word in words]))
            require(isinstance(values[-1], Fraction) or values[-1].is_finite(), line)
    words = [claim.split(" ") for claim in node["holds"]]
    return Program(values, [(value(left), sign, value(right)) for left, sign, right in words])


def apply(operation: str, x: list[Number]) -> Number:
    """One operation."""
    exact = [v for v in x if isinstance(v, Fraction)]
    known = len(exact) == len(x)
    match operation:
        case "sum":
            return sum(exact, Fraction(0)) if known else sum(map(ball, x), arb(0))
        case "product":
            return prod(exact, start=Fraction(1)) if known else prod(map(ball, x), start=arb(1))
        case "difference":
            return exact[0] - exact[1] if known else ball(x[0]) - ball(x[1])
        case "quotient":
            require(not (isinstance(x[1], Fraction) and x[1] == 0), "divisor")
            return exact[0] / exact[1] if known else ball(x[0]) / ball(x[1])
        case "power":
            return power(x[0], x[1])
        case "exp":
            return Fraction(1) if x[0] == 0 and known else ball(x[0]).exp()
        case "sqrt":
            require(not known or exact[0] >= 0, "root")
            return root(exact[0]) if known else ball(x[0]).sqrt()
        case "ln" | "log2":
            require(not known or exact[0] > 0, "logarithm")
            return Fraction(0) if known and exact[0] == 1 else logarithm(x[0], binary=operation == "log2")
    require(known and all(v.denominator == 1 for v in exact) and exact[0] >= 0, operation)
    n, k = int(exact[0]), int(exact[-1])
    if n > 1 << 20 or (operation != "binomial" and n > 1 << 14):
        raise TooLarge
    if operation == "factorial":
        return Fraction(factorial(n))
    if operation == "binomial":
        return Fraction(comb(n, k) if k >= 0 else 0)
    return Fraction(sum(comb(n, j) for j in range(min(n, k) + 1)))


def power(x: Number, exponent: Number) -> Number:
    require(isinstance(exponent, Fraction) and exponent.denominator == 1, "exponent")
    k = int(exponent)
    require(x != 0 or k >= 0, "power of 0")
    if isinstance(x, Fraction) and abs(k) * (x.numerator.bit_length() + x.denominator.bit_length()) > LONGEST:
        raise TooLarge
    return x**k


def root(x: Fraction) -> Number:
    found = Fraction(isqrt(x.numerator), isqrt(x.denominator))
    return found if found**2 == x else ball(x).sqrt()


def logarithm(x: Number, *, binary: bool) -> Number:
    if binary and isinstance(x, Fraction):
        k = x.numerator.bit_length() - x.denominator.bit_length()
        if x == Fraction(2) ** k:
            return Fraction(k)
    return ball(x).log() / (arb(2).log() if binary else 1)


def read(node: Node) -> Node:
    """The statement as it is: what its lines are is a question of the step."""
    return node


def compare(node: Node, step: Node, facts: Node, folder: object) -> bool:
    require(compared(program(node)), "a comparison")
    return True


def compared(found: Program) -> bool:
    with precision(1000):
        return all(
            at_most(left, right) if sign == "<=" else not at_most(right, left) for left, sign, right in found.holds
        )


def met(found: object, last: object) -> bool:
    return last is True


@dataclass(frozen=True)
class Polynomial:
    coefficients: list[Fraction]
    low: Fraction | None
    high: Fraction | None
    strict: bool

    def at(self, x: Fraction) -> Fraction:
        return sum((c * x**i for i, c in enumerate(self.coefficients)), Fraction(0))


def polynomial(node: Node) -> Polynomial:
    """The statement; Wrong where it is out of range."""
    ends = [Fraction(node[name]) if name in node else None for name in ("from", "to")]
    require(None in ends or ends[0] < ends[1], "interval")  # type: ignore[operator]
    found = Polynomial([Fraction(c) for c in node["coefficients"]], ends[0], ends[1], node["relation"] == ">")
    require(found.coefficients[-1] != 0, "leading coefficient")
    return found


def positive(found: Polynomial, step: Node, facts: Node, folder: object) -> bool:
    """The step's hints are good, and the claim is true."""
    given = step["given"]
    deciding = found
    if "square" in given:
        square, rest = ([Fraction(c) for c in given[name]] for name in ("square", "rest"))
        require(not found.strict and times(times(square, square), rest) == found.coefficients, "square")
        deciding = Polynomial(rest, found.low, found.high, found.strict)
    if given["form"] == "bernstein":
        bernstein(deciding, [Fraction(c) for c in given["cuts"]], int(given["elevation"]))
    else:
        inner = [r for r in roots(deciding) if deciding.strict or r not in (deciding.low, deciding.high)]
        require(not inner, "roots")
    require(true(found), "sign")
    return True


def times(a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
    found = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            found[i + j] += x * y
    return found


def bernstein(found: Polynomial, cuts: list[Fraction], elevation: int) -> None:
    """By products of polynomials: c_i (c + d u)^i (1 + u)^(n + k - i)."""
    ends = [found.low, *cuts, found.high]
    inner = [e for e in ends if e is not None]
    require(0 <= elevation <= 600 and bool(inner) and all(a < b for a, b in pairwise(inner)), "cuts")
    degree = len(found.coefficients) - 1
    for low, high in pairwise(ends):
        total = fmpq_poly([0])
        half = low is None or high is None
        for i, c in enumerate(found.coefficients):
            spare = elevation if half else degree - i + elevation
            total += exact(c) * fmpq_poly(line(low, high)) ** i * fmpq_poly([1, 1]) ** spare
        numbers = [total[j] for j in range(degree + elevation + 1)]
        require(min(numbers) >= 0, "coefficients")
        ends_at = numbers[:1] if half else [numbers[0], numbers[-1]]
        require(not found.strict or min(ends_at) > 0, "ends")


def line(low: Fraction | None, high: Fraction | None) -> list[Any]:
    """x (times 1 + u on a finite piece), in powers of u."""
    if low is None:
        assert high is not None
        return [exact(high), -1]
    return [exact(low), 1 if high is None else exact(high)]


def exact(x: Fraction) -> fmpq:
    return fmpq(x.numerator, x.denominator)


def roots(found: Polynomial) -> list[Fraction | arb]:
    """Distinct roots in the closed interval, as rationals where they are its ends."""
    p = fmpq_poly([exact(c) for c in found.coefficients])
    at_ends: list[Fraction | arb] = []
    for end in (found.low, found.high):
        if end is not None and p(exact(end)) == 0:
            at_ends.append(end)
            while p(exact(end)) == 0:
                p = p // fmpq_poly([-exact(end), 1])
    inner: list[Fraction | arb] = []
    for factor, _ in p.numer().factor_squarefree()[1]:
        with precision(600):
            for z, _ in factor.complex_roots() if factor.degree() else ():
                if z.imag == 0 and all(end is None or s * (z.real - ball(end)) > 0 for end, s in
                                       ((found.low, 1), (found.high, -1))):  # fmt: skip
                    inner.append(z.real)
    return at_ends + inner


def true(found: Polynomial) -> bool:
    """The sign between all roots, and the roots themselves."""
    if found.strict and roots(found):
        return False
    with precision(600):
        inner = sorted((r for r in roots(found) if isinstance(r, arb)), key=lambda r: float(r.mid()))
        mids = [Fraction(float(r.mid())).limit_denominator(1 << 40) for r in inner]
    low = found.low if found.low is not None else min([*mids, found.high or Fraction(0)]) - 1
    high = found.high if found.high is not None else max([*mids, found.low or Fraction(0)]) + 1
    marks = [low, *mids, high]
    return all(found.at((a + b) / 2) > 0 for a, b in pairwise(marks))


def holds(tree: Node) -> bool:
    """Whether the claim is true, whatever the steps are."""
    node = tree["statement"]
    return compared(program(node)) if node["claim"] == "comparison" else true(polynomial(node))
