"""The bound that is found: large enough at the shapes that matter, monotone, near an exhaustive search, and proved."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import floor
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvverify.bounds import Bound, best_bound
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem
from tests.bounds.exhaustive import best
from tests.kernel.families import TooLarge
from tests.kernel.instance import claim_holds
from tests.kernel.oracle import first_false
from tests.strategies import problems

ROUNDING = Fraction(1, 1 << 16)  # bits a token: short rationals on the way

HEAD: dict[str, Any] = {"key_dim": 128, "value_dim": 128, "failure": Fraction(1, 10), "tolerance": Fraction(1, 100)}


def at(tokens: int, max_logit: int | Fraction, **changes: Any) -> Problem:
    return Problem(tokens=tokens, max_logit=Fraction(max_logit), **{**HEAD, **changes})


@cache
def proved(problem: Problem, method: str | None = None) -> Bound:
    """The bound, its certificate checked anew and compared with what is said of it; found once for all tests."""
    bound = best_bound(problem, method=method)
    assert (bound.certificate is None) == (bound.bits == 0) == (bound.reason is not None)
    if bound.certificate is not None:
        result = check(bound.certificate)
        assert result.verdict is Verdict.VALID
        assert result.bits == bound.bits >= 1
        assert result.statement is not None
        assert bound.certificate["statement"] == problem.statement(floor(bound.bits))
        assert bound.bits_per_token * problem.tokens == bound.bits
    else:
        assert bound.reason
    return bound


@pytest.mark.parametrize(
    ("tokens", "max_logit", "least"),
    [(1 << 17, 16, 690), (1 << 17, 24, 704), (1 << 20, 24, 704), (1 << 20, 16, 640)],
)
def test_values_alone_at_a_real_heads_shape(tokens: int, max_logit: int, least: int) -> None:
    bound = proved(at(tokens, max_logit), "volume")
    assert bound.bits_per_token >= least
    ceiling = 128 * Fraction("5.5133")  # value_dim times g(1/100, 1/10), which no reading of values exceeds
    assert bound.bits_per_token <= ceiling


@pytest.mark.parametrize("max_logit", [16, 24])
def test_any_number_of_tokens(max_logit: int) -> None:
    assert proved(at(100_000, max_logit)).bits_per_token >= proved(at(1 << 17, max_logit)).bits_per_token


def test_heads_and_layers_add_up() -> None:
    one, many = proved(at(4096, 24)), proved(at(4096, 24, kv_heads=8, layers=32))
    assert abs(many.bits - 256 * one.bits) <= 256 * 4096 * ROUNDING


def test_bf16_costs_what_the_rounding_costs() -> None:
    real, bf16 = (proved(at(1 << 17, 24, inputs=inputs), "joint") for inputs in ("real", "bf16"))
    assert real.bits_per_token > bf16.bits_per_token > real.bits_per_token * Fraction(95, 100)


def weaker(problem: Problem, share: Fraction, name: str) -> Problem | None:
    """A problem that is easier for the compressor in one respect; None where there is none."""
    if name == "tolerance" and problem.tolerance is not None:
        room = (1 - problem.failure - problem.tolerance) * Fraction(99, 100)
        return replace(problem, tolerance=problem.tolerance + share * room)
    if name == "tolerance" and problem.relative is not None:
        return replace(problem, relative=problem.relative + share * (1 - problem.relative) * Fraction(99, 100))
    if name == "failure":
        most = Fraction(1, 2) if problem.tolerance is None else 1 - problem.tolerance
        return replace(problem, failure=problem.failure + share * (most - problem.failure))
    if name == "tokens":
        return replace(problem, tokens=problem.tokens + 1 + int(share * problem.tokens * 3))
    if name == "max_logit":
        return replace(problem, max_logit=problem.max_logit * (1 - share * Fraction(99, 100)))
    return replace(problem, inputs="bf16") if name == "inputs" and problem.inputs == "real" else None


@pytest.mark.parametrize("name", ["tolerance", "failure", "tokens", "max_logit", "inputs"])
@settings(max_examples=12)
@given(problem=problems(dim=40), share=st.fractions(0, 1, max_denominator=30))
def test_an_easier_problem_never_has_a_higher_bound(name: str, problem: Problem, share: Fraction) -> None:
    easier = weaker(problem, share, name)
    assume(easier is not None)
    assert easier is not None
    hard, easy = proved(problem), proved(easier)
    room = ROUNDING * problem.value_dim
    if problem.body == "ball":  # whose radii are searched on a grid
        room += hard.bits_per_token / 100
    assert easy.bits_per_token <= hard.bits_per_token + room, (hard.family, easy.family)


def drawn(count: int) -> list[Problem]:
    """Problems of small heads, the same in every run."""
    source = random.Random(20)
    found: list[Problem] = []
    while len(found) < count:
        eps = Fraction(source.choice([1, 2, 5, 10, 30, 100, 300]), 1000)
        target: dict[str, Any] = (
            {"tolerance": eps} if source.random() < 0.7 else {"relative": Fraction(source.randrange(10), 10)}
        )
        found.append(
            Problem(
                tokens=source.randrange(2, 400), key_dim=source.randrange(2, 33), value_dim=source.randrange(1, 65),
                max_logit=Fraction(source.randrange(10, 400), 10), failure=Fraction(source.randrange(30), 100),
                body=source.choice(["cube", "ball"]), inputs=source.choice(["real", "bf16"]), **target,
            )
        )  # fmt: skip
    return found


@pytest.mark.parametrize("problem", drawn(20), ids=lambda p: f"{p.tokens}-{p.key_dim}-{p.body}-{p.inputs}")
def test_within_one_percent_of_an_exhaustive_search(problem: Problem) -> None:
    bits, how = best(problem)
    bound = proved(problem)
    assert bound.bits >= bits * 99 / 100 - 1, how


@settings(max_examples=25)
@given(problems(tokens=12, dim=8))
def test_small_certificates_are_true_end_to_end(problem: Problem) -> None:
    bound = proved(problem)
    if bound.certificate is None:
        return
    try:
        assert first_false(bound.certificate) is None
        assert claim_holds(bound.certificate)
    except TooLarge:
        assume(False)


@pytest.mark.parametrize(
    "problem",
    [
        at(4096, Fraction(1, 10**6)),
        at(4096, 24, key_dim=1, value_dim=1),
        at(4096, 24, tolerance=Fraction(9, 10)),
        at(4096, 2, tolerance=None, relative=Fraction(99, 100)),
        at(2, 24, tolerance=Fraction(1, 2), failure=Fraction(1, 2)),
    ],
    ids=["no logit", "one coordinate", "no tolerance", "relative", "failure"],
)
def test_zero_has_a_reason(problem: Problem) -> None:
    bound = proved(problem)
    if bound.bits == 0:
        assert bound.reason
        assert any(word in bound.reason for word in ("closest", "no family", "says nothing"))


def test_zero_names_the_closest_family_and_its_miss() -> None:
    bound = proved(at(4096, Fraction(1, 2)))
    assert bound.bits == 0
    assert "misses by a factor of" in str(bound.reason)


@pytest.mark.parametrize("inputs", ["real", "bf16"])
@pytest.mark.parametrize("body", ["cube", "ball"])
def test_one_token(body: str, inputs: str) -> None:
    bound = proved(at(1, 24, body=body, inputs=inputs))
    each = 5 if body == "cube" else Fraction("4.6")  # the logit, not the tolerance, limits what a ball's keys tell
    assert 256 * each < bound.bits < 256 * Fraction("5.5133")
