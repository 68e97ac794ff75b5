"""Bits that are enough, decided anew: errors in balls, and the tail by exponential laws that are cut off.

The law of rate 1 on [0, L] has mean square G(L) = 2 - (L^2 + 2 L) / (e^L - 1), and a share delta of it lies beyond
T(L) = -ln(delta + (1 - delta) e^-L). Of all symmetric log-concave laws with P(|X| > t) = delta one of these, scaled,
has the least variance, so inf G / T^2 is compared (docs/proofs/quantiser.md).
"""

from __future__ import annotations

from flint import arb, ctx, fmpq, fmpz

from kvverify.crosscheck.facts import Rule
from kvverify.crosscheck.goal import Contrary, Enough, Fact, must
from kvverify.crosscheck.settle import Case, within
from kvverify.kernel.document import Malformed, Node, fields, integer

_TOKEN_BITS = 1 << 20
_CELLS = 1 << 15
_FINEST = fmpq(1, 1 << 40)
_FAR = fmpq(4096)
_PRECISION = 256


def quantiser(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Enough:
    """2 tanh(a/2) + 1/L_v <= eps: the worst that scores off by a, and values off by 1/L_v, do to an answer."""
    key, value, eps = _levels(case, uses, given, set())

    def sides() -> tuple[arb, arb]:
        return 2 * (_reach(case, key) / 2).tanh() + fmpq(1, value), arb(eps)

    case.at_most("error of scores and values <= tolerance", sides)
    return _enough(case, gives, key, value)


def dithered(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Enough:
    """Linear noise of a symmetric log-concave law, of bounded variance, against what the remainder leaves of eps."""
    key, value, eps = _levels(case, uses, given, {"tail"})
    must(key >= 2 and value >= 2, "at least two levels, for a step")
    delta = case.statement.failure
    must(delta > 0, "failure above 0")
    of_score = (case.statement.max_logit / (key - 1)) ** 2 / 3  # variances of uniform laws
    of_value = fmpq(1, 3 * (value - 1) ** 2)
    variance = of_value * (1 + eps**2) + max(of_score - of_value, fmpq(0)) * (1 + 3 * eps**2) / 2

    def threshold() -> arb:
        reach = _reach(case, key - 1)
        growth = reach.expm1()
        return eps - (growth - reach) / 2 - growth / (value - 1)

    case.at_most("remainder < tolerance", lambda: (arb(0), threshold()), strict=True)
    if given["tail"] == "gaussian":
        case.at_most(
            "2 exp(-t^2 / 2v) <= failure",
            lambda: (2 * (-(threshold() ** 2) / (2 * variance)).exp(), arb(delta)),
        )
    elif given["tail"] == "log-concave":
        with ctx.workprec(_PRECISION):
            _log_concave(case, variance / threshold() ** 2, delta)
    else:
        raise Malformed("tail: gaussian or log-concave")
    return _enough(case, gives, key, value)


def _levels(case: Case, uses: dict[str, Fact], given: Node, further: set[str]) -> tuple[int, int, fmpq]:
    """Levels of keys and values, and the tolerance."""
    must(not uses, "no premises")
    fields(given, "given", {"key_levels", "value_levels"} | further)
    key, value = integer(given["key_levels"], "key_levels"), integer(given["value_levels"], "value_levels")
    must(key >= 1 and value >= 1, "at least one level")
    must(case.statement.budget == "class", "the budget is the class")
    eps = case.statement.tolerance
    must(eps is not None, "the statement's tolerance is additive")
    return key, value, eps


def _reach(case: Case, cells: int) -> arb:
    """How far a score is off when each key coordinate is off by 1 / cells: the 1-norm of a query does it."""
    reach = arb(case.statement.max_logit / cells)
    return reach if case.statement.body == "cube" else reach * arb(case.statement.key_dim).sqrt()


def _enough(case: Case, gives: Node, key: int, value: int) -> Enough:
    """As many words of ``bits_per_token`` bits as a token has values of its coordinates."""
    bits = integer(fields(gives, "gives", {"bits_per_token"})["bits_per_token"], "bits_per_token")
    statement = case.statement
    size = statement.key_dim * key.bit_length() + statement.value_dim * value.bit_length()
    within(size <= _TOKEN_BITS, f"a token of {size} bits")
    words = fmpz(key) ** statement.key_dim * fmpz(value) ** statement.value_dim
    must(bits >= 0 and words <= fmpz(1) << bits, "a token's values fit in bits_per_token")
    return Enough(bits * statement.tokens * statement.streams)


def _log_concave(case: Case, share: arb, delta: fmpq) -> None:
    """Settle share <= inf G / T^2 cell by cell: contrary where a law is found below, open where cells get too small."""
    cells = [(_FAR, None), (fmpq(1), _FAR), (fmpq(0), fmpq(1))]
    visited = 0
    while cells:
        low, high = cells.pop()
        visited += 1
        if _below(low, high, delta) >= share:
            continue
        middle = 2 * low if high is None else (low + high) / 2
        if _square(middle) / _beyond(middle, delta) ** 2 < share:
            raise Contrary(
                f"variance <= that of the exponential law cut off at {float(middle.p) / float(middle.q):.6g}"
            )
        if visited > _CELLS or (high is not None and high - low < _FINEST) or low > _FAR * 64:
            case.open.append("the tail: not decided")
            return
        cells += [(low, middle), (middle, high)]


def _below(low: fmpq, high: fmpq | None, delta: fmpq) -> arb:
    """A lower bound on G / T^2 over lengths from ``low`` to ``high`` (None: infinite).

    G and T grow, G / L^2 and T / L fall (from 1/3 and 1 - delta): the first says much on long cells, the second near 0.
    """
    if high is None:
        return _square(low) / arb(delta).log() ** 2
    slope = _beyond(low, delta) / low if low else arb(1 - delta)
    falling = _square(high) / (high * slope) ** 2
    return falling.max(_square(low) / _beyond(high, delta) ** 2) if low else falling


def _square(length: fmpq) -> arb:
    return 2 - arb(length**2 + 2 * length) / arb(length).expm1()


def _beyond(length: fmpq, delta: fmpq) -> arb:
    return -((1 - delta) * (-arb(length)).expm1()).log1p()


RULES: dict[str, Rule] = {"quantiser": quantiser, "dithered": dithered}
