"""Random access codes: from symbols that can be read back to bits of state. Proofs: docs/proofs/information.md."""

from __future__ import annotations

from fractions import Fraction

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Node, OverLimit, fields, integer, rational
from kvverify.kernel.facts import Fact, StateBits, need, premise
from kvverify.kernel.numbers import fano_lower
from kvverify.kernel.rules.attention import Reading

MAX_SYMBOLS = 4096  # of the counting rule, whose sums are exact


def random_access_code(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """N symbols of L levels, each read back wrongly with probability delta <= 1 - 1/L at most: S >= N F(L, delta).

    F(L, delta) = log2 L - H(delta) - delta log2(L - 1), N = payload * value_dim * streams.
    Source: INDEX with Fano's inequality, textbook; the bound of Ambainis, Nayak, Ta-Shma and Vazirani at L = 2.
    """
    reading = _reading(context, uses, given)
    bits = rational(fields(gives, "gives", {"bits_at_least"})["bits_at_least"], "bits_at_least")
    bound = _symbols(context, reading) * fano_lower(reading.alphabet, context.statement.failure)
    need(bits <= bound, "bits_at_least <= symbols * F(alphabet, failure)", bits, bound)
    return StateBits(bits, reading.top_mass)


def counting(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """The same without logarithms, for few symbols: 2^b - 1 states make more than delta N L^N errors in all.

    M states serve as M centres; at most M V(j) of the L^N words lie within j errors of one, V(j) = sum over i <= j of
    C(N, i) (L - 1)^i. So all words together have at least sum over j < N of max(0, L^N - M V(j)) errors. All streams
    are counted as one: this bound, unlike an entropy, does not add up over independent parts. Source: ours.
    """
    reading = _reading(context, uses, given)
    bits = integer(fields(gives, "gives", {"bits_at_least"})["bits_at_least"], "bits_at_least")
    symbols = _symbols(context, reading)
    if symbols > MAX_SYMBOLS or reading.alphabet.bit_length() > 16:
        raise OverLimit(f"limit: counting over more than {MAX_SYMBOLS} symbols or an alphabet of over 16 bits")
    need(bits >= 1, "bits_at_least >= 1", bits, 1)
    words = reading.alphabet**symbols
    need(bits <= words.bit_length(), "bits_at_least is within the secret's bits", bits, words.bit_length())
    context.charge(3 * symbols * (words.bit_length() + 256) // 64)
    states = (1 << bits) - 1
    errors = ball = 0
    sphere = 1
    for j in range(symbols):
        ball += sphere
        if words <= states * ball:
            break
        errors += words - states * ball
        sphere = sphere * (symbols - j) * (reading.alphabet - 1) // (j + 1)
    allowed = context.statement.failure * symbols * words
    need(errors > allowed, "errors that 2^bits - 1 states make > failure * symbols * words", errors, allowed)
    return StateBits(Fraction(bits), reading.top_mass)


def _symbols(context: Context, reading: Reading) -> int:
    return reading.payload * context.statement.value_dim * context.statement.streams


def _reading(context: Context, uses: dict[str, Fact], given: Node) -> Reading:
    fields(uses, "uses", {"reading"})
    fields(given, "given", set())
    reading = premise(uses, "reading", Reading)
    delta, alphabet = context.statement.failure, reading.alphabet
    need(alphabet * delta <= alphabet - 1, "failure <= 1 - 1/alphabet", delta, f"1 - 1/{alphabet}")
    return reading


RULES: dict[str, Rule] = {"random-access-code": random_access_code, "counting": counting}
