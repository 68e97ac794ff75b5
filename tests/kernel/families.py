"""Keys by brute force: every word or point of a small keys step, written out and compared pair by pair."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product
from math import isqrt
from typing import Any

import numpy as np

Histogram = dict[int, int]


@dataclass(frozen=True)
class Keys:
    """Keys and queries as integers: score c * half * <query, key>; exponents as the rule dominates them."""

    keys: np.ndarray
    queries: np.ndarray
    half: Fraction
    histogram: Histogram
    unit: Fraction
    pad_twice: int
    own: int
    own_keys: np.ndarray
    pad_key: np.ndarray
    scale: Fraction | None
    """Keys are divided by it: a rational, or None where it is the root of ``scale_squared``."""
    scale_squared: Fraction
    bf16: bool

    @property
    def size(self) -> int:
        return len(self.keys)

    @property
    def dim(self) -> int:
        return int(self.keys.shape[1])


class Wrong(Exception):
    """The step is false."""


class TooLarge(Exception):
    """The step is beyond brute force."""


def small(condition: bool) -> None:
    if not condition:
        raise TooLarge


def require(condition: bool, why: str) -> None:
    if not condition:
        raise Wrong(why)


def family(step: dict[str, Any], body: str, inputs: str) -> Keys:
    """The step's keys; raises Wrong where what the step says of them is false."""
    return _family(json.dumps([step["rule"], step["given"], step["gives"]]), body, inputs)


@cache
def _family(step: str, body: str, inputs: str) -> Keys:
    rule, given, gives = json.loads(step)
    if rule in ("linear-code", "coset-union", "hypercube", "reed-muller"):
        words, stated = _sign_words(rule, given, gives)
        return _signs(words, stated, body, inputs)
    if rule == "explicit-keys":
        return _explicit(given, gives, body, inputs)
    return _paraboloid(given, gives, body)


def distances(words: np.ndarray) -> np.ndarray:
    """(n, n) exponents <k_i, k_i> - <k_i, k_l> of sign words 0/1: Hamming distances."""
    signs = 1 - 2 * words.astype(np.int64)
    result: np.ndarray = (words.shape[1] - signs @ signs.T) // 2
    return result


def _sign_words(rule: str, given: Any, gives: Any) -> tuple[np.ndarray, Histogram]:
    if rule == "hypercube":
        dimension, size = int(given["dimension"]), int(gives["size"])
        require(dimension >= 1 and size == 2**dimension, "size")
        small(dimension <= 10)
        words = np.array(list(product((0, 1), repeat=dimension)))
        return words, counted(distances(words)[0])
    stated = {int(e): int(n) for e, n in gives["weights"].items()}
    if rule == "reed-muller":
        names = ("order", "variables", "shortened", "punctured")
        words = polynomials(*(int(given[name]) for name in names))
        require(counted(words.sum(axis=1)) == stated, "histogram")
        return words, stated
    words = _span(given["generator"])
    if rule == "coset-union":
        words = np.concatenate([_bits(r) ^ words for r in given["representatives"]])
        require(len(np.unique(words, axis=0)) == len(words), "distinct")
        for row in distances(words):
            dominates(stated, counted(row))
        return words, stated
    require(len(np.unique(words, axis=0)) == len(words), "independent")
    if "parity" in given:
        checks = _span(given["parity"])
        require(len(np.unique(checks, axis=0)) == len(checks), "independent parity")
        require(len(words) * len(checks) == 2 ** words.shape[1], "dimensions")
        require(not (words @ checks.T % 2).any(), "orthogonal")
    require(counted(distances(words)[0]) == stated, "histogram")
    return words, stated


def _signs(words: np.ndarray, stated: Histogram, body: str, inputs: str) -> Keys:
    signs = 1 - 2 * words.astype(np.int64)
    length = words.shape[1]
    scale: Fraction | None = Fraction(1)
    squared, unit = Fraction(1), Fraction(length, 2)
    if body == "ball":
        root = isqrt(length)
        scale, squared = (Fraction(root), Fraction(length)) if root * root == length else (None, Fraction(length))
        if inputs == "bf16" and not (scale is not None and root & (root - 1) == 0):
            scale = 1 / _bf16_below_root(length)
            squared, unit = scale**2, unit * Fraction(128, 127)
    return Keys(
        signs, signs, Fraction(1, 2), stated, unit, length, length, -signs, np.zeros(length, np.int64),
        scale, squared, True,
    )  # fmt: skip


def _bf16_below_root(length: int) -> Fraction:
    """The largest number of 8 significant bits that is at most 1/sqrt(length)."""
    power = 0
    while Fraction(1, 4**power) > Fraction(1, length):
        power += 1
    grid = Fraction(1, 2 ** (power + 7))
    return grid * isqrt(int(1 / (length * grid**2)))


