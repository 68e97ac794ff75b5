"""A second secret in the keys: the tilt of a query, and both secrets' bits together. All closed forms, in balls."""

from __future__ import annotations

from flint import arb, fmpq

from kvverify.crosscheck.bits import distortion, gain, near_identity
from kvverify.crosscheck.facts import Fact, Leak, Rule, Scaled, StateBits, Tilt, premise
from kvverify.crosscheck.settle import Case, Contrary, log2, must
from kvverify.crosscheck.statement import number
from kvverify.kernel.document import Node, fields, integer


def tilt(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Tilt:
    """T <= tanh(strength / 2), by Arb's hyperbolic tangent."""
    strength = number(fields(given, "given", {"strength"}), "strength")
    bound = number(fields(gives, "gives", {"tanh_half_at_least"}), "tanh_half_at_least")
    must(strength > 0 and 0 < bound < 1, "strength > 0 and 0 < tanh_half_at_least < 1")
    case.at_most("tanh_half_at_least <= tanh(strength / 2)", lambda: (arb(bound), arb(strength / 2).tanh()))
    return Tilt(strength, bound)


def joint(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """Entropy of the marked answers, each pool of reads for itself.

    Values: value_dim - 1 coordinates, log2 |det W| + r g. Keys: with w = (u - 1)/(u + 1) uniform on [-T, T] an answer
    has the entropy log2 2T + log2 of the stretch from w to it; the stretch of all r is det(I + A) over the mean of
    ((1 + X)/(1 + u))^2, at least 1/(1 + (sigma E u + rest) / 2)^2 by Jensen, E 1/(1 + u) = 1/2.
    """
    coordinates = integer(fields(given, "given", {"key_coordinates"})["key_coordinates"], "key_coordinates")
    stated = number(fields(gives, "gives", {"bits_at_least"}), "bits_at_least")
    statement = case.statement
    values, keys = premise(uses, "values", Leak), premise(uses, "keys", Leak)
    lean = _tilted(keys)
    must(statement.body == "cube", "the body is the cube, which holds code and payload side by side")
    must(_family(values).keys is _family(keys).keys, "both pools of reads are of one key step")
    must(values.payload == keys.payload, "both pools read the same tokens")
    must(coordinates >= 1, "at least one key coordinate")
    width = _family(keys).keys.dim + coordinates
    must(width <= statement.key_dim, f"code and payload of {width} coordinates fit in {statement.key_dim}")
    must(values.sigma < 1 and keys.sigma < 1, "off_target < 1 in both pools of reads")
    of_value = gain(case, statement.rounding)
    of_key = gain(case, lean.strength * statement.rounding / 2)  # 2 tanh(t h / 4), which is less than t h / 2

    def sides() -> tuple[arb, arb]:
        value_part = near_identity(values) + values.payload * of_value()
        key_part = keys.payload * (of_key() + _key_read(keys, lean.tanh_half))
        total = (statement.value_dim - 1) * value_part.max(arb(0)) + coordinates * key_part.max(arb(0))
        return arb(stated), statement.streams * total

    case.at_most("bits_at_least <= streams * (value part + key part)", sides)
    return StateBits(stated)


def _key_read(keys: Leak, half: fmpq) -> arb:
    """Bits of one key read beside g: log2 T, the stretch, the determinant's share."""
    mean = 2 * arb(half).atanh() / half - 1  # E u = ln((1 + T)/(1 - T)) / T - 1
    crowd = 1 + (keys.sigma * mean + keys.rest) / 2
    return log2(half) - 2 * crowd.log() / arb.const_log2() - distortion(keys)


def _family(leaked: Leak) -> Scaled:
    if leaked.scaled is None:
        raise Contrary("the reads are of a family of keys")
    return leaked.scaled


def _tilted(leaked: Leak) -> Tilt:
    found = _family(leaked).tilt
    if found is None:
        raise Contrary("the key reads' budget leaves room for a tilt")
    return found


RULES: dict[str, Rule] = {"tilt": tilt, "joint": joint}
