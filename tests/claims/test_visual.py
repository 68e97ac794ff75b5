"""Recipes of the visual rows: recorded numbers, every certificate by both engines, hypotheses named."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil, log2
from typing import Any

import numpy as np
import pytest

from kvverify.attention.visual import axis, parse_scales, tokens_at
from kvverify.claims import tables
from kvverify.claims.evidence import arithmetic, visual
from kvverify.errors import UsageError
from kvverify.kernel.check import check
from tests.claims.accepted import Node, assert_accepted

HALF = Fraction(1, 2)
FANO = 1 + 0.1 * log2(0.1) + 0.9 * log2(0.9)
BUILT: list[tuple[Callable[..., Node], dict[str, Any]]] = [
    (visual.cache, {}), (visual.cache, {"scales": "4x6,8x12,9x12"}), (visual.cache, {"scales": "7"}),
    (visual.left_inverses, {"scales": "1,2,5,6,8"}), (visual.left_inverses, {"scales": "2x3,3x5", "kernel": "nearest"}),
    (visual.left_inverses, {"scales": "5,8", "kernel": "bilinear"}),
    (visual.ratio_pyramid, {}), (visual.ratio_pyramid, {"side": 5, "ratio": 5}), (visual.every_side, {"largest": 5}),
    (visual.free, {}), (visual.free, {"scales": "1,16", "cut": "all-keys"}), (visual.multi_index, {"a": 2, "b": 3}),
    (visual.tokens_carry, {"scales": "1,2,3"}), (visual.realisable, {"scales": "1,2,3"}),
    (visual.realisable, {"scales": "2x1,2x2,4x4", "kernel": "bilinear", "relative": HALF, "cut": "all-keys"}),
]  # fmt: skip


@pytest.mark.parametrize(("build", "given"), BUILT)
def test_every_certificate_is_valid_and_the_second_opinion_agrees(build: Callable[..., Node], given: Node) -> None:
    assert_accepted(build, given)


def said(tree: Node) -> str:
    goal = check(tree).goal
    assert goal is not None
    return goal.said()


@pytest.mark.parametrize(("builder", "parameters", "text"), [
    (visual.cache, {}, "680 <= @10"), (visual.ratio_pyramid, {}, "(64^2 - 1) / 3"),
    (visual.multi_index, {}, "<= 34"), (visual.free, {}, "256 <= 424"),
    (visual.free, {"cut": "all-keys"}, "425 <= 680"),
    (arithmetic.outgrown, {"grows": 0}, "32 < 64 * ("), (arithmetic.outgrown, {}, "1952 < 3721 * ("),
    (arithmetic.outgrown, {"words": 4, "grows": 0}, "64 < 121 * ("),
    (arithmetic.displayed_bound, {"power": 2}, "24/625 < 1/19, 1/19 <= 15/256"),
    (visual.tokens_carry, {}, "state of 424 tokens >= 14409 bits"),
    (visual.realisable, {"scales": "1,16", "cut": "all-keys"}, "257 tokens"),
])  # fmt: skip
def test_recorded_numbers(builder: Callable[..., Node], parameters: Node, text: str) -> None:
    assert text in said(builder(**parameters))


@pytest.mark.slow
def test_vars_own_scales_can_be_realised() -> None:
    """256 of 424 tokens are free."""
    bits = check(visual.realisable("var")).bits
    assert bits is not None
    assert 0 <= 256 * 64 * FANO - float(bits) < 1


@pytest.mark.parametrize(("scales", "side"), [("1,2,4,8,16", 16), ("1,2,4", 4)])
def test_a_doubling_pyramid_by_hand(scales: str, side: int) -> None:
    free = 1 + sum(4**k for k in range(side.bit_length() - 2))
    found = check(visual.realisable(scales)).bits
    assert found is not None
    assert 0 <= free * 64 * FANO - float(found) < 1
    assert f"{free} <= {(side**2 - 1) // 3}" in said(visual.free(scales))


@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic", "catmull-rom"])
@pytest.mark.parametrize(("source", "target"), [(1, 2), (5, 6), (6, 8), (13, 16)])
def test_left_inverses_are_the_axes_own(kernel: str, source: int, target: int) -> None:
    """B W = 1 by plain sums, and the rank of W in floats."""
    rows = axis(source, target, kernel)
    for i, combination in enumerate(visual._inverse(rows, source)):
        found = [sum(b * rows[k].get(j, Fraction(0)) for k, b in combination.items()) for j in range(source)]
        assert found == [int(i == j) for j in range(source)]
    weights = np.array([[float(row.get(j, 0)) for j in range(source)] for row in rows])
    assert np.linalg.matrix_rank(weights) == source


def test_tables_from_the_counts() -> None:
    for name, text in tables._PYRAMIDS:
        row = next(row for row in tables.cuts().rows if row[0] == name)
        scales = parse_scales(text)
        sizes = [scale.tokens for scale in scales]
        free = [sizes[0], *sizes[:-1]]
        assert row[2:4] == (str(sum(sizes[:-1])), str(sum(free[:-1])))
        assert row[6:8] == (str(sum(sizes)), str(sum(free)))
        for cell, many in ((row[5], sum(sizes[:-1])), (row[8], sum(sizes))):
            assert abs(int(cell.replace(",", "")) - FANO * 64 * many) < 1
    steps = tables.pyramid().rows
    assert [int(row[2]) - int(row[1]) for row in steps] == [n * n for n in (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)]
    assert tokens_at(parse_scales("var"), "between-steps") == int(steps[-1][1]) == 424


def test_a_window_is_worth_its_tokens() -> None:
    """One position more, one token's bits more."""
    many = [check(visual.multi_index(tokens, 1, 8)).goal for tokens in (4, 8)]
    assert all(many)
    assert [ceil(8 * tokens * FANO) for tokens in (4, 8)] == [17, 34]
    assert "<= 17" in said(visual.multi_index(4, 1, 8))


