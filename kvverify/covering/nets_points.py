"""Points of a net: from a file, as exact rationals, and on the sphere with |v| = 1 exactly.

A point is a row n_1 .. n_d D of integers, D > 0: the vector n / D. On the sphere it is the inverse stereographic image
of a rational vector, projected from the axis' end that is farthest from it. Source: textbook.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from importlib.util import find_spec
from math import gcd, isqrt, lcm, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from kvverify.errors import UsageError
from kvverify.problem import number

Row = tuple[int, ...]
Points = Sequence[Sequence[Fraction]]

DIMENSIONS = range(2, 9)
MAX_POINTS = 1 << 16
CLOSE = 30  # a rounded point is within 2^-30 of the one that was given
_EXACT = Fraction(1, 1 << 40)  # so close to a point of small denominator, that one is meant
_SMALL = 32
_OFF = 1e-6


def read_points(path: Path) -> list[list[Fraction]]:
    """The points of a .npy, .npz, .csv, .safetensors or .json file, one a row. Raises UsageError.

    JSON: {"points": [[..], ..]} or the list itself; numbers as in --radius ("p/q", decimals), floats as they are.
    """
    readers = {".npy": _numpy, ".npz": _numpy, ".csv": _csv, ".safetensors": _safetensors, ".json": _json}
    if path.suffix not in readers:
        raise UsageError(f"{path}: points are read from {', '.join(readers)} files")
    try:
        rows = readers[path.suffix](path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, EOFError) as error:
        raise UsageError(f"{path}: no table of points ({str(error).splitlines()[0]})") from None
    if len({len(row) for row in rows}) != 1 or len(rows[0]) not in DIMENSIONS or len(rows) > MAX_POINTS:
        raise UsageError(f"{path}: expected up to {MAX_POINTS} points of one dimension, from 2 to 8, one a row")
    return rows


def _numpy(path: Path) -> list[list[Fraction]]:
    loaded = np.load(path, allow_pickle=False)
    return _exact(loaded if isinstance(loaded, np.ndarray) else _only({name: loaded[name] for name in loaded.files}))


def _safetensors(path: Path) -> list[list[Fraction]]:
    if find_spec("safetensors") is None:
        raise UsageError("safetensors files need the extra: pip install 'kvverify[audit]'")
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return _exact(_only(load_file(path)))
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _only(arrays: dict[str, Any]) -> Any:
    if len(arrays) != 1:
        raise ValueError(f"{len(arrays)} arrays, one is needed")
    return next(iter(arrays.values()))


def _exact(array: Any) -> list[list[Fraction]]:
    """The entries of an array of floats or integers, as they are."""
    if array.ndim != 2 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(
            f"an array of shape {array.shape} of {array.dtype}; finite numbers in two dimensions are needed"
        )
    return [[Fraction(x) for x in row] for row in array.tolist()]


def _csv(path: Path) -> list[list[Fraction]]:
    with path.open(newline="") as stream:
        return [[number(word, "a coordinate") for word in row] for row in csv.reader(stream) if row]


def _json(path: Path) -> list[list[Fraction]]:
    tree = json.loads(path.read_text())
    rows = tree["points"] if isinstance(tree, dict) else tree
    return [[Fraction(x) if isinstance(x, float) else number(x, "a coordinate") for x in row] for row in rows]


def on_the_sphere(points: Points) -> list[Row]:
    """Unit vectors within 2^-30 of the given ones, which have norm 1 up to 1e-6 (else UsageError); exact ones stay."""
    return [_unit(point, f"point {i}") for i, point in enumerate(points)]


def on_a_grid(points: Points) -> list[Row]:
    """The points themselves where their denominators are below 2^32, else rounded to multiples of 2^-31."""
    return [
        _row(point if _common(point) < 1 << 32 else [_nearest(x, 1 << CLOSE + 1) for x in point]) for point in points
    ]


def unit_vector(images: Sequence[int], below: int, axis: int, sign: int) -> Row:
    """The inverse image of the rational vector images / below under the projection from -sign times the axis."""
    square = sum(x * x for x in images)
    row = [2 * below * x for x in images]
    row.insert(axis, sign * (below * below - square))
    row.append(below * below + square)
    return _shortest(row)


def _unit(point: Sequence[Fraction], name: str) -> Row:
    if sum(x * x for x in point) == 1:
        return _row(point)
    plain = [float(x) for x in point]
    norm = sqrt(sum(x * x for x in plain))
    if abs(norm - 1) > _OFF:
        raise UsageError(f"{name} has norm {norm:.9g}; the points of a net of the sphere have norm 1")
    axis = max(range(len(plain)), key=lambda i: abs(plain[i]))
    rest = [Fraction(x / (norm + abs(plain[axis]))) for i, x in enumerate(plain) if i != axis]
    fine = 1 << CLOSE + (isqrt(len(point) - 2) + 1).bit_length()  # moves a point by at most sqrt(d - 1) / fine
    for below in (*range(1, _SMALL), fine):
        images = [round(x * below) for x in rest]
        if below == fine or all(abs(x - Fraction(y, below)) < _EXACT for x, y in zip(rest, images, strict=True)):
            break
    return unit_vector(images, below, axis, 1 if plain[axis] > 0 else -1)


def _nearest(x: Fraction, below: int) -> Fraction:
    return Fraction(round(x * below), below)


def _common(point: Iterable[Fraction]) -> int:
    return lcm(*(x.denominator for x in point))


def _row(point: Sequence[Fraction]) -> Row:
    below = _common(point)
    return (*(int(x * below) for x in point), below)


def _shortest(row: Sequence[int]) -> Row:
    common = gcd(*row)
    return tuple(x // common for x in row)
