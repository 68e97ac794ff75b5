"""A second secret in the keys: key = (code part | payload coordinates in [-1, 1]). Proofs: docs/proofs/payload.md.

One value coordinate is a marker: +1 for every cached token, -1 for the asker's own. A key read of token i and payload
coordinate j has the query (C c_i | t e_j) and the own key (c_i | 0), so that the marker's output is (X - 1)/(X + 1),
X = sum over l of a_il exp(t y_lj): monotone, linear, monotone, and the volume argument applies. Source: ours.
"""

from __future__ import annotations

from fractions import Fraction

from kvverify.kernel.document import Node, fields, integer, rational
from kvverify.kernel.facts import Context, Fact, Leak, Rule, StateBits, Tilt, need, premise, present
from kvverify.kernel.numbers import divergence_lower, exp_lower, log2_lower, log2_upper
from kvverify.kernel.rules.volume import distortion, near_identity


def tilt(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Tilt:
    """T <= tanh(t/2) for a tilt of strength t > 0, 0 < T < 1: as e^t (1 - T) >= 1 + T. Source: textbook."""
    fields(uses, "uses", set())
    strength = rational(fields(given, "given", {"strength"})["strength"], "strength")
    bound = rational(fields(gives, "gives", {"tanh_half_at_least"})["tanh_half_at_least"], "tanh_half_at_least")
    need(strength > 0, "strength > 0", strength, 0)
    need(0 < bound < 1, "0 < tanh_half_at_least < 1", bound, 1)
    left = exp_lower(strength) * (1 - bound)
    need(left >= 1 + bound, "e^strength (1 - tanh_half) >= 1 + tanh_half", left, 1 + bound)
    return Tilt(strength, bound)


def joint(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """S >= streams (value part + key part): two independent secrets, each with its own pool of reads.

    Value part, value_dim - 1 coordinates: log2 |det W| + r g(eps, delta), as in the volume rule. Key part,
    ``key_coordinates`` beside the code, with u = e^(t y) such that (u - 1)/(u + 1) is uniform on [-T, T]:

        r (log2 T + g(eps', delta) - 2 log2(1 + (sigma (t/T - 1) + rest)/2)) + log2 |det(I + A)|.

    For bf16 inputs eps grows by the rounding h of a value, eps' by t h / 2. A part below 0 counts as 0. Cube only.
    """
    fields(uses, "uses", {"values", "keys"})
    coordinates = integer(fields(given, "given", {"key_coordinates"})["key_coordinates"], "key_coordinates")
    bits = rational(fields(gives, "gives", {"bits_at_least"})["bits_at_least"], "bits_at_least")
    statement = context.statement
    need(statement.body == "cube", "the statement's body is the cube", statement.body, "cube")
    values, keys = premise(uses, "values", Leak), premise(uses, "keys", Leak)
    value_side = present(values.scaled, "the value reads are of a family of keys")
    key_side = present(keys.scaled, "the key reads are of a family of keys")
    need(value_side.keys is key_side.keys, "both pools of reads are of one key step")
    need(values.payload == keys.payload, "both pools read the same tokens", values.payload, keys.payload)
    lean = present(key_side.tilt, "the key reads' budget leaves room for a tilt")
    need(coordinates >= 1, "key_coordinates >= 1", coordinates, 1)
    width = key_side.keys.dim + coordinates
    need(width <= statement.key_dim, "code and payload fit the key dimension", width, statement.key_dim)
    context.charge(1000)
    value_part = near_identity(values) + values.payload * _gain(context, statement.value_rounding)
    key_part = keys.payload * (_key_read(keys, lean) + _gain(context, lean.strength * statement.value_rounding / 2))
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
    """Bits of one key read beside g: log2 T, the others' mass, and the determinant's share."""
    mean = lean.strength / lean.tanh_half - 1  # bounds E u
    crowd = 1 + (keys.worst.off_target * mean + keys.worst.rest) / 2
    return log2_lower(lean.tanh_half) - 2 * log2_upper(crowd) - distortion(keys)


RULES: dict[str, Rule] = {"tilt": tilt, "joint": joint}
