"""The amplitude rule a second time: its inequalities in balls, and the instance by brute force over words.

``rule`` is the oracle's entry, under the stated leaks; ``claim_holds`` sums over the code's words themselves, with
E e^(b x) = sinh(b h)/(b h) for the x uniform on [-h, h].
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flint import arb

from tests.kernel.families import family, require
from tests.kernel.real import at_most, ball, exp, log2, log_ratio, precision

if TYPE_CHECKING:
    from tests.kernel.oracle import Leak, Problem

Node = dict[str, Any]
NUMBERS = ("width", "strength", "reference", "slack")
POOLS = ("values", "amplitudes", "keys")  # each at its mean scale; values and keys also at the worst


def rule(problem: Problem, step: Node, facts: dict[str, Any], folder: Path | None) -> Fraction:
    """Bits that the step states; Wrong where they are more than the leaks give."""
    given, node = step["given"], problem.node
    leaks = {name: facts[used] for name, used in step["uses"].items()}
    coordinates, bits = int(given["key_coordinates"]), Fraction(step["gives"]["bits_at_least"])
    require(node["body"] == "cube" and node["inputs"] == "real" and "tolerance" in problem.number, "statement")
    expected = {"values", "values-worst", "amplitudes"} | ({"keys", "keys-worst"} if coordinates else set())
    require(coordinates >= 0 and leaks.keys() == expected, "pools")
    require(all(leak.scaled is not None for leak in leaks.values()), "families")
    first = leaks["values"].scaled
    require(all(leak.scaled.origin == first.origin for leak in leaks.values()), "one key step")
    require(len({leak.payload for leak in leaks.values()}) == 1, "one payload")
    require(first.keys.half == Fraction(1, 2) and bool((abs(first.keys.keys) == 1).all()), "signs")
    require(first.keys.dim + coordinates <= problem.number["key_dim"], "dimension")
    require(at_most(bits, bound(problem, leaks, given)), "bits")
    return bits


def bound(problem: Problem, leaks: Mapping[str, Leak], given: Mapping[str, object]) -> arb | Fraction:
    """Bits of all streams, as docs/proofs/amplitude.md writes them."""
    w, s, beta, slack = (Fraction(str(given[name])) for name in NUMBERS)
    require(0 < w < 1 and min(s, beta, slack) > 0, "given")
    coordinates = int(str(given["key_coordinates"]))
    pairs = [(problem.number["value_dim"] - 1, given_amplitudes(problem, leaks, "values", w))]
    if coordinates:
        pairs.append((Fraction(coordinates), given_amplitudes(problem, leaks, "keys", w)))
    pairs.append((Fraction(1), of_amplitudes(problem, leaks["amplitudes"], w, s, beta, slack)))
    gained = [ball(many) * part for many, part in pairs if many and not at_most(part, 0)]
    tokens = problem.streams * leaks["values"].payload
    return ball(tokens) * sum(gained[1:], gained[0]) if gained else Fraction(0)


def scale_of(problem: Problem, leak: Leak, w: Fraction, beside: Fraction) -> Fraction:
    assert leak.scaled is not None
    scale = leak.scaled.exponent / 2 / (1 - w / 2)
    require(scale * leak.scaled.keys.dim + beside <= problem.number["max_logit"], "logit")
    return scale


@precision()
def given_amplitudes(problem: Problem, leaks: Mapping[str, Leak], pool: str, w: Fraction) -> arb:
    """Bits of one value read, or of one key read."""
    mean, worst = leaks[pool], leaks[f"{pool}-worst"]
    assert mean.scaled is not None
    assert worst.scaled is not None
    tilt: Any = mean.scaled.tilt if pool == "keys" else None
    require(pool == "values" or hasattr(tilt, "tanh_half"), "a tilt of the cube")
    scale = scale_of(problem, mean, w, tilt.strength if tilt else Fraction(0))
    require(worst.scaled.exponent <= 2 * scale * (1 - w), "worst scale")
    require(worst.off_target < 1, "off_target")
    loss = log_ratio(worst.off_target) * ball(worst.squares) / arb(2).log()
    spread = exp(mean.scaled.keys.dim * (scale * w) ** 2 / 12)
    gained = gain(ball(problem.number["tolerance"]), ball(problem.number["failure"]))
    if tilt is None:
        return gained - log2(1 + spread * ball(mean.off_target + mean.rest)) - loss
    mass = ball(mean.off_target * (tilt.strength / tilt.tanh_half - 1) + mean.rest)
    return gained + log2(tilt.tanh_half) - 2 * log2(1 + spread * mass / 2) - loss


@precision()
def of_amplitudes(
    problem: Problem, leak: Leak, w: Fraction, s: Fraction, beta: Fraction, slack: Fraction
) -> arb:  # fmt: skip
    """Bits of all amplitudes of one token."""
    assert leak.scaled is not None
    keys = leak.scaled.keys
    scale, length = scale_of(problem, leak, w, s), keys.dim
    reach = (scale * length + s) * w / 2
    require(beta >= 1 and at_most(beta, exp(reach)), "reference")
    kappa = ((length - 1) * scale**2 + (scale + s) ** 2) * w**2 / 24
    variance = ball(leak.squares) * (exp(4 * kappa) - 1)
    largest = ball(leak.scaled.z) ** min(keys.histogram, default=1) * exp(reach)
    missed = 2 * (-ball(slack**2) / (2 * variance + ball(slack * Fraction(2, 3)) * largest)).exp()
    moved = ball(2 * beta * slack) / (exp(-reach) + ball(beta)) ** 2
    eps, delta = ball(problem.number["tolerance"]) + moved, ball(problem.number["failure"]) + missed
    mean = exp(kappa) * ball(1 + leak.off_target) + ball(leak.rest + beta)
    read = gain(eps, delta) + log2(w * s * beta) - 2 * log2(mean)
    return length * read + log2(1 + scale * length / s)


def gain(eps: arb, delta: arb) -> arb:
    """g(eps, delta) in bits, and its range."""
    require(at_most(eps, 1) and at_most(delta + eps, 1), "failure")
    bits = (1 - delta) * ((1 - delta) / eps).log()
    if not delta.is_zero():
        bits += delta * (delta / (1 - eps)).log()
    return bits / arb(2).log()


# The instance itself


def claim_holds(problem: Problem, tree: Node) -> bool:
    """Whether the instance, at the certificate's scales and numbers, proves the claim."""
    steps = {step["id"]: step for step in tree["steps"]}
    end = steps["bits"]
    given, uses = end["given"], end["uses"]
    keys = family(steps["keys"], problem.node["body"], problem.node["inputs"])
    w, s, beta, slack = (Fraction(given[name]) for name in NUMBERS)
    beside, number = int(given["key_coordinates"]), problem.number
    payload = int(steps[_before(steps, uses["values"], "budget")]["given"]["payload"])
    pads = int(number["tokens"]) - payload
    rho, length = number["max_logit"], keys.dim
    inside = 0 < w <= 1 and length + beside <= number["key_dim"] and 1 <= payload <= keys.size and pads >= 0
    if not inside or problem.node["body"] != "cube":
        return False
    distance = (length - keys.keys[:payload] @ keys.keys[:payload].T) // 2

    def scale(pool: str) -> Fraction:
        decay = steps[_before(steps, _before(steps, uses[pool], "budget"), "decay")]
        return Fraction(decay["given"]["exponent"]) / (2 - w)

    total = ball(number["value_dim"] - 1) * _brute_given(problem, distance, length, pads, scale("values"), w, None)
    cost = [scale("values") * length, scale("amplitudes") * length + s]
    if beside:
        tilt = steps[steps[_before(steps, uses["keys"], "budget")]["uses"]["tilt"]]
        t, half = Fraction(tilt["given"]["strength"]), Fraction(tilt["gives"]["tanh_half_at_least"])
        if not at_most(half, ball(t / 2).tanh()):
            return False
        cost.append(scale("keys") * length + t)
        total += beside * _brute_given(problem, distance, length, pads, scale("keys"), w, half)
    total += _brute_amplitudes(problem, distance, length, pads, scale("amplitudes"), (w, s, beta, slack))
    return max(cost) <= rho and at_most(number["state_bits_at_least"], ball(problem.streams) * total)


