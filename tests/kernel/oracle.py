"""The kernel's inequalities a second time: by brute force over keys, and by Arb where there are logarithms.

``first_false`` names the first step of a small certificate that does not hold. It shares no code with the kernel and
knows nothing of syntax: it is asked about well-formed documents only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import comb, isqrt
from pathlib import Path
from typing import Any

from flint import arb, arb_mat

from tests.kernel import amplitude, compared, covered, explicit, netted, quantised, sampled, seen, tensored
from tests.kernel.ball import BallTilt, ball_tilt, shrunk
from tests.kernel.families import Keys, Wrong, family, require
from tests.kernel.own_files import own_scores, preconditioned_bound
from tests.kernel.real import at_most, ball, divergence, exp, fano, log2, log_ratio, precision

Node = dict[str, Any]
ROUNDING = Fraction(1, 512)


@dataclass(frozen=True)
class Problem:
    """The statement's numbers."""

    number: dict[str, Fraction]
    node: Node
    seen: dict[str, Fraction] = field(default_factory=dict)

    @property
    def rounding(self) -> Fraction:
        return ROUNDING if self.node["inputs"] == "bf16" else Fraction(0)

    @property
    def coordinates(self) -> Fraction:
        return self.number["value_dim"] * self.streams

    @property
    def streams(self) -> Fraction:
        return self.number["kv_heads"] * self.number["layers"]


@dataclass(frozen=True)
class Tilt:
    strength: Fraction
    tanh_half: Fraction


@dataclass(frozen=True)
class Scaled:
    keys: Keys
    z: Fraction
    payload: int
    origin: str = ""
    tilt: Tilt | BallTilt | None = None
    exponent: Fraction = Fraction(0)


@dataclass(frozen=True)
class Leak:
    payload: int
    off_target: Fraction
    squares: Fraction
    rest: Fraction
    rows: tuple[tuple[Fraction, Fraction], ...] = ()
    log2_det: arb | None = None
    top: tuple[arb_mat, arb] | None = None
    scaled: Scaled | None = None


@dataclass(frozen=True)
class Reading:
    alphabet: int
    symbols: int


def first_false(tree: Node, folder: Path | None = None) -> str | None:
    """The id of the first step that is false; "statement" or "claim"; None when all holds."""
    try:
        read, claimed = CLAIMS[tree["statement"]["claim"]]
        problem = read(tree["statement"])
    except (KeyError, Wrong):
        return "statement"
    facts: dict[str, Any] = {}
    for step in tree["steps"]:
        try:
            with precision():
                facts[step["id"]] = _RULES[step["rule"]](problem, step, facts, folder)
        except Wrong:
            return str(step["id"])
    return None if claimed(problem, facts[tree["steps"][-1]["id"]]) else "claim"


def _claimed(problem: Problem, last: Any) -> bool:
    """Whether the last fact is of the claim's kind, and says at least as much."""
    enough = problem.number.get("state_bits_enough")
    if problem.number.get("top_mass_at_least", 0) > problem.seen.get("top", 0):
        return False
    if enough is None or not isinstance(last, quantised.Enough):
        return enough is None and isinstance(last, Fraction) and problem.number["state_bits_at_least"] <= last
    return last.bits <= enough


def statement(node: Node) -> Problem:
    words = {"claim", "attention", "body", "budget", "inputs", "keys", "queries"}
    number = {name: Fraction(value) for name, value in node.items() if name not in words}
    for name in ("tokens", "key_dim", "value_dim", "kv_heads", "layers"):
        require(number[name] >= 1, name)
    bound = "state_bits_enough" if node["claim"] == "state-bits-enough" else "state_bits_at_least"
    require(number[bound] >= 0 and number["max_logit"] > 0 and 0 <= number["failure"] < 1, "range")
    require(int(node.get("keys", {}).get("head", 0)) >= 0, "head")
    require("tolerance" not in number or 0 < number["tolerance"] < 1, "tolerance")
    require("relative" not in number or 0 <= number["relative"] < 1, "relative")
    require(0 <= number.get("top_mass_at_least", 0) < 1, "top mass")
    require(bound == "state_bits_at_least" or not number.get("top_mass_at_least"), "top mass")
    return Problem(number, node)


