"""A second secret in the keys: room for it, the tilt of a query, and both secrets' bits. All closed forms, in balls."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

from flint import arb, fmpq

from kvverify.crosscheck.bits import distortion, gain, near_identity
from kvverify.crosscheck.facts import Keys, Leak, Rule, Scaled, Tilt, premise
from kvverify.crosscheck.goal import Contrary, Fact, StateBits, must
from kvverify.crosscheck.settle import Case, log2, within
from kvverify.crosscheck.statement import number
from kvverify.kernel.document import Node, fields, integer

_DIMENSIONS = 1 << 20
_LEAST = fmpq(1, 1 << 64)


def shrunk_keys(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """Keys of norm lambda at most, so that lambda^2 + R^2 <= 1 leaves a norm of R; queries grow by 1/lambda.

    In bf16 signs times the number a of 8 significant bits below lambda / sqrt(L): queries C/a times the signs. The
    payload's coordinates grow by at most 1/256 of themselves.
    """
    keys = premise(uses, "keys", Keys)
    share = number(fields(given, "given", {"code_radius"}), "code_radius")
    beside = number(fields(gives, "gives", {"payload_radius"}), "payload_radius")
    must(case.statement.body == "ball", "keys are shrunk in the ball")
    must(min(share, beside) >= _LEAST, "both radii are at least 2^-64")
    if not case.statement.bf16:
        must(share**2 + beside**2 <= 1, "code_radius^2 + payload_radius^2 <= 1")
        return replace(keys, square=keys.square / share**2, beside=beside)
    must(keys.signs, "keys shrunk in bf16 are signs")
    must(share**2 + (beside * fmpq(257, 256)) ** 2 <= 1, "code_radius^2 + (257/256 payload_radius)^2 <= 1")
    scale = 0
    while (entry := isqrt(int((share**2 * 4**scale / keys.dim).floor()))) < 128:
        scale += 1
    return replace(keys, square=fmpq(keys.dim * 4**scale, 4 * entry**2), beside=beside)


def tilt(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Tilt:
    """T <= tanh(strength / 2), by Arb's hyperbolic tangent."""
    strength = number(fields(given, "given", {"strength"}), "strength")
    bound = number(fields(gives, "gives", {"tanh_half_at_least"}), "tanh_half_at_least")
    must(strength > 0 and 0 < bound < 1, "strength > 0 and 0 < tanh_half_at_least < 1")
    case.at_most("tanh_half_at_least <= tanh(strength / 2)", lambda: (arb(bound), arb(strength / 2).tanh()))

    def law() -> tuple[arb, arb]:
        return 2 * arb(bound).atanh() / bound - 1, log2(bound)  # E u = ln((1 + T)/(1 - T)) / T - 1

    return Tilt(strength, law, rounding=case.statement.rounding)


