"""From distances to weights to readings: scale, logit budget, leak, separated values."""

from __future__ import annotations

from dataclasses import replace

from flint import arb, fmpq

from kvverify.crosscheck.facts import Decay, Keys, Leak, Reading, Rule, Scaled, Tilt, premise
from kvverify.crosscheck.goal import Fact, must
from kvverify.crosscheck.settle import Case
from kvverify.crosscheck.statement import number
from kvverify.kernel.document import Node, fields, integer


def exp_bound(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Decay:
    """exp(-exponent) <= z < 1, by Arb's exponential."""
    exponent = number(fields(given, "given", {"exponent"}), "exponent")
    z = number(fields(gives, "gives", {"exp_minus_at_most"}), "exp_minus_at_most")
    must(exponent > 0 and 0 < z <= 1, "exponent > 0 and 0 < exp_minus_at_most <= 1")
    case.at_most("exp(-exponent) <= exp_minus_at_most", lambda: (arb(-exponent).exp(), arb(z)))
    return Decay(exponent, z)


def budget(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Scaled:
    """The queries' logit on the whole body, by comparing squares; and that the keys fit the statement.

    A tilt's coordinate adds its strength on the cube, in the ball the square of it to the square.
    """
    payload = integer(fields(given, "given", {"payload"})["payload"], "payload")
    logit = number(fields(gives, "gives", {"logit_at_most"}), "logit_at_most")
    keys, decay, statement = premise(uses, "keys", Keys), premise(uses, "decay", Decay), case.statement
    must(statement.budget == "class", "the budget holds on the whole class")
    must(keys.dim <= statement.key_dim, f"keys of {keys.dim} coordinates fit in {statement.key_dim}")
    must(1 <= payload <= min(keys.size, statement.tokens), "payload tokens are keys, and tokens of the statement")
    must(keys.bf16 or not statement.bf16, "the keys are exact in bf16")
    tilt = premise(uses, "tilt", Tilt) if "tilt" in uses else None
    lean, ball = tilt.strength if tilt else fmpq(0), statement.body == "ball"
    room = logit**2 - lean**2 if ball else (logit - lean) ** 2
    must(logit > lean and decay.exponent**2 * keys.square <= room, "logit of the queries <= logit_at_most")
    must(logit <= statement.max_logit, "logit_at_most <= max_logit")
    return Scaled(keys, decay.z, payload, tilt, decay.exponent)


def leak(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Leak:
    """Sums of z^e over the payload - 1 nearest exponents, of z^(2e), and of pads and own token: nested, in balls."""
    fields(given, "given", set())
    scaled = premise(uses, "budget", Scaled)
    keys, z, payload = scaled.keys, scaled.z, scaled.payload
    stated = stated_leak(gives, payload)
    nearest: dict[int, int] = {}
    left = payload - 1
    for exponent in sorted(keys.exponents):
        nearest[exponent] = min(left, keys.exponents[exponent])
        left -= nearest[exponent]
    case.at_most("off-target mass <= off_target_at_most", lambda: (_power_sum(nearest, arb(z)), arb(stated.sigma)))
    case.at_most(
        "off-target squares <= off_target_squares_at_most",
        lambda: (_power_sum(nearest, arb(z) ** 2), arb(stated.squares)),
    )
    pads = case.statement.tokens - payload
    case.at_most(
        "mass of pads and own token <= rest_at_most",
        lambda: (pads * arb(z).sqrt() ** keys.pad_twice + arb(z) ** keys.own, arb(stated.rest)),
    )
    return replace(stated, scaled=scaled)


def stated_leak(gives: Node, payload: int) -> Leak:
    """The three bounds as they stand in the step."""
    names = ("off_target_at_most", "rest_at_most", "off_target_squares_at_most")
    fields(gives, "gives", set(names))
    sigma, rest, squares = (number(gives, name) for name in names)
    must(min(sigma, rest, squares) >= 0, "masses are not negative")
    return Leak(payload, sigma, rest, squares)


def _power_sum(terms: dict[int, int], z: arb) -> arb:
    """sum of n z^e, nested from the largest exponent down."""
    total, last = arb(0), 0
    for exponent in sorted(terms, reverse=True):
        total = total * z ** (last - exponent) if last else total
        total, last = total + terms[exponent], exponent
    return total * z**last


def separation(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Reading:
    """Bits are told apart: what 1 answers at least exceeds what 0 answers at most, (1 - eta) > (1 + eta) sigma."""
    fields(given, "given", set())
    leaked, eta = premise(uses, "leak", Leak), case.statement.relative
    must(integer(fields(gives, "gives", {"alphabet"})["alphabet"], "alphabet") == 2, "an alphabet of 2")
    must(eta is not None, "the statement's tolerance is relative")
    assert eta is not None
    must((1 + eta) * leaked.sigma < 1 - eta, "(1 + relative) off_target < 1 - relative")
    return Reading(2, leaked.payload, _top(case, leaked))


def _top(case: Case, leaked: Leak) -> fmpq:
    """In its causal row a token that asks for itself has all but the masses of others, if no token is a pad."""
    everything = 1 + leaked.sigma + leaked.rest
    return 1 / everything if leaked.payload == case.statement.tokens else fmpq(0)


def levels(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Reading:
    """Neighbouring levels answer further apart than the error and the other tokens reach.

    Scaled by the row's sum D <= 1 + sigma + rest: half a gap 1/(L - 1) > eps D + sigma. Levels of bf16 are exact, -1 +
    j 2^(1-s) with at most 8 significant bits, when L - 1 = 2^s with s <= 9; else each is off by the rounding.
    """
    fields(given, "given", set())
    leaked, eps = premise(uses, "leak", Leak), case.statement.tolerance
    alphabet = integer(fields(gives, "gives", {"alphabet"})["alphabet"], "alphabet")
    must(alphabet >= 2, "an alphabet of at least 2")
    must(eps is not None, "the statement's tolerance is additive")
    assert eps is not None
    if alphabet - 1 not in {1 << s for s in range(10)}:
        eps += case.statement.rounding
    reach = eps * (1 + leaked.sigma + leaked.rest) + leaked.sigma
    must(reach < fmpq(1, alphabet - 1), "tolerance (1 + off_target + rest) + off_target < 1/(alphabet - 1)")
    return Reading(alphabet, leaked.payload, _top(case, leaked))


RULES: dict[str, Rule] = {
    "exp-bound": exp_bound, "budget": budget, "leak": leak, "separation": separation, "levels": levels,
}  # fmt: skip
