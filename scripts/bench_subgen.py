"""Measured error and bits of subgen and net beside what is proved: ``python scripts/bench_subgen.py [--write]``.

Prints the two tables of docs/subgen.md; with ``--write`` puts them there, and beside the ledger. About half a minute on
one core. Exit code 1 where something measured is above what is proved of it.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from kvverify.compressors.measure import Inputs, Measured, measure
from kvverify.kernel.document import write_bytes

PAGE = Path(__file__).resolve().parents[1] / "docs" / "subgen.md"
ROWS = PAGE.parents[1] / "kvverify" / "claims" / "measured.json"  # what the ledger shows of them
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
# Tokens, dimension of keys and of values, norm of queries, delta, epsilon (else t and s), coins.
SUBGEN: list[tuple[int, int, int, str, str | None, dict[str, int], int]] = [
    (16_384, 1, 1, "1/4", "1/2", {}, 8),
    (16_384, 2, 1, "1/4", "1", {}, 8),
    (16_384, 2, 1, "1", "1", {}, 8),
    (16_384, 2, 4, "1/4", "1", {}, 4),
    (16_384, 4, 1, "1", "1", {}, 4),
    (16_384, 2, 1, "1/4", None, {"t": 8, "s": 128}, 32),
    (16_384, 2, 4, "1/4", None, {"t": 8, "s": 128}, 32),
    (4_096, 8, 4, "3/2", None, {"t": 8, "s": 128}, 8),
    (1_024, 64, 8, "2", None, {"t": 64, "s": 256}, 8),
]
# Tokens, dimension, budget max_logit, tolerance, body.
NET: list[tuple[int, int, int, str, str]] = [
    (16_384, 1, 8, "1/100", "cube"),
    (16_384, 2, 1, "1/10", "cube"),
    (16_384, 2, 1, "1/10", "ball"),
    (16_384, 2, 8, "1/4", "cube"),
    (65_536, 3, 4, "1/2", "cube"),
    (65_536, 3, 4, "1/2", "ball"),
    (16_384, 4, 1, "1/2", "ball"),
    (1_024, 64, 24, "1/100", "cube"),
]


def figure(value: float | Fraction | None) -> str:
    """Three digits, or a dash."""
    return "-" if value is None else f"{float(value):.3g}"


def subgen_row(found: Measured) -> list[str]:
    """A row of the first table."""
    chosen = dict(found.parameters)
    epsilon = "-" if found.relative_error_at_most is None else str(found.relative_error_at_most)
    failures = "-" if found.failures is None else f"{figure(found.failures)} / {found.failures_at_most}"
    return [
        chosen["delta"], epsilon, f"{int(chosen['t']):,}", f"{int(chosen['s']):,}",
        f"{found.cells:,} / {found.cells_at_most:,}", f"{found.state_bits:,} / {found.state_bits_at_most:,}",
        f"{found.dense_bits:,}", f"{figure(found.relative_error)} / {epsilon}",
        f"{figure(found.error)} / {figure(found.error_at_most)}", failures,
    ]  # fmt: skip


def net_row(found: Measured) -> list[str]:
    """A row of the second table."""
    chosen = dict(found.parameters)
    return [
        chosen["body"], chosen["max_logit"], chosen["tolerance"], f"{found.cells:,} / {found.cells_at_most:,}",
        f"{found.state_bits:,} / {found.state_bits_at_most:,}", f"{found.dense_bits:,}",
        f"{figure(found.error)} / {figure(found.error_at_most)}", figure(found.relative_error),
    ]  # fmt: skip


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    return "".join("| " + " | ".join(row) + " |\n" for row in [head, ["---" for _ in head], *rows])


def within(found: Measured) -> bool:
    """Whether nothing measured is above what is proved."""
    sizes = found.state_bits <= found.state_bits_at_most and found.cells <= found.cells_at_most
    return sizes and (found.failures is None or found.failures <= (found.failures_at_most or 0))


def tables() -> tuple[str, dict[str, Any], bool]:
    """Both tables, as Markdown and as rows, and whether all rows are within what is proved."""
    rows: dict[str, list[list[str]]] = {"subgen": [], "net": []}
    fine = True
    for tokens, dim, norm, delta, epsilon, slots, coins in SUBGEN:
        parameters: dict[str, Any] = {"delta": delta, **slots}
        found = measure(
            "subgen", parameters, Inputs.uniform(tokens, dim, norm),
            epsilon=None if epsilon is None else Fraction(epsilon), coins=coins,
        )  # fmt: skip
        rows["subgen"].append([f"{tokens:,}", str(dim), str(norm), *subgen_row(found)])
        fine = fine and within(found)
    for tokens, dim, max_logit, tolerance, body in NET:
        found = measure("net", {"tolerance": tolerance}, Inputs.uniform(tokens, dim, max_logit, body=body))
        rows["net"].append([f"{tokens:,}", str(dim), *net_row(found)])
        fine = fine and within(found)
    first = ["n", "d", "r", "delta", "eps", "t", "s", "cells", "state bits", "dense bits"]
    first += ["error in its norm", "largest error", "failures"]
    second = ["n", "d", "body", "max_logit", "tolerance", "points", "state bits", "dense bits", "largest error"]
    second += ["in SubGen's norm"]
    measured = {"subgen": {"head": first, "rows": rows["subgen"]}, "net": {"head": second, "rows": rows["net"]}}
    text = f"SubGen:\n\n{table(first, rows['subgen'])}\nNet merging:\n\n{table(second, rows['net'])}"
    return text, measured, fine


def main(write: bool) -> int:
    """Print, or write; 1 where a bound does not hold."""
    torch.set_num_threads(1)
    text, measured, fine = tables()
    if write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        write_bytes(PAGE, (before + BEGIN + "\n" + text + "\n" + END + rest.partition(END)[2]).encode())
        write_bytes(ROWS, (json.dumps(measured, indent=1) + "\n").encode())
    else:
        print(text)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