def _before(steps: Mapping[str, Node], name: str, premise: str) -> str:
    return str(steps[name]["uses"][premise])


def stretch(weight: Fraction, w: Fraction) -> arb:
    """E e^(weight x), x uniform on [-w/2, w/2]."""
    half = ball(weight * w / 2)
    return half.sinh() / half


def _brute_given(
    problem: Problem, distance: np.ndarray, length: int, pads: int, scale: Fraction, w: Fraction, half: Fraction | None
) -> arb:
    """Bits of one coordinate of all tokens' values, or of their payload where ``half`` is the tilt's tanh."""
    one, middle, r = stretch(scale, w) ** length, scale * (1 - w / 2), len(distance)
    lowest = arb(0)  # the mass of the worst row when all amplitudes are least, and its squares
    squares = arb(0)
    bits = r * gain(ball(problem.number["tolerance"]), ball(problem.number["failure"]))
    for row in distance.tolist():
        others = [d for d in row if d]
        off = sum((exp(-2 * middle * d) for d in others), arb(0)) * one**2
        rest = pads * exp(-middle * length) * one
        if half is None:
            own = exp(-scale * length) * exp(-middle * length) * one
            bits -= log2(1 + off + rest + own)
        else:
            mean = ((1 + ball(half)) / (1 - ball(half))).log() / ball(half) - 1
            bits += log2(half) - 2 * log2(1 + (off * mean + rest) / 2)
        least = [exp(-2 * scale * (1 - w) * d) for d in others]
        lowest, squares = lowest.max(sum(least, arb(0))), squares + sum((x**2 for x in least), arb(0))
    if not lowest < 1:
        return arb(0)
    loss = (-lowest - (1 - lowest).log()) / lowest**2 if r > 1 else arb(1) / 2
    return (bits - squares * loss / arb(2).log()).max(arb(0))


