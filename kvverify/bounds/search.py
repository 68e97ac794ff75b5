"""The search: every family, every payload size, every method, ranked by floats and settled by the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kvverify.bounds.certificate import build
from kvverify.bounds.estimate import Candidate, candidates
from kvverify.codes import families
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem

_ATTEMPTS = 8
_MAX_DOUBLINGS = 128  # payloads beyond 2^128 tokens are in no family


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


def ranked(problem: Problem) -> list[Candidate]:
    """All candidates, best first. The payload is all tokens, or a power of two of them beside pads."""
    sizes = {problem.tokens} | {1 << j for j in range(_MAX_DOUBLINGS) if 1 << j < problem.tokens}
    found = [
        candidate
        for payload in sizes
        for family in families(payload, problem.key_dim)
        for candidate in candidates(family, payload, problem)
    ]
    return sorted(found, key=lambda candidate: (-candidate.bits, candidate.miss))


def best_bound(problem: Problem, *, method: str | None = None, scale_bits: int | None = None) -> Bound:
    """The best candidate that the kernel accepts ("method": volume, levels or separation only)."""
    found = [c for c in ranked(problem) if method in (None, c.method)]
    for candidate in [c for c in found if c.bits > 0][:_ATTEMPTS]:
        tree = build(candidate, problem, scale_bits=scale_bits)
        result = check(tree)
        if result.verdict is Verdict.VALID and result.bits is not None and result.bits >= 1:
            return Bound(problem, result.bits, tree, candidate.family.name, None)
    closest = min(found, key=lambda candidate: candidate.miss, default=None)
    if closest is None:
        return Bound(problem, Fraction(0), None, "", "no family of keys fits this key dimension")
    reason = (
        f"closest: {closest.family.name} with {closest.payload} tokens, which misses by a factor of {closest.miss:.4g}"
    )
    return Bound(problem, Fraction(0), None, closest.family.name, reason)