@pytest.mark.parametrize(("build", "given", "named"), [
    (visual.cache, {"scales": "1,1"}, "repeats"), (visual.cache, {"scales": "2,1"}, "shrinks"),
    (visual.cache, {"scales": ""}, "no scales"), (visual.cache, {"scales": "1,x"}, "'x' is no size"),
    (visual.left_inverses, {"scales": "3"}, "two scales"), (visual.left_inverses, {"scales": "3,30"}, "at most 24"),
    (visual.left_inverses, {"edge": "none"}, "edge rule 'none'"), (visual.left_inverses, {"kernel": "x"}, "kernel 'x'"),
    (visual.ratio_pyramid, {"side": 48}, "a power of 2"), (visual.ratio_pyramid, {"ratio": 1}, "at least 2"),
    (visual.ratio_pyramid, {"side": 1}, "above 1"), (visual.every_side, {"largest": 4}, "5 <= largest"),
    (visual.free, {"cut": "x"}, "a cut of"), (visual.free, {"scales": "4"}, "an earlier scale"),
    (visual.multi_index, {"b": 0}, "sizes of at least 1"),
    (visual.tokens_carry, {"scales": "1,2"}, "at least 2 tokens"),
    (visual.tokens_carry, {"max_logit": Fraction(1)}, "separation"),
    (visual.realisable, {"max_logit": HALF}, "max_logit"),
    (visual.realisable, {"model_dim": 64}, "model_dim 64"), (visual.realisable, {"scales": "4"}, "one scale only"),
    (arithmetic.outgrown, {"words": 0}, "at least one word"), (arithmetic.outgrown, {"grows": 2}, "grows of 0 or 1"),
    (arithmetic.displayed_bound, {"power": 0}, "1 <= power"),
])  # fmt: skip
def test_a_hypothesis_is_named(build: Callable[..., Node], given: Node, named: str) -> None:
    with pytest.raises(UsageError, match=named) as raised:
        build(**given)
    assert "\n" not in str(raised.value)
