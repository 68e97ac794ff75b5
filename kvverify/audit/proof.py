"""One read of a game, proved: a certificate that the exact answer lies in an interval, and the given answer off it.

The claim is a ``comparison`` (docs/proofs/comparison.md): a program of exponentials, sums and one quotient computes
attention at one coordinate from exact rationals. The kernel encloses each line between rationals; no float is believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check

if TYPE_CHECKING:
    import numpy as np

    from kvverify.audit.score import Read
    from kvverify.audit.verdict import Claim
    from kvverify.instances.hard import HardInstance

Term = tuple[Fraction, Fraction]
"""A column of attention: its score and its value at the coordinate."""
_OPERANDS = 64  # of one sum


def terms(hidden: HardInstance, fed: np.ndarray, place: tuple[int, int, int, int]) -> list[Term]:
    """Every column that the read at ``place`` (layer, kv_head, token, coordinate) sees, exactly; Bob's own token last.

    ``hidden`` and ``fed`` (layers, kv_heads, tokens, value_dim) are what `referee.deal` gives.
    """
    query = _integers(hidden.query_of(place))
    return [(_inner(query, _integers(key)), value) for key, value in hidden.seen(fed, place)]


def prove(columns: Iterable[Term], read: Read, claim: Claim) -> dict[str, Any] | None:
    """The certificate of a read that misses a claim's tolerance, if the kernel accepts it.

    None where it does not: the read is within the tolerance after all, or the program over a limit (some 2,000 distinct
    scores). An answer that is no number misses every tolerance: only the interval is proved.
    """
    tree = certificate(columns, read, claim)
    return tree if check(tree).verdict is Verdict.VALID else None


def certificate(columns: Iterable[Term], read: Read, claim: Claim) -> dict[str, Any]:
    """The certificate, not yet checked: tokens of one score are one exponential."""
    grouped: dict[Fraction, tuple[Fraction, int]] = {}
    for score, value in columns:
        total, count = grouped.get(score, (Fraction(0), 0))
        grouped[score] = total + value, count + 1
    program: list[str] = []

    def line(*words: object) -> str:
        program.append(" ".join(map(str, words)))
        return f"@{len(program) - 1}"

    def total_of(parts: list[str]) -> str:
        while len(parts) > 1:
            chunks = [parts[start : start + _OPERANDS] for start in range(0, len(parts), _OPERANDS)]
            parts = [line("sum", *chunk) if len(chunk) > 1 else chunk[0] for chunk in chunks]
        return parts[0]

    weights = {score: line("exp", score) for score in grouped}
    above = [line("product", weights[score], total) for score, (total, _) in grouped.items() if total]
    below = [weights[s] if count == 1 else line("product", weights[s], count) for s, (_, count) in grouped.items()]
    exact = line("quotient", total_of(above or ["0"]), total_of(below))
    low, high = map(Fraction, read.exact)
    holds = [f"{low} <= {exact}", f"{exact} <= {high}"]
    if math.isfinite(read.answer):
        holds += _misses(line, exact, Fraction(read.answer), low, claim)
    statement = {"claim": "comparison", "program": program, "holds": holds}
    return document.build(statement, [{"id": "read", "rule": "comparison", "uses": {}, "given": {}, "gives": {}}])


def _misses(line: Any, exact: str, answer: Fraction, low: Fraction, claim: Claim) -> list[str]:
    """That the answer is further off than the claim allows, on the side where it is."""
    over = answer > low
    if claim.relative is not None:  # whatever the sign of the exact answer, one of the two ends is the further one
        ends = [line("product", exact, 1 + sign * claim.relative) for sign in (1, -1)]
    else:
        ends = [line("sum" if over else "difference", exact, claim.tolerance)]
    return [f"{end} < {answer}" if over else f"{answer} < {end}" for end in ends]


def _integers(row: np.ndarray) -> tuple[list[int], int]:
    """Float64 entries as integers over one power of two."""
    ratios = [float(x).as_integer_ratio() for x in row]
    unit = max(below for _, below in ratios)
    return [above * (unit // below) for above, below in ratios], unit


def _inner(one: tuple[list[int], int], other: tuple[list[int], int]) -> Fraction:
    return Fraction(sum(a * b for a, b in zip(one[0], other[0], strict=True)), one[1] * other[1])
