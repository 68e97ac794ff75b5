"""Instances on given keys: what is played is what the kernel proved, exact in bf16; nothing is claimed beyond it."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvverify.bounds import given
from kvverify.bounds.given import given_bound, given_instance, random_keys, search_instance
from kvverify.bounds.playable import played
from kvverify.bounds.search import instance_bound
from kvverify.bounds.witness import write_bound
from kvverify.errors import Incomplete, UsageError
from kvverify.instances.hard import HardInstance
from kvverify.instances.payload import scatter, to_bf16
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem
from tests.conftest import needs

needs("scipy", "audit")

FOLDER = Path(__file__).resolve().parents[2] / "instances"
KERDOCK = FOLDER / "drifted-kerdock-96x16.json"
RECORDED = FOLDER / "smollm2" / "layer-7-queries-head-7-tolerance-1-100.json"
SLOW = sorted((FOLDER / "smollm2").glob("*keys*.json"))


@pytest.fixture(scope="module")
def crowd() -> HardInstance:
    return search_instance(random_keys(64, 16), value_dim=4)


@pytest.fixture(scope="module")
def recorded() -> HardInstance:
    """Twelve tokens, of which eight are told apart by recorded queries."""
    keys = random_keys(12, 16)
    return search_instance(keys, 20 * keys[2:10], value_dim=3)


def attention(one: HardInstance) -> np.ndarray:
    """(carriers, tokens + 1): each query over all keys, its own token in the last column."""
    scores = np.column_stack([one.queries @ one.keys.T, (one.queries * one.own_keys).sum(axis=1)])
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return found


def keeps(one: HardInstance) -> None:
    """Everything that an instance says of its arrays, counted anew in floats."""
    for array in (one.keys, one.queries, one.own_keys):
        assert np.array_equal(to_bf16(array), array)
    scores = one.queries @ one.keys.T
    assert np.abs(scores).max() <= float(one.max_logit)
    assert np.allclose((one.queries * one.own_keys).sum(axis=1), -np.abs(scores).max(axis=1))
    weights = attention(one)
    square = weights[:, one.targets]
    sign, log_det = np.linalg.slogdet(square)
    assert sign != 0
    slack = log_det / np.log(2) - float(one.log2_det_at_least)
    assert 0 <= slack < 0.05 + abs(float(one.log2_det_at_least))
    assert (1 - np.diag(square)).max() <= float(one.leak_at_most) * (1 + 1e-9)
    assert len(set(one.targets.tolist())) == one.carriers <= one.tokens


def test_random_unit_keys_are_the_same_for_everybody_and_crowded() -> None:
    keys = random_keys(64, 16)
    assert np.array_equal(keys, random_keys(64, 16))
    assert not np.array_equal(keys[:, :8], random_keys(64, 8))
    assert np.abs(np.linalg.norm(keys, axis=1) - 1).max() < 2.0**-8
    assert np.abs(keys).max() <= 1
    assert len(np.unique(np.abs(keys))) > 200  # no code: a sign quantiser cannot keep them


def test_a_searched_instance_keeps_what_it_says(crowd: HardInstance) -> None:
    keeps(crowd)
    assert (crowd.tokens, crowd.carriers, crowd.value_dim, crowd.budget, crowd.kv_heads) == (64, 64, 4, "own-keys", 1)
    assert crowd.state_bits_at_least > 64 * 4 * 5


@pytest.mark.parametrize("path", [KERDOCK, *(pytest.param(path, marks=pytest.mark.slow) for path in SLOW)], ids=str)
def test_certificates_about_given_keys_are_played(path: Path) -> None:
    one = played(path)
    keeps(one)
    statement = json.loads(path.read_text())["statement"]
    assert one.in_order
    assert (one.tokens, str(one.max_logit)) == (int(statement["tokens"]), statement["max_logit"])
    assert one.state_bits_at_least >= int(statement["state_bits_at_least"]) * 0.999


def test_recorded_queries_that_are_exact_are_asked_as_they_are(recorded: HardInstance) -> None:
    keeps(recorded)
    assert recorded.budget == "own-queries"
    assert sorted(recorded.targets.tolist()) == list(range(2, 10))
    keys = random_keys(12, 16)
    assert np.array_equal(recorded.queries, to_bf16(20 * keys[recorded.targets]))
    assert recorded.max_logit < 21


@pytest.mark.slow
def test_a_real_head_under_its_own_queries_is_played() -> None:
    one = given_instance(RECORDED)
    keeps(one)
    assert one.carriers < one.tokens == 512
    assert one.state_bits_at_least == 55575  # the certificate's own: these queries were exact


def test_what_is_not_exact_in_bf16_is_rounded_and_certified_again() -> None:
    keys = random_keys(8, 16) * (1 + 2.0**-12)
    assert not np.array_equal(to_bf16(keys), keys)
    one = search_instance(keys, value_dim=1)
    keeps(one)
    assert np.array_equal(one.keys, random_keys(8, 16))


def test_queries_that_rounding_takes_over_the_budget_are_scaled_down() -> None:
    keys = np.array([[1.0, 0.0], [0.0, 1.0]])
    reads = given._Reads(keys, np.array([[24 * (1 - 2.0**-30), 0.0], [0.0, 12.0]]), np.array([0, 1]))
    queries = given._rounded(reads, Fraction(24) - Fraction(1, 1 << 20)).queries
    assert 22 < queries[0, 0] < 24
    assert queries[1, 1] == 12


def test_near_ties_of_the_own_token_are_decided_exactly() -> None:
    query = np.array([[1.0, 2.0**-60, 0.0]])
    keys = np.array([[1.0, 0.0, 0.0], [-1.0, -1.0, 0.0], [0.5, 0.0, 1.0]])
    own = given._own_keys(given._Reads(keys, query, np.array([0])))
    assert own.tolist() == [[-1.0, -1.0, 0.0]]  # its score is larger by 2^-60, which a float does not see


def test_the_bound_at_another_tolerance_is_a_valid_certificate(crowd: HardInstance, tmp_path: Path) -> None:
    problem = Problem(64, 16, 4, crowd.max_logit, Fraction(0), tolerance=Fraction(1, 16), kv_heads=2)
    found = given_bound(crowd, problem)
    assert 64 * 4 * 3.9 < found.bits <= 64 * 4 * 4  # one stream's, whatever the problem has
    write_bound(tmp_path / "c.json", found)
    result = check(tmp_path / "c.json")
    assert (result.verdict, result.bits) == (Verdict.VALID, found.bits)
    assert np.array_equal(played(tmp_path / "c.json").keys, crowd.keys)


def test_no_bound_is_said_so(crowd: HardInstance) -> None:
    problem = Problem(64, 16, 4, crowd.max_logit, Fraction(0), relative=Fraction(1, 16))
    assert given_bound(crowd, problem).bits == 0
    dull = replace(crowd, queries=crowd.queries * 0)
    found = given_bound(dull, replace(problem, relative=None, tolerance=Fraction(1, 16)))
    assert (found.bits, found.certificate) == (0, None)
    assert found.reason is not None


@pytest.mark.parametrize(
    ("keys", "error", "line"),
    [
        (np.ones((4, 2)), Incomplete, "all keys are the same"),
        (np.zeros((5000, 2)), Incomplete, "up to 4096"),
        (np.zeros((2, 2000)), Incomplete, "of dimension 1024 are certified"),
    ],
)
def test_keys_that_cannot_be_played(keys: np.ndarray, error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=line):
        search_instance(keys)


def test_a_certificate_on_sign_keys_is_no_certificate_on_given_keys(tmp_path: Path) -> None:
    tree: dict[str, Any] | None = instance_bound(16, 8).certificate
    assert tree is not None
    path = tmp_path / "c.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(UsageError, match="about the keys of a file"):
        given_instance(path)
    assert played(path).budget == "class"
    broken = json.loads(KERDOCK.read_text())
    broken["statement"]["state_bits_at_least"] = "40000"
    path.write_text(json.dumps(broken))
    with pytest.raises((UsageError, Incomplete)):
        played(path)


def test_carriers_and_order_in_the_stream(recorded: HardInstance) -> None:
    """Values land on the carriers; an order drawn from coins moves keys and carriers together."""
    assert scatter(recorded, bytes(32)) is recorded
    values = np.random.default_rng(1).uniform(-1, 1, (1, 1, recorded.carriers, 3))
    before = attention(recorded)[:, :-1] @ recorded.lay_out(values)[0, 0]
    mixed = scatter(replace(recorded, in_order=False), b"public coins")
    assert not np.array_equal(mixed.keys, recorded.keys)
    after = attention(mixed)[:, :-1] @ mixed.lay_out(values)[0, 0]
    assert np.allclose(before, after, atol=1e-12)
    assert [mixed.read_of(int(token)) for token in mixed.targets[:5]] == list(range(5))
    assert np.count_nonzero(mixed.lay_out(values)) == values.size


def test_context_queries_stay_within_the_budget_on_large_keys(crowd: HardInstance) -> None:
    assert crowd.context_norm == 24
    large = replace(crowd, keys=crowd.keys * 64)
    signs = np.sign(large.keys) * large.context_norm / large.key_dim
    assert np.abs((signs * large.keys).sum(axis=1)).max() <= 24
    assert large.context_norm > 24 / 64
