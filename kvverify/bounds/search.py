"""The search: every family, every payload size, every method, ranked by floats and settled by the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from kvverify.bounds.amplitude import improve
from kvverify.bounds.candidate import Candidate
from kvverify.bounds.certificate import build
from kvverify.bounds.estimate import candidates
from kvverify.codes import families
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem

INSTANCE_LOGIT = Fraction(24)
QUERY_BITS = 8  # significant bits of bf16
_ATTEMPTS = 8
_PROMISING = 0.85
PAYLOADS = (
    {1 << j for j in range(128)} | set(range(1, 101)) | {int(100 * 1.01**k) for k in range(930)}
)  # one in a hundred apart up to 2^20 tokens, then doublings: whatever is best, one of them is nearly as good


@dataclass(frozen=True)
class Bound:
    """The best lower bound found. ``bits`` was proved by the kernel; 0, without a certificate, when nothing held."""

    problem: Problem
    bits: Fraction
    certificate: dict[str, Any] | None
    family: str
    reason: str | None

    @property
    def bits_per_token(self) -> Fraction:
        """Total over heads and layers."""
        return self.bits / self.problem.tokens


def ranked(problem: Problem, method: str | None = None) -> list[Candidate]:
    """All candidates, or those of one method, best first. The payload is all tokens, or fewer of them beside pads."""
    sizes = tuple(sorted({problem.tokens} | {size for size in PAYLOADS if size < problem.tokens}))
    doublings = [size for size in sizes if size & (size - 1) == 0 or size == problem.tokens]
    pool = {family.name: family for size in doublings for family in families(size, problem.key_dim)}
    first = None if method == "amplitude" else method  # a secret in the amplitudes improves candidates of all methods
    found = [candidate for family in pool.values() for candidate in candidates(family, sizes, problem, first)]
    if first is None:
        found += [better for candidate in _promising(found, problem) for better in improve(candidate, problem)]
    asked = [c for c in found if method in (None, c.method)]
    return sorted(asked, key=lambda c: (-c.bits, c.family.size, len(c.family.name), c.miss))


def _promising(found: list[Candidate], problem: Problem) -> list[Candidate]:
    """What a secret in the amplitudes may lift to the top: joint bounds, values alone where no coordinate is left."""
    least = _PROMISING * max((c.bits for c in found), default=0.0)
    return [
        c for c in found if c.bits > least and c.method == ("joint" if c.family.dim < problem.key_dim else "volume")
    ]


def best_bound(problem: Problem, *, method: str | None = None, scale_bits: int | None = None) -> Bound:
    """The best candidate that the kernel accepts ("method": volume, levels, separation, joint or amplitude only)."""
    found = ranked(problem, method)
    refusal = "the best family gives less than one bit"
    for candidate in [c for c in found if c.bits > 0][:_ATTEMPTS]:
        tree = build(candidate, problem, scale_bits=scale_bits)
        result = check(tree)
        if result.verdict is not Verdict.VALID or result.bits is None:
            refusal = f"the kernel refused {candidate.family.name} at step {result.step}: {result.reason}"
        elif result.bits >= 1:
            return Bound(problem, result.bits, tree, candidate.family.name, None)
    return Bound(problem, Fraction(0), None, *_reason(found, refusal))


@lru_cache(maxsize=8)
def instance_bound(
    tokens: int, head_dim: int, kv_heads: int = 1, max_logit: Fraction = INSTANCE_LOGIT, value_dim: int | None = None,
    layers: int = 1,
) -> Bound:  # fmt: skip
    """The volume-rule certificate that an audit draws its instance from: queries exact in bf16. Kept: one search does
    for all audits of a sweep's worker.

    The instance does not depend on the tolerance; the statement is made for 1/100 with failure 1/10.
    """
    problem = Problem(
        tokens, head_dim, value_dim or head_dim, max_logit, Fraction(1, 10),
        tolerance=Fraction(1, 100), kv_heads=kv_heads, layers=layers,
    )  # fmt: skip
    return best_bound(problem, method="volume", scale_bits=QUERY_BITS)


def _reason(found: list[Candidate], refusal: str) -> tuple[str, str]:
    """Why there is no bound above 0: the family that came closest, and the factor by which it missed."""
    if not found:
        return "", "no family of keys fits this key dimension"
    closest = found[0] if found[0].bits > 0 else min(found, key=lambda candidate: candidate.miss)
    name = f"{document.short(closest.family.name)} reading {closest.payload} of the tokens"
    if closest.bits > 0:
        return closest.family.name, f"closest: {name}; {refusal}"
    if closest.miss == float("inf"):
        return closest.family.name, "at this tolerance and failure an answer says nothing about the secret"
    return closest.family.name, f"closest: {name}, which misses by a factor of {closest.miss:.4g}"
