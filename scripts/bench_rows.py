"""What own keys and own queries cost the bare kernel: seconds and peak memory, each in a fresh ``python -I``.

Keys of 128 coordinates as a head has them: fp16 keys and fp32 queries, random. Limits that we set ourselves: 60 s and
1 GB on this kind of machine for 4,096 tokens with all of them in the payload, and for preconditioning 1,024 rows.
"""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import lu, solve_triangular

from kvverify.bounds.certificate import volume_step
from kvverify.kernel.document import build, write
from kvverify.problem import Problem

ROOT = Path(__file__).resolve().parents[1]
DIM = 128
CHILD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from kvverify.kernel.check import check
start, used = time.perf_counter(), time.process_time()
result = check(sys.argv[2])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.perf_counter() - start, time.process_time() - used, int(peak) / 1024, result.verdict.value, result.reason)
"""


def store(path: Path, **tensors: np.ndarray) -> dict[str, str]:
    """The name and the digest of a safetensors file that is written there."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        raw = tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()
        dtype = {"float16": "F16", "float32": "F32", "float64": "F64"}[tensor.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = str(header).replace("'", '"').encode()
    content = len(text).to_bytes(8, "little") + text + data
    path.write_bytes(content)
    return {"name": path.name, "sha256": hashlib.sha256(content).hexdigest()}


def near(tokens: int, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Keys and queries: every query near the key of its own token, or, to be preconditioned, anywhere."""
    random = np.random.default_rng(tokens)
    keys = random.normal(size=(tokens, DIM)).astype(np.float16)
    queries = random.normal(size=keys.shape) / 6 if form == "preconditioned" else keys.astype(float) / 4
    return keys, queries.astype(np.float32)


def factored(path: Path, weights: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """The order of rows that needs no pivots, and the file of the factors' inverses."""
    order, lower, upper = lu(weights, p_indices=True)
    one = np.eye(len(weights))
    inverses = solve_triangular(lower, one, lower=True), solve_triangular(upper, one)
    stored = store(path, lower=np.tril(inverses[0]).astype(np.float32), upper=np.triu(inverses[1]).astype(np.float32))
    return np.argsort(order), {"factors": {**stored, "lower": "lower", "upper": "upper"}}


def certificate(folder: Path, tokens: int, form: str) -> Path:
    """All tokens in the payload, 128 value coordinates, tolerance 1/256, failure 0."""
    keys, queries = near(tokens, form)
    scores = queries.astype(float) @ keys.astype(float).T
    rows = np.arange(tokens)
    factors: dict[str, str] = {}
    if form == "preconditioned":
        relative = np.exp(scores - scores.max(axis=1, keepdims=True))
        rows, factors = factored(folder / f"factors-{tokens}.safetensors", relative)
    scores = scores[rows]
    weights = np.exp(scores - np.diag(scores)[:, None])
    off, squares = weights.sum(axis=1) - 1, ((weights**2).sum(axis=1) - 1).mean()
    rest = np.exp(-np.abs(scores).max(axis=1) - np.diag(scores))
    sums = np.log2(1 + off + rest)
    determinant = {
        "near-identity": lambda: -tokens * (np.log2(1 + off.max() + rest.max()) + squares),
        "ostrowski": lambda: (np.log2(1 - off) - sums).sum(),
        "preconditioned": lambda: np.linalg.slogdet(weights)[1] / math.log(2) - sums.sum(),
    }[form]() - 1
    names = ("off_target_at_most", "off_target_squares_at_most", "rest_at_most")
    stated = {n: str(Fraction(float(x)) * (1 + Fraction(1, 1 << 16)) + Fraction(1, 1 << 40))
              for n, x in zip(names, (off.max(), squares, rest.max()), strict=True)}  # fmt: skip
    logit = Fraction(math.ceil(np.abs(scores).max()))
    problem = Problem(tokens, DIM, DIM, logit, Fraction(0), tolerance=Fraction(1, 256))
    files = {name: {**store(folder / f"{name}-{tokens}-{form}.safetensors", **{name: x}), "tensor": name}
             for name, x in (("keys", keys), ("queries", queries))}  # fmt: skip
    given = {"payload": " ".join(map(str, range(tokens))), "rows": " ".join(map(str, rows)), "query_scale": "1"}
    stated_det = Fraction(math.floor(determinant * 2**20), 2**20)
    steps = [
        {"id": "leak", "rule": "attention-row", "uses": {}, "given": given, "gives": stated},
        {"id": "determinant", "rule": "determinant", "uses": {"leak": "leak"}, "given": {"form": form, **factors},
         "gives": {"log2_det_at_least": str(stated_det)}},
        volume_step(problem, tokens, stated_det),
    ]  # fmt: skip
    bits = max(0, math.floor(Fraction(steps[-1]["gives"]["bits_at_least"])))
    own = {"budget": "own-queries", "body": "given", **files}
    path = folder / f"{form}-{tokens}.json"
    write(path, build({**problem.statement(bits), **own}, steps))
    return path


def main() -> None:
    """Print the table."""
    wanted = [(1024, "near-identity"), (1024, "ostrowski"), (4096, "near-identity"), (4096, "ostrowski"),
              (512, "preconditioned"), (1024, "preconditioned")]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        for tokens, form in wanted:
            path = certificate(Path(name), tokens, form)
            command = [sys.executable, "-I", "-S", "-c", CHILD, str(ROOT), str(path)]
            line = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds, used, peak, verdict, *reason = line.split()
            print(
                f"{tokens:5} x {DIM}  {form:15} {verdict:10} {float(seconds):7.2f} s ({float(used):6.2f} s CPU)"
                f" {float(peak):7.1f} MiB", *reason, flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
