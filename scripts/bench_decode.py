"""What decoding costs: batched attention with each query's own token, in units of one plain attention pass.

Prints a table of ratios of medians over interleaved repetitions, one thread, after warm-up, in seconds of processor
time, which other processes on the machine change less than the clock's. The plain pass is
``scaled_dot_product_attention`` over the cached tokens alone, same shapes, same dtype.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import scaled_dot_product_attention

from kvverify.attention.softmax_torch import MEMORY_BYTES, attend_with_own, chunk_queries
from kvverify.compressors import find
from kvverify.compressors.protocol import Settings, Shape

if TYPE_CHECKING:
    from collections.abc import Callable

GOAL = 1.3
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def medians(runs: list[Callable[[], object]], repetitions: int) -> list[float]:
    """Median seconds of each run; the runs take turns, so that a busy machine slows all of them alike."""
    seconds: list[list[float]] = [[] for _ in runs]
    for repetition in range(repetitions + 2):
        for run, measured in zip(runs, seconds, strict=True):
            start = time.process_time()
            run()
            if repetition >= 2:  # the first two warm up
                measured.append(time.process_time() - start)
    return [statistics.median(measured) for measured in seconds]


def case(tokens: int, reads: int, dim: int, kv_heads: int, group: int, dtype: str, repetitions: int) -> list[float]:
    """Seconds of the plain pass, of decoding, and of decoding from a uniform 4-bit state, dequantised each time."""
    shape = Shape(kv_heads, kv_heads * group, dim, dim)
    draw = torch.Generator().manual_seed(0)
    counts = ((shape.heads, reads), (kv_heads, tokens), (kv_heads, tokens), (kv_heads, reads), (kv_heads, reads))
    queries, keys, values, own_keys, own_values = (
        torch.randn(1, heads, count, dim, generator=draw).to(DTYPES[dtype]) for heads, count in counts
    )
    scale = dim**-0.5
    packed = find("uniform")(Settings("uniform", shape, scale=scale))
    packed.absorb(None, keys, values)
    return medians(
        [
            lambda: scaled_dot_product_attention(queries, keys, values, scale=scale, enable_gqa=group > 1),
            lambda: attend_with_own(queries, keys, values, own_keys, own_values, scale),
            lambda: packed.attend(queries, own_keys, own_values),
        ],
        repetitions,
    )


def main() -> None:
    """Print the table; exit code 1 if a dense ratio misses the goal."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tokens", type=int, default=2048)
    options.add_argument("--reads", type=int, default=2048)
    options.add_argument("--head-dim", type=int, default=128)
    options.add_argument("--repetitions", type=int, default=7)
    given = options.parse_args()
    torch.set_num_threads(1)
    sizes = given.tokens, given.reads, given.head_dim
    print("tokens {}, reads {}, head dimension {}, 1 thread, torch {}".format(*sizes, torch.__version__))
    print(f"chunks of at most {MEMORY_BYTES >> 20} MiB; ratios to one plain pass, goal {GOAL}")
    print(
        f"{'dtype':>5} {'kv_heads':>8} {'group':>5} {'chunk':>6} {'plain s':>8} {'own token':>9} {'uniform 4-bit':>13}"
    )
    missed = False
    for dtype, kv_heads, group in product(DTYPES, (1, 4), (1, 4)):
        plain, dense, packed = case(*sizes, kv_heads, group, dtype, given.repetitions)
        chunk = min(given.reads, chunk_queries(given.tokens, kv_heads * group, given.head_dim, given.head_dim))
        ratios = f"{dense / plain:9.2f} {packed / plain:13.2f}"
        print(f"{dtype:>5} {kv_heads:8} {group:5} {chunk:6} {plain:8.4f} {ratios}", flush=True)
        missed |= dense / plain > GOAL
    raise SystemExit(int(missed))


if __name__ == "__main__":
    main()
