"""What a certificate's files say, read by numpy: scores of queries on keys, and determinants through an inverse."""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from flint import arb, arb_mat

from tests.kernel.families import require
from tests.kernel.real import ball, log2, precision

Node = dict[str, Any]


def own_scores(problem: Node, step: Node, folder: Path) -> tuple[list[int], list[list[Fraction]]]:
    """The payload's tokens, and the scores of its queries on all keys of the file."""
    keys, given, dim = read_matrix(folder, problem["keys"]), step["given"], int(problem["key_dim"])
    scale = Fraction(given["query_scale"])
    payload = [int(i) for i in given["payload"].split(" ")]
    if isinstance(given.get("queries"), list):
        queries = [[Fraction(int(x)) for x in row.split(" ")] for row in given["queries"]]
    else:
        recorded = read_matrix(folder, problem.get("queries") or given["queries"])
        rows = [int(i) for i in given["rows"].split(" ")]
        require(all(0 <= i < len(recorded) for i in rows), "rows")
        queries = [recorded[i] for i in rows]
    require("queries" not in problem or scale == 1, "the scale of recorded queries")
    require(len(set(payload)) == len(payload) and all(0 <= i < len(keys) for i in payload), "payload")
    require(scale > 0 and len(queries) == len(payload), "queries")
    require({len(row) for row in (*keys, *queries)} == {dim}, "key_dim")
    return payload, [
        [scale * sum((a * b for a, b in zip(q, k, strict=True)), Fraction(0)) for k in keys] for q in queries
    ]


def read_matrix(folder: Path, file: Node) -> list[list[Fraction]]:
    """A tensor of a small safetensors file, as numpy reads its bytes."""
    data = (folder / file["name"]).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    require(file["tensor"] in header, "tensor")
    entry = header[file["tensor"]]
    start, end = entry["data_offsets"]
    raw = data[8 + length + start : 8 + length + end]
    if entry["dtype"] == "BF16":
        table = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        table = np.frombuffer(raw, {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[entry["dtype"]])
    table = table.reshape(entry["shape"])
    if "head" in file:
        require(table.ndim == 3 and 0 <= int(file["head"]) < len(table), "head")
        table = table[int(file["head"])]
    return [[Fraction(float(x)) for x in row] for row in table]


def preconditioned_bound(top: tuple[arb_mat, arb] | None, factors: Node, folder: Path) -> arb:
    """Ostrowski's bound of U L K, less the factors' determinants and the row sums, in bits."""
    require(top is not None, "no matrix")
    assert top is not None
    size = top[0].nrows()
    lower, upper = (read_matrix(folder, {"name": factors["name"], "tensor": factors[n]}) for n in ("lower", "upper"))
    require({size} == {len(m) for m in (lower, upper, *lower, *upper)}, "shape")
    pairs = [(i, j) for i in range(size) for j in range(i)]
    require(not any(lower[j][i] or upper[i][j] for i, j in pairs), "triangles")
    require(all(m[i][i] for m in (lower, upper) for i in range(size)), "diagonals")
    with precision():
        u, ll = (arb_mat([[ball(x) for x in row] for row in m]) for m in (upper, lower))
        rows = [[abs(x) for x in row] for row in (u * ll * top[0]).tolist()]
        margins = [2 * row[i] - sum(row, arb(0)) for i, row in enumerate(rows)]
        require(all(bool(margin > 0) for margin in margins), "dominance")
        scale = sum((log2(abs(m[i][i])) for m in (lower, upper) for i in range(size)), arb(0))
        return sum(map(log2, margins), arb(0)) - scale - top[1]
