"""Tensor attention for one new token in three orders, time and memory side by side: ``python scripts/bench_tensor.py
[--write]``.

four-cache forms all product rows in blocks within a bound; two-cache holds them, forms the new token's rows and reads
all; re-associated never forms one. Each order runs in processes of its own, in turns, one thread; seconds are of
processor time, the median over turns of medians; memory is the peak beyond a process that has the four caches only.
Where the two-cache form is larger than the bound, the row says what it would need. ``--write`` puts the table into
docs/tensor.md and beside the ledger. Exit code 1 where two answers differ.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tensor.md"
ROWS = ROOT / "kvverify" / "claims" / "measured_orders.json"  # what the ledger shows of them
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
SIZES = ((128, 64), (512, 64), (2048, 64))  # tokens with the new one, head_dim = value_dim
ORDERS = ("four-cache", "two-cache", "re-associated")
HEAD = ["n", "d", "order", "multiplications", "ms a token", "times re-associated", "MiB beyond the caches"]
BOUND = 1 << 28  # bytes of product rows at one time, of either form
TURNS, REPEATED, TOLERANCE = 3, 5, 1e-4


def child(order: str, tokens: int, dim: int) -> dict[str, Any]:
    """One order in this process: its median seconds, its answer, the peak in KiB; or why it was refused."""
    import torch

    from kvverify.attention.tensor_torch import TwoCache, four_cache, re_associated
    from kvverify.errors import UsageError

    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(tokens)
    query = torch.randn(dim, generator=draw)
    k1, k2, v1, v2 = [torch.randn(tokens, dim, generator=draw) for _ in range(4)]
    scale = 1 / dim
    torch.softmax(k1 @ query, dim=0)  # what any of them needs is loaded
    runs: dict[str, Callable[[], Any]] = {
        "four-cache": lambda: four_cache(query, k1, k2, v1, v2, scale, BOUND // 4),
        "re-associated": lambda: re_associated(query, k1, k2, v1, v2, scale),
    }
    if order == "two-cache":
        try:
            held = TwoCache(tokens, dim, dim, BOUND)
        except UsageError as error:
            return {"refused": str(error)}
        for seen in range(1, tokens):
            held.append(k1[:seen], k2[:seen], v1[:seen], v2[:seen])

        def step() -> Any:
            held.tokens = tokens - 1
            held.append(k1, k2, v1, v2)
            return held.attend(query, scale)

        runs[order] = step
    seconds, answer = [], []
    for _ in range(REPEATED if order in runs else 0):
        start = time.process_time()
        answer = runs[order]().tolist()
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": statistics.median(seconds[1:]) if seconds else 0.0, "answer": answer, "peak": peak}


def measured(tokens: int, dim: int) -> tuple[list[list[str]], bool]:
    """A row for each order, and whether all answers agree."""
    names = ("caches", *ORDERS)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(TURNS):
        for name in names:
            command = [sys.executable, __file__, "--child", name, str(tokens), str(dim)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            found[name].append(json.loads(done.stdout))
    least = min(each["peak"] for each in found["caches"])
    exact = found["re-associated"][0]["answer"]
    unit = statistics.median(each["seconds"] for each in found["re-associated"])
    rows, fine = [], True
    for name in ORDERS:
        row = [f"{tokens:,}", str(dim), name, f"{products(name, tokens, dim):,}"]
        if "refused" in found[name][0]:
            rows.append([*row, "refused", "-", f"{2 * tokens**2 * dim * 4 / 2**20:,.0f} needed"])
            continue
        seconds = statistics.median(each["seconds"] for each in found[name])
        peak = max(each["peak"] for each in found[name]) - least
        rows.append([*row, f"{1000 * seconds:.2f}", f"{seconds / unit:.1f}", f"{peak / 1024:,.0f}"])
        answer = found[name][0]["answer"]
        fine = fine and max(abs(a - b) for a, b in zip(answer, exact, strict=True)) < TOLERANCE
    return rows, fine


def products(order: str, tokens: int, dim: int) -> int:
    """Multiplications for one new token (docs/proofs/tensor.md, tensor-orders)."""
    formed = {"four-cache": tokens**2, "two-cache": 2 * tokens - 1, "re-associated": tokens}
    return 2 * dim * (tokens**2 + formed[order])


def main(write: bool) -> int:
    """Print, or write; 1 where answers differ."""
    rows: list[list[str]] = []
    fine = True
    for tokens, dim in SIZES:
        found, same = measured(tokens, dim)
        rows, fine = rows + found, fine and same
    text = "".join("| " + " | ".join(row) + " |\n" for row in [HEAD, ["---" for _ in HEAD], *rows])
    print(text)
    if write:
        sys.path.insert(0, str(ROOT))
        from kvverify.kernel.document import write_bytes

        before, _, rest = PAGE.read_text().partition(BEGIN)
        write_bytes(PAGE, (before + BEGIN + "\n" + text + "\n" + END + rest.partition(END)[2]).encode())
        table = {"orders": {"head": HEAD, "rows": rows}}
        write_bytes(ROWS, (json.dumps(table, indent=1) + "\n").encode())
    return 0 if fine else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.path.insert(0, str(ROOT))
        print(json.dumps(child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
        sys.exit(0)
    sys.exit(main("--write" in sys.argv[1:]))
