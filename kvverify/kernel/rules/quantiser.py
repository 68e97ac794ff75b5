"""Bits that are enough: two quantisers of the cache, with their errors. Proofs: docs/proofs/quantiser.md. Source: ours.

Both store every key and value coordinate as one of a fixed number of levels, a token as one mixed-radix integer of
``bits_per_token`` bits. The asker's own token is exact. Additive tolerance eps, budget "class".
"""

from __future__ import annotations

from fractions import Fraction

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Node, OverLimit, fields, integer, text
from kvverify.kernel.facts import Enough, Fact, need, present, reject
from kvverify.kernel.numbers import (
    LOG2_E_UPPER,
    MAX_EXPONENT,
    exp_lower,
    exp_upper,
    log2_lower,
    log2_upper,
    root_upper,
)

MAX_TOKEN_BITS = 1 << 20
_CELL_WORK = 1 << 13
_FINEST = Fraction(1, 1 << 64)


def quantiser(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Enough:
    """Midpoints of equal cells of [-1, 1], L_k a key coordinate and L_v a value coordinate; nothing is random.

    Each score is off by a = rho / L_k at most (ball: rho sqrt(key_dim) / L_k), each value by 1 / L_v, hence each answer
    by a + 1 / L_v <= eps.
    """
    key_levels, value_levels, tolerance = _levels(context, uses, given, set())
    slack = tolerance - Fraction(1, value_levels)
    need(slack >= 0, "1 / value_levels <= tolerance", Fraction(1, value_levels), tolerance)
    score = context.statement.max_logit**2 * _spread(context) / key_levels**2
    need(score <= slack**2, "square of the score's error <= square of what the values leave", score, slack**2)
    return _enough(context, gives, key_levels, value_levels)


def dithered(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Enough:
    """Subtractive dither, public and independent of the input: rounding errors are uniform and independent.

    M_k and M_v levels a coordinate give the steps Dk = 2 / (M_k - 1) and Dv = 2 / (M_v - 1). With A the largest error
    of a score, F = Dv / 2 that of a value, an answer is off by more than eps upwards only if a symmetric log-concave
    variable exceeds t = eps - (e^A - 1 - A) / 2 - F (e^A - 1), whose variance is at most

        v = (Dv^2 (1 + eps^2) + max(0, rho^2 Dk^2 - Dv^2) (1 + 3 eps^2) / 2) / 12,

    and the same downwards. ``tail`` names the inequality by which that has probability at most failure / 2.
    """
    key_levels, value_levels, tolerance = _levels(context, uses, given, {"tail"})
    need(min(key_levels, value_levels) >= 2, "at least two levels a coordinate", min(key_levels, value_levels), 2)
    key_step, value_step = Fraction(2, key_levels - 1), Fraction(2, value_levels - 1)
    key_square = (context.statement.max_logit * key_step) ** 2
    reach = root_upper(key_square * _spread(context)) / 2
    need(reach <= 2, "an error of a score of at most 2", reach, 2)  # beyond, the remainder is above 1
    growth = exp_upper(reach) - 1
    threshold = tolerance - (growth - reach) / 2 - value_step / 2 * growth
    need(threshold > 0, "the remainder is below the tolerance", tolerance - threshold, tolerance)
    square = tolerance**2
    variance = value_step**2 * (1 + square) + max(Fraction(0), key_square - value_step**2) * (1 + 3 * square) / 2
    enough = _enough(context, gives, key_levels, value_levels)
    _tail(context, text(given["tail"], "tail"), variance / 12 / threshold**2)
    return enough


def _levels(context: Context, uses: dict[str, Fact], given: Node, further: set[str]) -> tuple[int, int, Fraction]:
    """The numbers of levels and the additive tolerance, of a statement about the whole class."""
    fields(uses, "uses", set())
    fields(given, "given", {"key_levels", "value_levels"} | further)
    levels = [integer(given[name], name) for name in ("key_levels", "value_levels")]
    need(min(levels) >= 1, "at least one level a coordinate", min(levels), 1)
    statement = context.statement
    need(statement.budget == "class", "the statement's budget is the class", statement.budget, "class")
    return levels[0], levels[1], present(statement.tolerance, "the statement's tolerance is additive")


def _spread(context: Context) -> int:
    """(|q|_1 / rho)^2 at most: a query of the ball's budget may be as long as sqrt(key_dim) in the 1-norm."""
    return 1 if context.statement.body == "cube" else context.statement.key_dim


def _enough(context: Context, gives: Node, key_levels: int, value_levels: int) -> Enough:
    """A token is one of L_k^key_dim L_v^value_dim; each of them is stored in the bits that are stated."""
    bits = integer(fields(gives, "gives", {"bits_per_token"})["bits_per_token"], "bits_per_token")
    statement = context.statement
    size = statement.key_dim * key_levels.bit_length() + statement.value_dim * value_levels.bit_length()
    if size > MAX_TOKEN_BITS:
        raise OverLimit(f"limit: a token of more than {MAX_TOKEN_BITS} bits")
    context.charge(16 * size)
    least = (key_levels**statement.key_dim * value_levels**statement.value_dim - 1).bit_length()
    need(bits >= least, "2^bits_per_token >= key_levels^key_dim value_levels^value_dim", bits, least)
    return Enough(bits * statement.tokens * statement.streams)


def _tail(context: Context, name: str, ratio: Fraction) -> None:
    """P(|X| > t) <= failure for every sum X of symmetric uniform variables with Var X <= ratio t^2."""
    failure = context.statement.failure
    need(failure > 0, "failure > 0", failure, 0)
    if name == "gaussian":
        left = exp_lower(min(1 / (2 * ratio), Fraction(MAX_EXPONENT))) * failure
        need(left >= 2, "2 exp(-t^2 / (2 variance)) <= failure", left, 2)
    elif name == "log-concave":
        _log_concave(context, ratio, failure)
    else:
        reject("the tail is gaussian or log-concave", name)


def _log_concave(context: Context, ratio: Fraction, failure: Fraction) -> None:
    """Settle rates in [0, ln(1/failure)], cell by cell, halving each that is too coarse."""
    cells = [(Fraction(0), log2_upper(1 / failure))]
    while cells:
        low, high = cells.pop()
        context.charge(_CELL_WORK)
        if not _settled(ratio, failure, low, high):
            need(high - low > _FINEST, "variance / t^2 <= that of a truncated exponential law", ratio, low)
            middle = (low + high) / 2
            cells += [(low, middle), (middle, high)]


def _settled(ratio: Fraction, failure: Fraction, low: Fraction, high: Fraction) -> bool:
    """Whether every density ~ e^(-l x) on [0, M], low <= l <= high, with more than ``failure`` beyond 1 has
    E x^2 > ratio.

    Then M > (1/l) ln((1 - failure) / (e^-l - failure)), which grows with l; E x^2 falls with l and grows
    with M.
    """
    left = exp_upper(-low) - failure
    if left <= 0:
        return True
    end = 1 / (1 - failure) if low == 0 else log2_lower((1 - failure) / left) / LOG2_E_UPPER / low
    end = max(Fraction(1), int(end / _FINEST) * _FINEST)
    return 2 / high**2 - (end**2 + 2 * end / high) / (exp_lower(high * end) - 1) >= ratio


RULES: dict[str, Rule] = {"quantiser": quantiser, "dithered": dithered}
