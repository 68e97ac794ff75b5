"""Leaves of visual streams, as docs/proofs/visual.md states them; the weights of tokens stay with the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from kvverify.export.expression import Expression, Number, at_most, below, log2
from kvverify.export.facts import Bits, Case, Fact
from kvverify.export.rules import gain
from kvverify.kernel.document import integer, rational, strings


@dataclass(frozen=True)
class Mixed(Fact):
    """The stated bounds on what answers mix."""

    carriers: int
    log2_det: Fraction
    off_target: Fraction


def rows(case: Case) -> Fact:
    """Sums over all tokens of a pyramid."""
    case.kept("carriers tell their maps, keys lie in the cube, queries are within max_logit, projections are apart")
    case.kept("the carriers' weights in every answer, and the determinant that they give, are as stated")
    carriers = len(strings(case.step.given.get("keys"), "given.keys"))
    return Mixed(carriers, case.gives("log2_det_at_least"), case.gives("off_target_at_most"))


def volume(case: Case) -> Fact:
    """The determinant and g for every coordinate."""
    mixed, bits = case.premise("rows", Mixed), case.gives("bits_at_least")
    eps, delta = _number(case, "tolerance"), _number(case, "failure")
    case.leaf("failure", "0 <= failure <= 1 - tolerance", at_most(0, delta), at_most(delta, 1 - eps))
    each = mixed.log2_det + mixed.carriers * gain(eps, delta.value)
    words = "bits_at_least <= kv_heads value_dim (log2_det + carriers g(tolerance, failure))"
    case.leaf("bits", words, at_most(bits, _columns(case) * each))
    return Bits(bits)


def symbols(case: Case) -> Fact:
    """A bit for each carrier and coordinate."""
    mixed, bits = case.premise("rows", Mixed), case.gives("bits_at_least")
    eta, delta = _number(case, "relative"), _number(case, "failure")
    off = Number(mixed.off_target)
    words = "(1 - relative) (1 - off_target_at_most) > (1 + relative) off_target_at_most"
    case.leaf("apart", words, below((1 + eta) * off, (1 - eta) * (1 - off)))
    case.leaf("failure", "0 <= failure <= 1/2", at_most(0, delta), at_most(2 * delta, 1))
    each: Expression = Number(Fraction(1))
    if delta.value:
        each = each + delta * log2(delta) + (1 - delta) * log2(1 - delta)
    words = "bits_at_least <= kv_heads value_dim carriers (1 - H(failure))"
    case.leaf("bits", words, at_most(bits, _columns(case) * mixed.carriers * each))
    return Bits(bits)


def _number(case: Case, name: str) -> Number:
    return Number(rational(case.fields.get(name), f"statement.{name}"))


def _columns(case: Case) -> Number:
    sizes = (integer(case.fields.get(name), f"statement.{name}") for name in ("kv_heads", "value_dim"))
    one, other = sizes
    return Number(Fraction(one * other))
