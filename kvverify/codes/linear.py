"""Binary linear codes: words as integers, weight histograms by walking the code or its dual."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kvverify.codes.base import SignKeys, bit_string, decimal
from kvverify.errors import Incomplete, UsageError

WALK = 25
"""Largest dimension that a certificate lets the kernel walk, for a code or for its dual."""

_TABLE = 16  # a table of 2^16 words stays in the second-level cache


@dataclass(frozen=True)
class LinearCode(SignKeys):
    """The code spanned by ``rows`` (independent, bit j is letter j). The order of the rows matters to ``subcode``."""

    length: int
    rows: tuple[int, ...]
    label: str

    @property
    def name(self) -> str:
        """The construction and what was done to it."""
        return self.label

    @property
    def dimension(self) -> int:
        """log2 of the number of words."""
        return len(self.rows)

    @property
    def size(self) -> int:
        """Number of words."""
        return 1 << self.dimension

    @cached_property
    def weights(self) -> dict[int, int]:
        """{weight: words} of the whole code, weight 0 included. Raises Incomplete when code and dual are both large."""
        if self.dimension <= min(WALK, self.length - self.dimension):
            return walk(self.length, self.rows)
        redundancy = self.length - self.dimension
        if redundancy <= WALK:
            return macwilliams(self.length, walk(self.length, self.dual().rows))
        if self.dimension <= WALK:
            return walk(self.length, self.rows)
        raise Incomplete(
            f"{self.name} has dimension {self.dimension} and redundancy {redundancy}: one must be at most {WALK}"
        )

    def exponents(self) -> dict[int, int]:
        """Exact, and the same from every word: the nonzero weights."""
        return {weight: count for weight, count in self.weights.items() if weight}

    def words(self, tokens: int) -> list[int]:
        """Word i is the sum of the rows at the bits of i."""
        words = [0]
        for row in self.rows:
            if len(words) >= tokens:
                break
            words += [word ^ row for word in words[: tokens - len(words)]]
        return words

    def step(self) -> dict[str, Any]:
        """Rule ``linear-code``."""
        return linear_step(self, self.exponents())

    def shorten(self, where: int | Sequence[int]) -> LinearCode:
        """The words that are zero at the positions ``where`` (a number: that many last ones), those letters removed."""
        rows = list(self.rows)
        positions, label = self._positions(where)
        for position in positions:
            # Every row is changed by earlier rows only, so leading rows still span shortened leading subcodes.
            first = next((i for i, row in enumerate(rows) if row >> position & 1), None)
            if first is not None:
                pivot = rows.pop(first)
                rows = [row ^ pivot if row >> position & 1 else row for row in rows]
        kept = tuple(_without(row, positions) for row in rows)
        return LinearCode(self.length - len(positions), kept, f"{self.name} shortened {label}")

    def puncture(self, where: int | Sequence[int]) -> LinearCode:
        """All words with the letters at ``where`` removed (a number: that many last ones)."""
        positions, label = self._positions(where)
        rows = independent(_without(row, positions) for row in self.rows)
        return LinearCode(self.length - len(positions), rows, f"{self.name} punctured {label}")

    def subcode(self, dimension: int) -> LinearCode:
        """The span of the first ``dimension`` rows."""
        if not 0 <= dimension <= self.dimension:
            raise UsageError(f"a subcode of {self.name} has a dimension in 0..{self.dimension}, not {dimension}")
        return LinearCode(self.length, self.rows[:dimension], f"{self.name} subcode {dimension}")

    def dual(self) -> LinearCode:
        """The words orthogonal to all of this code."""
        reduced = _reduced(self.rows)
        pivots = {row & -row for row in reduced}
        free = [1 << j for j in range(self.length) if 1 << j not in pivots]
        checks = tuple(bit | sum(row & -row for row in reduced if row & bit) for bit in free)
        return LinearCode(self.length, checks, f"dual of {self.name}")

    def _positions(self, where: int | Sequence[int]) -> tuple[list[int], str]:
        chosen = list(range(self.length - where, self.length)) if isinstance(where, int) else list(where)
        if len(set(chosen)) != len(chosen) or not all(0 <= j < self.length for j in chosen):
            raise UsageError(f"{self.name} has letters 0..{self.length - 1}: cannot remove {where}")
        return chosen, str(where) if isinstance(where, int) else f"at {_ranges(chosen)}"


def linear_step(code: LinearCode, weights: dict[int, int]) -> dict[str, Any]:
    """The step of rule ``linear-code`` for these nonzero weights; with the dual's basis where the walk needs it."""
    given: dict[str, Any] = {"generator": [bit_string(row, code.length) for row in code.rows]}
    if code.dimension > WALK:
        given["parity"] = [bit_string(row, code.length) for row in code.dual().rows]
    return {"rule": "linear-code", "given": given, "gives": {"weights": decimal(weights)}}


