"""The determinant of an enclosed matrix through factors of an approximate inverse. Proofs: docs/proofs/volume.md.

Source: ours; Ostrowski's determinant bound.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod
from operator import mul

from kvverify.kernel.context import Context
from kvverify.kernel.document import Node, OverLimit, fields, obj, text
from kvverify.kernel.facts import need
from kvverify.kernel.numbers import log2_lower, log2_upper
from kvverify.kernel.rules.attention import Matrix
from kvverify.kernel.rules.packed import floors, multiplications, pack
from kvverify.kernel.statement import tensor_file
from kvverify.kernel.tensors import read_matrix

MAX_ROWS = 1024
_FACTOR = 40  # bits of a factor's largest entry
_WIDTHS = 13, 15  # bytes of a field in the two products
_SHIFTS = 4, 6  # that leave the fields just below half of what they hold
_DROPPED = tuple(8 * width - 64 - shift for width, shift in zip(_WIDTHS, _SHIFTS, strict=True))
_BLOCK = 128  # columns whose packed rows stay in a processor's cache

Triangle = list[list[int]]


def factors(context: Context, size: int, given: Node) -> tuple[Triangle, Triangle]:
    """(lower, upper) triangles of the named file as integers, each row from its triangle's first entry to its last.

    ``lower`` is rounded down as a whole, ``upper`` row by row, to a largest entry of 40 bits: any triangles with
    non-zero diagonals will do, so what they are rounded from needs no proof.
    """
    if size > MAX_ROWS:
        raise OverLimit(f"limit: preconditioning {size} rows (up to {MAX_ROWS})")
    names = fields(obj(given["factors"], "factors"), "factors", {"name", "sha256", "lower", "upper"})
    file = tensor_file({"name": names["name"], "sha256": names["sha256"], "tensor": names["lower"]}, "factors")
    lower, _, _ = read_matrix(context, file, size, size)
    need(not any(any(row[i + 1 :]) for i, row in enumerate(lower)), "factor 'lower' is lower triangular")
    file = replace(file, tensor=text(names["upper"], "factors.upper"))
    upper, _, _ = read_matrix(context, file, size, size)
    need(not any(any(row[:i]) for i, row in enumerate(upper)), "factor 'upper' is upper triangular")
    bits = max(abs(x) for row in lower for x in row).bit_length()
    first = [_rounded(row[: i + 1], bits) for i, row in enumerate(lower)]
    second = [_rounded(row[i:], max(map(abs, row)).bit_length()) for i, row in enumerate(upper)]
    need(all(row[-1] for row in first) and all(row[0] for row in second), "the factors' diagonals are not zero")
    return first, second


def _rounded(row: list[int], bits: int) -> list[int]:
    return [x >> (bits - _FACTOR) for x in row] if bits > _FACTOR else [x << (_FACTOR - bits) for x in row]


def preconditioned(context: Context, matrix: Matrix, lower: Triangle, upper: Triangle) -> Fraction:
    """A lower bound on log2 |det K| of the enclosed K: Ostrowski's of M = upper lower K, less that of the factors."""
    size = len(matrix.low)
    blocks = range(0, size, _BLOCK)
    context.charge(size * (size + 1) * len(blocks) * multiplications(min(size, _BLOCK), _WIDTHS[1], _FACTOR + 1))
    context.charge(8 * size * size + 128 * size)
    diagonal, absolute = [0] * size, [0] * size
    for start in blocks:
        columns = [row[start : start + _BLOCK] for row in matrix.low]
        for i, found in enumerate(_product(lower, upper, columns)):
            absolute[i] += sum(map(abs, found))
            if start <= i < start + _BLOCK:
                diagonal[i] = abs(found[i - start])
    first = [matrix.span * sum(map(abs, row)) + (1 << _DROPPED[0]) for row in lower]
    total = Fraction(-matrix.bits * size)
    for i, row in enumerate(upper):
        error = sum(map(mul, map(abs, row), first[i:])) + (1 << sum(_DROPPED))
        margin = (2 * diagonal[i] - absolute[i] << sum(_DROPPED)) - size * error
        need(margin > 0, f"row {i} of the preconditioned matrix is dominated by its diagonal", margin, 0)
        total += log2_lower(margin)
    return total - log2_upper(prod(abs(row[-1]) for row in lower) * prod(abs(row[0]) for row in upper))


def _product(lower: Triangle, upper: Triangle, columns: list[list[int]]) -> list[tuple[int, ...]]:
    """upper lower columns, the two products rounded down to multiples of 2^_DROPPED, in units of both."""
    width = len(columns[0])
    packed = [pack(row, _WIDTHS[0]) for row in columns]
    first = [floors(sum(map(mul, row, packed)) << _SHIFTS[0], width, _WIDTHS[0]) for row in lower]
    packed = [pack(row, _WIDTHS[1]) for row in first]
    return [floors(sum(map(mul, row, packed[i:])) << _SHIFTS[1], width, _WIDTHS[1]) for i, row in enumerate(upper)]
