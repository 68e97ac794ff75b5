"""How long given keys take: seconds of search and of the kernel, bits, dropped tokens.

``python scripts/bench_own_keys.py [TOKENS ...]``, by default 1024 and 4096, of dimension 128: normal keys, and keys in
clusters of sixteen on average. Logits to 16, tolerance 1/100, failure 1/10.
"""

from __future__ import annotations

import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from kvverify.bounds.key_files import read_keys, safetensors
from kvverify.bounds.own_keys import own_keys_bound
from kvverify.bounds.witness import write_bound
from kvverify.kernel.check import check
from kvverify.problem import Problem

DIM, MAX_LOGIT = 128, Fraction(16)


def normal(tokens: int) -> np.ndarray:
    """(tokens, DIM) independent normal keys."""
    return np.random.default_rng(tokens).normal(size=(tokens, DIM))


def clustered(tokens: int) -> np.ndarray:
    """(tokens, DIM) keys around tokens / 16 centres, three times as far apart as they are wide."""
    random = np.random.default_rng(tokens)
    centres = 3 * random.normal(size=(tokens // 16, DIM))
    return centres[random.integers(0, len(centres), tokens)] + random.normal(size=(tokens, DIM))


def main(sizes: list[int]) -> None:
    """One line for each size and kind of keys."""
    for tokens in sizes:
        for make in (normal, clustered):
            with tempfile.TemporaryDirectory() as name:
                path = Path(name) / "keys.safetensors"
                path.write_bytes(safetensors({"keys": make(tokens)}))
                problem = Problem(tokens, DIM, DIM, MAX_LOGIT, Fraction(1, 10), tolerance=Fraction(1, 100))
                start = time.perf_counter()
                found = own_keys_bound(read_keys(path, None, None), problem)
                whole = time.perf_counter() - start
                target = Path(name) / "proof.json"
                if found.certificate is None:
                    print(f"{tokens} {make.__name__}: no bound, {found.reason}; {whole:.1f} s")
                    continue
                write_bound(target, found)
                start = time.perf_counter()
                result = check(target)
                kernel = time.perf_counter() - start
                print(
                    f"{tokens} {make.__name__}: {float(found.bits_per_token) / DIM:.4f} bits a value scalar, "
                    f"{found.dropped} dropped; "
                    f"search {whole - kernel:.1f} s, kernel {kernel:.1f} s ({result.verdict.value})",
                    flush=True,
                )


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1024, 4096])
