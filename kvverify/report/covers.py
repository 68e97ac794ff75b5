"""The answer of ``cover``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from flint import arb, ctx

from kvverify.covering import Bounds
from kvverify.figures import at_least, at_most, exact
from kvverify.kernel.document import short


def cover_json(found: Bounds, written: Path | None = None) -> dict[str, Any]:
    """The JSON object of ``kvverify cover``: logarithms of 6 digits, rounded to the safe side.

    ``certificate`` is the file where one was ``written``, else the certificate itself.
    """
    question = found.question
    sizes = {"radius": question.radius, "ball_radius": question.ball_radius, "angle": question.angle}
    return {
        "schema": "kvverify-cover/1",
        "body": question.body,
        "dim": question.dim,
        **{name: None if value is None else str(value) for name, value in sizes.items()},
        "at_least": exact(found.at_least),
        "at_most": exact(found.at_most),
        "log2_at_least": log2_shown(found.at_least, up=False),
        "log2_at_most": log2_shown(found.at_most, up=True),
        "methods": {
            "at_least": found.methods[0],
            "at_most": found.methods[1],
            "log2_at_least": {name: log2_shown(count, up=False) for name, count in found.below},
            "log2_at_most": {name: log2_shown(count, up=True) for name, count in found.above},
        },
        "certificate": found.certificate if written is None else str(written),
        "verdict": found.verdict.value,
    }


def cover_text(found: Bounds, written: Path | None = None) -> str:
    """The same for people."""
    question, answer = found.question, cover_json(found, written)
    if question.angle is None:
        what = f"the ball of radius {question.radius} in dimension {question.dim} by balls of radius "
        what, pieces = what + str(question.ball_radius), "balls"
    else:
        what = f"the unit sphere in dimension {question.dim} by caps of {question.angle} radians"
        pieces = "caps"
    sides = []
    for side, method in zip(("at_least", "at_most"), found.methods, strict=True):
        count = short(str(answer[side]))
        sides.append(f"{side.replace('_', ' ')} {count} {pieces} (2^{answer[f'log2_{side}']}; {method})")
    lines = [f"Covering {what} takes", *(f"  {side}" for side in sides)]
    return "\n".join([*lines, "Proved; the kernel accepted the certificate." + (f" {written}" if written else "")])


def log2_shown(count: int, *, up: bool) -> float:
    """log2 of a count to 6 significant digits, rounded up or down; exact at powers of two."""
    if count & (count - 1) == 0:
        return float(count.bit_length() - 1)
    with ctx.workprec(256):
        value = arb(count).log() / arb.const_log2()
        mantissa, exponent = (value.upper() if up else value.lower()).man_exp()
    shown = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    return at_most(shown) if up else at_least(shown)
