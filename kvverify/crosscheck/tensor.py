"""A second reader of safetensors files: one matrix of floats, exact as integers over one power of two."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from kvverify.crosscheck.goal import Contrary, must
from kvverify.crosscheck.settle import Undecided, within
from kvverify.crosscheck.statement import TensorFile
from kvverify.kernel.document import short

_FILE = 256 << 20
_HEADER = 1 << 20
_ENTRIES = 1 << 22
_SPREAD = 320
_FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read(folder: Path, file: TensorFile) -> tuple[np.ndarray, int, str]:
    """((tokens, dim) Python integers, s, dtype): the entries are integer * 2^s. Raises Contrary, Undecided."""
    try:
        path = folder / file.name
        within(path.stat().st_size <= _FILE, f"a file of more than {_FILE} bytes")
        data = path.read_bytes()
    except (OSError, ValueError):  # ValueError: a name that is no path here
        raise Undecided(f"file {short(file.name)!r} is not there") from None
    must(hashlib.sha256(data).hexdigest() == file.sha256, "the file has the stated digest")
    floats, dtype = _floats(data, file)
    must(bool(np.isfinite(floats).all()), "all entries are finite")
    within(floats.size <= _ENTRIES, f"more than {_ENTRIES} entries")
    fraction, exponent = np.frexp(floats.astype(np.float64))
    used = exponent[fraction != 0]
    low, high = (int(used.min()), int(used.max())) if used.size else (0, 0)
    within(high - low <= _SPREAD, f"entries over more than {_SPREAD} powers of two")
    mantissas = np.ldexp(fraction, 53).astype(np.int64).astype(object)  # a float64 has 53 significant bits
    return mantissas << np.maximum(exponent - low, 0).astype(object), low - 53, dtype


def _floats(data: bytes, file: TensorFile) -> tuple[np.ndarray, str]:
    """The matrix as numpy floats. safetensors: 8 bytes of length, a JSON header, then the tensors' bytes."""
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        if not 8 < start <= min(len(data), _HEADER):
            raise ValueError("no header of at most a megabyte")
        header = json.loads(data[8:start].decode(), object_pairs_hook=_once)
        entry = header[file.tensor]
        dtype, shape, (begin, end) = entry["dtype"], [*entry["shape"]], entry["data_offsets"]
        if any(type(x) is not int or x < 0 for x in (*shape, begin, end)) or not begin <= end <= len(data) - start:
            raise ValueError("sizes that do not fit the file")
        array = np.frombuffer(data, np.uint8)[start + begin : start + end].view(_FORMATS[dtype]).reshape(shape)
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise Contrary(f"the file has no float tensor {short(file.tensor)!r}: {type(error).__name__}") from None
    must(min(array.shape, default=0) >= 1 and array.ndim == (2 if file.head is None else 3), "the shape fits the head")
    if file.head is not None:
        must(file.head < len(array), "the head is one of the tensor's")
        array = array[file.head]
    if dtype == "BF16":  # the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array, dtype


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found
