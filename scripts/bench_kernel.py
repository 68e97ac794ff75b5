"""What the bare kernel costs: seconds and peak memory of checks, each in a fresh ``python -I`` of its own.

Limits that we set ourselves: linear codes of dimension 22 in 2 s and 64 MB, of dimension 25 in 10 s, the headline
certificate in 1 s, and a time that does not depend on the number of tokens claimed. Medians of 5.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

from kvverify.bounds.certificate import build
from kvverify.bounds.estimate import candidates
from kvverify.bounds.search import best_bound
from kvverify.codes import by_name
from kvverify.kernel.document import write
from kvverify.problem import Problem

ROOT = Path(__file__).resolve().parents[1]
LARGE = "extended-bch(7,29) shortened at 124-127"
CHILD = """
import resource, sys, time
sys.path.insert(0, sys.argv[1])
from kvverify.kernel.check import check
start = time.perf_counter()
result = check(sys.argv[2])
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, result.verdict.value)
"""


def problem(tokens: int) -> Problem:
    """The headline class at so many tokens."""
    return Problem(tokens, 128, 128, Fraction(24), Fraction(1, 10), tolerance=Fraction(1, 100))


def certificate(folder: Path, name: str, tokens: int) -> Path:
    """A certificate on a given code."""
    family = by_name(name)
    path = folder / f"{tokens}-{name}.json".replace(" ", "-")
    write(path, build(candidates(family, [tokens], problem(tokens))[0], problem(tokens)))
    return path


def measure(path: Path) -> tuple[float, float, str]:
    """(median seconds, peak MiB, verdict) of five checks."""
    runs = []
    for _ in range(5):
        command = [sys.executable, "-I", "-S", "-c", CHILD, str(ROOT), str(path)]
        seconds, peak, verdict = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        runs.append((float(seconds), float(peak), verdict))
    return statistics.median(r[0] for r in runs), max(r[1] for r in runs), runs[0][2]


def main() -> None:
    """Print the table."""
    headline = best_bound(problem(1 << 17)).certificate
    if headline is None:
        raise ValueError("no headline certificate")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "headline.json", headline)
        rows = [
            ("headline, 2^17 tokens", folder / "headline.json", "1 s"),
            ("[128,22] code, 2^22 tokens", certificate(folder, "extended-bch(7,22)", 1 << 22), "2 s, 64 MB"),
            ("[128,22] code, 2^18 tokens", certificate(folder, "extended-bch(7,22)", 1 << 18), "same time"),
            ("[128,22] code, 1,000 tokens", certificate(folder, "extended-bch(7,22)", 1000), "same time"),
            ("[124,25] code, 2^25 tokens", certificate(folder, LARGE, 1 << 25), "10 s"),
        ]  # fmt: skip
        for label, path, limit in rows:
            seconds, peak, verdict = measure(path)
            print(f"{label:28} {verdict:8} {seconds:7.3f} s {peak:6.1f} MiB   (limit: {limit})", flush=True)


if __name__ == "__main__":
    main()
