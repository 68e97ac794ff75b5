"""The answer of ``bound`` and ``certify``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from kvverify.bounds import Bound
from kvverify.bounds.inverse import Floor
from kvverify.figures import at_least, at_most, exact
from kvverify.kernel.document import short

MEANING = "log2 of the number of states, total over kv_heads * layers, which are independent streams of free inputs"


def bound_json(found: Bound, bits_per_scalar: int, path: Path | None, floor: Floor | None = None) -> dict[str, Any]:
    """The JSON object of ``kvverify bound``. Counts are bits; ``dense`` is ``bits_per_scalar`` bits a scalar.

    With ``floor``, the answer to --bits-per-token, it has ``bits_per_token`` and ``tolerance_at_least`` as well.
    """
    problem, valid = found.problem, found.certificate is not None
    statement = found.certificate["statement"] if found.certificate else problem.statement(0)
    dense = problem.dense_bits(bits_per_scalar)
    turned = {}
    if floor is not None:
        reached = None if floor.tolerance is None else at_least(floor.tolerance)
        turned = {"bits_per_token": str(floor.bits_per_token), "tolerance_at_least": reached}
    return {
        "schema": "kvverify-bound/1",
        **turned,
        "state_bits_at_least": exact(int(statement["state_bits_at_least"])),
        "bits_per_token_at_least": at_least(found.bits_per_token),
        "bits_per_token_per_head_at_least": at_least(found.bits_per_token / problem.streams),
        "dense_bits": exact(dense),
        "compression_at_most": at_most(Fraction(dense) / found.bits) if found.bits else None,
        "tokens": exact(problem.tokens),
        "key_dim": exact(problem.key_dim),
        "value_dim": exact(problem.value_dim),
        "kv_heads": exact(problem.kv_heads),
        "layers": exact(problem.layers),
        "tolerance": None if problem.tolerance is None else str(problem.tolerance),
        "relative": None if problem.relative is None else str(problem.relative),
        "failure": str(problem.failure),
        "max_logit": str(problem.max_logit),
        "inputs": problem.inputs,
        "body": statement["body"],
        "budget": statement["budget"],
        "bits_per_scalar": exact(bits_per_scalar),
        "family": found.family,
        "meaning": MEANING,
        "certificate": None if path is None else str(path),
        "verdict": "VALID" if valid else "INCOMPLETE",
        "reason": found.reason,
    }


def bound_text(found: Bound, bits_per_scalar: int, path: Path | None, floor: Floor | None = None) -> str:
    """The same for people."""
    answer = bound_json(found, bits_per_scalar, path)
    if floor is not None and floor.tolerance is None:
        return f"No error was found that {floor.bits_per_token} bits a token could not promise."
    if found.certificate is None:
        return f"No bound above 0 was found; {found.reason}."
    error = f"error {answer['tolerance']}" if answer["relative"] is None else f"relative error {answer['relative']}"
    lines = []
    if floor is not None:
        size, error_floor = floor.bits_per_token, at_least(floor.tolerance or Fraction(0))
        lines.append(
            f"No compressor of {size} bits a token can promise an error of {error_floor} or less. At that error:"
        )
    lines += [
        f"Any compressor keeps at least {answer['state_bits_at_least']} bits "
        f"({answer['bits_per_token_at_least']} a token):",
        f"compression is at most {answer['compression_at_most']}x of {answer['dense_bits']} dense bits.",
        f"Class: {answer['tokens']} tokens, keys of {answer['key_dim']}, values of {answer['value_dim']}, "
        f"{problem_streams(answer)}; {error} with failure {answer['failure']}, logits to {answer['max_logit']}, "
        f"{answer['inputs']} inputs, body {answer['body']}, budget {answer['budget']}.",
        f"Proved: {answer['verdict']} by the kernel, from {short(answer['family'])}.",
    ]
    if path is not None:
        lines.append(f"Certificate: {path}")
    return "\n".join(lines)


def problem_streams(answer: dict[str, Any]) -> str:
    """Heads and layers in words."""
    return f"{answer['kv_heads']} KV head(s) in {answer['layers']} layer(s)"
