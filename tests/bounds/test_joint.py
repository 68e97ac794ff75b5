"""Secrets in values and keys: the acceptance values at real shapes, monotone, near an exhaustive search, and proved."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvverify.bounds.candidate import Candidate
from kvverify.bounds.search import ranked
from kvverify.crosscheck.arb import second_opinion
from kvverify.problem import Problem
from tests.bounds.exhaustive import best, best_joint
from tests.bounds.test_search import ROUNDING, at, drawn, proved, weaker
from tests.strategies import problems

TOLERANCES = (Fraction(1, 16), Fraction(1, 100), Fraction(1, 256))
ACCEPTANCE = [
    # tokens, max_logit, bits a token at least at each tolerance
    (1 << 12, 16, (660, 1205, 1485)),
    (1 << 17, 16, (500, 970, 1225)),
    (1 << 17, 24, (660, 1200, 1475)),
    (1 << 20, 32, (680, 1210, 1485)),
]
CEILINGS = (806, Fraction(141141, 100), 1747)  # 256 g(tolerance, 1/10), rounded up


@pytest.mark.parametrize(
    ("tokens", "max_logit", "tolerance", "least", "ceiling"),
    [
        (tokens, max_logit, tolerance, least, ceiling)
        for tokens, max_logit, all_least in ACCEPTANCE
        for tolerance, least, ceiling in zip(TOLERANCES, all_least, CEILINGS, strict=True)
    ],
)
def test_at_a_real_heads_shape(tokens: int, max_logit: int, tolerance: Fraction, least: int, ceiling: Fraction) -> None:
    bound = proved(at(tokens, max_logit, tolerance=tolerance), "joint")
    assert least <= bound.bits_per_token < ceiling
    if tolerance == Fraction(1, 100):
        assert bound.certificate is not None
        assert second_opinion(bound.certificate).verdict == "agrees"


def test_keys_add_to_what_values_give() -> None:
    problem = at(1 << 17, 24)
    assert proved(problem, "joint").bits > proved(problem, "volume").bits * Fraction(17, 10)


@pytest.mark.parametrize(
    ("tokens", "max_logit", "tolerance", "least"),
    [(1 << 17, 24, Fraction(1, 100), 1140), (1 << 12, 16, Fraction(1, 256), 1365)],
)
def test_bf16_inputs_have_their_own_bound(tokens: int, max_logit: int, tolerance: Fraction, least: int) -> None:
    real = proved(at(tokens, max_logit, tolerance=tolerance), "joint")
    bf16 = proved(at(tokens, max_logit, tolerance=tolerance, inputs="bf16"), "joint")
    assert least <= bf16.bits_per_token < real.bits_per_token


@pytest.mark.parametrize(
    ("tokens", "max_logit", "inputs", "least"),
    [(1 << 12, 16, "bf16", 990), (1 << 17, 24, "real", 1108), (1 << 20, 32, "real", 1155)],
)
def test_in_the_ball(tokens: int, max_logit: int, inputs: str, least: int) -> None:
    bound = proved(at(tokens, max_logit, body="ball", inputs=inputs))
    assert least <= bound.bits_per_token < 1200  # of the cube
    assert bound.certificate is not None
    assert bound.certificate["steps"][-1]["rule"] == "joint"
    assert second_opinion(bound.certificate).verdict == "agrees"


def test_the_ball_is_searched_finely_enough() -> None:
    """No code radius and strength of a fine grid gives a family more, to a thousandth."""
    problem = at(1 << 12, 16, body="ball")
    found = next(c for c in ranked(problem) if c.method == "joint")
    finest = max(
        best_way(found, problem, Fraction(k, 100), Fraction(b, 8)) for k in range(60, 99) for b in range(40, 100)
    )
    assert max(1070, finest * 999 / 1000) <= found.bits / problem.tokens <= finest * 1001 / 1000


def best_way(found: Candidate, problem: Problem, radius: Fraction, b: Fraction) -> float:
    """Bits of a token as docs/proofs/payload.md writes them, in floats."""
    d, k, rho = problem.key_dim - found.family.dim, float(radius), float(problem.max_logit)
    gain = (1 - 0.1) * math.log2(0.9 / 0.01) + 0.1 * math.log2(0.1 / 0.99)
    left = math.sqrt(1 - k * k)
    square = (float(b) * left) ** 2 / (d + 2)
    volume = (d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1)) / math.log(2) + d * math.log2(left)
    nearest = sorted(found.family.exponents().items())
    total = []
    for logit in (k * rho, k * math.sqrt(rho**2 - float(b) ** 2)):
        z = math.exp(-2 * logit / found.family.dim)
        sigma, squares = (sum(n * z ** (m * e) for e, n in nearest) for m in (1, 2))
        if sigma >= 1:
            return 0.0
        loss = squares * sum(sigma ** (j - 2) / j for j in range(2, 60)) / math.log(2)
        total.append((sigma, z**found.family.dim, loss))
    (sigma, rest, loss), (tilted, own, lost) = total
    value = gain - math.log2(1 + sigma + rest) - loss
    crowd = 1 + (tilted * math.exp(square / 2) + own) / 2
    key = volume / d + math.log2(float(b)) - 2 - square / 4 / math.log(2) + gain - 2 * math.log2(crowd) - lost
    return (problem.value_dim - 1) * max(0.0, value) + d * max(0.0, key)


def test_one_token_holds_both_secrets() -> None:
    """Nobody else to hear: only the tilt's reach and the code's few coordinates are lost."""
    gain = Fraction("5.5133")
    assert 250 * gain < proved(at(1, 24), "joint").bits < 256 * gain


def test_heads_and_layers_add_up() -> None:
    one, many = proved(at(4096, 24), "joint"), proved(at(4096, 24, kv_heads=8, layers=32), "joint")
    assert abs(many.bits - 256 * one.bits) <= 256 * 4096 * ROUNDING


def joint_weaker(problem: Problem, share: Fraction, name: str) -> Problem | None:
    """As ``weaker``; or fewer coordinates."""
    if name in ("key_dim", "value_dim"):
        return replace(problem, **{name: max(1, int(getattr(problem, name) * share))})
    return weaker(problem, share, name)


@pytest.mark.parametrize("name", ["tolerance", "failure", "tokens", "max_logit", "inputs", "key_dim", "value_dim"])
@settings(max_examples=6)
@given(problem=problems(relative=False, dim=40), share=st.fractions(0, 1, max_denominator=30))
def test_an_easier_problem_never_has_a_higher_bound(name: str, problem: Problem, share: Fraction) -> None:
    problem = replace(problem, body="cube", max_logit=problem.max_logit + 4)
    easier = joint_weaker(problem, share, name)
    assume(easier is not None)
    assert easier is not None
    hard, easy = proved(problem, "joint"), proved(easier, "joint")
    room = ROUNDING * (problem.value_dim + problem.key_dim)
    assert easy.bits_per_token <= hard.bits_per_token + room, (hard.family, easy.family)


@settings(max_examples=8)
@given(
    problem=problems(relative=False, dim=40), share=st.fractions(0, 1, max_denominator=30),
    name=st.sampled_from(["tolerance", "failure", "tokens", "max_logit", "key_dim", "value_dim"]),
)  # fmt: skip
def test_nor_in_the_ball(name: str, problem: Problem, share: Fraction) -> None:
    """To one in a hundred: the search ends near the best radius and strength."""
    problem = replace(problem, body="ball", max_logit=problem.max_logit + 4)
    easier = joint_weaker(problem, share, name)
    assume(easier is not None)
    assert easier is not None
    hard, easy = proved(problem, "joint"), proved(easier, "joint")
    assert easy.bits_per_token <= hard.bits_per_token * Fraction(101, 100) + 1, (hard.family, easy.family)


SMALL = [replace(p, body="cube") for p in drawn(40) if p.tolerance is not None and p.tokens < 150][:8]


@pytest.mark.parametrize("problem", SMALL, ids=lambda p: f"{p.tokens}-{p.key_dim}-{p.inputs}")
def test_within_one_percent_of_an_exhaustive_search(problem: Problem) -> None:
    strengths = [Fraction(k, 8) for k in range(4, 40, 3)]
    bits, how = max(best(problem), best_joint(problem, strengths))
    assert proved(problem).bits >= bits * 99 / 100 - 1, how
