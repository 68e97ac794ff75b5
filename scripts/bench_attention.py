"""Games with visual and tensor attention, as the ledger shows them: kvverify/claims/measured_attention.json.

``python scripts/bench_attention.py`` plays every case by the command line with a fixed seed and writes the file; a few
minutes on one core. What is measured carries no status. State bits are those that are really held; of dense caches
those of bf16.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from kvverify.kernel.document import write_bytes

ROWS = Path(__file__).resolve().parents[1] / "kvverify" / "claims" / "measured_attention.json"
HEAD = ("compressor", "instance", "state bits", "dense bits", "certified bits", "wrong", "largest error")
SMALL = ("--tokens", "16", "--head-dim", "8", "--max-logit", "16")
LARGER = ("--tokens", "64", "--head-dim", "16", "--max-logit", "24")
PYRAMID = ("--scales", "var", "--head-dim", "64", "--max-logit", "32")
CASES = {
    "tensor": [
        *((name, f"n = {sizes[1]}, d = {sizes[3]}", sizes) for sizes in (SMALL, LARGER)
          for name in ("dense", "two-cache", "subgen4", "subgen2")),
    ],
    "visual": [(name, "VAR's scales between steps, d = 64", PYRAMID) for name in ("dense", "kivi", "uniform")],
}  # fmt: skip


def played(attention: str, name: str, instance: str, sizes: tuple[str, ...]) -> list[str]:
    """One game as a row. Raises CalledProcessError where it does not end."""
    words = ["audit", name, "--attention", attention, *sizes, "--seed", "1", "--json"]
    done = subprocess.run([sys.executable, "-m", "kvverify", *words], capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1: a flag
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    symbols = found["instance"]["payload"] == "discrete"
    kind = "symbols misread" if symbols else f"reads off by more than {found['tolerance']}"
    return [
        name, instance, *(f"{found[field]:,}" for field in ("held_bits", "dense_bits", "certificate_bits_at_least")),
        f"{found['wrong_reads']:,} of {found['reads']:,} {kind}", f"{found['max_abs_error']:.3g}",
    ]  # fmt: skip


def main() -> int:
    """Play all cases and write the rows."""
    rows = {
        attention: {"head": list(HEAD), "rows": [played(attention, *case) for case in cases]}
        for attention, cases in CASES.items()
    }
    write_bytes(ROWS, (json.dumps(rows, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