def ball_tilt(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Tilt:
    """The law of u for a secret uniform in a ball: its volume by the gamma function, its moments by a Gaussian's.

    sech^2 is at least exp(-x^2), in the mean of its logarithm at x = b y / 2, and E y_j^2 = R^2 / (d + 2).
    """
    fields(given, "given", {"strength", "radius", "key_coordinates"})
    strength, radius = number(given, "strength"), number(given, "radius")
    dimensions = integer(given["key_coordinates"], "key_coordinates")
    fields(gives, "gives", {"mean_at_most", "entropy_at_least"})
    mean, entropy = number(gives, "mean_at_most"), number(gives, "entropy_at_least")
    must(strength > 0 and _LEAST <= radius < 1, "strength above 0, radius from 2^-64 to 1")
    must(dimensions >= 1, "at least one key coordinate")
    within(dimensions <= _DIMENSIONS, f"a ball of {dimensions} dimensions")
    variance = (strength * radius) ** 2 / (dimensions + 2)
    case.at_most("e^(s^2 / 2) <= mean_at_most", lambda: (arb(variance / 2).exp(), arb(mean)))

    def sides() -> tuple[arb, arb]:
        half = fmpq(dimensions, 2)
        volume = arb.pi().log() * half - arb(half + 1).lgamma()
        return arb(entropy), log2(radius * strength / 4) + (volume / dimensions - variance / 4) / arb.const_log2()

    case.at_most("entropy_at_least <= entropy of the tilted ball", sides)
    power = 0
    while radius * 2 ** (power + 1) <= 1:
        power += 1
    return Tilt(strength, lambda: (arb(mean), arb(entropy)), (radius, dimensions), case.statement.rounding / 2**power)


def joint(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """Entropy of the marked answers, each pool of reads for itself.

    Values: value_dim - 1 coordinates, log2 |det W| + r g. Keys: w = (u - 1)/(u + 1) has the entropy of u and
    log2 2/(1 + u)^2, one bit more than the tilt's law says, and an answer that of w + log2 of the stretch from w to it;
    the stretch of all r is det(I + A) over the mean of ((1 + X)/(1 + u))^2, at least 1/(1 + (sigma E u + rest) / 2)^2
    by Jensen, E 1/(1 + u) = 1/2.
    """
    coordinates = integer(fields(given, "given", {"key_coordinates"})["key_coordinates"], "key_coordinates")
    stated = number(fields(gives, "gives", {"bits_at_least"}), "bits_at_least")
    statement = case.statement
    values, keys = premise(uses, "values", Leak), premise(uses, "keys", Leak)
    lean = _tilted(keys)
    must(_family(values).keys is _family(keys).keys, "both pools of reads are of one key step")
    must(values.payload == keys.payload, "both pools read the same tokens")
    must(coordinates >= 1, "at least one key coordinate")
    width = _family(keys).keys.dim + coordinates
    must(width <= statement.key_dim, f"code and payload of {width} coordinates fit in {statement.key_dim}")
    must(statement.body in ("cube", "ball"), "the body is the cube or the ball")
    must((lean.ball is not None) == (statement.body == "ball"), "the body has room for the tilted secret")
    if lean.ball is not None:
        radius, dimensions = lean.ball
        must(radius <= _family(keys).keys.beside, "the body has room for the tilted secret beside the code")
        must(dimensions == coordinates, "the tilted secret has as many coordinates")
    must(values.sigma < 1 and keys.sigma < 1, "off_target < 1 in both pools of reads")
    of_value = gain(case, statement.rounding)
    of_key = gain(case, lean.strength * lean.rounding / 2)  # 2 tanh(t h / 4), which is less than t h / 2

    def sides() -> tuple[arb, arb]:
        value_part = near_identity(values) + values.payload * of_value()
        key_part = keys.payload * (of_key() + _key_read(keys, lean))
        total = (statement.value_dim - 1) * value_part.max(arb(0)) + coordinates * key_part.max(arb(0))
        return arb(stated), statement.streams * total

    case.at_most("bits_at_least <= streams * (value part + key part)", sides)
    return StateBits(stated)


def _key_read(keys: Leak, lean: Tilt) -> arb:
    """Bits of one key read beside g: the secret's entropy, the stretch, the determinant's share."""
    mean, entropy = lean.law()
    crowd = 1 + (keys.sigma * mean + keys.rest) / 2
    return entropy - 2 * crowd.log() / arb.const_log2() - distortion(keys)


def _family(leaked: Leak) -> Scaled:
    if leaked.scaled is None:
        raise Contrary("the reads are of a family of keys")
    return leaked.scaled


def _tilted(leaked: Leak) -> Tilt:
    found = _family(leaked).tilt
    if found is None:
        raise Contrary("the key reads' budget leaves room for a tilt")
    return found


RULES: dict[str, Rule] = {"shrunk-keys": shrunk_keys, "tilt": tilt, "ball-tilt": ball_tilt, "joint": joint}
