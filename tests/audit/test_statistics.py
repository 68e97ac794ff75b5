"""The counting behind certified floors, against enumeration of every secret on the smallest shapes."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvverify.audit import statistics as stats
from tests.conftest import needs


@given(st.integers(0, 60), st.data(), st.fractions(Fraction(1, 10), 600, max_denominator=1024))
def test_ball_is_an_upper_bound_and_tight_where_it_matters(reads: int, data: st.DataObject, weight: Fraction) -> None:
    wrong = data.draw(st.integers(0, reads))
    exact = sum(math.comb(reads, j) * weight**j for j in range(wrong + 1))
    bound = stats.log2_ball(reads, wrong, weight)
    assert Fraction(2) ** math.ceil(bound) >= exact
    assert float(bound) >= math.log2(exact) - 1e-9
    whole = reads * math.log2(1 + weight)
    assert float(bound) <= whole + 1e-9
    if 3 * wrong < (reads - wrong + 1) * weight:  # a geometric tail of ratio 1/3: half a bit of slack
        assert float(bound) <= math.log2(exact) + 0.6


@pytest.mark.parametrize(("reads", "alphabet"), [(3, 2), (4, 2), (2, 3), (3, 3)])
def test_discrete_count_against_every_secret_and_the_best_answers(reads: int, alphabet: int) -> None:
    """For any answers, the secrets within k wrong symbols are as many as counted."""
    secrets = list(itertools.product(range(alphabet), repeat=reads))
    for wrong in range(reads + 1):
        counted = 2 ** float(stats.log2_ball(reads, wrong, Fraction(alphabet - 1)))
        most = max(
            sum(sum(a != b for a, b in zip(answers, secret, strict=True)) <= wrong for secret in secrets)
            for answers in secrets
        )
        assert most <= counted * (1 + 1e-9)
        floor = reads * math.log2(alphabet) - math.log2(most) - stats.MARGIN_BITS
        assert stats.discrete_floor_bits(reads, wrong, alphabet) <= max(0, floor)


@pytest.mark.parametrize("seed", range(6))
def test_continuous_share_against_a_fine_grid_of_secrets(seed: int) -> None:
    """Two outputs W v of v on a grid of [-1, 1]^2: the share within k wrong reads never exceeds the formula."""
    coins = np.random.default_rng(seed)
    weights = coins.uniform(0, 1, (2, 2)) + 2 * np.eye(2)
    weights /= weights.sum(axis=1, keepdims=True) * coins.uniform(1, 1.2, (2, 1))
    det = abs(np.linalg.det(weights))
    line = (np.arange(400) + 0.5) / 200 - 1
    secrets = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    outputs = secrets @ weights.T
    for tolerance in (Fraction(1, 2), Fraction(1, 4), Fraction(1, 8)):
        for wrong in (0, 1, 2):
            share = 2 ** float(stats.log2_ball(2, wrong, 1 / tolerance)) * float(tolerance) ** 2 / det
            for answer in coins.uniform(-0.7, 0.7, (4, 2)):
                misses = (np.abs(outputs - answer) > float(tolerance)).sum(axis=1)
                assert (misses <= wrong).mean() <= share * 1.02


def test_continuous_floor_by_hand() -> None:
    """100 reads all within 1/4 and det 1: 200 bits less the margin and the choice among ten tolerances."""
    expected = math.floor(200 - 40 - math.log2(10))
    assert stats.continuous_floor_bits(Fraction(0), 100, 0, Fraction(1, 4), Fraction(0)) == expected
    rounded = stats.continuous_floor_bits(Fraction(0), 100, 0, Fraction(1, 4), Fraction(1, 512))
    assert expected - 2 <= rounded < expected
    assert stats.continuous_floor_bits(Fraction(-7), 100, 0, Fraction(1, 4), Fraction(0)) == expected - 7


@given(st.integers(1, 400), st.data())
def test_floors_fall_with_every_wrong_read_and_never_below_zero(reads: int, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, reads - 1))
    floors = [stats.discrete_floor_bits(reads, k, 4) for k in (wrong, wrong + 1)]
    assert floors[0] >= floors[1] >= 0
    assert stats.discrete_floor_bits(reads, reads, 4) == 0


def test_interval_is_clopper_and_pearson() -> None:
    needs("scipy", "audit")
    low, high = stats.interval(3, 50)
    tail = 0.0005
    at_least_3 = sum(math.comb(50, j) * low**j * (1 - low) ** (50 - j) for j in range(3, 51))
    at_most_3 = sum(math.comb(50, j) * high**j * (1 - high) ** (50 - j) for j in range(4))
    assert at_least_3 == pytest.approx(tail, rel=1e-6)
    assert at_most_3 == pytest.approx(tail, rel=1e-6)
    assert stats.interval(0, 50)[0] == 0
    assert stats.interval(50, 50)[1] == 1


def test_sampling_pays_for_what_was_not_asked() -> None:
    assert stats.sampled_upper(7, 100, 10, 100) == 7
    upper = stats.sampled_upper(0, 1000, 100, 10000)
    # (1 - p)^100 = 10^-4 at the end: nothing wrong among 100 positions leaves at most 8.8%.
    assert upper == pytest.approx(10000 * (1 - 10 ** (-4 / 100)), rel=1e-3)
    assert stats.sampled_upper(1000, 1000, 100, 10000) == 10000


def test_sampled_end_covers_the_truth() -> None:
    """Of 2,000 samples of 40 positions out of 200 hardly any may end below the true count (1 in 10,000 is allowed)."""
    coins = np.random.default_rng(5)
    truth = coins.integers(0, 9, 200) * (coins.uniform(size=200) < 0.3)
    total, below = int(truth.sum()), 0
    for _ in range(2000):
        sample = coins.choice(truth, 40, replace=False)
        below += stats.sampled_upper(int(sample.sum()), 40 * 8, 40, 200 * 8) < total
    assert below <= 2
