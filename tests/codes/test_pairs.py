"""Pair distances against a count in plain Python, for both engines and for any number of threads."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from importlib.util import find_spec

import numpy as np
import pytest

from kvverify.codes import by_name
from kvverify.codes.pairs import distance_histogram, packed
from kvverify.errors import UsageError

ENGINES = [
    "numpy",
    pytest.param("numba", marks=pytest.mark.skipif(find_spec("numba") is None, reason="needs the fast extra")),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("tokens", "dim"), [(1, 5), (2, 64), (70, 3), (131, 65), (200, 128), (90, 300)])
@pytest.mark.parametrize("threads", [1, 3])
def test_counts_all_pairs(engine: str, tokens: int, dim: int, threads: int) -> None:
    keys = 1 - 2 * np.random.default_rng(tokens).integers(0, 2, (tokens, dim), dtype=np.int8)
    rows = keys.tolist()
    pairs = Counter(sum(x != y for x, y in zip(a, b, strict=True)) for i, a in enumerate(rows) for b in rows[:i])
    found = distance_histogram(keys, threads, engine)
    assert found.tolist() == [pairs[distance] for distance in range(dim + 1)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_code_of_known_weights(engine: str) -> None:
    code = by_name("extended-bch(6,10)")
    expected = [code.exponents().get(w, 0) * code.size // 2 for w in range(65)]
    assert distance_histogram(code.keys(code.size), 2, engine).tolist() == expected


def test_without_a_choice_small_work_is_numpys() -> None:
    program = (
        "import sys, numpy; from kvverify.codes.pairs import distance_histogram as h;"
        "assert h(numpy.ones((3, 4), int)).tolist() == [3, 0, 0, 0, 0];"
        "assert 'numba' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_packed_bits() -> None:
    keys = np.ones((2, 66), int)
    keys[0, 0] = keys[0, 65] = keys[1, 3] = -1
    assert packed(keys).tolist() == [[1, 8], [2, 0]]


def test_zero_is_no_sign() -> None:
    with pytest.raises(UsageError, match="only"):
        distance_histogram(np.array([[1, 0], [1, 1]]))
