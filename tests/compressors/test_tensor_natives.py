"""Compressors of tensor attention: exact where their samples are whole, their estimates unbiased."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kvverify.compressors import find
from kvverify.compressors.protocol import Settings, Shape
from kvverify.errors import UsageError
from tests.conftest import needs

torch = needs("torch", "audit")

from kvverify.attention.tensor import attend_tensor_reference  # noqa: E402
from kvverify.compressors.selftest import stream  # noqa: E402

SHAPE = Shape(kv_heads=4, heads=8, key_dim=6, value_dim=5, batch=2)
TOKENS, SCALE = 7, 0.4


def made(name: str, seed: int = 0, shape: Shape = SHAPE, **parameters: Any) -> Any:
    return find(name)(Settings(name, shape, parameters, SCALE, "float64", seed=seed, attention="tensor"))


def given(shape: Shape = SHAPE) -> tuple[Any, ...]:
    """Keys and values of the stream, then queries, own keys and own values: 64ths, whose products float32 holds."""
    (_, keys, values), (queries, *own) = (stream(shape, tokens, seed=tokens) for tokens in (TOKENS, 3))
    return tuple((part.double() * 64).round() / 64 for part in (keys, values, queries[:, : shape.heads // 2], *own))


def exact(keys: Any, values: Any, queries: Any, own_keys: Any, own_values: Any) -> np.ndarray:
    return attend_tensor_reference(queries, keys, values, own_keys, own_values, SCALE)


def test_product_rows_and_factor_caches_answer_alike() -> None:
    keys, values, *question = given()
    for name in ("two-cache", "dense"):
        compressor = made(name, dtype="fp32")
        for part in (slice(0, 3), slice(3, 4), slice(4, 7)):
            compressor.absorb(None, keys[:, :, part], values[:, :, part])
        assert np.abs(compressor.attend(*question).numpy() - exact(keys, values, *question)).max() < 1e-12
    grid = made("two-cache", dtype="fp32")
    grid.absorb(None, keys, values)
    expected = (keys[:, 0::2, :, None] * keys[:, 1::2, None, :]).float()
    assert torch.equal(grid.state["keys_products"], expected)


def test_product_rows_beyond_the_memory_are_refused_with_their_need() -> None:
    tall = torch.zeros((1, 2, 4096, 6))
    compressor = made("two-cache", shape=Shape(2, 2, 6, 6), memory=64)
    with pytest.raises(UsageError, match="two-cache form of 4096 tokens needs 402,653,184 bytes, more than 67,108,864"):
        compressor.absorb(None, tall, tall)


def test_subgen4_answers_exactly_from_whole_samples() -> None:
    """Every token a cell of its own, every token once among the slots: both sums are exact."""
    keys, values, *question = given()
    compressor = made("subgen4", delta=0, t=2, s=TOKENS, dtype="fp32")
    compressor.absorb(None, keys, values)
    whole_slots(compressor.samples, keys.flatten(0, 1).numpy(), values.flatten(0, 1).numpy())
    assert np.abs(compressor.attend(*question).numpy() - exact(keys, values, *question)).max() < 1e-12


def test_more_pairs_than_one_computes_are_refused() -> None:
    keys, values, *question = given()
    compressor = made("subgen4", s=1 << 13)
    compressor.absorb(None, keys, values)
    with pytest.raises(UsageError, match="67108864 pairs of slots a read, at most 33554432; take smaller t and s"):
        compressor.attend(*question)


@pytest.mark.parametrize("factors", ["keep", "drop"])
def test_subgen2_answers_exactly_from_whole_samples(factors: str) -> None:
    """Without the factors the pairs of the own token with cached ones are missing, and no token can come after."""
    keys, values, *question = given()
    compressor = made("subgen2", delta=0, t=2, s=TOKENS**2, dtype="fp32", factors=factors)
    compressor.absorb(None, keys, values)
    rows = [
        (side[:, 0::2, :, None] * side[:, 1::2, None]).flatten(2, 3).flatten(0, 1).numpy() for side in (keys, values)
    ]
    assert [len(cells.counts) for cells in compressor.sketch.cells] == [TOKENS**2] * 4
    whole_slots(compressor.sketch.samples, *rows)
    bob = made("subgen2", delta=0, t=2, s=TOKENS**2, dtype="fp32", factors=factors)
    bob.load(compressor.message())
    whole_slots(bob.sketch.samples, *rows)
    expected = exact(keys, values, *question) if factors == "keep" else without_mixed_pairs(keys, values, *question)
    assert np.abs(bob.attend(*question).numpy() - expected).max() < 1e-12
    if factors == "drop":
        with pytest.raises(UsageError, match="cannot form the rows of a new token"):
            bob.absorb(None, keys, values)


def whole_slots(samples: list[Any], keys: np.ndarray, values: np.ndarray) -> None:
    """Each row once, at a total of which every row's share is its norm's: the weight of each is then 1."""
    for sample, key, value in zip(samples, keys, values, strict=True):
        norms = np.square(value).sum(axis=1)
        assert sample.total == pytest.approx(norms.sum())
        sample.weighted = lambda key=key, value=value: (np.zeros(len(key)), key, value)


def without_mixed_pairs(keys: Any, values: Any, queries: Any, own_keys: Any, own_values: Any) -> np.ndarray:
    """Pairs of cached tokens, and the pair of the own token with itself."""
    product = [(side[:, 0::2, :, None] * side[:, 1::2, None]).flatten(2, 3) for side in (keys, values)]
    own = [side[:, 0::2] * side[:, 1::2] for side in (own_keys, own_values)]
    key, value, own_key, own_value = (side.repeat_interleave(2, dim=1) for side in (*product, *own))
    scores = torch.cat([queries @ key.mT, (queries * own_key).sum(-1, keepdim=True)], dim=-1) * SCALE
    weights = scores.softmax(-1)
    found: np.ndarray = (weights[..., :-1] @ value + weights[..., -1:] * own_value).numpy()
    return found


def test_estimates_of_pairs_are_unbiased() -> None:
    """Means over 1,000 independent streams of coins (batches) against the exact sums, within five deviations."""
    coins = 1000
    shape = Shape(2, 2, 3, 2, batch=coins)
    draw = np.random.default_rng(7)
    keys, values = (torch.from_numpy(draw.uniform(-1, 1, (1, 2, 5, dim))).float().double() for dim in (3, 2))
    compressor = made("subgen4", seed=11, shape=shape, delta=1, t=1, s=1, dtype="fp32")
    compressor.absorb(None, keys.expand(coins, -1, -1, -1), values.expand(coins, -1, -1, -1))
    query = draw.uniform(-1, 1, 3)
    taus, zs = [], []
    for pair in zip(*[iter(range(2 * coins))] * 2, strict=True):
        (logs1, keys1), (logs2, keys2) = (compressor.cells[stream].weighted() for stream in pair)
        taus.append(np.exp((query * keys1) @ keys2.T + logs1[:, None] + logs2).sum())
        (logs1, keys1, values1), (logs2, keys2, values2) = (compressor.samples[stream].weighted() for stream in pair)
        zs.append(
            (np.exp((query * keys1) @ keys2.T + logs1[:, None] + logs2)[..., None] * values1[:, None] * values2)[0, 0]
        )
    (k1, k2), (v1, v2) = keys[0].numpy(), values[0].numpy()
    weights = np.exp((query * k1) @ k2.T)
    for found, expected in ((np.array(taus), weights.sum()), (np.array(zs), np.einsum("il,id,ld->d", weights, v1, v2))):
        spread = found.std(axis=0) / coins**0.5
        assert (np.abs(found.mean(axis=0) - expected) < 5 * spread).all()
        assert (spread > 0).all()
