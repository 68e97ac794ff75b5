"""The inequalities of the upper bounds' rules, as docs/proofs/quantiser.md states them."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from kvverify.export.evaluate import settle
from kvverify.export.expression import (
    Expression,
    Inequality,
    Number,
    Variable,
    at_most,
    below,
    exp,
    ln,
    positive,
    sqrt,
)
from kvverify.export.facts import Bits, Case, Fact
from kvverify.kernel.document import Malformed, OverLimit, integer, text

MAX_TOKEN_BITS = 1 << 20
_FINEST = Fraction(1, 1 << 20)  # cell of lengths
_LEAST_FAR, _MOST_FAR = Fraction(16), Fraction(1 << 12)  # lengths beyond which all is one cell


def quantiser(case: Case) -> Fact:
    """Midpoints of equal cells."""
    key_levels, value_levels, spread = _levels(case)
    statement = case.statement
    slack = Number(statement.additive) - 1 / Number(value_levels)
    case.leaf("values", "1 / value_levels <= tolerance", at_most(0, slack))
    score = Number(statement.max_logit) ** 2 * spread / Number(key_levels) ** 2
    words = "(max_logit sqrt(s) / key_levels)^2 <= (tolerance - 1 / value_levels)^2"
    case.leaf("keys", words, at_most(score, slack**2))
    return _enough(case, key_levels, value_levels)


def dithered(case: Case) -> Fact:
    """Subtractive dither: a remainder, a variance and a tail."""
    key_levels, value_levels, spread = _levels(case)
    statement = case.statement
    eps, delta = Number(statement.additive), Number(statement.failure)
    two = Number(Fraction(2))
    case.leaf("levels", "at least two levels a coordinate", at_most(2, key_levels), at_most(2, value_levels))
    if min(key_levels, value_levels) < 2:
        raise Malformed("expected at least two levels a coordinate")
    key_step, value_step = 2 / (Number(key_levels) - 1), 2 / (Number(value_levels) - 1)
    wide = Number(statement.max_logit) * key_step
    reach = (wide if spread == 1 else wide * sqrt(spread)) / 2
    case.leaf("reach", "the error A of a score is at most 2", at_most(wide**2 * spread / 4, two**2))
    growth = exp(reach) - 1
    threshold = eps - (growth - reach) / 2 - value_step / 2 * growth
    case.leaf("threshold", "0 < t = tolerance - (e^A - 1 - A)/2 - F (e^A - 1)", below(0, threshold))
    square = eps**2
    variance = value_step**2 * (1 + square) + positive(wide**2 - value_step**2) * (1 + 3 * square) / 2
    ratio = variance / 12 / threshold**2
    case.leaf("failure", "failure > 0", below(0, delta))
    tail = text(case.step.given.get("tail"), "given.tail")
    if tail == "gaussian":
        case.leaf("tail", "2 e^(-t^2 / (2 V)) <= failure", at_most(2 * exp(-(1 / (2 * ratio))), delta))
    elif tail == "log-concave":
        _log_concave(case, ratio, delta)
    else:
        raise Malformed("given.tail: expected gaussian or log-concave")
    return _enough(case, key_levels, value_levels)


def _levels(case: Case) -> tuple[Fraction, Fraction, int]:
    """Levels of a key and of a value coordinate, and s = (|q|_1 / max_logit)^2 at most."""
    levels = [
        Fraction(integer(case.step.given.get(f"{name}_levels"), f"given.{name}_levels")) for name in ("key", "value")
    ]
    case.leaf("least", "at least one level a coordinate", *(at_most(1, number) for number in levels))
    if min(levels) < 1:
        raise Malformed("expected at least one level a coordinate")
    case.kept("the statement's budget is the class")
    return levels[0], levels[1], 1 if case.statement.body == "cube" else case.statement.key_dim


def _enough(case: Case, key_levels: Fraction, value_levels: Fraction) -> Fact:
    bits = integer(case.step.gives.get("bits_per_token"), "gives.bits_per_token")
    statement = case.statement
    dims = max(statement.key_dim, statement.value_dim)
    if max(abs(bits), dims * max(key_levels, value_levels).numerator.bit_length()) > MAX_TOKEN_BITS:
        raise OverLimit(f"limit: a token of more than {MAX_TOKEN_BITS} bits")
    if bits < 0:
        raise Malformed("gives.bits_per_token: below 0")
    words = Number(key_levels) ** statement.key_dim * Number(value_levels) ** statement.value_dim
    stated = "key_levels^key_dim value_levels^value_dim <= 2^bits_per_token"
    case.leaf("count", stated, at_most(words, Number(Fraction(2)) ** bits))
    return Bits(Fraction(bits), enough=True)


def _log_concave(case: Case, ratio: Expression, delta: Number) -> None:
    """E x^2 >= ratio t^2 for every law e^-x on [0, L] of which delta lies beyond t = T(L): G(L) >= ratio T(L)^2.

    Near 0, G/L^2 and T/L fall, so a cell [a, b] has G/T^2 >= (G(b)/b^2) (a/T(a))^2. Far off G grows, T < ln(1/delta).
    """
    if not 0 < delta.value < 1:
        raise Malformed("statement.failure: expected a number between 0 and 1")
    ends = _small_lengths(ratio, delta)
    far = _LEAST_FAR
    while far < _MOST_FAR and not settle(_far(ratio, delta, far)).truth:
        far *= 2
    cells = [_cell(ratio, delta, low, high) for low, high in pairwise(ends)]
    case.leaf("near", "V / t^2 <= (G(b) / b^2) (a / T(a))^2 on cells [a, b] of small lengths", *cells)
    x = Variable()
    middle = Inequality(ratio, _moment(x) / _threshold(x, delta) ** 2, interval=(ends[-1], far))
    case.leaf("tail", "V / t^2 <= G(x) / T(x)^2 for every length x between", middle)
    case.leaf("far", "V / t^2 <= G(L) / ln(1 / failure)^2 at the largest length", _far(ratio, delta, far))


def _moment(x: Expression) -> Expression:
    """G: the mean of the square of a law e^-x that is cut off at the length."""
    return 2 - (x**2 + 2 * x) / (exp(x) - 1)


def _threshold(x: Expression, delta: Expression) -> Expression:
    """T: what such a law exceeds with the probability delta."""
    return -ln(delta + (1 - delta) * exp(-x))


def _cell(ratio: Expression, delta: Number, low: Fraction, high: Fraction) -> Inequality:
    a, b = Number(low), Number(high)
    stretch = a / _threshold(a, delta) if low else 1 / (1 - delta)
    return at_most(ratio, _moment(b) / b**2 * stretch**2)


def _far(ratio: Expression, delta: Number, length: Fraction) -> Inequality:
    return at_most(ratio, _moment(Number(length)) / ln(1 / delta) ** 2)


def _small_lengths(ratio: Expression, delta: Number) -> list[Fraction]:
    """Ends of cells from 0 to at least 1/2, as wide as the inequality bears: a search, which proves nothing.

    Where not even the narrowest cell will do, it is kept as it is: the prover then refuses it.
    """
    ends, width = [Fraction(0)], Fraction(1, 2)
    while width > _FINEST and ends[-1] < Fraction(1, 2):
        low, width = ends[-1], min(2 * width, Fraction(1, 2))
        while width > _FINEST and not settle(_cell(ratio, delta, low, low + width)).truth:
            width /= 2
        ends.append(low + width)
    return ends
