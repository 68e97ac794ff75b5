"""Many scores at a time in big integers, and exponentials from tables: what attention-row and preconditioning need.

A vector v of n integers is packed as the one integer sum of v_l X^l, X = 2^(64 words): sums and multiples of packed
vectors are those of the vectors, as long as every field stays below X / 2. Proofs: docs/proofs/rows.md. Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from operator import mul
from struct import unpack

from kvverify.kernel.document import OverLimit
from kvverify.kernel.facts import Context, reject
from kvverify.kernel.numbers import MAX_EXPONENT, exp_upper

CELL = 44  # scores are known to a cell of 2^-44
ENTRY = 48  # entries of matrices are integers of units of 2^-48 ..
SPAN = 19  # .. and enclosed to so many of them
_REACH = 18  # |query| . |key| must stay below the logit 2^18, so that no field overflows
_BLOCK = 512  # keys whose packed columns stay in a processor's cache
_BATCH = 32  # queries for each pass over all keys
MASS = 80 + 2 * 58  # bits of the three tables of exponentials
_STATE = 192


@lru_cache(maxsize=64)
def _halves(count: int, words: int) -> int:
    """X / 2 in every field."""
    return int.from_bytes((bytes(8 * words - 1) + b"\x80") * count, "little")


def pack(values: Sequence[int], words: int) -> int:
    """The vector as one integer; |values| < X / 2."""
    half = 1 << (64 * words - 1)
    data = b"".join([(value + half).to_bytes(8 * words, "little") for value in values])
    return int.from_bytes(data, "little") - _halves(len(values), words)


def floors(packed: int, count: int, words: int) -> tuple[int, ...]:
    """floor(v_l / 2^(64 (words - 1))) of every field: the top words, in two's complement after the carries are gone."""
    halves = _halves(count, words)
    data = ((packed + halves) ^ halves).to_bytes(8 * words * count, "little")
    return unpack(f"<{words * count}q", data)[words - 1 :: words]


