"""Pair distances by population count beside the float32 product of the triangle: ``python scripts/bench_pairs.py``.

32,768 sign keys of 128 coordinates; the histogram is included on one side only. Prints seconds (best of five) and their
ratio for one and for two threads, each in a process of its own, since BLAS reads its thread count at the start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

TOKENS, DIM, TILE = 32768, 128, 1024


def best(job: Callable[[], object]) -> float:
    """Least wall time of five runs in seconds, after one that compiles and warms up."""
    job()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(threads: int) -> None:
    """One line for this number of threads."""
    import numpy as np

    from kvverify.codes.pairs import distance_histogram

    keys = 1 - 2 * np.random.default_rng(1).integers(0, 2, (TOKENS, DIM), dtype=np.int8)
    reals = keys.astype(np.float32)

    def product() -> None:
        for i in range(0, TOKENS, TILE):
            for j in range(i, TOKENS, TILE):
                np.matmul(reals[i : i + TILE], reals[j : j + TILE].T)

    counting = best(lambda: distance_histogram(keys, threads, "numba"))
    multiplying = best(product)
    print(
        f"{threads} thread(s): count {counting:.3f} s, float32 product {multiplying:.3f} s, "
        f"ratio {counting / multiplying:.2f}"
    )


def main() -> None:
    """Measure here with an argument, otherwise start a process for each number of threads."""
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
        return
    for threads in ("1", "2"):
        limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), threads)
        subprocess.run([sys.executable, __file__, threads], check=True, env={**os.environ, **limits})


if __name__ == "__main__":
    main()
