"""The inequalities of the rule ``amplitude``, as docs/proofs/amplitude.md states them."""

from __future__ import annotations

from fractions import Fraction

from kvverify.export.expression import Expression, Number, at_most, below, exp, log2, positive
from kvverify.export.facts import Bits, Case, Fact, Leak, Scaled
from kvverify.export.rules import distortion, gain, tolerated
from kvverify.kernel.document import Malformed


def amplitude(case: Case) -> Fact:
    """Three pools of reads under random weights, a part below 0 counted as 0."""
    width, strength, reference, slack = (
        Number(case.given(name)) for name in ("width", "strength", "reference", "slack")
    )
    coordinates, bits, statement = case.count("key_coordinates"), case.gives("bits_at_least"), case.statement
    names = ("values", "values-worst", "amplitudes") + (("keys", "keys-worst") if coordinates else ())
    pools = {name: case.premise(name, Leak) for name in names}
    families = {name: _family(pool) for name, pool in pools.items()}
    dim = families["values"].keys.dim
    case.leaf("width", "0 < width < 1", below(0, width), below(width, 1))
    above = (below(0, strength), below(0, slack), at_most(1, reference))
    case.leaf("numbers", "strength > 0, slack > 0, reference >= 1", *above)
    fits = at_most(Number(Fraction(dim)) + coordinates, statement.key_dim)
    case.leaf("dimension", "code and payload fit the key dimension", fits)
    case.kept("all pools are of one step of sign keys and of the same tokens, on the cube, of real inputs")
    eps, delta = Number(statement.additive), statement.failure
    tolerated(case, eps, delta)
    plain = gain(eps, delta)
    spread = _pool(case, pools, "values", width, Number(Fraction(0)))
    values = pools["values"]
    crowd = 1 + (Number(values.off_target) + Number(values.rest)) * spread
    read = plain - log2(crowd) - distortion(pools["values-worst"])
    parts = positive(read * (statement.value_dim - 1))
    if coordinates:
        lean = families["keys"].tilt
        if lean is None:
            raise Malformed("the key reads are of no budget with a tilt")
        spread = _pool(case, pools, "keys", width, Number(lean.strength))
        found = pools["keys"]
        crowd = 1 + (Number(found.off_target) * lean.mean + Number(found.rest)) * spread / 2
        read = plain + lean.entropy - 2 * log2(crowd) - distortion(pools["keys-worst"])
        parts = parts + positive(read * coordinates)
    parts = parts + positive(_amplitudes(case, pools["amplitudes"], width, strength, reference, slack))
    words = "bits_at_least <= streams payload (value part + key part + amplitude part)"
    number = Number(Fraction(statement.streams)) * values.payload
    case.leaf("bits", words, at_most(bits, number * parts))
    return Bits(bits)


def _family(pool: Leak) -> Scaled:
    if pool.scaled is None:
        raise Malformed("the reads are of no family of keys")
    return pool.scaled


def _scale(case: Case, pool: str, found: Leak, width: Expression, beside: Expression) -> Expression:
    """C of a pool, exponents counting 2 C (1 - w/2); its whole cost within the budget."""
    family = _family(found)
    scale = Number(family.decay.exponent) / (2 - width)
    most = at_most(scale * family.keys.dim + beside, case.statement.max_logit)
    case.leaf(f"cost_{pool}", "C L + tilt <= max_logit", most)
    return scale


def _pool(case: Case, pools: dict[str, Leak], pool: str, width: Expression, beside: Expression) -> Expression:
    """What the mean over amplitudes does to a weight at most: e^(L (C w)^2 / 12)."""
    scale, worst = _scale(case, pool, pools[pool], width, beside), pools[f"{pool}-worst"]
    lowest = at_most(_family(worst).decay.exponent, 2 * scale * (1 - width))
    case.leaf(f"worst_{pool}", "the worst case's exponent <= 2 C (1 - width)", lowest)
    case.leaf(f"contracts_{pool}", "off_target of the worst case < 1", below(worst.off_target, 1))
    return exp(_family(pools[pool]).keys.dim * (scale * width) ** 2 / 12)


def _amplitudes(
    case: Case, found: Leak, width: Expression, strength: Expression, reference: Expression, slack: Expression
) -> Expression:
    """Bits of all amplitudes of one token."""
    family = _family(found)
    length, scale = family.keys.dim, _scale(case, "amplitudes", found, width, strength)
    reach = (scale * length + strength) * width / 2
    case.leaf("reference", "reference <= e^((C L + strength) width / 2)", at_most(reference, exp(reach)))
    curve = ((length - 1) * scale**2 + (scale + strength) ** 2) * width**2 / 24
    spread = exp(curve)
    crowd = Number(found.off_target) * spread + Number(found.rest)
    variance = Number(found.squares) * (exp(4 * curve) - 1)
    nearest = family.keys.exponents[0][0] if family.keys.exponents else 1
    largest = Number(family.decay.z) ** nearest * exp(reach)
    missed = 2 * exp(-(slack**2 / (2 * (variance + largest * slack / 3))))
    error = 2 * reference * slack / (exp(-reach) + reference) ** 2
    eps, delta = Number(case.statement.additive) + error, Number(case.statement.failure) + missed
    tolerated(case, eps, delta, "_amplitudes")
    read = gain(eps, delta) + log2(width * strength * reference) - 2 * log2(spread + crowd + reference)
    return length * read + log2(1 + scale * length / strength)
