"""Own queries: what is proved of recorded attention is true, and small compressors show that it is not too much."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from kvverify.bounds.key_files import KeyTensor, open_tensors, safetensors
from kvverify.bounds.volume_choice import select
from kvverify.bounds.witness import FileBound, write_bound
from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem
from tests.conftest import needs
from tests.kernel.instance import claim_holds
from tests.kernel.oracle import first_false

needs("scipy", "audit")

from kvverify.bounds.own_queries import measured_logit, own_queries_bound  # noqa: E402 (after the check for scipy)

RANDOM = np.random.default_rng(11)


def recorded(folder: Path, keys: np.ndarray, queries: np.ndarray) -> tuple[KeyTensor, KeyTensor]:
    path = folder / "cache.safetensors"
    path.write_bytes(safetensors({"layers.0.keys": keys[None], "layers.0.queries": queries[None]}))
    file = open_tensors(path)
    return file.tensor(0, 0), file.tensor(0, 0, "queries")


def bound(folder: Path, keys: np.ndarray, queries: np.ndarray, **changes: object) -> FileBound:
    mine, asked = recorded(folder, keys, queries)
    fields = {
        "max_logit": measured_logit(mine, asked),
        "failure": Fraction(0),
        "tolerance": Fraction(1, 100),
        **changes,
    }
    return own_queries_bound(mine, asked, Problem(*keys.shape, value_dim=1, **fields))  # type: ignore[arg-type]


KINDS = {
    "queries that are keys": (KEYS := RANDOM.normal(size=(14, 6)), 4 * KEYS),
    "mixed": (KEYS, 3 * KEYS[::-1] + RANDOM.normal(size=(14, 6))),
    "more queries than keys": (KEYS[:5], 2 * RANDOM.normal(size=(30, 6))),
    "fewer queries than keys": (KEYS, 3 * KEYS[:4]),
    "diffuse": (KEYS, KEYS / 4),
    "repeated queries and keys": (np.repeat(KEYS[:7], 2, axis=0), np.repeat(3 * KEYS[:7], 2, axis=0)),
    "one dimension": (np.linspace(-1, 1, 8)[:, None], 9 * np.linspace(-1, 1, 8)[:, None]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("failure", [Fraction(0), Fraction(1, 10)])
def test_the_bound_is_proved_and_true(kind: str, failure: Fraction, tmp_path: Path) -> None:
    keys, queries = KINDS[kind]
    found = bound(tmp_path, keys, queries, failure=failure)
    assert found.certificate is not None, found.reason
    write_bound(tmp_path / "c.json", found)
    result = check(tmp_path / "c.json")
    assert result.verdict is Verdict.VALID, result.reason
    assert result.bits == found.bits >= 1
    assert found.payload <= min(len(np.unique(keys, axis=0)), len(queries))
    assert first_false(found.certificate, tmp_path) is None
    assert claim_holds(found.certificate, tmp_path)


def test_files_that_were_changed(tmp_path: Path) -> None:
    found = bound(tmp_path, *KINDS["mixed"])
    assert found.certificate is not None
    ((name, data),) = found.files.items()
    assert check(found.certificate, tmp_path).verdict is Verdict.INCOMPLETE
    spoilt = bytearray(data)
    spoilt[-1] ^= 64
    (tmp_path / name).write_bytes(spoilt)
    assert check(found.certificate, tmp_path).verdict is Verdict.INVALID
    steps = found.certificate["steps"]
    factors = {**steps[1]["given"]["factors"], "lower": "upper", "upper": "lower"}  # digests are right, triangles not
    (tmp_path / name).write_bytes(data)
    swapped = {**steps[1], "given": {"form": "preconditioned", "factors": factors}}
    tree = document.build(found.certificate["statement"], [steps[0], swapped, steps[2]])
    assert check(tree, tmp_path).verdict is Verdict.INVALID
    assert check(found.certificate, tmp_path).verdict is Verdict.VALID


def test_files_of_one_name(tmp_path: Path) -> None:
    """Equal files in two folders are one; different ones are refused, and neither is touched."""
    folders = [tmp_path / name for name in ("keys", "queries")]
    for folder in folders:
        folder.mkdir()
    (keys, _), (_, queries) = (recorded(folder, KEYS, 2 * KEYS) for folder in folders)
    question = Problem(*KEYS.shape, 1, Fraction(99), Fraction(0), tolerance=Fraction(1, 100))
    assert own_queries_bound(keys, queries, question).bits > 0
    _, queries = recorded(folders[1], KEYS, 3 * KEYS)
    before = [file.path.read_bytes() for file in (keys, queries)]
    with pytest.raises(UsageError, match="two files of one name"):
        own_queries_bound(keys, queries, question)
    assert [file.path.read_bytes() for file in (keys, queries)] == before


def test_wrong_use(tmp_path: Path) -> None:
    keys, queries = recorded(tmp_path, KEYS, KEYS)
    question = Problem(*KEYS.shape, 1, Fraction(99), Fraction(0), tolerance=Fraction(1, 10), inputs="bf16")
    with pytest.raises(UsageError, match="the keys are F32"):
        own_queries_bound(keys, queries, question)
    with pytest.raises(UsageError, match="queries of dimension 5, the keys have 6"):
        bound(tmp_path, KEYS, KEYS[:, :5], max_logit=Fraction(99))
    with pytest.raises(UsageError, match="queries of dimension 5, the keys have 6"):
        measured_logit(*recorded(tmp_path, KEYS, KEYS[:, :5]))
    with pytest.raises(UsageError, match="after division by the scale"):
        measured_logit(*recorded(tmp_path, 100 * KEYS, 100 * KEYS))
    none = bound(tmp_path, KEYS, KEYS, max_logit=Fraction(1, 1000))
    assert (none.bits, none.certificate) == (0, None)
    assert "exceeds max_logit" in str(none.reason)
    assert bound(tmp_path, KEYS, 0 * KEYS, tolerance=Fraction(3, 4)).reason


def cells(corners: np.ndarray, side: float) -> int:
    """At most how many cells of a grid of squares meet the hull of points (m, 2): states of a compressor that tells the
    cell of both answers, each then known to half a side. The best of some grids.
    """
    best = math.inf
    pairs = list(combinations(corners, 2))
    low, high = corners.min(axis=0), corners.max(axis=0)
    for shift_x, shift_y in product(np.linspace(0, side, 5)[:-1], repeat=2):
        count = 0
        for row in range(math.floor((low[1] - shift_y) / side), math.floor((high[1] - shift_y) / side) + 1):
            lines = [shift_y + (row + end) * side for end in (0, 1)]
            inside = [p[0] for p in corners if lines[0] <= p[1] <= lines[1]]
            for line in lines:
                inside += [
                    p[0] + (q[0] - p[0]) * (line - p[1]) / (q[1] - p[1])
                    for p, q in pairs
                    if p[1] != q[1] and min(p[1], q[1]) <= line <= max(p[1], q[1])
                ]
            if inside:
                first, last = ((x - shift_x) / side for x in (min(inside) - 1e-9, max(inside) + 1e-9))
                count += math.floor(last) - math.floor(first) + 1
        best = min(best, count)
    return int(best)


@pytest.mark.parametrize("tokens", [2, 3])
@pytest.mark.parametrize("tolerance", [Fraction(1, 2), Fraction(1, 5), Fraction(1, 30)])
def test_no_more_than_a_grid_of_answers_needs(tokens: int, tolerance: Fraction, tmp_path: Path) -> None:
    """Two queries, one value coordinate: the cell of the two answers is a state that is enough for both.

    The asker's own token weighs least with the certificate's key, and more of it only scales answers down.
    """
    random = np.random.default_rng(tokens)
    gaps = []
    for spread in (0.5, 1, 3, 8):
        keys, queries = random.normal(size=(tokens, 2)), spread * random.normal(size=(2, 2))
        found = bound(tmp_path, keys, queries, tolerance=tolerance)
        mine, asked = recorded(tmp_path, keys, queries)
        scores = asked.values @ mine.values.T
        weights = np.exp(scores)
        weights /= weights.sum(axis=1, keepdims=True) + np.exp(-np.abs(scores).max(axis=1, keepdims=True))
        corners = np.array(list(product((-1, 1), repeat=tokens))) @ weights.T
        enough = math.log2(cells(corners, 2 * float(tolerance)))
        assert found.bits <= enough
        gaps.append(enough - float(found.bits))
    assert min(gaps) < 3  # the bound is not far below what is enough


def test_rows_and_columns_against_all_choices() -> None:
    """Of every square part of small matrices."""
    close = 0
    for _ in range(20):
        scores = 2 * RANDOM.normal(size=(6, 5))
        weights = np.exp(scores) / (np.exp(scores).sum(axis=1, keepdims=True) + 0.1)
        gain = RANDOM.uniform(2, 6)

        def value(rows: list[int], columns: list[int], weights: np.ndarray = weights, gain: float = gain) -> float:
            return float(np.linalg.slogdet(weights[np.ix_(rows, columns)])[1] / math.log(2) + gain * len(rows))

        every = [
            value(list(rows), list(columns))
            for size in range(1, 6)
            for rows in combinations(range(6), size)
            for columns in combinations(range(5), size)
        ]
        rows, columns = select(weights, gain, 5)
        mine = value(rows.tolist(), columns.tolist())
        assert len(set(rows)) == len(set(columns)) == len(rows)
        assert mine <= max(every) + 1e-9
        assert mine >= 0.8 * max(every)
        close += mine > max(every) - 0.05
        assert len(select(weights, gain, 2)[0]) <= 2
    assert close >= 15
