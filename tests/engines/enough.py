"""Bits that are enough: two quantisers. Inequalities of docs/format.md; the tail in a variable of its own."""

from __future__ import annotations

from typing import Any

from gmpy2 import mpfr, mpq, mpz

from tests.engines.facts import Enough, Node
from tests.engines.interval import Case, Contrary, Interval, exp, expm1, interval, log, log1p, must, precision, sqrt

_CELLS = 1 << 14
_TAIL_BITS = 256


def quantiser(case: Case, uses: Node, given: Node, gives: Node) -> Enough:
    """Rational throughout."""
    key, value, spread = _levels(case, given)
    left = case.problem.additive - mpq(1, value)
    must(left >= 0, "1/value_levels <= tolerance")
    must(case.problem.max_logit**2 * spread / mpq(key) ** 2 <= left**2, "errors of scores and values <= tolerance")
    return _enough(case, gives, key, value)


def dithered(case: Case, uses: Node, given: Node, gives: Node) -> Enough:
    key, value, spread = _levels(case, given)
    must(min(key, value) >= 2 and case.problem.failure > 0, "two levels, and failure > 0")
    eps, delta = case.problem.additive, case.problem.failure
    x, y = (2 * case.problem.max_logit / (key - 1)) ** 2, mpq(2, value - 1)
    must(x * spread <= 16, "A <= 2")
    variance = (y**2 * (1 + eps**2) + max(mpq(0), x - y**2) * (1 + 3 * eps**2) / 2) / 12

    def threshold() -> Interval:
        reach = sqrt(x * spread) / 2
        growth = expm1(reach)
        return eps - (growth - reach) / 2 - growth * (y / 2)

    case.at_most("t > 0", lambda: (0, threshold()), strict=True)
    if given["tail"] == "gaussian":
        case.at_most("2 e^(-t^2/(2V)) <= failure", lambda: (2 * exp(-(threshold() ** 2) / (2 * variance)), delta))
    else:
        must(given["tail"] == "log-concave", "gaussian or log-concave")
        with precision(_TAIL_BITS):
            _log_concave(case, variance / threshold() ** 2, delta)
    return _enough(case, gives, key, value)


def _levels(case: Case, given: Node) -> tuple[int, int, int]:
    """Levels of keys and of values, and S."""
    key, value, problem = int(given["key_levels"]), int(given["value_levels"]), case.problem
    must(problem.budget == "class" and min(key, value) >= 1, "the class, and at least one level")
    return key, value, 1 if problem.body == "cube" else problem.key_dim


def _enough(case: Case, gives: Node, key: int, value: int) -> Enough:
    bits, problem = int(gives["bits_per_token"]), case.problem
    words = mpz(key) ** problem.key_dim * mpz(value) ** problem.value_dim
    must(bits >= 0 and mpz(1) << bits >= words, "2^bits_per_token >= key_levels^key_dim value_levels^value_dim")
    return Enough(bits * problem.tokens * problem.streams)


def _log_concave(case: Case, share: Interval, delta: Any) -> None:
    """share <= G/T^2 for all laws ~ e^-x on [0, L], by halving cells of u = 1 - e^-L in [0, 1].

    G is the mean square, T the point with a share delta beyond: both grow with u, and G/L^2 and T/L fall.
    """
    cells, visited = [(mpq(0), mpq(1))], 0
    while cells:
        low, high = cells.pop()
        visited += 1
        bounds = [_square(low) / _beyond(high, delta) ** 2] if low else []
        if high < 1:
            length = _length(high)
            slope = _beyond(low, delta) / _length(low) if low else interval(1 - delta)
            bounds.append(_square(high) / (length * slope) ** 2)
        if any(bound.low >= share.high for bound in bounds):
            continue
        middle = (low + high) / 2
        if (_square(middle) / _beyond(middle, delta) ** 2).high < share.low:
            raise Contrary(f"V/t^2 <= E x^2 of the law cut off at 1 - e^-L = {mpfr(middle)}")
        if visited > _CELLS:
            case.open.append("the tail: open")
            return
        cells += [(low, middle), (middle, high)]


def _length(u: Any) -> Interval:
    return -log1p(-u)


def _square(u: Any) -> Interval:
    """G = 2 - (L^2 + 2 L)/(e^L - 1), 0 < u < 1."""
    length = _length(u)
    return 2 - (length**2 + 2 * length) * ((1 - u) / u)


def _beyond(u: Any, delta: Any) -> Interval:
    """T = -ln(1 - (1 - delta) u)."""
    return -log(1 - (1 - delta) * u)


RULES = {"quantiser": quantiser, "dithered": dithered}
