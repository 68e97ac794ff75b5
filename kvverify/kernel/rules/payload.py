"""A second secret in the keys: key = (code part | payload coordinates). Proofs: docs/proofs/payload.md.

One value coordinate is a marker: +1 for every cached token, -1 for the asker's own. A key read of token i and payload
coordinate j has the query (C c_i | t e_j) and the own key (c_i | 0), so that the marker's output is (X - 1)/(X + 1),
X = sum over l of a_il exp(t y_lj): monotone, linear, monotone, and the volume argument applies. On the cube the payload
lies in [-1, 1] beside any code; in the ball the code is shrunk, and the payload is uniform in a ball beside it.
Source: ours.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Node, OverLimit, fields, integer, rational
from kvverify.kernel.facts import Fact, StateBits, need, premise, present
from kvverify.kernel.numbers import LOG2_E_UPPER, divergence_lower, exp_lower, exp_upper, log2_lower, log2_upper
from kvverify.kernel.rules.attention import Keys, Leak, Tilt
from kvverify.kernel.rules.volume import distortion, near_identity

MAX_COORDINATES = 4096  # of a ball whose volume is taken
LEAST_RADIUS = Fraction(1, 1 << 64)  # so that nothing comes near the least bf16 number
PI_LOWER = Fraction(314159265358979323846, 10**20)


def shrunk_keys(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """The same keys times lambda in the ball, queries over lambda: room beside them for a secret of norm R.

    lambda^2 + R^2 <= 1, so (lambda k | y) stays in the ball; weights stay, and a query costs 1/lambda as much logit.
    In bf16 the signs are multiplied by the number of 8 significant bits below lambda/sqrt(L), which costs the query at
    most 128/127 more, and R leaves room for the rounding of y, to nearest.
    """
    fields(uses, "uses", {"keys"})
    keys, statement = premise(uses, "keys", Keys), context.statement
    share = rational(fields(given, "given", {"code_radius"})["code_radius"], "code_radius")
    beside = rational(fields(gives, "gives", {"payload_radius"})["payload_radius"], "payload_radius")
    need(statement.body == "ball", "the statement's body is the ball", statement.body, "ball")
    if keys.beside:
        raise OverLimit("limit: keys that are shrunk a second time")
    need(
        min(share, beside) >= LEAST_RADIUS, "code_radius and payload_radius >= 2^-64", min(share, beside), LEAST_RADIUS
    )
    norm = share**2 + (beside * (1 + 2 * statement.value_rounding)) ** 2
    need(norm <= 1, "code_radius^2 + payload_radius^2 (with the rounding of bf16) <= 1", norm, 1)
    unit = keys.unit
    if statement.inputs == "bf16":
        need(keys.signs, "in bf16 only sign keys can be shrunk")
        unit = Fraction(keys.dim, 2) * Fraction(128, 127)
    return replace(keys, unit=unit / share, beside=beside)


def tilt(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Tilt:
    """T <= tanh(t/2) for a tilt of strength t > 0, 0 < T < 1: as e^t (1 - T) >= 1 + T. Source: textbook.

    So y = (ln u)/t stays within [-1, 1] when (u - 1)/(u + 1) is uniform on [-T, T]: mean t/T - 1, entropy log2 T.
    """
    fields(uses, "uses", set())
    strength = rational(fields(given, "given", {"strength"})["strength"], "strength")
    bound = rational(fields(gives, "gives", {"tanh_half_at_least"})["tanh_half_at_least"], "tanh_half_at_least")
    need(strength > 0, "strength > 0", strength, 0)
    need(0 < bound < 1, "0 < tanh_half_at_least < 1", bound, 1)
    left = exp_lower(strength) * (1 - bound)
    need(left >= 1 + bound, "e^strength (1 - tanh_half) >= 1 + tanh_half", left, 1 + bound)
    return Tilt(strength, strength / bound - 1, log2_lower(bound))


def ball_tilt(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Tilt:
    """A secret y uniform in the ball of radius R in d dimensions, tilted by b: with s^2 = (b R)^2 / (d + 2)

    E e^(b y_j) <= e^(s^2 / 2), and h(u) - 2 E log2(1 + u) >= h(y)/d + log2 b - 2 - (log2 e) s^2 / 4 a coordinate.
    Source: ours, by the moments of the uniform law.
    """
    fields(uses, "uses", set())
    fields(given, "given", {"strength", "radius", "key_coordinates"})
    strength, radius = rational(given["strength"], "strength"), rational(given["radius"], "radius")
    coordinates = integer(given["key_coordinates"], "key_coordinates")
    fields(gives, "gives", {"mean_at_most", "entropy_at_least"})
    mean, entropy = (rational(gives[name], name) for name in ("mean_at_most", "entropy_at_least"))
    need(strength > 0, "strength > 0", strength, 0)
    need(LEAST_RADIUS <= radius < 1, "2^-64 <= radius < 1", radius, 1)
    need(coordinates >= 1, "key_coordinates >= 1", coordinates, 1)
    if coordinates > MAX_COORDINATES:
        raise OverLimit(f"limit: a ball of {coordinates} dimensions (up to {MAX_COORDINATES})")
    context.charge(1000 + coordinates)
    square = (strength * radius) ** 2 / (coordinates + 2)
    most = exp_upper(square / 2)
    need(most <= mean, "e^(s^2 / 2) <= mean_at_most", most, mean)
    each = log2_lower(radius) + unit_ball_lower(coordinates) / coordinates
    least = each + log2_lower(strength) - 2 - LOG2_E_UPPER * square / 4
    need(entropy <= least, "entropy_at_least <= h(y)/d + log2 b - 2 - (log2 e) s^2 / 4", entropy, least)
    reach = Fraction(2, 1 << (radius.denominator // radius.numerator).bit_length())  # 1/reach <= 1/radius < 2/reach
    return Tilt(strength, mean, entropy, (radius, coordinates), reach)


def unit_ball_lower(dimension: int) -> Fraction:
    """A lower bound on log2 of the unit ball's volume, (2 pi)^(d/2) / d!! for even d, 2 (2 pi)^((d-1)/2) / d!! for odd.

    Source: textbook.
    """
    half, odd = divmod(dimension, 2)
    return half * log2_lower(2 * PI_LOWER) + odd - log2_upper(prod(range(dimension, 0, -2)))


def joint(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """S >= streams (value part + key part): two independent secrets, each with its own pool of reads.

    Value part, value_dim - 1 coordinates: log2 |det W| + r g(eps, delta), as in the volume rule. Key part,
    ``key_coordinates`` beside the code, with the tilt's law of the secret:

        r (entropy + g(eps', delta) - 2 log2(1 + (sigma mean + rest)/2)) + log2 |det(I + A)|.

    For bf16 inputs eps grows by the rounding h of a value, eps' by t h / 2 times the secret's reach. A part below 0
    counts as 0.
    """
    fields(uses, "uses", {"values", "keys"})
    coordinates = integer(fields(given, "given", {"key_coordinates"})["key_coordinates"], "key_coordinates")
    bits = rational(fields(gives, "gives", {"bits_at_least"})["bits_at_least"], "bits_at_least")
    statement = context.statement
    values, keys = premise(uses, "values", Leak), premise(uses, "keys", Leak)
    value_side = present(values.scaled, "the value reads are of a family of keys")
    key_side = present(keys.scaled, "the key reads are of a family of keys")
    need(value_side.keys is key_side.keys, "both pools of reads are of one key step")
    need(values.payload == keys.payload, "both pools read the same tokens", values.payload, keys.payload)
    lean = present(key_side.tilt, "the key reads' budget leaves room for a tilt")
    need(coordinates >= 1, "key_coordinates >= 1", coordinates, 1)
    width = key_side.keys.dim + coordinates
    need(width <= statement.key_dim, "code and payload fit the key dimension", width, statement.key_dim)
    need(
        (lean.ball is None) == (statement.body == "cube"), "the tilt is of the statement's body", statement.body, "cube"
    )
    radius, number = lean.ball or (Fraction(0), coordinates)
    need(number == coordinates, "the tilted secret has key_coordinates", number, coordinates)
    need(radius <= key_side.keys.beside, "the keys leave room for the tilted secret", radius, key_side.keys.beside)
    context.charge(1000)
    value_part = near_identity(values) + values.payload * _gain(context, statement.value_rounding)
    moved = lean.strength * lean.reach * statement.value_rounding / 2
    key_part = keys.payload * (_key_read(keys, lean) + _gain(context, moved))
    total = (statement.value_dim - 1) * max(value_part, Fraction(0)) + coordinates * max(key_part, Fraction(0))
    total *= statement.streams
    need(bits <= total, "bits_at_least <= streams * (value part + key part)", bits, total)
    return StateBits(bits)


def _gain(context: Context, rounding: Fraction) -> Fraction:
    """g at the tolerance plus what rounding the inputs may move an answer."""
    tolerance = present(context.statement.tolerance, "the statement's tolerance is additive")
    eps, delta = tolerance + rounding, context.statement.failure
    need(eps < 1 and delta <= 1 - eps, "failure <= 1 - tolerance (with the rounding of bf16)", delta, 1 - eps)
    return divergence_lower(eps, delta)


def _key_read(keys: Leak, lean: Tilt) -> Fraction:
    """Bits of one key read beside g: the secret's entropy, the others' mass, and the determinant's share."""
    crowd = 1 + (keys.worst.off_target * lean.mean + keys.worst.rest) / 2
    return lean.entropy - 2 * log2_upper(crowd) - distortion(keys)


RULES: dict[str, Rule] = {"shrunk-keys": shrunk_keys, "tilt": tilt, "ball-tilt": ball_tilt, "joint": joint}
