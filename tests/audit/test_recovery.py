"""The summary of where reads came back wrong, against counting them one by one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from kvverify.audit.recovery import BINS, recovery


@pytest.mark.parametrize(("tokens", "sample"), [(1, None), (7, None), (64, None), (100, None), (100, 9), (1000, 333)])
def test_each_read_is_counted_in_its_bin_and_in_its_head(tokens: int, sample: int | None) -> None:
    coins = np.random.default_rng(tokens)
    asked = np.arange(tokens) if sample is None else np.sort(coins.choice(tokens, sample, replace=False))
    wrong = coins.random((2, 3, len(asked), 5)) < 0.3
    found = recovery(wrong, np.ones_like(wrong), asked, tokens)
    starts = [*found.first_tokens, tokens]
    assert (starts[0], len(found.first_tokens)) == (0, min(BINS, tokens))
    assert max(np.diff(starts)) - min(np.diff(starts)) <= 1 <= min(np.diff(starts))
    for number, (first, end) in enumerate(pairwise(starts)):
        within = [place for place, token in enumerate(asked) if first <= token < end]
        assert found.reads_asked[number] == 2 * 3 * 5 * len(within)
        assert found.wrong_reads[number] == sum(int(wrong[:, :, place].sum()) for place in within)
    assert found.wrong_reads_by_head == tuple(
        tuple(int(wrong[layer, head].sum()) for head in range(3)) for layer in range(2)
    )
    assert sum(found.wrong_reads) == wrong.sum()


def test_the_object_is_plain_and_bounded() -> None:
    every = np.ones((1, 2, 4096, 2), dtype=bool)
    found = recovery(every, every, np.arange(4096), 4096).to_json()
    assert [len(found[name]) for name in ("first_tokens", "reads_asked", "wrong_reads")] == [BINS] * 3
    assert found["wrong_reads"] == found["reads_asked"] == [4096 // BINS * 4] * BINS
    assert all(type(count) is int for count in found["wrong_reads"])
    assert found["wrong_reads_by_head"] == [[8192, 8192]]
