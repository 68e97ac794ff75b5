"""The instance of a certificate: its arrays say what the certificate's steps say, counted here in floats."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvverify.bounds import best_bound, instance_bound
from kvverify.bounds.certificate import build
from kvverify.bounds.estimate import candidates
from kvverify.bounds.search import QUERY_BITS
from kvverify.codes.hypercube import Hypercube
from kvverify.errors import Incomplete, UsageError
from kvverify.instances.hard import HardInstance
from kvverify.instances.layout import MAX_SCALARS, from_certificate
from kvverify.kernel import document

Tree = dict[str, Any]
SHAPES = [(64, 16, 1, 8), (100, 24, 2, 5), (16, 64, 1, 64), (256, 16, 1, 2), (1, 4, 1, 1), (48, 8, 1, 8)]


def tree(tokens: int, head_dim: int, kv_heads: int = 1, value_dim: int | None = None) -> Tree:
    found = instance_bound(tokens, head_dim, kv_heads, value_dim=value_dim)
    assert found.certificate is not None, found.reason
    return found.certificate


def given(certificate: Tree, rule: str) -> Tree:
    (step,) = (step for step in certificate["steps"] if step["rule"] == rule)
    return {**step["given"], **step["gives"]}


def attention(one: HardInstance) -> np.ndarray:
    """(tokens, tokens + 1) of each query, its own key in the last column."""
    scores = np.concatenate([one.queries @ one.keys.T, (one.queries * one.own_keys).sum(axis=1)[:, None]], axis=1)
    weights: np.ndarray = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_arrays_keep_what_the_certificate_says(shape: tuple[int, int, int, int]) -> None:
    tokens, head_dim, kv_heads, value_dim = shape
    certificate = tree(*shape)
    one = from_certificate(certificate)
    payload = int(given(certificate, "budget")["payload"])
    assert one.tokens == payload <= tokens
    assert one.keys.shape == one.queries.shape == one.own_keys.shape == (payload, head_dim)
    assert len(np.unique(one.keys, axis=0)) == payload
    assert set(np.unique(one.keys)) <= {-1.0, 0.0, 1.0}
    assert np.array_equal(one.own_keys, -one.keys)
    # No key of the cube scores more than the logit budget.
    assert np.abs(one.queries).sum(axis=1).max() <= one.max_logit == 24
    weights = attention(one)
    off = 1 - np.diag(weights)
    assert off.max() <= one.leak_at_most + Fraction(1, 10**9)
    assert np.linalg.slogdet(weights[:, :-1])[1] / math.log(2) >= float(one.log2_det_at_least) - 1e-6
    assert (one.kv_heads, one.value_dim, one.layers, one.inputs) == (kv_heads, value_dim, 1, "real")
    assert (one.tolerance, one.failure) == (Fraction(1, 100), Fraction(1, 10))
    assert one.certificate == certificate["digest"]
    assert str(one.state_bits_at_least) == certificate["statement"]["state_bits_at_least"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_queries_are_exact_in_bf16(shape: tuple[int, int, int, int]) -> None:
    one = from_certificate(tree(*shape))
    for array in (one.keys, one.queries, one.own_keys):
        assert not (array.astype("<f4").view("<u4") & 0xFFFF).any()
        assert np.array_equal(array.astype("<f4").astype(float), array)


def test_distances_are_those_of_the_code() -> None:
    """For a linear code every row has the same distances; the exponents of the leak count them."""
    certificate = tree(64, 16)
    signs = from_certificate(certificate).keys
    length = int((signs[0] != 0).sum())
    rows = [Counter(((length - row) / 2).astype(int)) for row in (signs @ signs.T)]
    assert all(row == rows[0] for row in rows)
    assert rows[0][0] == 1


def test_the_shapes_above_meet_linear_codes_and_unions_of_cosets() -> None:
    rules = {step["rule"] for shape in SHAPES for step in tree(*shape)["steps"]}
    assert {"linear-code", "coset-union"} <= rules


def test_a_hypercube() -> None:
    """Which the search takes for no small shape."""
    problem = instance_bound(16, 4, value_dim=2).problem
    found = [c for c in candidates(Hypercube(4), [16], problem) if c.method == "volume" and c.bits > 0]
    one = from_certificate(build(found[0], problem, scale_bits=QUERY_BITS))
    assert one.keys.shape == (16, 4)
    assert len(np.unique(one.keys, axis=0)) == 16


def test_from_a_file_or_from_a_tree_is_the_same(tmp_path: Path) -> None:
    certificate = tree(32, 8)
    document.write(tmp_path / "c.json", certificate)
    one, other = from_certificate(certificate), from_certificate(tmp_path / "c.json")
    assert np.array_equal(one.queries, other.queries)
    assert (one.certificate, one.log2_det_at_least) == (other.certificate, other.log2_det_at_least)


def test_certificates_that_have_no_instance(tmp_path: Path) -> None:
    problem = instance_bound(64, 16).problem
    coded = best_bound(problem, method="levels").certificate
    assert coded is not None
    with pytest.raises(UsageError, match=r"by the volume rule on sign keys, this one is by .*levels"):
        from_certificate(coded)
    points = best_bound(replace(problem, tokens=8, key_dim=2, max_logit=Fraction(4096)), method="volume").certificate
    assert points is not None
    assert points["steps"][0]["rule"] == "paraboloid"
    with pytest.raises(UsageError, match="on sign keys, this one is by paraboloid"):
        from_certificate(points)
    with pytest.raises(FileNotFoundError):
        from_certificate(tmp_path / "none.json")


def test_scales_that_bf16_rounds_are_not_played() -> None:
    problem = instance_bound(100, 24).problem
    exact = best_bound(problem, method="volume").certificate
    assert exact is not None
    scale = Fraction(given(exact, "exp-bound")["exponent"])
    assert scale.denominator & scale.denominator - 1
    with pytest.raises(UsageError, match=f"exact in bf16, this certificate's have entries of size {scale / 2}"):
        from_certificate(exact)


def test_what_the_kernel_does_not_accept_is_not_played() -> None:
    certificate = tree(32, 8)
    bits = str(int(certificate["statement"]["state_bits_at_least"]) + 1)
    wrong = document.build({**certificate["statement"], "state_bits_at_least": bits}, certificate["steps"])
    with pytest.raises(UsageError, match="the certificate is INVALID: state_bits_at_least"):
        from_certificate(wrong)
    huge = document.build({**certificate["statement"], "tokens": "1" * 5000}, certificate["steps"])
    with pytest.raises(Incomplete, match=r"the certificate is INCOMPLETE: statement\.tokens"):
        from_certificate(huge)


def test_games_that_memory_does_not_hold() -> None:
    heads = MAX_SCALARS // (32 * 8) + 1
    with pytest.raises(Incomplete, match=f"a game of 32 tokens would hold {32 * 8 * heads} scalars"):
        from_certificate(tree(32, 8, heads))
