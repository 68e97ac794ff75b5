"""The float64 reference against ball arithmetic, and the fast form against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flint import arb, ctx

from kvverify.attention.softmax import attend_reference, reference_error
from tests.conftest import needs

torch = needs("torch", "audit")

from kvverify.attention import softmax_torch  # noqa: E402
from kvverify.attention.softmax_torch import attend_with_own, chunk_queries  # noqa: E402

torch.set_num_threads(1)


def problem(
    batch: int, kv_heads: int, group: int, reads: int, tokens: int, key_dim: int, value_dim: int, seed: int = 0
) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    draw = np.random.default_rng(seed)
    queries = draw.normal(size=(batch, kv_heads * group, reads, key_dim))
    keys, own_keys = (draw.normal(size=(batch, kv_heads, count, key_dim)) for count in (tokens, reads))
    values, own_values = (draw.uniform(-1, 1, size=(batch, kv_heads, count, value_dim)) for count in (tokens, reads))
    return [queries, keys, values, own_keys, own_values]


def balls(queries: Any, keys: Any, values: Any, own_keys: Any, own_values: Any, scale: float) -> Any:
    """Exact attention as balls, one answer at a time: (batch, heads, r, d_v) of arb."""
    group = queries.shape[1] // keys.shape[1]
    answers = np.empty((*queries.shape[:3], values.shape[3]), dtype=object)
    for b, h, r in np.ndindex(*queries.shape[:3]):
        columns = [*keys[b, h // group], own_keys[b, h // group, r]]
        column_values = [*values[b, h // group], own_values[b, h // group, r]]
        query = [arb(float(x)) for x in queries[b, h, r]]
        scores = [sum((x * arb(float(y)) for x, y in zip(query, k, strict=True)), arb(0)) for k in columns]
        weights = [(arb(scale) * score).exp() for score in scores]
        total = sum(weights, arb(0))
        for c in range(values.shape[3]):
            sums = sum((w * arb(float(v[c])) for w, v in zip(weights, column_values, strict=True)), arb(0))
            answers[b, h, r, c] = sums / total
    return answers


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("shape", [(1, 1, 1, 3, 5, 4, 2), (2, 2, 3, 2, 17, 8, 3), (1, 1, 1, 2, 0, 4, 2)])
def test_the_reference_is_within_its_proved_error(shape: tuple[int, ...], scale: float) -> None:
    ctx.prec = 300
    arrays = problem(*shape)
    allowed = reference_error(arrays[0], arrays[1], arrays[3], scale)
    answers = attend_reference(*arrays, scale)
    exact = balls(*arrays, scale)
    errors = [abs(arb(float(answers[at])) - exact[at]) for at in np.ndindex(*answers.shape)]
    assert all(error < allowed for error in errors)
    assert 0 < allowed < 1e-11
    assert any(error * 10_000 > allowed for error in errors) or shape[4] == 0  # and the bound is not idle


def test_the_error_bound_is_honest_about_huge_scores() -> None:
    arrays = problem(1, 1, 1, 1, 2, 4, 1)
    assert reference_error(arrays[0], arrays[1], arrays[3], 1e16) == 2.0
    allowed = [reference_error(arrays[0], arrays[1], arrays[3], scale) for scale in (1.0, 10.0, 1000.0)]
    assert allowed == sorted(allowed)


@pytest.fixture(params=["by the normaliser", "by an extra token"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this device, and as on all others."""
    if request.param == "by an extra token":
        monkeypatch.setattr(softmax_torch, "_by_normaliser", softmax_torch._by_extra_token)


each_way = pytest.mark.usefixtures("way")
SHAPES = [(1, 1, 1, 7, 20, 16, 16), (2, 3, 4, 5, 33, 8, 24), (1, 2, 2, 9, 1, 64, 16), (1, 2, 3, 4, 0, 8, 8)]


@each_way
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 100])
def test_the_fast_form_agrees(shape: tuple[int, ...], chunk: int | None) -> None:
    arrays = problem(*shape)
    expected = attend_reference(*arrays, 0.5)
    double = attend_with_own(*map(torch.from_numpy, arrays), 0.5, chunk=chunk)
    assert double.dtype == torch.float64
    assert float(np.abs(double.numpy() - expected).max()) < 1e-13
    single = attend_with_own(*(torch.from_numpy(array).float() for array in arrays), 0.5, chunk=chunk)
    assert single.dtype == torch.float32
    assert float(np.abs(single.numpy() - expected).max()) < 1e-5


@each_way
def test_bf16_inputs_are_not_rounded_again() -> None:
    arrays = [torch.from_numpy(array).bfloat16() for array in problem(1, 2, 2, 50, 200, 64, 64)]
    expected = attend_reference(*(array.double().numpy() for array in arrays), 0.3)
    answers = attend_with_own(*arrays, 0.3)
    assert answers.dtype == torch.float32
    assert float(np.abs(answers.double().numpy() - expected).max()) < 1e-5


@each_way
@pytest.mark.parametrize("score", [-80.0, -1.0, 0.0, 1.0, 80.0])
def test_the_own_token_takes_its_share(score: float) -> None:
    queries = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
    own_key = torch.tensor([[[[score, 3.0]]]], dtype=torch.float64)
    keys, values = torch.zeros(1, 1, 3, 2, dtype=torch.float64), torch.full((1, 1, 3, 1), 0.25, dtype=torch.float64)
    own_value = torch.full((1, 1, 1, 1), -1.0, dtype=torch.float64)
    answer = attend_with_own(queries, keys, values, own_key, own_value, 1.0)
    share = np.exp(score) / (3 + np.exp(score))
    assert float(answer) == pytest.approx(0.25 * (1 - share) - share, rel=1e-12, abs=1e-14)


@each_way
def test_no_query_sees_the_token_of_another() -> None:
    arrays = [torch.from_numpy(array) for array in problem(1, 1, 1, 6, 10, 8, 8)]
    before = attend_with_own(*arrays, 1.0)
    arrays[4][:, :, 3] += 1
    after = attend_with_own(*arrays, 1.0)
    changed = (before != after).any(-1)[0, 0].tolist()
    assert changed == [False, False, False, True, False, False]


def test_chunks_keep_within_their_memory() -> None:
    for tokens, heads, memory in ((2048, 1, 1 << 28), (131072, 32, 1 << 28), (2048, 8, 1 << 24)):
        chunk = chunk_queries(tokens, heads, 128, 128, memory_bytes=memory)
        row = 4 * heads * (tokens + 1 + 2 * 136)
        assert chunk * row <= memory < (chunk + 1) * row
    assert chunk_queries(10**9, 64, 128, 128) == 1
    assert chunk_queries(100, 2, 64, 64, batch=3) == chunk_queries(100, 6, 64, 64)
