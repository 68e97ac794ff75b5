"""A secret in the amplitudes of the code's own coordinates: what it adds at real shapes, and what is asked of it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvverify.bounds.amplitude import improve
from kvverify.bounds.candidate import Candidate
from kvverify.bounds.certificate import build
from kvverify.bounds.search import ranked
from kvverify.codes import by_name
from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem
from tests.bounds.test_search import at, proved
from tests.strategies import problems


@pytest.mark.parametrize(
    ("tokens", "max_logit", "tolerance", "least", "percent"),
    [
        (1 << 17, 24, Fraction(1, 100), 1260, 4),
        (1 << 20, 32, Fraction(1, 100), 1310, 7),
        (1 << 20, 32, Fraction(1, 256), 1610, 7),
        (1 << 12, 16, Fraction(1, 100), 1225, 0),
    ],
)
def test_beyond_the_joint_bound(tokens: int, max_logit: int, tolerance: Fraction, least: int, percent: int) -> None:
    problem = at(tokens, max_logit, tolerance=tolerance)
    bound, joint = proved(problem), proved(problem, "joint")
    assert bound.certificate is not None
    assert bound.certificate["steps"][-1]["rule"] == "amplitude"
    assert bound.bits_per_token >= max(least, joint.bits_per_token * (1 + Fraction(percent, 100)))
    assert bound.bits_per_token < 256 * Fraction("7.2") * (1 if tolerance < Fraction(1, 100) else Fraction("0.766"))
    assert second_opinion(bound.certificate).verdict == "agrees"


@settings(max_examples=25, deadline=None, derandomize=True)
@given(problems(relative=False, dim=32), st.integers(0, 2))
def test_what_floats_promise_the_kernel_confirms(problem: Problem, place: int) -> None:
    asked = replace(problem, body="cube", inputs="real")
    found = [c for c in ranked(asked) if c.method == "amplitude" and c.bits > 1]
    assume(found)
    candidate = found[min(place, len(found) - 1)]
    result = check(build(candidate, asked))
    assert result.verdict is Verdict.VALID, result.reason
    assert result.bits is not None
    assert abs(result.bits - Fraction(candidate.bits)) <= Fraction(candidate.bits) / 100 + candidate.payload / 100


def test_only_sign_keys_on_the_cube_with_real_inputs() -> None:
    problem = at(1 << 12, 24)
    joint = [c for c in ranked(problem) if c.method == "joint"]
    assert any(improve(c, problem) for c in joint[:5])
    assert not any(improve(c, replace(problem, inputs="bf16")) for c in joint[:5])
    assert not any(improve(c, replace(problem, body="ball")) for c in joint[:5])
    assert not improve(Candidate(by_name("paraboloid(3,2)"), 8, "joint", 0, 1.0, 1.0), problem)
