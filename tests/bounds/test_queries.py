"""The search for queries: within the budget, never worse than its start, near the best where that is known."""

from __future__ import annotations

import numpy as np
import pytest

from kvverify.bounds import queries
from kvverify.bounds.queries import own_score, search, whitened
from tests.conftest import needs

RANDOM = np.random.default_rng(2)
KEYS = {
    "normal": RANDOM.normal(size=(30, 6)) / 4,
    "clustered": (np.repeat(RANDOM.normal(size=(6, 6)), 5, axis=0) + RANDOM.normal(size=(30, 6)) / 20) / 4,
    "far from zero": 0.9 + RANDOM.normal(size=(30, 6)) / 50,
    "one dimension": np.linspace(-1, 1, 30)[:, None],
    "two": np.array([[1.0, 0.0], [0.5, 0.25]]),
}


def masses(keys: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Mass off target of each row, the asker's own at half."""
    scores = asked @ keys.T
    target = np.diag(scores)[:, None]
    off: np.ndarray = np.exp(scores - target).sum(axis=1) - 1 + np.exp(own_score(scores) - target)[:, 0] / 2
    return off


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("max_logit", [1.0, 12.0])
def test_never_worse_than_the_start(kind: str, max_logit: float) -> None:
    needs("torch", "audit")
    keys = KEYS[kind]
    found = search(keys, max_logit, seconds=3)
    assert np.abs(found @ keys.T).max() <= max_logit * (1 + 1e-12)
    before, after = masses(keys, whitened(keys, max_logit)), masses(keys, found)
    assert (after <= before * (1 + 1e-9)).all()
    if kind == "clustered":
        assert after.sum() < 0.9 * before.sum()


def test_the_best_query_of_two_keys() -> None:
    """The scores of two keys that are no multiples of each other may be anything: the budget, and minus it."""
    needs("torch", "audit")
    keys = KEYS["two"]
    found = search(keys, 3.0, seconds=3)
    scores = found @ keys.T
    assert np.allclose(np.diag(scores), 3, rtol=1e-2)
    assert (masses(keys, found) <= 1.05 * 1.5 * np.exp(-6)).all()


def test_tokens_that_carry_values_are_kept_out_first() -> None:
    """With only two keys of value, their weight on each other falls, at the cost of the rest."""
    needs("torch", "audit")
    keys = KEYS["normal"]
    carries = np.isin(np.arange(30), (4, 9))

    def weight(asked: np.ndarray) -> float:
        scores = asked @ keys.T
        return float(np.exp(scores[4, 9] - scores[4, 4]) + np.exp(scores[9, 4] - scores[9, 9]))

    alike = search(keys, 4.0, seconds=3)
    assert weight(search(keys, 4.0, carries=carries, start=alike, seconds=3)) < weight(alike)


def test_without_torch_whitened_directions_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "find_spec", lambda name: None)
    keys = KEYS["normal"]
    assert (search(keys, 5.0) == whitened(keys, 5.0)).all()


def test_no_time_is_the_start_or_better() -> None:
    needs("torch", "audit")
    keys = KEYS["clustered"]
    assert (masses(keys, search(keys, 5.0, seconds=0)) <= masses(keys, whitened(keys, 5.0)) * (1 + 1e-9)).all()
