"""Instances of visual and tensor attention: what they say of themselves, against attention written out in floats."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from kvverify.attention.visual import VAR_SCALES, Scale, parse_scales, pyramid
from kvverify.bounds.tensor import tensor_instance
from kvverify.bounds.visual import visual_instance
from kvverify.errors import UsageError
from kvverify.instances.payload import scatter
from kvverify.instances.tensor import TensorInstance
from kvverify.instances.visual import VisualInstance, log2_det, mixing

LOGIT = Fraction(24)


@pytest.fixture(scope="module")
def tensor() -> TensorInstance:
    return tensor_instance(16, 9, 3, 2, 2, LOGIT)


@pytest.fixture(scope="module", params=["nearest", "bilinear", "bicubic"])
def visual(request: pytest.FixtureRequest) -> VisualInstance:
    return visual_instance(parse_scales("1,2,3x4,5"), request.param, "between-steps", 16, 2, 1, 1, LOGIT)


def weights(queries: np.ndarray, keys: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(reads, tokens) of the softmax whose last column, dropped here, is the own token's."""
    scores = np.column_stack([queries @ keys.T, (queries * own).sum(axis=1)])
    taken = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: np.ndarray = (taken / taken.sum(axis=1, keepdims=True))[:, :-1]
    return found


def by_pairs(one: TensorInstance, fed: np.ndarray, factor: int, read: int) -> np.ndarray:
    """Head 0 of layer 0, one read: all pairs with the own token's, one by one."""
    own = one.own_keys[:, factor, read]
    first, second = (np.vstack([one.keys[f], own[f]]) for f in (0, 1))
    left, right = (np.vstack([fed[0, f], np.zeros(one.value_dim)]) for f in (0, 1))
    above, below = np.zeros(one.value_dim), 0.0
    for k1, v1 in zip(first, left, strict=True):
        for k2, v2 in zip(second, right, strict=True):
            weight = np.exp(one.queries[factor, read] @ (k1 * k2) - float(LOGIT))
            above, below = above + weight * v1 * v2, below + weight
    answer: np.ndarray = above / below
    return answer


def test_both_factors_carry_the_secret_and_the_sentinel_opens_them(tensor: TensorInstance) -> None:
    """Also in another order of the tokens: each answer is the secret's row but for the leak."""
    moved = scatter(tensor, b"public")
    assert isinstance(moved, TensorInstance)
    assert not np.array_equal(moved.keys, tensor.keys)
    assert (moved.kv_heads, moved.factors, moved.carriers) == (4, 2, moved.tokens - 1)
    secret = np.random.default_rng(0).choice([-1.0, 1.0], (2, 4, moved.carriers, 3))
    fed = moved.lay_out(secret)
    sentinel = (set(range(moved.tokens)) - set(moved.targets.tolist())).pop()
    assert np.array_equal(fed[:, :, sentinel], np.ones((2, 4, 3)))
    asked = np.arange(moved.carriers)
    exact = moved.exact(fed, asked)
    assert np.abs(exact - secret).max() <= 2 * float(moved.leak_at_most) < 0.1
    for factor in (0, 1):
        for read in (0, moved.carriers - 1):
            found = by_pairs(moved, fed, factor, read)
            assert np.abs(exact[0, factor, read] - found).max() <= moved.margin() + 1e-12
    assert np.array_equal(moved.exact(fed, asked[3:5]), exact[:, :, 3:5])


def test_a_read_of_tensor_attention_sees_every_pair(tensor: TensorInstance) -> None:
    fed = tensor.lay_out(np.random.default_rng(1).choice([-1.0, 1.0], (2, 4, tensor.carriers, 3)))
    place = (1, 3, int(tensor.targets[5]), 2)
    seen = list(tensor.seen(fed, place))
    assert len(seen) == (tensor.tokens + 1) ** 2
    scores = np.array([tensor.query_of(place) @ key for key, _ in seen])
    taken = np.exp(scores - scores.max())
    answer = taken @ np.array([float(value) for _, value in seen]) / taken.sum()
    assert answer == pytest.approx(tensor.exact(fed, np.arange(tensor.carriers))[1, 3, 5, 2], abs=1e-12)


