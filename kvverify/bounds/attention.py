"""Lower bounds for visual and tensor attention, as ``kvverify bound --attention`` asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from kvverify.attention.visual import Scale, checked, free_tokens, tokens_at
from kvverify.bounds.tensor_search import tensor_bound
from kvverify.bounds.visual_search import visual_bound
from kvverify.errors import Incomplete, UsageError
from kvverify.figures import exact
from kvverify.problem import Problem

MAX_SCORES = 1 << 22
"""Free tokens times tokens of a pyramid whose instance is searched for: minutes, and some hundred megabytes."""


@dataclass(frozen=True)
class AttentionBound:
    """The best bound found for a class of problems of one kind of attention.

    ``problem`` has the numbers of the class; of tensor attention its KV heads are tensor heads. ``bits`` was proved by
    the kernel, 0 without a certificate, with a ``reason``. ``dense_scalars`` are those of an uncompressed cache;
    ``said`` is what the answer says of the class beside.
    """

    attention: str
    problem: Problem
    bits: Fraction
    dense_scalars: int
    certificate: dict[str, Any] | None
    family: str
    reason: str | None
    said: dict[str, Any]


def tensor_question(asked: Problem) -> AttentionBound:
    """Of tensor attention over ``asked.tokens`` tokens of four factor rows, in the cube; heads and layers are streams.

    Scores are <q, k1 o k2> over whatever the scale is, at most ``max_logit``. Raises UsageError outside the class.
    """
    found = tensor_bound(
        asked.tokens, asked.key_dim, asked.value_dim, Fraction(1), asked.max_logit, tolerance=asked.tolerance,
        relative=asked.relative, failure=asked.failure, kv_heads=asked.streams,
    )  # fmt: skip
    width = asked.streams * (asked.key_dim + asked.value_dim)
    said = {"form": found.form or None, "two_cache_scalars": exact(asked.tokens**2 * width)}
    return AttentionBound(
        "tensor", asked, found.bits, 2 * asked.tokens * width, found.certificate, found.family, found.reason, said
    )


def visual_question(
    scales: Sequence[Scale], kernel: str, cut: str, asked: Problem, model_dim: int | None = None
) -> AttentionBound:
    """Of streams that a pyramid really makes by interpolation, keys, queries and values being projections of one map.

    ``asked.tokens`` must be `visual_tokens`; ``model_dim`` None is what the projections take. Raises UsageError.
    """
    if asked.layers != 1:
        raise UsageError(f"layers: {asked.layers} given; an interpolated pyramid is the input of one layer")
    require_size(scales, kernel, cut)
    values = asked.kv_heads * asked.value_dim
    said = {**visual_words(scales, kernel, cut), "free_tokens": free_tokens(scales, cut, kernel)}
    bound = AttentionBound(
        "visual", asked, Fraction(0), asked.tokens * asked.kv_heads * (asked.key_dim + asked.value_dim), None, "", None,
        {**said, "realisable": True},
    )  # fmt: skip
    try:
        tree = visual_bound(
            scales, kernel, cut, model_dim=model_dim or 2 * asked.key_dim + values, key_dim=asked.key_dim,
            value_dim=asked.value_dim, max_logit=asked.max_logit, kv_heads=asked.kv_heads, tolerance=asked.tolerance,
            relative=asked.relative, failure=asked.failure,
        )  # fmt: skip
    except Incomplete as reason:
        return replace(bound, reason=str(reason))
    bits = Fraction(tree["statement"]["state_bits_at_least"])
    return replace(bound, bits=bits, certificate=tree, family="tokens that carry an interpolated map")


def visual_tokens(scales: Sequence[Scale], cut: str) -> int:
    """Tokens in the cache at the cut. Raises UsageError where there are none."""
    found = tokens_at(checked(scales), cut)
    if not found:
        raise UsageError(f"one scale only, {scales[0]}: between steps nothing is in the cache before the last scale")
    return found


def visual_words(scales: Sequence[Scale], kernel: str, cut: str) -> dict[str, Any]:
    """The pyramid, as an answer says it."""
    return {"scales": ",".join(map(str, scales)), "kernel": kernel, "cut": cut}


def require_size(scales: Sequence[Scale], kernel: str, cut: str) -> None:
    """Raise UsageError where an instance of this pyramid is more than one searches for."""
    free, tokens = free_tokens(scales, cut, kernel), visual_tokens(scales, cut)
    if free * tokens > MAX_SCORES:
        raise UsageError(
            f"scales: {free} free tokens of {tokens}, scores of {8 * free * tokens >> 20} MiB; at most "
            f"{8 * MAX_SCORES >> 20} MiB are searched (a bound for free streams has no such limit)"
        )