def _keys(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Keys:
    return family(step, problem.node["body"], problem.node["inputs"])


def _exp_bound(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> tuple[Fraction, Fraction]:
    exponent, z = Fraction(step["given"]["exponent"]), Fraction(step["gives"]["exp_minus_at_most"])
    require(exponent > 0 and 0 < z < 1 and at_most(exp(-exponent), z), "exp")
    return exponent, z


def _tilt(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Tilt:
    strength, half = Fraction(step["given"]["strength"]), Fraction(step["gives"]["tanh_half_at_least"])
    require(strength > 0 and 0 < half < 1 and at_most(half, ball(strength / 2).tanh()), "tanh")
    return Tilt(strength, half)


def _shrunk_keys(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Keys:
    return shrunk(facts[step["uses"]["keys"]], problem, step)


def _ball_tilt(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> BallTilt:
    return ball_tilt(step)


def _budget(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Scaled:
    keys, (exponent, z) = facts[step["uses"]["keys"]], facts[step["uses"]["decay"]]
    tilt = facts[step["uses"]["tilt"]] if "tilt" in step["uses"] else None
    payload, logit = int(step["given"]["payload"]), Fraction(step["gives"]["logit_at_most"])
    require(keys.dim <= problem.number["key_dim"], "dimension")
    require(1 <= payload <= min(keys.size, problem.number["tokens"]), "payload")
    require(keys.bf16 or problem.node["inputs"] == "real", "bf16")
    parts = exponent * keys.unit, tilt.strength if tilt else Fraction(0)
    require(0 < logit <= problem.number["max_logit"], "logit")
    squares = problem.node["body"] == "ball"
    require(parts[0] ** 2 + parts[1] ** 2 <= logit**2 if squares else sum(parts) <= logit, "cost")
    return Scaled(keys, z, payload, step["uses"]["keys"], tilt, exponent)


def _leak(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Leak:
    scaled = facts[step["uses"]["budget"]]
    stated = masses(step)
    found = leak_sums(scaled.keys, scaled.z, scaled.payload, int(problem.number["tokens"]))
    require(all(a <= b for a, b in zip(found, stated, strict=True)), "masses")
    return Leak(scaled.payload, *stated, scaled=scaled)


def masses(step: Node) -> tuple[Fraction, Fraction, Fraction]:
    off_target, squares, rest = (
        Fraction(step["gives"][f"{name}_at_most"]) for name in ("off_target", "off_target_squares", "rest")
    )
    require(min(off_target, squares, rest) >= 0, "negative mass")
    return off_target, squares, rest


def half_power(z: Fraction, twice: int) -> Fraction:
    """z^(twice/2); a root that is no rational is rounded up to 2^-400."""
    if twice % 2 == 0:
        return z ** (twice // 2)
    square = z**twice
    scaled = -(-(square.numerator << 800) // square.denominator)
    root = isqrt(scaled)
    return Fraction(root + (root * root < scaled), 1 << 400)


def leak_sums(keys: Keys, z: Fraction, payload: int, tokens: int) -> tuple[Fraction, Fraction, Fraction]:
    """sigma, F and rest over the payload - 1 nearest of the histogram, one token at a time."""
    nearest = [e for e, n in sorted(keys.histogram.items()) for _ in range(min(n, payload))][: payload - 1]
    return (
        sum((z**e for e in nearest), Fraction(0)),
        sum((z ** (2 * e) for e in nearest), Fraction(0)),
        z**keys.own + (tokens - payload) * half_power(z, keys.pad_twice),
    )


def attention_row(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Leak:
    assert folder is not None
    payload, scores = own_scores(problem.node, step, folder)
    require(len(scores[0]) == problem.number["tokens"], "tokens")
    require(max(abs(s) for row in scores for s in row) <= problem.number["max_logit"], "logits")
    stated = masses(step)
    rows, squares = [], arb(0)
    for i, row in zip(payload, scores, strict=True):
        weights = [exp(s - row[i]) for s in row]
        own = exp(-max(map(abs, row)) - row[i])
        off = sum((weights[j] for j in payload if j != i), arb(0))
        rest = own + sum((weights[j] for j in range(len(row)) if j not in payload), arb(0))
        squares += sum((weights[j] ** 2 for j in payload if j != i), arb(0)) / len(payload)
        require(at_most(off, stated[0]) and at_most(rest, stated[2]), "row")
        rows.append((_value(off), _value(rest)))
    require(at_most(squares, stated[1]), "squares")
    relative = arb_mat([[exp(row[j] - row[i]) for j in payload] for i, row in zip(payload, scores, strict=True)])
    tops = [max(row) for row in scores]
    weights = arb_mat([[exp(row[j] - top) for j in payload] for row, top in zip(scores, tops, strict=True)])
    totals = [
        sum(map(exp, [s - top for s in (*row, -max(map(abs, row)))]), arb(0))
        for row, top in zip(scores, tops, strict=True)
    ]
    whole = sum(map(log2, totals), arb(0))
    return Leak(len(payload), *stated, tuple(rows), log2(abs(relative.det())), (weights, whole))


def _value(x: arb) -> Fraction:
    mantissa, power = x.mid().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(power)


def _separation(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Reading:
    leak, eta = facts[step["uses"]["leak"]], problem.number["relative"]
    require(int(step["gives"]["alphabet"]) == 2, "alphabet")
    require((1 - eta) > (1 + eta) * leak.off_target, "separation")
    problem.seen["top"] = _top_mass(problem, leak)
    return Reading(2, int(leak.payload * problem.coordinates))


def _top_mass(problem: Problem, leak: Leak) -> Fraction:
    """The asker's row has the most others in it; a pad's own row may be flat."""
    return Fraction(problem.number["tokens"] == leak.payload) / (1 + leak.off_target + leak.rest)


def _levels(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Reading:
    leak, alphabet = facts[step["uses"]["leak"]], int(step["gives"]["alphabet"])
    require(alphabet >= 2, "alphabet")
    exact = alphabet - 1 in [1 << k for k in range(10)]  # m/256 with m odd below 256 has 8 significant bits
    eps = problem.number["tolerance"] + (0 if exact else problem.rounding)
    row_sum = 1 + leak.off_target + leak.rest
    problem.seen["top"] = _top_mass(problem, leak)
    # neighbouring levels are 2/(L-1) apart, everything divided by the row sum
    require(2 / ((alphabet - 1) * row_sum) > 2 * eps + 2 * leak.off_target / row_sum, "levels")
    return Reading(alphabet, int(leak.payload * problem.coordinates))


def _random_access_code(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Fraction:
    reading, delta = facts[step["uses"]["reading"]], problem.number["failure"]
    bits = Fraction(step["gives"]["bits_at_least"])
    require(delta <= 1 - Fraction(1, reading.alphabet), "failure")
    if not delta and reading.alphabet == 1 << (reading.alphabet.bit_length() - 1):
        require(bits <= reading.symbols * (reading.alphabet.bit_length() - 1), "bits")
    else:
        require(at_most(bits, reading.symbols * fano(reading.alphabet, delta)), "bits")
    return bits


def _counting(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Fraction:
    reading, delta = facts[step["uses"]["reading"]], problem.number["failure"]
    bits = int(step["gives"]["bits_at_least"])
    require(delta <= 1 - Fraction(1, reading.alphabet), "failure")
    require(bits >= 1 and least_errors(reading.alphabet, reading.symbols, (1 << bits) - 1) > delta, "bits")
    return Fraction(bits)


def least_errors(alphabet: int, symbols: int, states: int) -> Fraction:
    """The mean error per symbol when all states' balls are disjoint: every word goes to the nearest free place."""
    words = left = alphabet**symbols
    errors = 0
    for j in range(symbols + 1):
        placed = min(left, states * comb(symbols, j) * (alphabet - 1) ** j)
        errors, left = errors + j * placed, left - placed
    return Fraction(errors, words * symbols)


def _determinant(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> tuple[Leak, Fraction]:
    leak, stated = facts[step["uses"]["leak"]], Fraction(step["gives"]["log2_det_at_least"])
    form = step["given"]["form"]
    if form == "preconditioned":
        assert folder is not None
        require(at_most(stated, preconditioned_bound(leak.top, step["given"]["factors"], folder)), "determinant")
        return leak, stated
    if form != "exact":
        rows = leak.rows if form == "ostrowski" and leak.rows else ((leak.off_target, leak.rest),)
        require(all(off_target < 1 for off_target, _ in rows), "off_target")
    require(at_most(stated, determinant_bound(form, leak)), "determinant")
    return leak, stated


def determinant_bound(form: str, leak: Leak) -> arb:
    """What the form proves, in bits."""
    with precision():
        if form == "near-identity":
            loss = log_ratio(leak.off_target) / arb(2).log() * ball(leak.squares)
            return -leak.payload * (log2(1 + leak.off_target + leak.rest) + loss)
        rows = leak.rows or ((leak.off_target, leak.rest),) * leak.payload
        sums = sum((log2(1 + off + rest) for off, rest in rows), arb(0))
        if form == "ostrowski":
            return sum((log2(1 - off) for off, _ in rows), arb(0)) - sums
        require(leak.log2_det is not None, "no matrix")
        return leak.log2_det - sums


def _volume(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Fraction:
    leak, log2_det = facts[step["uses"]["determinant"]]
    eps, delta = problem.number["tolerance"] + problem.rounding, problem.number["failure"]
    bits = Fraction(step["gives"]["bits_at_least"])
    require(eps < 1 and delta <= 1 - eps, "failure")
    require(at_most(bits, ball(problem.coordinates) * (ball(log2_det) + leak.payload * divergence(eps, delta))), "bits")
    return bits


def _joint(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Fraction:
    values, keys = (facts[step["uses"][name]] for name in ("values", "keys"))
    coordinates, bits = int(step["given"]["key_coordinates"]), Fraction(step["gives"]["bits_at_least"])
    require("tolerance" in problem.number, "tolerance")
    require(values.scaled is not None and keys.scaled is not None, "family")
    require(values.scaled.origin == keys.scaled.origin, "one key step")
    require(values.payload == keys.payload and keys.scaled.tilt is not None, "payload and tilt")
    require(1 <= coordinates <= problem.number["key_dim"] - keys.scaled.keys.dim, "key coordinates")
    tilt, room = keys.scaled.tilt, getattr(keys.scaled.keys, "beside", None)
    if problem.node["body"] == "ball":
        require(isinstance(tilt, BallTilt) and room is not None, "room for the secret")
        require(tilt.radius <= room and tilt.coordinates == coordinates, "room for this secret")
    else:
        require(problem.node["body"] == "cube" and isinstance(tilt, Tilt), "a tilt of the cube")
    require(at_most(bits, joint_bound(problem, values, keys, keys.scaled.tilt, coordinates)), "bits")
    return bits


def joint_bound(problem: Problem, values: Leak, keys: Leak, tilt: Tilt | BallTilt, coordinates: int) -> Fraction | arb:
    """The two parts as bounds 4 writes them, in bits of all streams; 0 where neither is above it."""
    eps, delta, h = problem.number["tolerance"], problem.number["failure"], problem.rounding
    tilted = tilt.strength * h / 2
    if isinstance(tilt, BallTilt):
        tilted, mean, entropy = tilted * tilt.reach, tilt.mean, ball(tilt.entropy)
    else:
        mean, entropy = tilt.strength / tilt.tanh_half - 1, log2(tilt.tanh_half)
    require(max(values.off_target, keys.off_target) < 1, "off_target")
    require(eps + max(h, tilted) < 1 and delta <= 1 - eps - max(h, tilted), "failure")
    with precision():
        value = determinant_bound("near-identity", values) + values.payload * divergence(eps + h, delta)
        crowd = 1 + (keys.off_target * mean + keys.rest) / 2
        loss = log_ratio(keys.off_target) / arb(2).log() * ball(keys.squares)
        key = keys.payload * (entropy + divergence(eps + tilted, delta) - 2 * log2(crowd) - loss)
        parts = [(problem.number["value_dim"] - 1, value), (Fraction(coordinates), key)]
        gained = [ball(many * problem.streams) * part for many, part in parts if many and not at_most(part, 0)]
        return sum(gained[1:], gained[0]) if gained else Fraction(0)


_RULES: dict[str, Any] = {
    "quantiser": quantised.quantiser, "dithered": quantised.dithered,
    "reservoir": sampled.reservoir, "running-sum": explicit.running_sum, "two-inputs": explicit.two_inputs,
    "cover-at-least": covered.at_least, "cover-at-most": covered.at_most, "cover": covered.both,
    "comparison": compared.compare, "positive-polynomial": compared.positive,
    "net": netted.net, "lattice-points": netted.lattice_points,
    "linear-code": _keys, "coset-union": _keys, "hypercube": _keys, "reed-muller": _keys, "explicit-keys": _keys,
    "paraboloid": _keys,
    "exp-bound": _exp_bound, "tilt": _tilt, "shrunk-keys": _shrunk_keys, "ball-tilt": _ball_tilt, "budget": _budget,
    "leak": _leak, "attention-row": attention_row,
    "separation": _separation, "levels": _levels, "random-access-code": _random_access_code, "counting": _counting,
    "determinant": _determinant, "volume": _volume, "joint": _joint, "amplitude": amplitude.rule,
    **tensored.RULES,
    "visual-rows": seen.rows, "visual-volume": seen.volume, "visual-symbols": seen.symbols,
}  # fmt: skip

CLAIMS: dict[str, Any] = {
    **dict.fromkeys(("state-bits", "state-bits-enough"), (statement, _claimed)),
    "cover": (covered.statement, covered.claimed),
    "sampling": (sampled.read, sampled.claimed),
    "identity": (explicit.window, explicit.agreed),
    "two-inputs": (explicit.two, explicit.apart),
    "comparison": (compared.read, compared.met),
    "polynomial": (compared.polynomial, compared.met),
    **tensored.CLAIMS,
    "visual-state-bits": (seen.statement, seen.claimed),
}
"""Of each kind of claim: its reader, which raises Wrong, and whether the last fact is of that kind and as strong."""
