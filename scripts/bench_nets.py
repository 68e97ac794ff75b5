"""How long nets take to check: ``python scripts/bench_nets.py``. Wall clock and processor seconds, on this machine.

A fan of 2,000 points on the sphere of R^3, and fans of at least 28,000 simplices in R^8, with coordinates within 2^-30
of random ones and with short ones; by the kernel in a bare Python (``-I -S``: nothing that is installed is seen) and by
the second opinion, which is python-flint. E8's 240 points with their cross-polytopes as they are shipped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from kvverify.covering.nets import sphere_net
from kvverify.covering.nets_points import unit_vector
from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.document import write

ROOT = Path(__file__).resolve().parents[1]
BARE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from kvverify.kernel.check import check
wall, work = time.perf_counter(), time.process_time()
result = check(sys.argv[2])
print(result.verdict.value, time.perf_counter() - wall, time.process_time() - work)
"""


def directions(count: int, dim: int) -> np.ndarray:
    """Random unit vectors, (count, dim) float64."""
    x = np.random.default_rng(1).normal(size=(count, dim))
    unit: np.ndarray = x / np.linalg.norm(x, axis=1)[:, None]
    return unit


def fine(count: int, dim: int) -> list[list[Fraction]]:
    """As they are: coordinates of 60 bits and more once they are on the sphere."""
    return [[Fraction(float(x)) for x in row] for row in directions(count, dim)]


def short(count: int, dim: int) -> list[list[Fraction]]:
    """Inverse images of vectors with denominator 2^10."""
    rows = []
    for x in directions(count, dim):
        axis = int(np.argmax(np.abs(x)))
        images = [round(float(y / (1 + abs(x[axis]))) * 1024) for i, y in enumerate(x) if i != axis]
        row = unit_vector(images, 1024, axis, 1 if x[axis] > 0 else -1)
        rows.append([Fraction(n, row[-1]) for n in row[:-1]])
    return rows


def measure(name: str, path: Path) -> None:
    """One line: the bare kernel, and python-flint."""
    simplices = len(json.loads(path.read_text())["steps"][0]["given"]["simplices"])
    words = subprocess.run(
        [sys.executable, "-I", "-S", "-c", BARE, str(ROOT), str(path)], capture_output=True, text=True, check=True
    ).stdout.split()
    wall, work = time.perf_counter(), time.process_time()
    opinion = second_opinion(path)
    flint = time.perf_counter() - wall, time.process_time() - work
    print(
        f"{name:<40} {simplices:>6} simplices {path.stat().st_size / 1e6:5.2f} MB  "
        f"kernel {words[0]} {float(words[1]):6.2f} s ({float(words[2]):.2f})  "
        f"flint {opinion.verdict} {flint[0]:6.2f} s ({flint[1]:.2f})",
        flush=True,
    )


def main() -> None:
    """All of them."""
    with tempfile.TemporaryDirectory() as folder:
        for name, points in (
            ("2,000 points in R^3", fine(2000, 3)),
            ("59 points in R^8", fine(59, 8)),
            ("59 points in R^8, short coordinates", short(59, 8)),
        ):
            path = Path(folder) / "net.json"
            write(path, sphere_net(points).certificate)
            measure(name, path)
    measure("E8", ROOT / "certificates" / "covering" / "nets-e8.json")


if __name__ == "__main__":
    main()
