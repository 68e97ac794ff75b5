"""Sign keys of secret amplitudes: three secrets, three pools of reads, in balls.

Amplitudes lie in [1 - w, 1], 1 - w/2 in the mean. E e^(b x) = sinh(b h)/(b h) for x uniform on [-h, h], h = w/2, is
taken as it is, where the kernel bounds it by e^((b h)^2 / 6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flint import arb, fmpq

from kvverify.crosscheck.bits import distortion, gain
from kvverify.crosscheck.facts import Leak, Rule, Scaled, premise
from kvverify.crosscheck.goal import Contrary, Fact, StateBits, must
from kvverify.crosscheck.settle import Case, log2
from kvverify.crosscheck.statement import number
from kvverify.kernel.document import Node, fields, integer

_POOLS, _KEY_POOLS = {"values", "values-worst", "amplitudes"}, {"keys", "keys-worst"}


@dataclass(frozen=True)
class _Pool:
    """Reads at scale C under amplitudes of width w: their leak at the mean scale, and L = ``length`` signs a key."""

    leaked: Leak
    scale: fmpq
    width: fmpq
    length: int

    def mean(self, entries: int, weight: fmpq) -> arb:
        """E exp of ``weight`` times the sum of so many centred amplitudes."""
        half = arb(weight * self.width / 2)
        return (half.sinh() / half) ** entries

    def masses(self) -> tuple[arb, arb]:
        """Means of a row's masses over its target: of other tokens, both keys vary; of all further ones, the target."""
        one = self.mean(self.length, self.scale)
        return self.leaked.sigma * one**2, self.leaked.rest * one


