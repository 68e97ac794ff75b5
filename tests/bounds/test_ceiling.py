"""Upper bounds: few bits at the shapes that matter, found in no time, proved, and never below a lower bound."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings

from kvverify.bounds import best_bound
from kvverify.bounds.ceiling import METHODS, Ceiling, ceiling
from kvverify.crosscheck.arb import second_opinion
from kvverify.errors import UsageError
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem
from tests.kernel.oracle import first_false
from tests.strategies import problems

HEAD: dict[str, Any] = {"key_dim": 128, "value_dim": 128, "failure": Fraction(1, 10), "tolerance": Fraction(1, 100)}


def at(tokens: int, max_logit: int | Fraction, **changes: Any) -> Problem:
    return Problem(tokens=tokens, max_logit=Fraction(max_logit), **{**HEAD, **changes})


def proved(problem: Problem, method: str | None = None) -> Ceiling:
    """The ceiling, its certificate checked anew and compared with what is said of it."""
    found = ceiling(problem, method)
    assert (found.certificate is None) == (found.bits is None) == (found.reason is not None)
    if found.certificate is not None:
        result = check(found.certificate)
        assert (result.verdict, result.bits) == (Verdict.VALID, found.bits)
        assert result.statement is not None
        assert result.statement.state_bits_enough == found.bits
        given = found.certificate["steps"][0]["given"]
        assert (int(given["key_levels"]), int(given["value_levels"])) == (found.key_levels, found.value_levels)
        assert found.method in METHODS
    return found


@pytest.mark.parametrize(
    ("tokens", "max_logit", "method", "most"),
    [
        (1 << 12, 16, "quantiser", 2469), (1 << 17, 24, "quantiser", 2544), (1 << 20, 32, "quantiser", 2597),
        (1 << 12, 16, "dithered", 2225), (1 << 17, 24, "dithered", 2300), (1 << 20, 32, "dithered", 2353),
    ],
)  # fmt: skip
def test_bits_at_a_real_heads_shape(tokens: int, max_logit: int, method: str, most: int) -> None:
    found = proved(at(tokens, max_logit), method)
    assert found.bits_per_token is not None
    assert found.bits_per_token <= most
    assert second_opinion(found.certificate or {}).verdict == "agrees"


def test_the_gap_is_below_two_at_the_headline() -> None:
    problem = at(1 << 12, 16)
    above = ceiling(problem).bits
    assert above is not None
    assert above < 2 * best_bound(problem).bits


GRID = [
    at(1 << 12, logit, key_dim=d, value_dim=d, tolerance=eps, failure=delta, body=body, inputs=inputs)
    for d, body, inputs in ((1, "cube", "real"), (16, "ball", "real"), (24, "cube", "bf16"))
    for logit in (Fraction(1, 2), 24)
    for eps in (Fraction(1, 16), Fraction(1, 100))
    for delta in (Fraction(0), Fraction(1, 10), Fraction(1, 2))
]


@pytest.mark.parametrize("problem", GRID, ids=range(len(GRID)))
def test_no_lower_bound_is_above(problem: Problem) -> None:
    found = proved(problem)
    assert found.bits is not None
    assert best_bound(problem).bits <= found.bits


@pytest.mark.parametrize("dim", [1, 256])
@pytest.mark.parametrize("tolerance", ["1/16", "1/256", "9/10", "1e-9"])
@pytest.mark.parametrize("max_logit", ["1/2", "24", "4096"])
def test_found_at_once_for_every_problem(dim: int, tolerance: str, max_logit: str) -> None:
    eps = Fraction(tolerance)
    started, asked = time.process_time(), 0
    for delta in (Fraction(0), Fraction(1, 10**6), Fraction(1, 100), Fraction(1, 10), Fraction(1, 2)):
        if delta <= 1 - eps:
            asked += 1
            problem = at(1 << 29, Fraction(max_logit), key_dim=dim, value_dim=dim, tolerance=eps, failure=delta)
            assert ceiling(problem).bits is not None
    assert time.process_time() - started < asked


def test_more_is_never_cheaper() -> None:
    def bits(**changes: Any) -> int:
        found = ceiling(at(1 << 12, changes.pop("max_logit", 16), **changes)).bits
        assert found is not None
        return found

    by_failure = [bits(failure=Fraction(x)) for x in ("0", "1/1000", "1/100", "1/10", "1/2")]
    assert by_failure == sorted(by_failure, reverse=True)
    by_tolerance = [bits(tolerance=Fraction(1, x)) for x in (256, 100, 16, 2)]
    assert by_tolerance == sorted(by_tolerance, reverse=True)
    by_logit = [bits(max_logit=x) for x in (1, 16, 32, 1024)]
    assert by_logit == sorted(by_logit)
    assert bits(kv_heads=3, layers=5) == 15 * bits()
    assert bits(inputs="bf16") == bits()
    assert bits(body="ball") >= bits()


@pytest.mark.parametrize("dims", [(192, 128), (64, 128), (128, 1), (1, 128), (512, 64)])
def test_keys_and_values_of_different_dimensions(dims: tuple[int, int]) -> None:
    """Dither that spends by dimension: at most as many bits as with both noises of one size."""
    found = proved(at(1 << 12, 24, key_dim=dims[0], value_dim=dims[1]), "dithered")
    equal = proved(at(1 << 12, 24), "dithered")
    words = equal.key_levels ** dims[0] * equal.value_levels ** dims[1]
    assert found.bits is not None
    assert found.bits <= (words - 1).bit_length() << 12


@settings(max_examples=25)
@given(problems())
def test_whatever_is_found_is_true(problem: Problem) -> None:
    found = proved(problem)
    if problem.tolerance is None:
        assert found.bits is None
    elif found.certificate is not None:
        assert first_false(found.certificate) is None


def test_no_ceiling() -> None:
    relative = Problem(16, 4, 4, Fraction(8), Fraction(0), relative=Fraction(1, 2))
    assert "relative tolerance" in str(proved(relative).reason)
    assert "dithered" in str(proved(at(16, 8, failure=Fraction(0)), "dithered").reason)
    assert "too many bits" in str(proved(at(16, 8, key_dim=1 << 100)).reason)
    with pytest.raises(UsageError, match="expected one of quantiser, dithered"):
        ceiling(at(16, 8), "magic")
