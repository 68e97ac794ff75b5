"""Measured error and bits of subgen4 and subgen2 beside what is proved.

``python scripts/bench_subgen_tensor.py [--write]``.

Prints the last table of docs/subgen.md; with ``--write`` puts it there. Some seconds on one core. Exit code 1 where
something measured is above what is proved of it.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from kvverify.compressors.measure import Measured
from kvverify.compressors.measure_tensor import TensorInputs, measure_tensor
from kvverify.kernel.document import write_bytes

PAGE = Path(__file__).resolve().parents[1] / "docs" / "subgen.md"
BEGIN, END = "<!-- measured pairs: begin -->\n", "<!-- measured pairs: end -->\n"
HEAD = ["compressor", "n", "d", "r", "delta", "eps", "t", "s", "cells", "state bits", "dense bits"]
HEAD += ["error in its norm", "largest error", "failures"]
# Compressor, tokens, dimension, norm of queries, delta, epsilon (else t and s), coins.
ROWS: list[tuple[str, int, int, int, str, str | None, dict[str, int], int]] = [
    ("subgen4", 64, 2, 1, "1/16", "1", {}, 1),
    ("subgen4", 512, 2, 1, "1/4", None, {"t": 4, "s": 64}, 4),
    ("subgen4", 256, 4, 4, "1", None, {"t": 8, "s": 64}, 4),
    ("subgen2", 64, 2, 1, "1/4", "1", {}, 1),
    ("subgen2", 64, 2, 1, "1/4", None, {"t": 4, "s": 64}, 2),
    ("subgen2", 64, 4, 4, "1", None, {"t": 8, "s": 64}, 2),
]


def measured(index: int) -> Measured:
    """One row."""
    name, tokens, dim, norm, delta, epsilon, slots, coins = ROWS[index]
    inputs = TensorInputs.uniform(tokens, dim, norm)
    eps = None if epsilon is None else Fraction(epsilon)
    return measure_tensor(name, {"delta": delta, **slots}, inputs, epsilon=eps, coins=coins)


def cells(index: int, found: Measured) -> list[str]:
    """Its cells: measured / proved where something is."""
    name, tokens, dim, norm, delta, epsilon, _, _ = ROWS[index]
    chosen: dict[str, Any] = dict(found.parameters)
    limit = "-" if found.error_at_most is None else f"{found.error_at_most:.3g}"
    failures = "-" if found.failures is None else f"{found.failures:.3g} / {found.failures_at_most}"
    return [
        name, f"{tokens:,}", str(dim), str(norm), delta, epsilon or "-", chosen["t"], chosen["s"],
        f"{found.cells:,} / {found.cells_at_most:,}", f"{found.state_bits:,} / {found.state_bits_at_most:,}",
        f"{found.dense_bits:,}", f"{found.relative_error:.3g} / {epsilon or '-'}", f"{found.error:.3g} / {limit}",
        failures,
    ]  # fmt: skip


def within(found: Measured) -> bool:
    """Whether nothing measured is above what is proved."""
    sizes = found.state_bits <= found.state_bits_at_most and found.cells <= found.cells_at_most
    return sizes and (found.failures is None or found.failures <= (found.failures_at_most or 0))


def main(write: bool) -> int:
    """Print, or write; 1 where a bound does not hold."""
    torch.set_num_threads(1)
    found = [measured(index) for index in range(len(ROWS))]
    lines = [HEAD, ["---"] * len(HEAD), *(cells(index, one) for index, one in enumerate(found))]
    table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    if write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        write_bytes(PAGE, (before + BEGIN + "\n" + table + "\n" + END + rest.partition(END)[2]).encode())
    else:
        print(table)
    return 0 if all(map(within, found)) else 1


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
