"""A small reader of safetensors files: one matrix of floats as exact integers over one power of two."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from kvverify.kernel.context import Absent, Context
from kvverify.kernel.document import OverLimit, short
from kvverify.kernel.facts import need, reject
from kvverify.kernel.statement import TensorFile

MAX_FILE = 256 << 20
MAX_HEADER = 1 << 20
MAX_SPREAD = 300
MAX_ENTRIES = 1 << 21
MAX_SIDE = 1 << 18
_FORMATS = {"F64": (11, 52), "F32": (8, 23), "F16": (5, 10), "BF16": (8, 7)}  # exponent bits, stored mantissa bits


def read_matrix(
    context: Context, file: TensorFile, columns: int, rows: int | None = None
) -> tuple[list[list[int]], int, str]:
    """(rows of integers, s, dtype): entry = integer * 2^s exactly. The file must have the stated digest.

    ``columns``, and ``rows`` where given, are the shape that it must have. ``head`` picks a slice of a tensor of three
    dimensions (heads, tokens, dim); a matrix takes none.
    """
    try:
        path = (context.folder / file.name).resolve(strict=True)
        if not path.is_relative_to(context.folder.resolve()) or not path.is_file():
            raise FileNotFoundError
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        raise Absent(f"file {short(file.name)!r} is not there, or cannot be read") from None
    if len(data) > MAX_FILE:
        raise OverLimit(f"limit: a file of more than {MAX_FILE} bytes")
    context.charge((len(data) >> 4) + min(len(data), MAX_HEADER))
    found = hashlib.sha256(data).hexdigest()
    need(found == file.sha256, "digest of the file", found[:16], file.sha256[:16])
    dtype, shape, raw = _tensor(data, file.tensor)
    if len(shape) == 3:
        need(file.head is not None and file.head < shape[0], "head of the tensor", file.head, shape[0])
        assert file.head is not None
        part = len(raw) // shape[0]
        raw, shape = raw[file.head * part : (file.head + 1) * part], shape[1:]
    else:
        need(file.head is None, "a matrix is not taken by its head", file.head)
    need(rows is None or shape[0] == rows, "rows of the file's matrix", shape[0], rows)
    need(shape[1] == columns, "columns of the file's matrix", shape[1], columns)
    if shape[0] * columns > MAX_ENTRIES or max(shape) > MAX_SIDE:
        raise OverLimit(f"limit: a matrix of more than {MAX_ENTRIES} entries, or {MAX_SIDE} rows or columns")
    width = len(raw) // (shape[0] * columns)
    context.charge(8 * shape[0] * columns)
    parts = [_dyadic(int.from_bytes(raw[i : i + width], "little"), *_FORMATS[dtype]) for i in range(0, len(raw), width)]
    lowest, highest = min((s for m, s in parts if m), default=0), max((s for m, s in parts if m), default=0)
    if highest - lowest > MAX_SPREAD:
        raise OverLimit(f"limit: entries whose sizes differ by more than 2^{MAX_SPREAD}")
    flat = [m << (s - lowest) if m else 0 for m, s in parts]
    return [flat[i : i + columns] for i in range(0, len(flat), columns)], lowest, dtype


def _tensor(data: bytes, name: str) -> tuple[str, list[int], bytes]:
    """(dtype, shape, bytes) of a tensor; any disorder of the header is a rejection."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(MAX_HEADER, len(data) - 8):
        reject("the file has a safetensors header")
    try:
        header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_once)
        dtype, shape, (start, end) = (header[name][field] for field in ("dtype", "shape", "data_offsets"))
        whole = [type(x) is int and x >= 0 for x in (*shape, start, end)]
    except (ValueError, LookupError, TypeError, RecursionError):
        reject(f"the file has a tensor {short(name)!r}")
    need(isinstance(dtype, str) and dtype in _FORMATS, "format of the tensor", dtype, ", ".join(_FORMATS))
    need(all(whole) and isinstance(shape, list) and min(shape, default=0) >= 1, "the tensor has a shape")
    need(len(shape) in (2, 3), "a matrix, or heads of matrices with a head chosen", len(shape), 2)
    width = (1 + sum(_FORMATS[dtype])) // 8
    need(0 <= start <= end <= len(data) - 8 - length, "the tensor's bytes lie in the file")
    count = width
    for x in shape:
        count *= x
    need(end - start == count, "the tensor has as many bytes as its shape says", end - start, count)
    return dtype, list(shape), data[8 + length + start : 8 + length + end]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    node = dict(pairs)
    if len(node) != len(pairs):
        raise ValueError("a name stands twice in the header")
    return node


def _dyadic(word: int, exponent_bits: int, mantissa_bits: int) -> tuple[int, int]:
    """(m, s) with the float's value m * 2^s. Rejects NaN and infinities."""
    mantissa = word & ((1 << mantissa_bits) - 1)
    exponent = word >> mantissa_bits & ((1 << exponent_bits) - 1)
    if exponent == (1 << exponent_bits) - 1:
        reject("all entries are finite")
    if exponent:
        mantissa |= 1 << mantissa_bits
    scale = max(exponent, 1) - (1 << (exponent_bits - 1)) + 1 - mantissa_bits
    return -mantissa if word >> (exponent_bits + mantissa_bits) else mantissa, scale