def test_logits_stay_within_the_budget(tensor: TensorInstance, visual: VisualInstance) -> None:
    for one in (tensor, visual):
        assert np.abs(one.keys).max() <= 1
        assert np.abs(one.own_keys).max() <= 1
        assert np.abs(one.queries).sum(axis=-1).max() <= float(LOGIT)


def test_a_tensor_game_needs_two_tokens_and_a_volume_is_not_known(tensor: TensorInstance) -> None:
    assert tensor.log2_det_at_least is None
    assert tensor.described() == {"two_cache_bits": 16 * 2 * 2 * tensor.tokens**2 * 12}
    for tokens, head_dim in ((1, 8), (8, 1)):
        with pytest.raises(UsageError, match="at least 2 of each"):
            tensor_instance(tokens, head_dim, 1, 1, 1, LOGIT)


def test_the_stream_is_the_pyramid_of_its_free_maps(visual: VisualInstance) -> None:
    """Keys before their rounding and values, against the exact interpolation."""
    scales = parse_scales(visual.scales)
    sizes = [scales[0], *scales[:-2]]
    numbers = np.random.default_rng(2).integers(-4, 5, (sum(size.tokens for size in sizes), 2))
    maps, first = [], 0
    for size in sizes:
        rows = numbers[first : first + size.tokens].reshape(size.height, size.width, 2).tolist()
        maps.append([[[Fraction(x) for x in token] for token in row] for row in rows])
        first += size.tokens
    exact = np.array(pyramid(maps, scales[:-1], visual.kernel), dtype=float)
    mixed = mixing(scales, visual.kernel, visual.cut)
    assert np.abs(mixed.keys(numbers.astype(float)) - exact).max() < 1e-12
    assert np.abs(mixed.values(np.diag(1 / mixed.shrink) @ numbers) - exact).max() < 1e-10
    extremes = np.abs(mixed.values(np.eye(visual.carriers))).sum(axis=1)
    assert 0.4 < extremes.min() <= extremes.max() <= 1
    assert visual.schedule == "chunk:1,chunk:4,chunk:12"
    assert visual.tokens == 17


def test_the_determinant_is_that_of_all_answers(visual: VisualInstance) -> None:
    everything = visual.mixing.values(np.eye(visual.carriers))
    reads = weights(visual.queries, visual.keys, visual.own_keys) @ everything
    sign, log = np.linalg.slogdet(reads)
    assert sign
    assert visual.log2_det_at_least is not None
    assert 0 <= log / np.log(2) - float(visual.log2_det_at_least) < 1e-9
    flat = replace(visual, queries=np.zeros_like(visual.queries))
    assert log2_det(flat) is None


def test_symbols_are_read_off_all_answers_together(visual: VisualInstance) -> None:
    secret = np.random.default_rng(3).choice([-1.0, 1.0], (1, 1, visual.carriers, 2))
    answers = visual.exact(visual.lay_out(secret), np.arange(visual.carriers))
    assert np.abs(visual.decoded(answers) - secret).max() < 1e-6
    broken = answers.copy()
    broken[0, 0, 0, 0] = np.nan
    assert np.isfinite(visual.decoded(broken)).all()


def test_what_a_pyramid_cannot_be() -> None:
    with pytest.raises(UsageError, match="one scale only, 3"):
        visual_instance((Scale(3, 3),), "nearest", "between-steps", 16, 2, 1, 1, LOGIT)
    with pytest.raises(UsageError, match="free tokens of 5461, scores of 56 MiB"):
        visual_instance(tuple(Scale(1 << i, 1 << i) for i in range(8)), "nearest", "between-steps", 64, 1, 1, 1, LOGIT)
    with pytest.raises(UsageError, match="key_dim 8: this pyramid's keys take"):
        visual_instance(VAR_SCALES, "bicubic", "between-steps", 8, 1, 1, 1, LOGIT)
