"""Tensor attention: three exact orders, the float64 reference against ball arithmetic, torch against the reference."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx

from kvverify.attention.tensor import (
    ORDERS,
    Factors,
    attend_tensor_reference,
    evaluate,
    multiplications,
    tensor_reference_error,
    two_cache_bytes,
)
from kvverify.errors import UsageError
from tests.conftest import needs


def factors(tokens: int, head_dim: int, value_dim: int, seed: int = 0) -> Factors:
    draw = Random(seed)
    dims = head_dim, head_dim, value_dim, value_dim
    return Factors(*([[draw.randint(-2, 2) for _ in range(dim)] for _ in range(tokens)] for dim in dims))


def problem(
    batch: int, kv_heads: int, group: int, reads: int, tokens: int, head_dim: int, value_dim: int
) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    draw = np.random.default_rng(tokens)
    queries = draw.normal(size=(batch, kv_heads * group, reads, head_dim))
    keys, own_keys = (draw.normal(size=(batch, 2 * kv_heads, count, head_dim)) for count in (tokens, reads))
    values, own_values = (
        draw.uniform(-1, 1, size=(batch, 2 * kv_heads, count, value_dim)) for count in (tokens, reads)
    )
    return [queries, keys, values, own_keys, own_values]


def balls(queries: Any, keys: Any, values: Any, own_keys: Any, own_values: Any, scale: float) -> Any:
    """Exact answers as balls, from all pairs: (batch, heads, r, d_v) of arb."""
    group = 2 * queries.shape[1] // keys.shape[1]
    answers = np.empty((*queries.shape[:3], values.shape[3]), dtype=object)
    for b, h, r in np.ndindex(*queries.shape[:3]):
        at = 2 * (h // group)
        k1, k2 = ([*keys[b, i], own_keys[b, i, r]] for i in (at, at + 1))
        v1, v2 = ([*values[b, i], own_values[b, i, r]] for i in (at, at + 1))
        pairs = [(i, j) for i in range(len(k1)) for j in range(len(k2))]
        query = [arb(float(x)) for x in queries[b, h, r]]
        scores = [
            sum(x * float(y) * arb(float(z)) for x, y, z in zip(query, k1[i], k2[j], strict=True)) for i, j in pairs
        ]
        weights = [(arb(scale) * score).exp() for score in scores]
        for c in range(values.shape[3]):
            products = [w * float(v1[i][c]) * arb(float(v2[j][c])) for w, (i, j) in zip(weights, pairs, strict=True)]
            answers[b, h, r, c] = sum(products, arb(0)) / sum(weights, arb(0))
    return answers


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 2), (5, 2, 4), (7, 4, 1)])
def test_three_orders_give_one_answer_and_count_as_their_formulas(shape: tuple[int, int, int]) -> None:
    held, draw = factors(*shape), Random(1)
    query = [draw.randint(-2, 2) for _ in range(shape[1])]
    found = {order: evaluate(order, query, held, 3) for order in ORDERS}
    assert len({each.answer for each in found.values()}) == 1
    for order, each in found.items():
        assert each.multiplications == multiplications(order, *shape)
    saved = found["two-cache"].multiplications - found["re-associated"].multiplications
    assert saved == (shape[0] - 1) * (shape[1] + shape[2])
    assert (held.words("four-cache"), held.words("two-cache")) == (
        2 * shape[0] * sum(shape[1:]),
        shape[0] ** 2 * sum(shape[1:]),
    )


def test_an_exact_answer_by_hand() -> None:
    """Two tokens, scores 2, -2, 1, -1 halved twice: weights 2^(1, -1, 1/2 ..) do not exist; with scale 1 they do."""
    held = Factors([[2], [1]], [[1], [-1]], [[1], [Fraction(1, 2)]], [[1], [0]])
    assert evaluate("two-cache", [1], held, 2).answer == (
        Fraction(4 + 1, 1) / (4 + Fraction(1, 4) + 2 + Fraction(1, 2)),
    )
    assert evaluate("two-cache", [2], held, 2, Fraction(1, 2)) == evaluate("two-cache", [1], held, 2)
    with pytest.raises(UsageError, match=r"score of 1/2: exact weights are base\^score with an integer score"):
        evaluate("re-associated", [1], held, 2, Fraction(1, 2))


def test_numbers_of_the_record() -> None:
    """n = 64, d = 16: 2 n^2 d + 2 n^2 d; 2 (2 n - 1) d + 2 n^2 d; 2 n^2 d + 2 n d."""
    assert [multiplications(order, 64, 16, 16) for order in ORDERS] == [262_144, 135_136, 133_120]
    assert two_cache_bytes(65536, 128, 128) == 4 << 40


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ([[1]], [[1], [1]], [[1]], [[1]]),
            "factors of shapes k1 1 x 1, k2 2 x 1, v1 1 x 1, v2 1 x 1: k1 and k2 have one",
        ),
        (([[1]], [[1]], [[1, 2]], [[1]]), "v1 1 x 2, v2 1 x 1"),
        (([[1]], [[1]], [[1], [1]], [[1], [1]]), "v1 2 x 1"),
        (([], [], [], []), "k1 0 x 0"),
        (([[1], [1, 2]], [[1]], [[1]], [[1]]), "k1 has rows of 1, 2 entries: expected one length"),
    ],
)
def test_factors_that_do_not_fit(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Factors(*given)


def test_wrong_requests_of_an_exact_evaluation() -> None:
    held = factors(2, 2, 2)
    for arguments, message in (
        (("naive", [1, 1], held, 2), "order 'naive' with base 2: expected four-cache, two-cache, re-associated"),
        (("two-cache", [1, 1], held, 0), "a positive base"),
        (("two-cache", [1], held, 2), "a query of 1 entries, the keys have 2"),
        (("two-cache", [1], factors(1025, 1, 1), 2), "1025 tokens: an exact evaluation takes up to 1048576 pairs"),
    ):
        with pytest.raises(UsageError, match=message):
            evaluate(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("shape", [(1, 1, 1, 3, 4, 4, 2), (2, 2, 2, 1, 6, 3, 2), (1, 1, 1, 2, 0, 4, 2)])
def test_the_reference_is_within_its_proved_error(shape: tuple[int, ...], scale: float) -> None:
    ctx.prec = 300
    arrays = problem(*shape)
    allowed = tensor_reference_error(arrays[0], arrays[1], arrays[3], scale)
    answers = attend_tensor_reference(*arrays, scale)
    exact = balls(*arrays, scale)
    errors = [abs(arb(float(answers[at])) - exact[at]) for at in np.ndindex(*answers.shape)]
    assert all(error < allowed for error in errors)
    assert 0 < allowed < 1e-11
    assert any(error * 1_000_000 > allowed for error in errors) or shape[4] == 0  # and the bound is not idle


def test_the_error_bound_is_honest_about_huge_scores() -> None:
    arrays = problem(1, 1, 1, 1, 2, 4, 1)
    allowed = [tensor_reference_error(arrays[0], arrays[1], arrays[3], scale) for scale in (1.0, 10.0, 1e3, 1e16)]
    assert all(a < b for a, b in pairwise(allowed))
    assert allowed[-1] == 2.0


@pytest.mark.parametrize("memory", [1 << 28, 3000, 1])
def test_blocks_of_any_size_give_the_same_answers(memory: int) -> None:
    for shape in ((2, 3, 2, 5, 9, 4, 3), (1, 2, 1, 4, 0, 8, 2)):
        arrays = problem(*shape)
        expected = attend_tensor_reference(*arrays, 0.5)
        assert float(np.abs(attend_tensor_reference(*arrays, 0.5, memory) - expected).max()) < 1e-15


torch = needs("torch", "audit")

from kvverify.attention.tensor_torch import TwoCache, attend_tensor_with_own, four_cache, re_associated  # noqa: E402

torch.set_num_threads(1)


@pytest.mark.parametrize("memory", [1 << 28, 5000, 1])
@pytest.mark.parametrize("shape", [(2, 3, 2, 5, 9, 4, 3), (1, 2, 1, 4, 0, 8, 2), (1, 1, 1, 7, 33, 16, 8)])
def test_the_fast_form_agrees(shape: tuple[int, ...], memory: int) -> None:
    arrays = problem(*shape)
    expected = attend_tensor_reference(*arrays, 0.5)
    double = attend_tensor_with_own(*map(torch.from_numpy, arrays), 0.5, memory)
    assert double.dtype == torch.float64
    assert float(np.abs(double.numpy() - expected).max()) < 1e-14
    single = attend_tensor_with_own(*(torch.from_numpy(array).float() for array in arrays), 0.5, memory)
    assert single.dtype == torch.float32
    assert float(np.abs(single.numpy() - expected).max()) < 1e-5


def test_an_own_token_brings_its_pairs_with_every_other() -> None:
    """n tokens of keys 0, values 1: an own token of keys 0 and values (a, b) is in 2 n + 1 of (n + 1)^2 equal pairs."""
    tokens, a, b = 3, 0.5, -0.25
    zeros, ones = torch.zeros(1, 2, tokens, 2), torch.ones(1, 2, tokens, 1)
    own = torch.tensor([a, b]).view(1, 2, 1, 1)
    answer = attend_tensor_with_own(torch.ones(1, 1, 1, 2), zeros, ones, torch.zeros(1, 2, 1, 2), own, 1.0)
    assert float(answer) == pytest.approx((tokens**2 + tokens * (a + b) + a * b) / (tokens + 1) ** 2, rel=1e-6)


def test_no_query_sees_the_token_of_another() -> None:
    arrays = [torch.from_numpy(array) for array in problem(1, 1, 1, 6, 5, 4, 4)]
    before = attend_tensor_with_own(*arrays, 1.0)
    arrays[4][:, 1, 3] += 1
    changed = (before != attend_tensor_with_own(*arrays, 1.0)).any(-1)[0, 0].tolist()
    assert changed == [False, False, False, True, False, False]


def test_an_odd_number_of_factor_heads_is_refused() -> None:
    with pytest.raises(UsageError, match="3 factor heads: a tensor head is two of them"):
        attend_tensor_with_own(torch.ones(1, 1, 1, 2), *[torch.ones(1, 3, 1, 2)] * 4, 1.0)


def test_three_orders_in_torch_agree_with_the_exact_one() -> None:
    held, query = factors(6, 4, 3), [1, -1, 2, 1]
    exact = [float(x) for x in evaluate("two-cache", query, held, 2, 1).answer]
    caches = [torch.tensor(x).float() for x in (held.k1, held.k2, held.v1, held.v2)]
    turned, scale = torch.tensor(query).float(), float(np.log(2))
    two = TwoCache(6, 4, 3)
    for tokens in range(1, 7):
        two.append(*(cache[:tokens] for cache in caches))
    for answer in (
        four_cache(turned, *caches, scale, 100),
        re_associated(turned, *caches, scale),
        two.attend(turned, scale),
    ):
        assert answer.tolist() == pytest.approx(exact, abs=1e-6)


def test_a_two_cache_form_that_does_not_fit_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match="the two-cache form of 65536 tokens needs 4,398,046,511,104 bytes, more than"):
        TwoCache(65536, 128, 128)
