"""A third secret, in the code's own coordinates: sign keys of varying amplitude. Proofs: docs/proofs/amplitude.md.

A key is (c_l (1 - r_l) | y_l): signs c_l of a code of length L, amplitudes 1 - r_lm, r_lm secret and uniform on [0, w],
payload coordinates y_l as in `joint`. Given the amplitudes, values and payload coordinates are read as there, under
weights whose means and worst cases are those of the plain code at the scales C (1 - w/2) and C (1 - w). An amplitude
read of token i and coordinate m has the query C c_i + s c_im e_m on the code part; its answer is known but for the
other tokens' mass, which varies little about its mean (Bernstein). Cube and real inputs only. Source: ours.
"""

from __future__ import annotations

from fractions import Fraction

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Node, fields, integer, rational
from kvverify.kernel.facts import Fact, StateBits, need, premise, present
from kvverify.kernel.numbers import (
    MAX_EXPONENT,
    divergence_lower,
    exp_lower,
    exp_upper,
    log2_lower,
    log2_upper,
    power_upper,
)
from kvverify.kernel.rules.attention import Leak, Row, Scaled, Tilt
from kvverify.kernel.rules.volume import distortion


def amplitude(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """S >= streams * payload (value part + key part + amplitude part), a part below 0 counted as 0.

    ``values``, ``keys``, ``amplitudes``: leaks at the mean scale C (1 - w/2) of each pool of reads; ``values-worst``,
    ``keys-worst``: leaks at C (1 - w) or less. ``given``: ``width`` w, ``strength`` s of an amplitude read's tilt,
    ``reference`` the asker's own weight in it, ``slack`` by which the others' mass may miss its mean,
    ``key_coordinates`` beside the code (0: no premises ``keys`` and ``keys-worst``).
    """
    beside = {"keys", "keys-worst"}
    fields(uses, "uses", {"values", "values-worst", "amplitudes"}, beside)
    numbers = fields(given, "given", {"width", "strength", "reference", "slack", "key_coordinates"})
    width, strength, reference, slack = (
        rational(numbers[name], name) for name in ("width", "strength", "reference", "slack")
    )
    coordinates = integer(numbers["key_coordinates"], "key_coordinates")
    bits = rational(fields(gives, "gives", {"bits_at_least"})["bits_at_least"], "bits_at_least")
    statement = context.statement
    need(statement.body == "cube" and statement.inputs == "real", "the cube, and real inputs", statement.body, "cube")
    need(0 < width < 1, "0 < width < 1", width, 1)
    need(min(strength, reference, slack) > 0, "strength, reference and slack are above 0")
    need(beside & uses.keys() == (beside if coordinates else set()), "key reads just where key_coordinates is not 0")
    pools = {name: premise(uses, name, Leak) for name in uses}
    families = {name: present(pool.scaled, "the reads are of a family of keys") for name, pool in pools.items()}
    first = families["values"]
    need(first.keys.signs, "the keys are sign keys")
    need(all(f.keys is first.keys for f in families.values()), "all pools of reads are of one key step")
    need(len({pool.payload for pool in pools.values()}) == 1, "all pools read the same tokens")
    wide = first.keys.dim + coordinates
    need(
        coordinates >= 0 and wide <= statement.key_dim,
        "code and payload fit the key dimension",
        wide,
        statement.key_dim,
    )
    context.charge(4000)
    value_part = _value_read(context, pools["values"], pools["values-worst"], width) * (statement.value_dim - 1)
    key_part = Fraction(0)
    if coordinates:
        key_part = _key_read(context, pools["keys"], pools["keys-worst"], width) * coordinates
    amplitude_part = _amplitude_reads(context, pools["amplitudes"], width, strength, reference, slack)
    parts = sum((max(part, Fraction(0)) for part in (value_part, key_part, amplitude_part)), Fraction(0))
    total = statement.streams * pools["values"].payload * parts
    need(bits <= total, "bits_at_least <= streams * payload (value, key and amplitude parts)", bits, total)
    return StateBits(bits)


def _scale(context: Context, family: Scaled, width: Fraction, tilt: Fraction) -> Fraction:
    """C of a pool whose mean scale is C (1 - w/2): within the logit budget, with what the query adds to it."""
    scale = family.exponent / (2 - width)  # exponents count 2 C for each place where two words differ
    logit = scale * family.keys.dim + tilt
    need(logit <= context.statement.max_logit, "C L + tilt <= max_logit", logit, context.statement.max_logit)
    return scale


def _mean_row(context: Context, mean: Leak, worst: Leak, width: Fraction, tilt: Fraction) -> Row:
    """Bounds on the means of a row's masses over all amplitudes, relative to the target."""
    family, lowest = present(mean.scaled, "family"), present(worst.scaled, "family")
    scale = _scale(context, family, width, tilt)
    most = 2 * scale * (1 - width)
    need(lowest.exponent <= most, "the worst case's scale <= C (1 - width)", lowest.exponent, most)
    spread = exp_upper(family.keys.dim * (scale * width) ** 2 / 12)
    return Row(mean.worst.off_target * spread, mean.worst.rest * spread)


def _gain(context: Context, more_error: Fraction = Fraction(0), more_failure: Fraction = Fraction(0)) -> Fraction:
    """g at the tolerance and failure, both widened by what a read adds to them."""
    tolerance = present(context.statement.tolerance, "the statement's tolerance is additive")
    eps, delta = tolerance + more_error, context.statement.failure + more_failure
    need(eps < 1 and delta <= 1 - eps, "failure <= 1 - tolerance (as widened for the reads)", delta, 1 - eps)
    return divergence_lower(eps, delta)


def _value_read(context: Context, mean: Leak, worst: Leak, width: Fraction) -> Fraction:
    """Bits of one value read, given the amplitudes."""
    row = _mean_row(context, mean, worst, width, Fraction(0))
    return _gain(context) - log2_upper(1 + row.off_target + row.rest) - distortion(worst)


def _key_read(context: Context, mean: Leak, worst: Leak, width: Fraction) -> Fraction:
    """Bits of one read of a payload coordinate, given the amplitudes."""
    lean: Tilt = present(present(mean.scaled, "family").tilt, "the key reads' budget leaves room for a tilt")
    need(lean.ball is None, "the tilt is one for the cube")
    row = _mean_row(context, mean, worst, width, lean.strength)
    crowd = 1 + (row.off_target * lean.mean + row.rest) / 2
    return _gain(context) + lean.entropy - 2 * log2_upper(crowd) - distortion(worst)


def _amplitude_reads(
    context: Context, mean: Leak, width: Fraction, strength: Fraction, reference: Fraction, slack: Fraction
) -> Fraction:
    """Bits of all amplitudes of one token.

    x = e^xi is the target's weight, xi = sum over m of C_m (w/2 - r_m) of mean 0, N the other tokens' mass, beta the
    asker's own: the answer is (x + N - beta) / (x + N + beta).
    """
    family = present(mean.scaled, "family")
    length, scale = family.keys.dim, _scale(context, family, width, strength)
    reach = (scale * length + strength) * width / 2  # |xi| is at most this
    highest = exp_lower(reach)
    need(1 <= reference <= highest, "1 <= reference <= e^((C L + strength) width / 2)", reference, highest)
    curve = ((length - 1) * scale**2 + (scale + strength) ** 2) * width**2 / 24
    spread = exp_upper(curve)  # bounds E x, and E a / e^(mean log a) of every other token's mass a
    crowd = mean.worst.off_target * spread + mean.worst.rest
    variance = mean.squares * (exp_upper(4 * curve) - 1)  # a family's squares bound every row, not the mean alone
    nearest = family.keys.exponents[0][0] if family.keys.exponents else 1
    largest = power_upper(family.decay, nearest) * exp_upper(reach)
    unlikely = slack**2 / (2 * variance + largest * slack * Fraction(2, 3))
    missed = 2 * exp_upper(-min(unlikely, Fraction(MAX_EXPONENT)))
    error = 2 * reference * slack / (exp_lower(-reach) + reference) ** 2
    read = (
        _gain(context, error, missed)
        + log2_lower(width * strength * reference)
        - 2 * log2_upper(spread + crowd + reference)
    )
    return length * read + log2_lower(1 + scale * length / strength)


RULES: dict[str, Rule] = {"amplitude": amplitude}
