"""Flags: what is wrong with a compressor, each by a rule that one can read. No flag is a statement too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from kvverify.audit.statistics import interval

FRAMING_BITS = 1 << 14
"""Names, shapes and scalars of one layer's message: so much of the wire is not held against a claim."""


@dataclass(frozen=True)
class Claim:
    """Total bits (None: what the compressor says of itself), and how often a read may be off by how much.

    A read is off when it is further than ``tolerance`` from the exact answer, or than ``relative`` times its size; it
    may be with probability at most ``failure``. All three None: a claim of size alone.
    """

    bits: int | None
    tolerance: Fraction | None
    failure: Fraction | None
    relative: Fraction | None = None

    @property
    def allowed(self) -> str:
        """The tolerance in words: "1/100", or "1/100 of the exact answer"."""
        return str(self.tolerance) if self.relative is None else f"{self.relative} of the exact answer"


@dataclass(frozen=True)
class Floor:
    """A certified lower bound in bits for a claim's class, and the digest of its certificate."""

    bits: int
    certificate: str


LowerBound = Callable[[Claim], Floor | None]
"""The best certified bound for a claim that has a tolerance and a failure."""


@dataclass(frozen=True)
class Evidence:
    """What the referee saw. ``missed`` reads were surely outside the claim's tolerance, of ``asked`` reads."""

    dense_baseline: bool
    dense_bits: int
    claimed_bits: int | None
    held_bits: int
    wire_bits: int
    certified_floor_bits: int
    layers: int
    asked: int
    missed: int
    same_twice: bool
    code_unchanged: bool
    claim: Claim | None
    lower_bound: Floor | None


def not_a_compressor(seen: Evidence) -> bool:
    """It holds (allocated, or on the wire) at least the dense cache's bits. The dense baseline is exempt."""
    return not seen.dense_baseline and max(seen.held_bits, seen.wire_bits) >= seen.dense_bits


def bytes_exceed_claim(seen: Evidence) -> bool:
    """Held bits exceed the claim, or wire bits do by more than FRAMING_BITS a layer."""
    if seen.claimed_bits is None:
        return False
    return max(seen.held_bits, seen.wire_bits - FRAMING_BITS * seen.layers) > seen.claimed_bits


def claim_impossible(seen: Evidence) -> bool:
    """The claimed (bits, tolerance, failure) lies below a certified lower bound: no compressor can keep it."""
    return seen.claimed_bits is not None and seen.lower_bound is not None and seen.claimed_bits < seen.lower_bound.bits


def claim_refuted(seen: Evidence) -> bool:
    """More reads lie surely outside the claimed tolerance than allowed: the 99.9% interval is above the failure.

    At failure 0 one read is enough. Coins count as independent between reads.
    """
    return seen.claim is not None and refuted(seen.missed, seen.asked, seen.claim.failure)


def hidden_state(seen: Evidence) -> bool:
    """Answers depend on something that was not in the message.

    More bits came back than were on the wire (by luck with probability at most 2^-40); or the same question had two
    answers; or the compressor's files changed between commit and score.
    """
    return seen.certified_floor_bits > seen.wire_bits or not seen.same_twice or not seen.code_unchanged


RULES: dict[str, Callable[[Evidence], bool]] = {
    "NOT A COMPRESSOR": not_a_compressor,
    "BYTES > CLAIM": bytes_exceed_claim,
    "CLAIM IMPOSSIBLE": claim_impossible,
    "CLAIM REFUTED": claim_refuted,
    "HIDDEN STATE": hidden_state,
}


def flags(seen: Evidence) -> tuple[str, ...]:
    """Every flag whose rule holds; none of them is NO FLAG."""
    return tuple(name for name, rule in RULES.items() if rule(seen))


def refuted(missed: int, asked: int, failure: Fraction | None) -> bool:
    """Whether ``missed`` of ``asked`` reads are more than a failure probability explains, at 99.9%."""
    return failure is not None and missed > 0 and Fraction(interval(missed, asked)[0]) > failure