def _explicit(given: Any, gives: Any, body: str, inputs: str) -> Keys:
    stated = {int(e): int(n) for e, n in gives["exponents"].items()}
    keys = np.array([[int(x) for x in row.split(" ")] for row in given["keys"]], dtype=np.int64)
    gram = keys @ keys.T
    exponents = np.diag(gram)[:, None] - gram
    for i, row in enumerate(exponents):
        others = np.delete(row, i)
        require(bool((others >= 1).all()), "highest score")
        dominates(stated, Counter(others.tolist()))
    squares = np.diag(gram)
    require(squares.min() >= 1, "zero key")
    largest, longest = int(abs(keys).max()), int(squares.max())
    ones = int(abs(keys).sum(axis=1).max())
    scale: Fraction | None
    if body == "cube":
        power = _power_above(largest**2) if inputs == "bf16" else largest
        scale, squared, unit = Fraction(power), Fraction(power**2), Fraction(power * ones)
    elif inputs == "bf16":
        power = _power_above(longest)
        scale, squared, unit = Fraction(power), Fraction(power**2), Fraction(power**2)
    else:
        scale, squared, unit = None, Fraction(longest), Fraction(longest)
    exact = all(_significant(int(x)) <= 8 for x in keys.flat)
    shortest = int(squares.min())
    return Keys(
        keys, keys, Fraction(1), stated, unit, 2 * shortest, 2 * shortest, -keys, np.zeros(keys.shape[1], np.int64),
        scale, squared, exact,
    )  # fmt: skip


def _power_above(square: int) -> int:
    """The least power of two whose square is at least ``square``."""
    power = 1
    while power * power < square:
        power *= 2
    return power


def _significant(x: int) -> int:
    return len(bin(abs(x)).rstrip("0")) - 2 if x else 0


def _paraboloid(given: Any, gives: Any, body: str) -> Keys:
    side, dim, cutoff, size = (int(v) for v in (given["side"], given["dimension"], given["cutoff"], gives["size"]))
    require(side >= 2 and dim >= 2 and cutoff >= 1, "range")
    require(size == side ** (dim - 1), "size")
    small((2 * side) ** (dim - 1) <= 50_000)
    points = np.array(list(product(range(side), repeat=dim - 1)), dtype=np.int64)
    squares = (points**2).sum(axis=1, keepdims=True)
    keys = np.concatenate([points, -squares], axis=1)
    queries = np.concatenate([2 * points, np.ones_like(squares)], axis=1)
    two_sided = Counter(int(sum(t * t for t in v)) for v in product(range(1 - side, side), repeat=dim - 1))
    histogram = {e: n for e, n in sorted(two_sided.items()) if 1 <= e <= cutoff}
    if (further := size - 1 - sum(histogram.values())) > 0:
        histogram[cutoff + 1] = further
    scores = queries @ keys.T
    for i, row in enumerate(np.diag(scores)[:, None] - scores):
        dominates(histogram, Counter(np.delete(row, i).tolist()))
    top = int(squares.max())
    pad = np.zeros(dim, np.int64)
    if body == "cube":
        pad[-1], scale = -top, Fraction(top)
        squared, unit = Fraction(top**2), Fraction(top * int(abs(queries).sum(axis=1).max()))
    else:
        longest = int((keys**2).sum(axis=1).max())
        pad[-1], scale, squared = -isqrt(longest), None, Fraction(longest)
        unit = Fraction(isqrt(longest * int((queries**2).sum(axis=1).max())) + 1)
    own = -int(pad[-1])
    owns = np.repeat(pad[None, :], len(keys), axis=0)
    return Keys(keys, queries, Fraction(1), histogram, unit, 2 * own, own, owns, pad, scale, squared, False)


@cache
def polynomials(order: int, variables: int, shortened: int, punctured: int) -> np.ndarray:
    """Tables of all polynomials of that order: 0 at the last points, which are cut, and without those before them."""
    require(0 <= order < variables and shortened >= 0 and punctured >= 0, "range")
    removed = shortened + punctured
    require(removed <= 3 and removed < 2**variables, "letters removed")
    small(variables <= 5)
    points = list(product((0, 1), repeat=variables))
    monomials = [e for e in points if sum(e) <= order]
    small(len(monomials) <= 16)
    table = np.array([[int(all(x >= y for x, y in zip(point, e, strict=True))) for point in points] for e in monomials])
    words: np.ndarray = (np.arange(1 << len(table))[:, None] >> np.arange(len(table)) & 1) @ table % 2
    letters = len(points) - removed
    words = words[~words[:, letters + punctured :].any(axis=1), :letters]
    small(len(words) <= 1 << 13)
    require(int((~words.any(axis=1)).sum()) == 1, "distinct")
    return words


def _bits(text: str) -> np.ndarray:
    return np.array([int(c) for c in text], dtype=np.int64)


def _span(rows: list[str]) -> np.ndarray:
    """All sums; word i sums the rows at the bits of i."""
    if not rows:
        return np.zeros((1, 1), np.int64)
    basis = np.array([_bits(row) for row in rows])
    small(len(rows) <= 11)
    chosen = np.arange(1 << len(rows))[:, None] >> np.arange(len(rows)) & 1
    result: np.ndarray = chosen @ basis % 2
    return result


def counted(row: Iterable[Any]) -> Histogram:
    """Histogram of a row of exponents, with one 0 (the target) left out."""
    histogram = Counter(int(e) for e in row)
    histogram[0] -= 1
    return dict(sorted((+histogram).items()))


def dominates(stated: Histogram, row: dict[int, int]) -> None:
    for e in {*stated, *row}:
        require(
            sum(n for x, n in row.items() if x <= e) <= sum(n for x, n in stated.items() if x <= e), f"dominated at {e}"
        )
