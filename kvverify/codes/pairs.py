"""All pairwise distances of explicit sign keys: packed bits, exclusive or, population count.

Compiled by numba where the ``[fast]`` extra is installed and the work is worth the compilation, by numpy otherwise.
Threads are Python's own (the compiled function releases the GIL): numba's thread pool, which slows torch down when both
live in one process, is never started.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from kvverify.errors import UsageError

_WORTH_COMPILING = 1 << 27
_STRIP = 64

Counter = Callable[[np.ndarray, int, int, int], np.ndarray]


def distance_histogram(keys: np.ndarray, threads: int = 1, engine: str | None = None) -> np.ndarray:
    """(dim + 1,) int64: how many pairs i < j of the (tokens, dim) array of +-1 differ in 0, 1, ..., dim coordinates.

    ``engine`` is "numba" or "numpy"; None takes numba when it is installed and there are over 10^8 pairs.
    """
    tokens, dim = keys.shape
    if not np.isin(keys, (-1, 1)).all():
        raise UsageError("distances are counted between keys of +1 and -1 only")
    if engine is None:
        fast = tokens * tokens > 2 * _WORTH_COMPILING and find_spec("numba") is not None
        engine = "numba" if fast else "numpy"
    count: Counter = _compiled() if engine == "numba" else _strip
    words = packed(keys)
    starts = range(0, tokens, _STRIP)
    # Strips get shorter towards the end: many small ones keep the threads equally busy.
    job = partial(_strips, count, words, dim)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(job, (starts[i::threads] for i in range(threads))))
    total: np.ndarray = np.stack(parts).sum(axis=0)
    return total


def packed(keys: np.ndarray) -> np.ndarray:
    """(lanes, tokens) uint64: bit j of lane i is set where coordinate 64 i + j is negative."""
    octets = np.packbits(keys < 0, axis=1, bitorder="little")
    lanes = -(-keys.shape[1] // 64)
    padded = np.zeros((len(keys), 8 * lanes), np.uint8)
    padded[:, : octets.shape[1]] = octets
    return np.ascontiguousarray(padded.view("<u8").astype(np.uint64).T)


def _strips(count: Counter, words: np.ndarray, dim: int, starts: range) -> np.ndarray:
    total = np.zeros(dim + 1, np.int64)
    for start in starts:
        total += count(words, dim, start, min(start + _STRIP, words.shape[1]))
    return total


def _strip(words: np.ndarray, dim: int, start: int, stop: int) -> np.ndarray:
    """Pairs whose first key is in start..stop-1, by numpy."""
    total = np.zeros(dim + 1, np.int64)
    for i in range(start, stop):
        later = words[:, i + 1 :]
        distances = np.bitwise_count(later[0] ^ words[0, i]).astype(np.uint16)
        for lane in range(1, len(words)):
            distances += np.bitwise_count(later[lane] ^ words[lane, i])
        total += np.bincount(distances, minlength=dim + 1)
    return total


@cache
def _compiled() -> Counter:
    """The same, compiled. Raises UsageError without numba."""
    try:
        import numba
        from numba.extending import intrinsic
    except ImportError:
        raise UsageError('the compiled engine needs the extra: pip install "kvverify[fast]"') from None

    @intrinsic  # type: ignore[untyped-decorator]
    def ones(_: Any, word: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.ctpop(arguments[0])

        return numba.types.uint64(word), generate

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def add(row: np.ndarray, head: int, distances: np.ndarray) -> None:
        for j in range(len(row)):  # from 0 over whole slices: only so does the loop become vector instructions
            distances[j] += ones(row[j] ^ head)

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def count(words: np.ndarray, dim: int, start: int, stop: int) -> Any:
        lanes, tokens = words.shape
        # Neighbours often have the same distance: four tables spare the wait for the counter just written.
        tables = np.zeros((4, dim + 1), np.int64)
        buffer = np.empty(tokens, np.uint16)
        for i in range(start, stop):
            distances = buffer[: tokens - i - 1]
            distances[:] = 0
            for lane in range(lanes):
                add(words[lane, i + 1 :], words[lane, i], distances)
            whole = len(distances) // 4 * 4
            for j in range(0, whole, 4):
                tables[0, distances[j]] += 1
                tables[1, distances[j + 1]] += 1
                tables[2, distances[j + 2]] += 1
                tables[3, distances[j + 3]] += 1
            for distance in distances[whole:]:
                tables[0, distance] += 1
        return tables.sum(axis=0)

    compiled: Counter = count
    return compiled
