"""From readings and determinants to bits of state."""

from __future__ import annotations

from collections.abc import Callable

from flint import arb, ctx, fmpq, fmpz

from kvverify.crosscheck.facts import Determinant, Leak, Reading, Rule, premise
from kvverify.crosscheck.goal import Fact, StateBits, must
from kvverify.crosscheck.settle import LAST_PRECISION, Case, log2, within
from kvverify.crosscheck.statement import number
from kvverify.kernel.document import Malformed, Node, fields, integer

_SYMBOLS = 4096
_ROWS = 64
_TINY = fmpq(1, 1 << 512)


def random_access_code(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """N symbols at log2 L - H(delta) - delta log2(L - 1) bits each."""
    reading, symbols = _symbols(case, uses, given)
    stated = number(fields(gives, "gives", {"bits_at_least"}), "bits_at_least")
    delta, alphabet = case.statement.failure, reading.alphabet

    def sides() -> tuple[arb, arb]:
        each = log2(fmpq(alphabet)) + (1 - delta) * log2(1 - delta)
        if delta:
            each += arb(delta) * (log2(delta) - log2(fmpq(alphabet - 1)))
        return arb(stated), symbols * each

    case.at_most("bits_at_least <= symbols * F(alphabet, failure)", sides)
    return StateBits(stated, reading.top)


def counting(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """Too few states err too often: sum over j < N of (L^N - M V(j))^+ > delta N L^N, V by binomials, M = 2^b - 1."""
    reading, symbols = _symbols(case, uses, given)
    bits = integer(fields(gives, "gives", {"bits_at_least"})["bits_at_least"], "bits_at_least")
    within(symbols <= _SYMBOLS and reading.alphabet <= 1 << 16, f"{symbols} symbols of {reading.alphabet} levels")
    words = fmpz(reading.alphabet) ** symbols
    must(1 <= bits <= words.bit_length(), "bits_at_least is from 1 to the bits of the secret")
    states = (fmpz(1) << bits) - 1
    errors, ball, power = fmpz(0), fmpz(0), fmpz(1)
    for j in range(symbols):
        ball += fmpz.bin_uiui(symbols, j) * power
        if words <= states * ball:
            break
        errors += words - states * ball
        power *= reading.alphabet - 1
    allowed = case.statement.failure * symbols * words
    must(errors > allowed, "errors of 2^bits - 1 states exceed failure * symbols * words")
    return StateBits(fmpq(bits), reading.top)


def determinant(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Determinant:
    """log2 |det W| by the form that the step names; W = (I + A) divided by the row sums."""
    leaked = premise(uses, "leak", Leak)
    form = fields(given, "given", {"form"}, {"factors"})["form"]
    stated = number(fields(gives, "gives", {"log2_det_at_least"}), "log2_det_at_least")
    most = leaked.rows.most if leaked.rows else LAST_PRECISION
    if form == "near-identity":
        must(leaked.sigma < 1, "off_target < 1")
        case.at_most("log2_det_at_least <= log2 |det W|", lambda: (arb(stated), near_identity(leaked)))
    elif form == "ostrowski":
        case.at_most("off_target < 1 in every row", lambda: (_worst(leaked), arb(1)), strict=True, most=most)
        case.at_most("log2_det_at_least <= log2 |det W|", lambda: (arb(stated), _ostrowski(leaked)), most=most)
    elif form in ("exact", "preconditioned"):  # whatever the factors are: the question is what the determinant is
        must(leaked.rows is not None, "this form takes rows of an attention-row step")
        within(leaked.payload <= _ROWS, f"a determinant of {leaked.payload} rows")
        case.at_most("log2_det_at_least <= log2 |det W|", lambda: (arb(stated), _exact(leaked)), most=most)
    else:
        raise Malformed("form: near-identity, ostrowski, exact or preconditioned")
    return Determinant(leaked.payload, stated)


def near_identity(leaked: Leak) -> arb:
    """log2 |det W|: per row -log2(1 + sigma + rest), and the distortion."""
    return -leaked.payload * (log2(1 + leaked.sigma + leaked.rest) + distortion(leaked))


def distortion(leaked: Leak) -> arb:
    """-log2 |det(I + A)| a row, at most c(sigma) F log2 e."""
    return log_ratio(leaked.sigma) * leaked.squares / arb.const_log2()


def log_ratio(sigma: fmpq) -> arb:
    """c(s) = (-s - ln(1 - s)) / s^2 for 0 <= s < 1, between 1/2 and 1/(2 (1 - s)).

    The numerator is about s^2/2, a difference of two numbers of size s: it is taken with as many more bits as are lost.
    """
    if sigma < _TINY:
        return arb(fmpq(1, 2)).union(arb(1 / (2 * (1 - sigma))))
    lost = 2 * (sigma.q.bit_length() - sigma.p.bit_length() + 2)
    with ctx.extraprec(lost):
        return (-arb(-sigma).log1p() - sigma) / arb(sigma) ** 2


def _worst(leaked: Leak) -> arb:
    worst = arb(leaked.sigma)
    if leaked.rows:
        worst = arb(0)
        for off, _ in leaked.rows.masses():
            worst = worst.max(off)
    return worst


def _ostrowski(leaked: Leak) -> arb:
    """Sum over rows of log2 (1 - sigma_i) / (1 + sigma_i + rest_i)."""
    if leaked.rows is None:
        return leaked.payload * log2((1 - leaked.sigma) / (1 + leaked.sigma + leaked.rest))
    return sum((((1 - off) / (1 + off + rest)).log() for off, rest in leaked.rows.masses()), arb(0)) / arb.const_log2()


def _exact(leaked: Leak) -> arb:
    """log2 |det (I + A)| by Arb's elimination, less the logarithms of the row sums."""
    assert leaked.rows is not None
    sums = sum(((1 + off + rest).log() for off, rest in leaked.rows.masses()), arb(0))
    return (abs(leaked.rows.matrix().det()).log() - sums) / arb.const_log2()


def volume(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """Each value coordinate of each stream: log2 |det W| + payload D(Bern(delta) || Bern(1 - eps))."""
    fields(given, "given", set())
    fact, statement = premise(uses, "determinant", Determinant), case.statement
    stated = number(fields(gives, "gives", {"bits_at_least"}), "bits_at_least")
    divergence, coordinates = gain(case, statement.rounding), statement.streams * statement.value_dim
    case.at_most(
        "bits_at_least <= streams * value_dim (log2 |det W| + payload g)",
        lambda: (arb(stated), coordinates * (fact.bits + fact.payload * divergence())),
    )
    return StateBits(stated)


def gain(case: Case, rounding: fmpq) -> Callable[[], arb]:
    """g = D(Bern(delta) || Bern(1 - eps)) in bits, eps the additive tolerance and the ``rounding`` of an answer."""
    tolerance, delta = case.statement.tolerance, case.statement.failure
    must(tolerance is not None, "the statement's tolerance is additive")
    eps = tolerance + rounding
    must(eps < 1 and delta <= 1 - eps, "failure <= 1 - tolerance, with the rounding of bf16")

    def divergence() -> arb:
        found = (1 - delta) * log2((1 - delta) / eps)
        return found + delta * log2(delta / (1 - eps)) if delta else found

    return divergence


def _symbols(case: Case, uses: dict[str, Fact], given: Node) -> tuple[Reading, int]:
    """What is read, and how many symbols of it all streams hold; the error rate must be below that of guessing."""
    fields(given, "given", set())
    reading = premise(uses, "reading", Reading)
    must(case.statement.failure <= 1 - fmpq(1, reading.alphabet), "failure <= 1 - 1/alphabet")
    return reading, reading.payload * case.statement.value_dim * case.statement.streams


RULES: dict[str, Rule] = {
    "random-access-code": random_access_code, "counting": counting, "determinant": determinant, "volume": volume,
}  # fmt: skip
