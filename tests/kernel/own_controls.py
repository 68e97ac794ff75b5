"""Controls of attention rows: queries of a file, a budget of recorded queries, determinants through an inverse."""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from tests.kernel import oracle
from tests.kernel.controls import LEAK, UNIT, Control, Node, finish, statement, step
from tests.kernel.oracle import ROUNDING
from tests.kernel.own_files import preconditioned_bound
from tests.kernel.real import ball, divergence, down, precision, up

KEYS = np.array([[4, 0, 1], [0, 4, 0], [-2, 1, 4], [-1, -3, 0], [2, 2, -1]]) / 4
QUERIES = np.array([[1, 0, 5], [0, 6, -1], [2, 2, 2], [3, -1, 0], [6, 1, 0], [-2, -2, 1]]) / 2
WEIGHT = Fraction(
    1, 1 << 31
)  # a row's whole mass is raised by no more than this share, and its log2 by less than twice
FORMATS = {"F32": "<f4", "F64": "<f8", "F16": "<f2"}


def tensors(dtype: str, **matrices: np.ndarray) -> bytes:
    """A safetensors file."""
    header, data = {}, b""
    for name, matrix in matrices.items():
        if dtype == "BF16":
            raw = (matrix.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            raw = matrix.astype(FORMATS[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(matrix.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def named(files: dict[str, bytes], name: str, content: bytes, **fields: str) -> Node:
    """The file under that name, and how a certificate refers to it."""
    files[name] = content
    return {"name": name, "sha256": hashlib.sha256(content).hexdigest(), **fields}


def inverses(relative: np.ndarray, bits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper) whose product upper lower is nearly the inverse, in multiples of 2^-bits; no pivots."""
    n = len(relative)
    lower, upper = np.eye(n), relative.astype(float).copy()
    for k in range(n):
        for i in range(k + 1, n):
            lower[i, k] = upper[i, k] / upper[k, k]
            upper[i] -= lower[i, k] * upper[k]
    rounded = [np.rint(np.linalg.inv(m) * 2**bits) / 2**bits for m in (lower, upper)]
    return np.tril(rounded[0]), np.triu(rounded[1])


@precision()
def rows_of(
    name: str, form: str, payload: list[int], rows: list[int], *,
    budget: str = "own-queries", dtype: str = "F32", head: bool = False, **changes: object,
) -> Control:  # fmt: skip
    """Rows of QUERIES (as they are, or halved, of the step's own file) on payload tokens of KEYS; all bounds tight.

    To be preconditioned: logit and sums have room, so that the determinant is the first to feel a changed query.
    """
    files: dict[str, bytes] = {}
    keys = named(files, "keys.safetensors", tensors(dtype, k=KEYS), tensor="k")
    stored = np.stack([0 * QUERIES, QUERIES]) if head else QUERIES
    queries = named(
        files, "queries.safetensors", tensors("F32", q=stored), tensor="q", **({"head": "1"} if head else {})
    )
    own: Node = {"tokens": 5, "key_dim": 3, "body": "given", "budget": budget, "max_logit": 100, "keys": keys}
    recorded = budget == "own-queries"
    problem = statement(**own, **({"queries": queries} if recorded else {}), **changes)
    given = {
        "payload": " ".join(map(str, payload)),
        "rows": " ".join(map(str, rows)),
        "query_scale": 1 if recorded else "1/2",
    }
    if not recorded:
        given["queries"] = queries
    row = step("leak", "attention-row", {}, given, dict.fromkeys(LEAK, 10**6))
    used = (QUERIES if recorded else QUERIES / 2)[rows]
    scores = used @ KEYS.T
    loose = form == "preconditioned"
    problem["max_logit"] = str(Fraction(float(abs(scores).max())) + 20 * loose)
    relative = np.exp(scores - scores.max(axis=1, keepdims=True))[:, payload]
    factors: Node = {}
    if loose:
        lower, upper = inverses(relative)
        factors["factors"] = named(files, "f.safetensors", tensors("F32", l=lower, u=upper), lower="l", upper="u")
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        found = oracle.attention_row(oracle.statement(problem), row, {}, Path(folder))
        blocks = [
            [weight for j, weight in enumerate(line) if j != i] for i, line in enumerate(relations(scores, payload))
        ]
        squares = sum((ball(x) ** 2 for line in blocks for x in line), ball(0)) / len(payload)
        sums = [
            max(up(off, UNIT) for off, _ in found.rows),
            up(squares, UNIT),
            max(up(rest, UNIT) for _, rest in found.rows),
        ]
        sums = [Fraction(10**6)] * 3 if loose else sums
        row["gives"] = {k: str(v) for k, v in zip(LEAK, sums, strict=True)}
        leak = oracle.Leak(len(payload), *sums, found.rows, found.log2_det, found.top)
        if form == "preconditioned":
            bound = preconditioned_bound(found.top, factors["factors"], Path(folder))
        else:
            bound = oracle.determinant_bound(form, leak)
    determinant = down(bound - ball(len(payload) * WEIGHT), UNIT)
    eps = Fraction(problem["tolerance"]) + (ROUNDING if problem["inputs"] == "bf16" else 0)
    gain = len(payload) * divergence(eps, Fraction(problem["failure"]))
    bits = down(int(problem["value_dim"]) * (ball(determinant) + gain), UNIT)
    given = {"form": form, **factors}
    ending = [
        step("det", "determinant", {"leak": "leak"}, given, {"log2_det_at_least": determinant}),
        step("bits", "volume", {"determinant": "det"}, {}, {"bits_at_least": bits}),
    ]
    return finish(name, problem, [row, *ending], tuple(files.items()))


def relations(scores: np.ndarray, payload: list[int]) -> list[list[object]]:
    """Weights among the payload tokens, relative to the targets."""
    exact = [
        [Fraction(float(row[j])) - Fraction(float(row[payload[i]])) for j in payload] for i, row in enumerate(scores)
    ]
    return [[oracle.exp(x) for x in row] for row in exact]


@cache
def controls() -> tuple[Control, ...]:
    """All of them: targets that lead their rows and targets that do not, payload tokens in any order."""
    return (
        rows_of("own-queries, preconditioned", "preconditioned", [2, 1, 0], [0, 1, 2], tolerance=Fraction(1, 1000)),
        rows_of("own-queries, near-identity", "near-identity", [0, 1, 2], [4, 1, 0], failure=0, dtype="F64"),
        rows_of("queries of a file, ostrowski", "ostrowski", [1, 0], [1, 4], budget="own-keys", dtype="F16", head=True),
        rows_of(
            "queries of a file, preconditioned, bf16", "preconditioned", [4, 0, 2, 1], [2, 4, 0, 1],
            budget="own-keys", dtype="BF16", inputs="bf16", tolerance=Fraction(1, 500), failure=0,
        ),
    )  # fmt: skip