def amplitude(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """The informations of amplitudes, of payload coordinates given them, and of values given both, added up."""
    names = {"width", "strength", "reference", "slack"}
    fields(given, "given", names | {"key_coordinates"})
    width, strength, reference, slack = (number(given, n) for n in ("width", "strength", "reference", "slack"))
    coordinates = integer(given["key_coordinates"], "key_coordinates")
    stated = number(fields(gives, "gives", {"bits_at_least"}), "bits_at_least")
    statement = case.statement
    must(statement.body == "cube" and not statement.bf16, "real numbers of the cube")
    must(0 < width < 1, "0 < width < 1")
    must(strength > 0 and reference > 0 and slack > 0, "strength, reference and slack are above 0")
    must(coordinates >= 0, "key_coordinates are not negative")
    must(uses.keys() == _POOLS | (_KEY_POOLS if coordinates else set()), "key reads where there are key coordinates")
    leaks = {name: premise(uses, name, Leak) for name in sorted(uses)}
    keys = _family(leaks["values"]).keys
    must(keys.signs, "the keys are signs")
    must(all(_family(leaked).keys is keys for leaked in leaks.values()), "all pools of reads are of one key step")
    must(len({leaked.payload for leaked in leaks.values()}) == 1, "all pools read the same tokens")
    wide = keys.dim + coordinates
    must(wide <= statement.key_dim, f"code and payload of {wide} coordinates fit in {statement.key_dim}")
    parts = [(statement.value_dim - 1, _value_part(case, leaks, width))]
    if coordinates:
        parts.append((coordinates, _key_part(case, leaks, width)))
    parts.append((1, _amplitude_part(case, leaks["amplitudes"], width, strength, reference, slack)))

    def sides() -> tuple[arb, arb]:
        total = sum((many * part().max(arb(0)) for many, part in parts), arb(0))
        return arb(stated), statement.streams * leaks["values"].payload * total

    case.at_most("bits_at_least <= streams * payload (value, key and amplitude parts)", sides)
    return StateBits(stated)


def _family(leaked: Leak) -> Scaled:
    if leaked.scaled is None:
        raise Contrary("the reads are of a family of keys")
    return leaked.scaled


def _pool(case: Case, leaked: Leak, width: fmpq, beside: fmpq) -> _Pool:
    """The scale whose mean the leak is about; queries weigh C in each place, and ``beside`` in one more or again."""
    family = _family(leaked)
    scale = family.exponent / 2 / (1 - width / 2)
    must(scale * family.keys.dim + beside <= case.statement.max_logit, "C L and what the query adds <= max_logit")
    return _Pool(leaked, scale, width, family.keys.dim)


def _determinant(pool: _Pool, worst: Leak) -> Callable[[], arb]:
    """-log2 |det(I + A)| a row at most: A over its columns' diagonals is at most the least amplitudes' matrix."""
    must(_family(worst).exponent <= 2 * pool.scale * (1 - pool.width), "the worst case's scale <= C (1 - width)")
    must(worst.sigma < 1, "off_target < 1 in the worst case")
    return lambda: distortion(worst)


def _value_part(case: Case, leaks: dict[str, Leak], width: fmpq) -> Callable[[], arb]:
    """Bits of one value read."""
    pool = _pool(case, leaks["values"], width, fmpq(0))
    divergence, distorted = gain(case, fmpq(0)), _determinant(pool, leaks["values-worst"])

    def part() -> arb:
        off, rest = pool.masses()
        return divergence() - (off + rest).log1p() / arb.const_log2() - distorted()

    return part


def _key_part(case: Case, leaks: dict[str, Leak], width: fmpq) -> Callable[[], arb]:
    """Bits of one key read: (1 + X)/(1 + u) is at most 1 + (off E u + rest) / 2 in the mean."""
    lean = _family(leaks["keys"]).tilt
    if lean is None:
        raise Contrary("the key reads' budget leaves room for a tilt")
    must(lean.ball is None, "the tilt's law is one of the cube")
    pool = _pool(case, leaks["keys"], width, lean.strength)
    divergence, distorted = gain(case, fmpq(0)), _determinant(pool, leaks["keys-worst"])
    law = lean.law

    def part() -> arb:
        (off, rest), (mean, entropy) = pool.masses(), law()
        crowd = ((off * mean + rest) / 2).log1p() / arb.const_log2()
        return divergence() + entropy - 2 * crowd - distorted()

    return part


def _amplitude_part(
    case: Case, leaked: Leak, width: fmpq, strength: fmpq, reference: fmpq, slack: fmpq
) -> Callable[[], arb]:
    """Bits of one token's amplitudes, through answers (x + N - beta)/(x + N + beta).

    x is the target's weight over its value at all amplitudes 1 - w/2. N is within ``slack`` of its mean but for
    Bernstein's probability, which counts as failure; what N moves an answer by counts as tolerance.
    """
    pool = _pool(case, leaked, width, strength)
    statement, scaled = case.statement, _family(leaked)
    scale, length = pool.scale, pool.length
    nearest = min(scaled.keys.exponents, default=1)
    reach = (scale * length + strength) * width / 2
    must(reference >= 1, "reference >= 1")
    case.at_most("reference <= e^((C L + strength) width / 2)", lambda: (arb(reference), arb(reach).exp()))

    def mean(times: int) -> arb:
        """E exp(times log x), and of another token's weight over its value at amplitudes 1 - w/2."""
        return pool.mean(length - 1, times * scale) * pool.mean(1, times * (scale + strength))

    def widened() -> tuple[arb, arb]:
        variance = leaked.squares * (mean(2) - mean(1) ** 2)
        largest = arb(scaled.z) ** nearest * arb(reach).exp()
        missed = 2 * (-(arb(slack) ** 2) / (2 * (variance + largest * slack / 3))).exp()
        moved = 2 * reference * slack / (arb(-reach).exp() + reference) ** 2
        return statement.tolerance + moved, statement.failure + missed

    must(statement.tolerance is not None, "the statement's tolerance is additive")
    # at a tie g is 0, and the tie is left open
    case.at_most("failure <= 1 - tolerance, as widened for the reads", lambda: (sum(widened(), arb(0)), arb(1)))

    def part() -> arb:
        eps, delta = widened()
        divergence = (1 - delta) * ((1 - delta) / eps).log() + delta * (delta / (1 - eps)).log()
        weight = mean(1) * (1 + leaked.sigma) + leaked.rest + reference
        read = (divergence - 2 * weight.log()) / arb.const_log2() + log2(width * strength * reference)
        return length * read + log2(1 + scale * length / strength)

    return part


RULES: dict[str, Rule] = {"amplitude": amplitude}
