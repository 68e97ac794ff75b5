"""From distances to attention weights: the scale, the logit budget, the mass off the target, what can be read back.

All weights are relative to the row's target, so a row of the attention matrix is (1, w_il ..) / (1 + sum of w).
Proofs: docs/proofs/softmax.md.
"""

from __future__ import annotations

from fractions import Fraction

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Node, fields, integer, rational
from kvverify.kernel.facts import Fact, need, premise, present
from kvverify.kernel.numbers import exp_lower, power_upper, root_upper
from kvverify.kernel.rules.attention import Decay, Keys, Leak, Reading, Row, Scaled, Tilt

MAX_ALPHABET = 1 << 64


def exp_bound(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Decay:
    """exp(-exponent) <= z, exponent > 0, 0 < z <= 1: by a Taylor partial sum below e^exponent. Source: textbook."""
    fields(uses, "uses", set())
    exponent = rational(fields(given, "given", {"exponent"})["exponent"], "exponent")
    z = rational(fields(gives, "gives", {"exp_minus_at_most"})["exp_minus_at_most"], "exp_minus_at_most")
    need(exponent > 0, "exponent > 0", exponent, 0)
    need(0 < z <= 1, "0 < exp_minus_at_most <= 1", z, 1)
    bound = exp_lower(exponent)
    need(z * bound >= 1, "exp_minus_at_most * e^exponent >= 1", z * bound, 1)
    return Decay(exponent, z)


def budget(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Scaled:
    """Queries at scale c = exponent cost the logit c * unit on every key of the body: it must be within ``max_logit``.

    The first ``payload`` keys carry the secret; the remaining tokens are pads of value 0. With a tilt, its strength is
    left for one further coordinate of the query: on the cube both add up, in the ball their squares. Source: ours.
    """
    fields(uses, "uses", {"keys", "decay"}, {"tilt"})
    tilt = premise(uses, "tilt", Tilt) if "tilt" in uses else None
    payload = integer(fields(given, "given", {"payload"})["payload"], "payload")
    logit = rational(fields(gives, "gives", {"logit_at_most"})["logit_at_most"], "logit_at_most")
    keys, decay, statement = premise(uses, "keys", Keys), premise(uses, "decay", Decay), context.statement
    need(statement.budget == "class", "the statement's budget is 'class'", statement.budget, "class")
    need(keys.dim <= statement.key_dim, "keys fit the key dimension", keys.dim, statement.key_dim)
    need(1 <= payload <= keys.size, "1 <= payload <= number of keys", payload, keys.size)
    need(payload <= statement.tokens, "payload <= tokens", payload, statement.tokens)
    need(keys.bf16 or statement.inputs == "real", "keys are exact in bf16, as the statement's inputs require")
    power = 2 if statement.body == "ball" and tilt else 1
    cost = (decay.exponent * keys.unit) ** power + (tilt.strength**power if tilt else 0)
    need(logit > 0 and cost <= logit**power, "logit of the queries <= logit_at_most", cost, logit**power)
    need(logit <= statement.max_logit, "logit_at_most <= max_logit", logit, statement.max_logit)
    return Scaled(keys, decay.at_most, payload, tilt, decay.exponent)


def leak(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Leak:
    """Sums over a row, relative to the target: off-target payload mass, its squares, the mass of pads and own token.

    sigma >= sum n_e z^e, F >= sum n_e z^(2e) over the dominating histogram, nearest first and payload - 1 tokens at
    most (z^e decreases in e, so a dominating histogram dominates the sums); rest >= z^own + (tokens - payload) z^pad.
    """
    fields(uses, "uses", {"budget"})
    fields(given, "given", set())
    stated = stated_leak(gives)
    scaled = premise(uses, "budget", Scaled)
    keys, z = scaled.keys, scaled.decay
    terms: list[tuple[int, int]] = []
    left = scaled.payload - 1
    for exponent, number in keys.exponents:
        if left > 0:
            terms.append((exponent, min(number, left)))
            left -= number
    pads = context.statement.tokens - scaled.payload
    off_target, squares = _weigh(context, terms, z), _weigh(context, [(2 * e, n) for e, n in terms], z)
    half = root_upper(z) if keys.pad_twice % 2 else Fraction(1)
    rest = _weigh(context, [(keys.own, 1)], z) + half * _weigh(context, [(keys.pad_twice // 2, pads)], z)
    need(
        off_target <= stated.worst.off_target,
        "off-target mass <= off_target_at_most",
        off_target,
        stated.worst.off_target,
    )
    need(squares <= stated.squares, "off-target squares <= off_target_squares_at_most", squares, stated.squares)
    need(rest <= stated.worst.rest, "mass of pads and own token <= rest_at_most", rest, stated.worst.rest)
    return Leak(scaled.payload, stated.worst, stated.squares, scaled)


def stated_leak(gives: Node) -> Leak:
    """The three stated bounds, as a fact over no rows yet."""
    names = ("off_target_at_most", "off_target_squares_at_most", "rest_at_most")
    node = fields(gives, "gives", set(names))
    off_target, squares, rest = (rational(node[name], name) for name in names)
    need(min(off_target, squares, rest) >= 0, "masses are not negative")
    return Leak(0, Row(off_target, rest), squares)


def _weigh(context: Context, terms: list[tuple[int, int]], z: Fraction) -> Fraction:
    """sum n z^e over terms (e, n), each power rounded up."""
    context.charge(100 * sum(e.bit_length() for e, _ in terms))
    return sum((n * power_upper(z, e) for e, n in terms), Fraction(0))


def separation(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Reading:
    """Values 0 and 1 are told apart under the relative tolerance eta when (1 - eta) > (1 + eta) sigma, strictly.

    Bit 1 answers at least (1 - eta)/D, bit 0 at most (1 + eta) sigma/D with one D that does not depend on values; pads
    and the asker's own token have value 0 and are in D only. Source: the reduction of Haris and
    Onak (COLT 2025), this sharp form ours.
    """
    leak_fact = _leak(uses)
    fields(given, "given", set())
    need(integer(fields(gives, "gives", {"alphabet"})["alphabet"], "alphabet") == 2, "alphabet = 2")
    eta = present(context.statement.relative, "the statement's tolerance is relative")
    low, high = 1 - eta, (1 + eta) * leak_fact.worst.off_target
    need(low > high, "(1 - relative) > (1 + relative) off_target", low, high)
    return Reading(2, leak_fact.payload, _top_mass(context, leak_fact))


def levels(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Reading:
    """L equally spaced levels of [-1, 1] are told apart when 1/(L - 1) > eps (1 + sigma + rest) + sigma, strictly.

    Answers to neighbouring levels differ by 2/((L-1) D) up to 2 sigma/D of other payload and 2 eps of error, D the
    row's sum. For bf16 inputs eps grows by the rounding of a value unless all levels are exact (L - 1 a power of two up
    to 512). Source: ours; pads have a known value, so they weigh in D only.
    """
    leak_fact = _leak(uses)
    fields(given, "given", set())
    alphabet = integer(fields(gives, "gives", {"alphabet"})["alphabet"], "alphabet")
    eps = present(context.statement.tolerance, "the statement's tolerance is additive")
    need(2 <= alphabet <= MAX_ALPHABET, "2 <= alphabet <= 2^64", alphabet, MAX_ALPHABET)
    gaps = alphabet - 1
    if gaps & (gaps - 1) or gaps > 512:
        eps += context.statement.value_rounding
    row = leak_fact.worst
    low, high = Fraction(1, gaps), eps * (1 + row.off_target + row.rest) + row.off_target
    need(low > high, "1/(alphabet - 1) > tolerance (1 + off_target + rest) + off_target", low, high)
    return Reading(alphabet, leak_fact.payload, _top_mass(context, leak_fact))


def _top_mass(context: Context, leak_fact: Leak) -> Fraction:
    """What every causal row has on one token: 1/(1 + off_target + rest), when each token's query is its own target's.

    Token i then has the weight 1 in its own row, the tokens before it at most off_target. With pads nothing is known.
    Source: ours.
    """
    row = leak_fact.worst
    return 1 / (1 + row.off_target + row.rest) if leak_fact.payload == context.statement.tokens else Fraction(0)


def _leak(uses: dict[str, Fact]) -> Leak:
    fields(uses, "uses", {"leak"})
    return premise(uses, "leak", Leak)


RULES: dict[str, Rule] = {
    "exp-bound": exp_bound, "budget": budget, "leak": leak, "separation": separation, "levels": levels,
}  # fmt: skip
