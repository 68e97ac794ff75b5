"""Frames on the pipes between referee and players: a JSON header of plain numbers and words, then raw arrays.

``[4 bytes: header length][header][array bytes ...]``, little-endian. The header names the arrays with dtype and shape.
No pickle: what a player writes can at worst be a wrong number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

MAX_HEADER = 1 << 20
_DTYPES = {"uint8", "float32", "float64", "int64"}


class BadFrame(ValueError):
    """What came over the pipe is no frame, or more than was allowed."""


def write(stream: IO[bytes], header: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Write one frame and flush it."""
    parts = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    names = [[name, part.dtype.name, list(part.shape)] for name, part in parts.items()]
    head = json.dumps({**header, "arrays": names}).encode()
    stream.write(len(head).to_bytes(4, "little") + head)
    for part in parts.values():
        stream.write(part.reshape(-1).view(np.uint8).data)
    stream.flush()


def read(stream: IO[bytes], limit: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read one frame, its arrays at most ``limit`` bytes. Raises EOFError at the end, BadFrame for anything else."""
    length = int.from_bytes(_exactly(stream, 4), "little")
    if length > MAX_HEADER:
        raise BadFrame(f"a header of {length} bytes")
    try:
        header = json.loads(_exactly(stream, length), parse_constant=_no_number)
        names = [(str(name), str(dtype), tuple(map(int, shape))) for name, dtype, shape in header.pop("arrays")]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise BadFrame("a header that cannot be read") from error
    arrays = {}
    for name, dtype, shape in names:
        if dtype not in _DTYPES or min(shape, default=0) < 0:
            raise BadFrame(f"an array of dtype {dtype[:20]} and shape {shape[:8]}")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        limit -= size
        if limit < 0:
            raise BadFrame(f"{size} bytes of {name[:20]}, more than the limit")
        arrays[name] = np.frombuffer(_exactly(stream, size), dtype=dtype).reshape(shape)
    return header, arrays


def _exactly(stream: IO[bytes], size: int) -> bytearray:
    buffer = bytearray(size)
    view, filled = memoryview(buffer), 0
    while filled < size:
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        filled += count
    return buffer


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")