def multiplications(fields: int, words: int, bits: int) -> int:
    """Units of work of one multiple of a packed vector: CPython multiplies digits of 30 bits, 256 of them a unit."""
    return 1 + (fields * words * 64 // 30 + 1) * (bits // 30 + 1) // 256


class Scores:
    """<query, key> * unit for all pairs; the unit is m * 2^-e. Charges for all work before it is done."""

    def __init__(self, context: Context, queries: list[list[int]], keys: list[list[int]], unit: Fraction) -> None:
        queries, keys, twos = *map(_odd, (queries, keys)), _twos(queries) + _twos(keys)
        unit *= 1 << twos
        power = unit.denominator.bit_length() - 1
        if unit.denominator != 1 << power:
            raise OverLimit("limit: a query_scale whose denominator is no power of two")
        self.queries = [[x * unit.numerator for x in query] for query in queries]
        self.keys, self.power = len(keys), power
        columns = list(zip(*keys, strict=True))
        largest = [max(map(abs, column)) for column in columns]
        self.words = 1 + max(power - CELL + 63, max(largest).bit_length() + 1) // 64
        self.shift = CELL + 64 * (self.words - 1) - power
        self.reach = [sum(map(mul, map(abs, query), largest)) for query in self.queries]
        if max(self.reach) << self.shift >> (CELL + 64 * (self.words - 1)) >> _REACH:
            raise OverLimit(f"limit: |query| . |key| reaches the logit 2^{_REACH}")
        bits = max(abs(x) for query in self.queries for x in query).bit_length()
        blocks = range(0, len(keys), _BLOCK)
        each = multiplications(min(len(keys), _BLOCK), self.words, bits)
        context.charge((4 * self.words + each * len(queries)) * len(columns) * len(blocks))
        self.blocks = [[pack(column[i : i + _BLOCK], self.words) for column in columns] for i in blocks]

    def floors(self, max_logit: Fraction | None = None) -> Iterator[list[int]]:
        """For each query floor(score * 2^CELL) on every key. Rejects a score beyond ``max_logit``."""
        for start in range(0, len(self.queries), _BATCH):
            batch = range(start, min(start + _BATCH, len(self.queries)))
            found: list[list[int]] = [[] for _ in batch]
            for block, columns in enumerate(self.blocks):
                count = min(_BLOCK, self.keys - block * _BLOCK)
                for i, row in zip(batch, found, strict=True):
                    scores = sum(map(mul, self.queries[i], columns))
                    top = floors(scores << self.shift, count, self.words)
                    if max_logit is not None and not self._within(scores, count, i, max_logit):
                        highest = Fraction(max(max(top), -min(top)), 1 << CELL)
                        reject("logits of the queries on the keys <= max_logit", highest, max_logit)
                    row += top
            yield from found

    def _within(self, scores: int, count: int, i: int, max_logit: Fraction) -> bool:
        """Whether all fields are at most the budget, exactly: the top bit of budget -+ field + X / 2 says the sign."""
        most = (max_logit.numerator << self.power) // max_logit.denominator
        if self.reach[i] <= most:
            return True
        halves = _halves(count, self.words)
        budget = (halves >> (64 * self.words - 1)) * most + halves
        return bool((budget - scores) & (budget + scores) & halves == halves)


def _twos(matrix: list[list[int]]) -> int:
    """The power of two that all entries share."""
    bits = 0
    for row in matrix:
        for x in row:
            bits |= x
    return max(0, (bits & -bits).bit_length() - 1)


def _odd(matrix: list[list[int]]) -> list[list[int]]:
    twos = _twos(matrix)
    return [[x >> twos for x in row] for row in matrix]


class Exponentials:
    """exp of minus so many cells, bounded above by products from three tables: steps of 2^-8, 2^-20 and 2^-32.

    The first table has units of 2^-80 and a factor exp(2^-CELL), for exponents that are known to a cell; the others
    have units of 2^-58.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        context.charge(1 << 13)
        self._next = _up(exp_upper(Fraction(1, 1 << CELL)), _STATE)
        self._step = _up(exp_upper(Fraction(-1, 1 << 8)), _STATE)
        self._coarse: list[int] = []
        self._middle, self._fine = _table(20), _table(32)

    def masses(self, cells: Sequence[int], top: int) -> list[int]:
        """Upper bounds of exp(score - top) in units of 2^-MASS, for scores in [cell, cell + 1); no cell above top."""
        coarse, middle, fine = self._tables(top - min(cells))
        return [coarse[(d := top - cell) >> 36] * middle[d >> 24 & 4095] * fine[d >> 12 & 4095] for cell in cells]

    def entries(self, cells: Sequence[int], top: int) -> list[int]:
        """Lower ends of the same weights in units of 2^-ENTRY; a weight is at most SPAN units more."""
        coarse, middle, fine = self._tables(top - min(cells))
        one, drop = 1 << CELL, MASS + CELL - ENTRY
        return [
            (
                coarse[(d := top - cell) >> 36] * middle[d >> 24 & 4095] * fine[d >> 12 & 4095] * (one - (d & 4095))
                >> drop
            )
            - 17
            for cell in cells
        ]

    def _tables(self, cells: int) -> tuple[list[int], list[int], list[int]]:
        """The three tables, the first one long enough for so many cells."""
        last = cells >> (CELL - 8)
        if last >= MAX_EXPONENT << 8:
            raise OverLimit(f"limit: scores of one row that differ by more than {MAX_EXPONENT}")
        self.context.charge(max(0, last + 1 - len(self._coarse)))
        while len(self._coarse) <= last:
            self._coarse.append(-(-self._next >> (_STATE - 80)))
            self._next = -(-self._next * self._step >> _STATE)
        return self._coarse, self._middle, self._fine


def _table(bits: int) -> list[int]:
    """exp(-i 2^-bits) for i < 2^12, rounded up to units of 2^-58."""
    value, step = 1 << _STATE, _up(exp_upper(Fraction(-1, 1 << bits)), _STATE)
    found = []
    for _ in range(1 << 12):
        found.append(-(-value >> (_STATE - 58)))
        value = -(-value * step >> _STATE)
    return found


def _up(x: Fraction, bits: int) -> int:
    return -(-(x.numerator << bits) // x.denominator)
