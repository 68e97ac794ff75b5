"""The instance of a tensor game: a code on either half of the coordinates."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from kvverify.bounds.search import Bound, instance_bound
from kvverify.bounds.tensor_search import tensor_bound
from kvverify.errors import UsageError
from kvverify.instances.layout import from_certificate
from kvverify.instances.tensor import FACTORS, TensorInstance
from kvverify.problem import Problem

TOLERANCE, FAILURE = Fraction(1, 100), Fraction(1, 10)


def tensor_instance(
    tokens: int, head_dim: int, value_dim: int, tensor_heads: int, layers: int, max_logit: Fraction
) -> TensorInstance:
    """Sign keys of a softmax instance, of half the dimension at half the logit, for u and for w.

    ``state_bits_at_least`` is what the kernel proves for the class, scale 1, at tolerance 1/100 and failure 1/10.
    Raises UsageError where there is no instance.
    """
    if tokens < 2 or head_dim < 2:
        raise UsageError(
            f"tensor attention of {tokens} token(s) and head-dim {head_dim}: at least 2 of each are needed for a secret"
        )
    half = instance_bound(tokens, head_dim // 2, 1, max_logit / 2, value_dim, layers)
    if half.certificate is None:
        raise UsageError(f"no hard instance of this shape: {half.reason}")
    made = TensorInstance.of(from_certificate(half.certificate), tensor_heads, value_dim, head_dim)
    found = tensor_bound(
        made.tokens, head_dim, value_dim, Fraction(1), max_logit, tolerance=TOLERANCE, failure=FAILURE,
        kv_heads=tensor_heads,
    )  # fmt: skip
    digest = "" if found.certificate is None else str(found.certificate["digest"])
    return replace(made, state_bits_at_least=int(found.bits) * layers, certificate=digest)


def tensor_claim_bound(one: TensorInstance, asked: Problem) -> Bound:
    """The best bound for a claim of that tolerance and failure about one layer of the instance's class."""
    found = tensor_bound(
        one.tokens, one.key_dim, one.value_dim, Fraction(1), one.max_logit, tolerance=asked.tolerance,
        relative=asked.relative, failure=asked.failure, kv_heads=one.kv_heads // FACTORS,
    )  # fmt: skip
    return Bound(asked, found.bits, found.certificate, found.family, found.reason)