def _brute_amplitudes(
    problem: Problem, distance: np.ndarray, length: int, pads: int, scale: Fraction, numbers: tuple[Fraction, ...]
) -> arb:
    """Bits of all tokens' amplitudes."""
    w, s, beta, slack = numbers
    reach, middle = (scale * length + s) * w / 2, 1 - w / 2
    if not at_most(beta, exp(reach)):
        return arb(0)
    first, second = (stretch(k * scale, w) ** (length - 1) * stretch(k * (scale + s), w) for k in (1, 2))
    moved = ball(2 * beta * slack) / (exp(-reach) + ball(beta)) ** 2
    total = arb(0)
    for row in distance.tolist():
        others = [exp(-2 * scale * middle * d) for d in row if d]
        variance = sum((x**2 for x in others), arb(0)) * (second - first**2)
        largest = max((exp(-2 * scale * middle * d) * exp(reach) for d in row if d), default=arb(0), key=float)
        crowd = sum(others, arb(0)) * first + pads * exp(-(scale * length + s) * middle)
        missed = arb(0)
        if others:
            missed = 2 * (-ball(slack**2) / (2 * variance + ball(slack * Fraction(2, 3)) * largest)).exp()
        eps, delta = ball(problem.number["tolerance"]) + moved, ball(problem.number["failure"]) + missed
        if not at_most(eps + delta, 1):
            return arb(0)
        read = gain(eps, delta) + log2(w * s * beta) - 2 * log2(first + crowd + ball(beta))
        total += length * read + log2(1 + scale * length / s)
    return total.max(arb(0))
