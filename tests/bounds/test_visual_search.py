"""Bounds of visual streams as they are searched for: all kernels and cuts, streams as they are fed, bad questions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from kvverify.attention import visual
from kvverify.attention.visual import VAR_SCALES, parse_scales
from kvverify.bounds.visual_search import carriers, combinations, design, free_keys, value_scales, visual_bound
from kvverify.crosscheck.arb import second_opinion
from kvverify.errors import Incomplete, UsageError
from kvverify.kernel.check import Verdict, check

TENTH = Fraction(1, 10)
ASKED: dict[str, Any] = {"model_dim": 192, "key_dim": 64, "value_dim": 64, "max_logit": Fraction(16)}


def bits(scales: Any, kernel: str, cut: str, **asked: Any) -> float:
    if "relative" not in asked:
        asked = {"tolerance": TENTH} | asked
    tree = visual_bound(scales, kernel, cut, **(ASKED | asked))
    result = check(tree)
    assert result.verdict is Verdict.VALID
    assert result.bits is not None
    return float(result.bits)


def test_the_published_pyramid_between_steps_is_worth_nearly_all_of_its_free_tokens() -> None:
    """256 free tokens of 64 coordinates, log2 10 bits each, with nearest tokens; interpolation costs volume."""
    most = 256 * 64 * np.log2(10)
    assert 0.99 * most < bits(VAR_SCALES, "nearest", "between-steps") <= most


@pytest.mark.slow
@pytest.mark.parametrize("cut", visual.CUTS)
def test_smoother_kernels_cost_more_volume(cut: str) -> None:
    free = visual.free_tokens(VAR_SCALES, cut, "bicubic")
    most = free * 64 * np.log2(10)
    found = {kernel: bits(VAR_SCALES, kernel, cut) for kernel in visual.KERNELS}
    assert found["nearest"] > 0.82 * most > found["bilinear"] > found["catmull-rom"] > found["bicubic"] > 0.6 * most


def test_with_all_keys_the_last_scale_counts_too() -> None:
    scales = parse_scales("1,2,3,4,5")
    assert bits(scales, "bilinear", "all-keys") > 1.9 * bits(scales, "bilinear", "between-steps")
    assert visual.free_tokens(scales, "all-keys", "bilinear") == 31


def test_a_doubling_pyramid() -> None:
    found = bits(visual.doubling(16), "nearest", "all-keys")
    assert found <= 86 * 64 * np.log2(10) < 1.01 * found


def test_relative_errors_and_the_exact_case() -> None:
    scales = parse_scales("1,2,3,4")
    free = visual.free_tokens(scales, "all-keys", "bicubic")
    assert bits(scales, "bicubic", "all-keys", relative=Fraction(0), max_logit=Fraction(24)) > 64 * free - 1
    fewer = bits(scales, "bicubic", "all-keys", relative=Fraction(1, 2), failure=TENTH, max_logit=Fraction(24))
    assert 0.53 * 64 * free < fewer < 0.532 * 64 * free


def test_words_of_logarithmic_length_do_for_nearest_tokens() -> None:
    scales = parse_scales("1,2,3,4,5,6,8")
    assert bits(scales, "nearest", "all-keys", key_dim=9, value_dim=8, max_logit=Fraction(40)) > 0
    found = design(scales, "nearest", "all-keys", 9, Fraction(40))
    assert found.columns == 3 + 3 + 3
    with pytest.raises(UsageError, match="key_dim 8: this pyramid's keys take 9"):
        design(scales, "nearest", "all-keys", 8, Fraction(40))
    with pytest.raises(UsageError, match="key_dim 9: this pyramid's keys take 19"):
        design(scales, "bilinear", "all-keys", 9, Fraction(40))


def test_two_scales_from_one_token_hold_one_free_token_between_steps() -> None:
    """One token of log2 10 bits a coordinate in the cache, whatever the last scale is."""
    for largest in (2, 8, 32):
        found = bits(parse_scales(f"1,{largest}"), "nearest", "between-steps")
        assert 64 * np.log2(10) - 1 < found < 64 * np.log2(10)


def test_the_second_engine_agrees() -> None:
    scales = parse_scales("1,2x3,4x4,5x6,6x8")
    for kernel in visual.KERNELS:
        tree = visual_bound(scales, kernel, "all-keys", **ASKED, tolerance=TENTH)
        assert second_opinion(tree).verdict == "agrees"


@pytest.mark.parametrize("kernel", visual.KERNELS)
@pytest.mark.parametrize(("source", "target"), [(1, 5), (3, 4), (5, 6), (6, 8), (13, 16), (16, 32)])
def test_carriers_of_largest_volume_make_no_token_weigh_more_than_one(source: int, target: int, kernel: str) -> None:
    chosen = carriers(source, target, kernel)
    rows = visual.axis(source, target, kernel)
    phi = np.array([[float(row.get(s, 0)) for s in range(source)] for row in rows])
    assert len(set(chosen)) == source
    assert np.abs(phi @ np.linalg.inv(phi[list(chosen)])).max() <= 1 + 1e-8


@pytest.mark.parametrize("kernel", visual.KERNELS)
def test_free_maps_are_those_whose_pyramid_has_the_designs_keys(kernel: str) -> None:
    scales = parse_scales("1x2,2x3,3x4,4x6")
    found = design(scales, kernel, "between-steps", 64, Fraction(16))
    free = [
        [[[Fraction(float(x)).limit_denominator(1 << 40) for x in token] for token in row] for row in image]
        for image in free_keys(found)
    ]
    tokens = np.array([[float(x) for x in token] for token in visual.pyramid(free, scales[:-1], kernel)])
    carried = np.array(found.keys) / 32
    wanted, first = [], 0
    for down, across in combinations(found):
        count = down.shape[1] * across.shape[1]
        wanted.append(np.kron(down, across) @ carried[first : first + count])
        first += count
    assert np.abs(tokens - np.concatenate(wanted)).max() < 1e-9
    assert np.abs(tokens).max() <= 1 + 1e-9
    queries = np.abs(np.array(found.queries)).sum(axis=1) / 256
    assert queries.max() <= 16


@pytest.mark.parametrize("kernel", visual.KERNELS)
def test_values_of_that_size_stay_within_one_and_reach_it(kernel: str) -> None:
    scales = parse_scales("2x3,3x5,4x6")
    found = design(scales, kernel, "all-keys", 64, Fraction(16))
    sizes = value_scales(found)
    for m, size in enumerate(sizes[1:]):
        rows = visual.weights(scales[m], scales[m + 1], kernel)
        assert max(sum(map(abs, row.values())) for row in rows) * size == 1
    assert sizes[0] == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"scales": "1"}, "one scale only, 1"),
        ({"kernel": "lanczos"}, "unknown kernel 'lanczos'"),
        ({"cut": "later"}, "unknown cut 'later'"),
        ({"model_dim": 70}, "model_dim 70: keys and queries of 4 coordinates and 1 x 64 values.* take 72"),
        ({"relative": TENTH}, "one of tolerance and relative"),
        ({"tolerance": None}, "one of tolerance and relative"),
    ],
)
def test_bad_questions_are_refused_in_one_line(asked: dict[str, Any], message: str) -> None:
    scales = parse_scales(asked.pop("scales", "1,2,3"))
    kernel, cut = asked.pop("kernel", "nearest"), asked.pop("cut", "between-steps")
    with pytest.raises(UsageError, match=message) as raised:
        visual_bound(scales, kernel, cut, **(ASKED | {"tolerance": TENTH} | asked))
    assert "\n" not in str(raised.value)


def test_a_budget_that_is_too_small_is_incomplete() -> None:
    with pytest.raises(Incomplete, match="max_logit 1/2 is too small for 256 free tokens"):
        visual_bound(VAR_SCALES, "bilinear", "between-steps", **(ASKED | {"max_logit": Fraction(1, 2)}), relative=TENTH)
    with pytest.raises(Incomplete, match="no bound"):
        visual_bound(
            parse_scales("1,2,3"), "bicubic", "all-keys", **(ASKED | {"max_logit": Fraction(4)}), relative=TENTH
        )