def independent(rows: Iterable[int]) -> tuple[int, ...]:
    """The rows that are not sums of earlier ones."""
    kept: list[int] = []
    basis: dict[int, int] = {}
    for row in rows:
        rest = row
        while rest and rest.bit_length() in basis:
            rest ^= basis[rest.bit_length()]
        if rest:
            basis[rest.bit_length()] = rest
            kept.append(row)
    return tuple(kept)


def walk(length: int, rows: Sequence[int], shift: int = 0) -> dict[int, int]:
    """{weight: words} of the coset ``shift + span(rows)``, by a table of the low rows and every word of the others."""
    lanes = max(1, -(-length // 64))
    table = span(length, rows[:_TABLE])
    counts = np.zeros(64 * lanes + 1, np.int64)
    head, *high = pack([shift, *rows[_TABLE:]], length).T
    width = np.uint8 if length < 256 else np.uint16
    for i in range(1 << len(high)):
        if i:
            head = head ^ high[(i & -i).bit_length() - 1]  # a Gray code: one row a step
        weights = np.bitwise_count(table[0] ^ head[0]).astype(width, copy=False)
        for lane in range(1, lanes):
            weights += np.bitwise_count(table[lane] ^ head[lane])
        counts += np.bincount(weights, minlength=counts.size)
    return {weight: int(count) for weight, count in enumerate(counts) if count}


def span(length: int, rows: Sequence[int]) -> np.ndarray:
    """(lanes of 64 letters, 2^rows) uint64: all words in the order of ``LinearCode.words``."""
    table = pack([0], length)
    for row in pack(rows, length).T:
        table = np.concatenate([table, table ^ row[:, None]], axis=1)
    return table


def pack(words: Sequence[int], length: int) -> np.ndarray:
    """(lanes of 64 letters, words) uint64."""
    lanes = max(1, -(-length // 64))
    octets = b"".join(word.to_bytes(8 * lanes, "little") for word in words)
    return np.frombuffer(octets, "<u8").astype(np.uint64).reshape(len(words), lanes).T


def macwilliams(length: int, weights: dict[int, int]) -> dict[int, int]:
    """{weight: words} of the dual code (MacWilliams 1963), in integers by the recurrence of Krawtchouk polynomials."""
    size = sum(weights.values())
    before = dict.fromkeys(weights, 0)
    now = dict.fromkeys(weights, 1)
    result = {}
    for j in range(length + 1):
        total = sum(count * now[weight] for weight, count in weights.items())
        if total % size:
            raise ValueError("no weight histogram of a linear code")
        if total:
            result[j] = total // size
        before, now = now, {w: ((length - 2 * w) * now[w] - (length - j + 1) * before[w]) // (j + 1) for w in weights}
    return result


def _reduced(rows: Sequence[int]) -> list[int]:
    """Reduced basis: the lowest bit of each row occurs in no other."""
    basis: list[int] = []
    for row in rows:
        for other in basis:
            if row & other & -other:
                row ^= other
        if row:
            low = row & -row
            basis = [other ^ row if other & low else other for other in basis] + [row]
    return basis


def _ranges(positions: list[int]) -> str:
    """``0,4-9``: runs of consecutive positions are named by their ends."""
    runs: list[list[int]] = []
    for position in positions:
        if runs and position == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], position]
        else:
            runs.append([position])
    return ",".join("-".join(map(str, run)) for run in runs)


def _without(word: int, positions: Sequence[int]) -> int:
    for position in sorted(positions, reverse=True):
        word = word & ((1 << position) - 1) | word >> position + 1 << position
    return word
