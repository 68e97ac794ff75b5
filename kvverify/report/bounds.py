"""The answer of ``bound`` and ``certify``."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from kvverify.bounds import Bound
from kvverify.bounds.ceiling import Ceiling
from kvverify.bounds.inverse import Floor
from kvverify.bounds.witness import FileBound
from kvverify.figures import at_least, at_most, exact
from kvverify.kernel.document import short

_QUANTISERS = {"quantiser": "quantiser to midpoints", "dithered": "quantiser with public dither"}
MEANING = "log2 of the number of states, total over kv_heads * layers, which are independent streams of free inputs"


@dataclass(frozen=True)
class Sides:
    """Where the proofs of both sides were written; None where they were not."""

    at_least: Path | None = None
    enough: Path | None = None


def bound_json(
    found: Bound, bits_per_scalar: int, written: Sides, enough: Ceiling | None = None, floor: Floor | None = None
) -> dict[str, Any]:
    """The JSON object of ``kvverify bound``. Counts are bits; ``dense`` is ``bits_per_scalar`` bits a scalar.

    ``enough`` is the other side, for one and the same class: what a compressor with a proof keeps. With ``floor``, the
    answer to --bits-per-token, it has ``bits_per_token`` and ``tolerance_at_least`` as well.
    """
    problem, valid = found.problem, found.certificate is not None
    statement = found.certificate["statement"] if found.certificate else problem.statement(0)
    dense = problem.dense_bits(bits_per_scalar)
    turned = {}
    if floor is not None:
        reached = None if floor.tolerance is None else at_least(floor.tolerance)
        turned = {"bits_per_token": str(floor.bits_per_token), "tolerance_at_least": reached}
    used = {}
    if isinstance(found, FileBound):
        used = {"tokens_that_carry_values": found.payload, "tokens_dropped": found.dropped}
    return {
        "schema": "kvverify-bound/1",
        "attention": "softmax",
        **turned,
        **used,
        "state_bits_at_least": exact(int(statement["state_bits_at_least"])),
        "bits_per_token_at_least": at_least(found.bits_per_token),
        "bits_per_token_per_head_at_least": at_least(found.bits_per_token / problem.streams),
        "dense_bits": exact(dense),
        "compression_at_most": at_most(Fraction(dense) / found.bits) if found.bits else None,
        **_other_side(found, enough),
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
        "certificate": None if written.at_least is None else str(written.at_least),
        "enough_certificate": None if written.enough is None else str(written.enough),
        "verdict": "VALID" if valid else "INCOMPLETE",
        "reason": found.reason,
    }


def _other_side(found: Bound, enough: Ceiling | None) -> dict[str, Any]:
    """What is enough, and how many times the lower bound that is; null where nothing is known."""
    bits = None if enough is None else enough.bits
    method = None if enough is None or bits is None else enough.method
    return {
        "state_bits_enough": None if bits is None else exact(bits),
        "bits_per_token_enough": None if bits is None else at_most(Fraction(bits, found.problem.tokens)),
        "gap": None if bits is None or not found.bits else at_most(bits / found.bits),
        "enough_method": method,
        "enough_reason": None if enough is None else enough.reason,
    }


def bound_text(
    found: Bound, bits_per_scalar: int, written: Sides, enough: Ceiling | None = None, floor: Floor | None = None
) -> str:
    """The same for people."""
    answer = bound_json(found, bits_per_scalar, written, enough)
    if floor is not None and floor.tolerance is None:
        return f"No error was found that {floor.bits_per_token} bits a token could not promise."
    if found.certificate is None:
        return "\n".join([f"No bound above 0 was found; {found.reason}.", *_enough_lines(answer, written)])
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
        *_enough_lines(answer, written),
        f"Class: {answer['tokens']} tokens, keys of {answer['key_dim']}, values of {answer['value_dim']}, "
        f"{problem_streams(answer)}; {error} with failure {answer['failure']}, logits to {answer['max_logit']}, "
        f"{answer['inputs']} inputs, body {answer['body']}, budget {answer['budget']}.",
        f"Proved: {answer['verdict']} by the kernel; keys of the bound: {short(answer['family'])}.",
    ]
    if written.at_least is not None:
        lines.append(f"Certificate: {written.at_least}")
    return "\n".join(lines)


def _enough_lines(answer: dict[str, Any], written: Sides) -> list[str]:
    """The other side in words, where there is one."""
    if answer["state_bits_enough"] is None:
        return []
    gap = "" if answer["gap"] is None else f", {answer['gap']} times the bound"
    lines = [
        f"{answer['state_bits_enough']} bits ({answer['bits_per_token_enough']} a token) are enough{gap}: "
        f"a {_QUANTISERS[answer['enough_method']]} keeps the promise on all of the class."
    ]
    return lines if written.enough is None else [*lines, f"Certificate of that: {written.enough}"]


def problem_streams(answer: dict[str, Any]) -> str:
    """Heads and layers in words."""
    return f"{answer['kv_heads']} KV head(s) in {answer['layers']} layer(s)"
