"""Comparisons by MPFR: rationals as they are, all else in intervals. Polynomials are taken as they stand."""

from __future__ import annotations

from functools import partial, reduce
from operator import add, mul
from typing import Any

import gmpy2
from gmpy2 import mpfr, mpq, mpz

from tests.engines.interval import Case, Interval, Number, Wide, exp, interval, log, log2, must, sqrt, within

Node = dict[str, Any]
LONGEST = 1 << 18  # bits of a rational


def comparison(case: Case, uses: Node, given: Node, gives: Node) -> bool:
    """Every comparison of the claim."""
    for i, text in enumerate(case.node["holds"]):
        left, sign, right = text.split(" ")
        sides = partial(_sides, case.node["program"], left, right)
        try:
            a, b = sides()
        except Wide:
            a = b = Interval(mpfr("-inf"), mpfr("inf"))
        if isinstance(a, Interval) or isinstance(b, Interval):
            case.at_most(f"holds[{i}]", sides, strict=sign == "<")
        else:
            must(a < b or (a == b and sign == "<="), f"holds[{i}]")
    return True


def _sides(program: list[str], left: str, right: str) -> tuple[Number, Number]:
    values: list[Number] = []

    def value(word: str) -> Number:
        return values[int(word[1:])] if word[0] == "@" else mpq(word)

    for line in program:
        operation, *words = line.split(" ")
        values.append(_apply(operation, [value(word) for word in words]))
    return value(left), value(right)


def _apply(operation: str, x: list[Any]) -> Number:
    match operation:
        case "sum":
            return reduce(add, x)
        case "product":
            return reduce(mul, x)
        case "difference":
            return x[0] - x[1]
        case "quotient":
            must(x[1] != 0, "a divisor that is not 0")
            return x[0] / x[1]
        case "power":
            return _power(x[0], int(x[1]))
        case "exp":
            return exp(x[0]) if x[0] != 0 else mpq(1)
        case "ln" | "log2" | "sqrt":
            return _real(operation, x[0])
    n, k = int(x[0]), int(x[-1])
    within(n <= 1 << 20, f"{operation} of {n}")
    if operation == "factorial":
        return mpq(gmpy2.fac(n))
    if operation == "binomial":
        return mpq(gmpy2.bincoef(n, k) if 0 <= k <= n else 0)
    return mpq(sum((gmpy2.bincoef(n, j) for j in range(min(n, k) + 1)), mpz(0)))


def _power(x: Any, k: int) -> Number:
    if not isinstance(x, Interval):
        must(x != 0 or k >= 0, "no negative power of 0")
        if abs(k) * (x.numerator.bit_length() + x.denominator.bit_length()) <= LONGEST:
            return x**k
        x = interval(x)
    if k < 0:
        return 1 / _power(x, -k)
    if x.low >= 0:
        return x**k
    if x.high <= 0:
        return (-x) ** k if k % 2 == 0 else -((-x) ** k)
    return abs(x) ** k if k % 2 == 0 else Interval((-((-interval(x.low)) ** k)).low, (interval(x.high) ** k).high)


def _real(operation: str, x: Any) -> Number:
    if not isinstance(x, Interval):
        must(x > 0 or (x == 0 and operation == "sqrt"), f"{operation} is defined")
        if operation == "sqrt" and gmpy2.is_square(x.numerator) and gmpy2.is_square(x.denominator):
            return mpq(gmpy2.isqrt(x.numerator), gmpy2.isqrt(x.denominator))
    return {"ln": log, "log2": log2, "sqrt": sqrt}[operation](x)


def polynomial(case: Case, uses: Node, given: Node, gives: Node) -> bool:
    """Roots are counted in integers."""
    case.taken = True
    return True


def held(case: Case, last: Any) -> None:
    """The step decides the claim itself."""
    must(last is True, "the last step is about the claim")


RULES = {"comparison": comparison, "positive-polynomial": polynomial}
CLAIMS = {"comparison": held, "polynomial": held}
