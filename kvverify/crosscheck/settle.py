"""How a question is settled: exactly where it is rational, else by balls (Arb) of growing precision.

A ball can prove "at most" or "more than", never an equality; what 4,096 bits leave open is reported as open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from flint import arb, ctx, fmpq

from kvverify.crosscheck.goal import Contrary, Goal, must
from kvverify.crosscheck.statement import Statement
from kvverify.kernel.document import short

G = TypeVar("G", bound=Goal)
FIRST_PRECISION, LAST_PRECISION = 128, 4096


class Undecided(Exception):
    """Neither this nor its contrary is proved: too close, too large, or a file is not there."""


@dataclass
class Case:
    """The claim that all steps are judged under, and what the present step leaves open."""

    goal: Goal
    folder: Path
    open: list[str] = field(default_factory=list)

    @property
    def statement(self) -> Statement:
        """The problem class. Raises Contrary where the certificate claims something else."""
        return self.about(Statement)

    def about(self, kind: type[G]) -> G:
        """The goal, which must be of that kind."""
        must(isinstance(self.goal, kind), f"the claim is of the kind {kind.__name__}")
        assert isinstance(self.goal, kind)
        return self.goal

    def at_most(
        self, test: str, sides: Callable[[], tuple[arb, arb]], *, strict: bool = False, most: int = LAST_PRECISION
    ) -> None:
        """Settle left <= right (strict: left < right), both recomputed at each precision up to ``most`` bits.

        Raises Contrary; notes the test as open when balls overlap to the last.
        """
        bits = FIRST_PRECISION
        while bits <= most:
            with ctx.workprec(bits):
                left, right = sides()
                if left < right or (not strict and left <= right):
                    return
                if left > right or (strict and left >= right):
                    raise Contrary(f"{test} ({short(left.str(12))} against {short(right.str(12))})")
            bits *= 2
        self.open.append(f"{test}: not decided at {bits // 2} bits")


def within(condition: bool, limit: str) -> None:
    """Raise Undecided where the work would be too much."""
    if not condition:
        raise Undecided(f"limit: {limit}")


def log2(x: fmpq) -> arb:
    """log2 of a positive rational; exact on powers of two, sharp near 1."""
    above, below = int(x.p), int(x.q)
    if above & (above - 1) == 0 and below & (below - 1) == 0:
        return arb(above.bit_length() - below.bit_length())
    natural = arb(x - 1).log1p() if 2 * x > 1 else arb(x).log()
    return natural / arb.const_log2()
