"""The answer of ``bound --attention visual`` and ``bound --attention tensor``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from kvverify.bounds.attention import AttentionBound
from kvverify.figures import at_least, at_most, exact
from kvverify.kernel.document import short
from kvverify.report.bounds import MEANING, problem_streams

_NO_OTHER_SIDE = "no compressor with a proof is known here for this attention"


def attention_json(found: AttentionBound, bits_per_scalar: int, written: Path | None) -> dict[str, Any]:
    """The fields of ``bound --json``, and what is said of the class beside; the other side is null."""
    problem, dense = found.problem, found.dense_scalars * bits_per_scalar
    per_token = found.bits / problem.tokens
    names = ("tokens", "key_dim", "value_dim", "kv_heads", "layers")
    return {
        "schema": "kvverify-bound/1",
        "attention": found.attention,
        "state_bits_at_least": exact(int(found.bits)),
        "bits_per_token_at_least": at_least(per_token),
        "bits_per_token_per_head_at_least": at_least(per_token / problem.streams),
        "dense_bits": exact(dense),
        "compression_at_most": at_most(Fraction(dense) / found.bits) if found.bits else None,
        **dict.fromkeys(("state_bits_enough", "bits_per_token_enough", "gap", "enough_method")),
        "enough_reason": _NO_OTHER_SIDE,
        **{name: exact(getattr(problem, name)) for name in names},
        "tolerance": None if problem.tolerance is None else str(problem.tolerance),
        "relative": None if problem.relative is None else str(problem.relative),
        "failure": str(problem.failure), "max_logit": str(problem.max_logit), "inputs": problem.inputs,
        "body": problem.body, "budget": "class", "bits_per_scalar": exact(bits_per_scalar),
        **found.said,
        "family": found.family,
        "meaning": MEANING,
        "certificate": None if written is None else str(written),
        "enough_certificate": None,
        "verdict": "INCOMPLETE" if found.certificate is None else "VALID",
        "reason": found.reason,
    }  # fmt: skip


def attention_text(found: AttentionBound, bits_per_scalar: int, written: Path | None) -> str:
    """The same for people."""
    if found.certificate is None:
        return f"No bound above 0 was found; {found.reason}."
    answer = attention_json(found, bits_per_scalar, written)
    error = f"error {answer['tolerance']}" if answer["relative"] is None else f"relative error {answer['relative']}"
    lines = [
        f"Any compressor keeps at least {answer['state_bits_at_least']} bits "
        f"({answer['bits_per_token_at_least']} a token):",
        f"compression is at most {answer['compression_at_most']}x of {answer['dense_bits']} dense bits.",
        f"Class: {found.attention} attention, {answer['tokens']} tokens, keys of {answer['key_dim']}, values of "
        f"{answer['value_dim']}, {problem_streams(answer)}; {error} with failure {answer['failure']}, "
        f"logits to {answer['max_logit']}, {answer['inputs']} inputs, body {answer['body']}.",
        _beside(found, bits_per_scalar),
        f"Proved: {answer['verdict']} by the kernel; keys of the bound: {short(answer['family'])}.",
    ]
    return "\n".join(lines if written is None else [*lines, f"Certificate: {written}"])


def _beside(found: AttentionBound, bits_per_scalar: int) -> str:
    said = found.said
    if found.attention == "tensor":
        return (
            f"Dense is four factor caches; as product rows, two caches, "
            f"it would be {int(said['two_cache_scalars']) * bits_per_scalar} bits."
        )
    return (
        f"Maps {said['scales']}, kernel {said['kernel']}, cut {said['cut']}: {said['free_tokens']} of "
        f"{found.problem.tokens} tokens are free, in streams that interpolation really makes."
    )
