"""Many scores at a time in big integers, and exponentials from tables: what attention-row and preconditioning need.

A vector v of n integers is packed as the one integer sum of v_l X^l, X = 2^(8 width): sums and multiples of packed
vectors are those of the vectors, as long as every field stays below X / 2. Proofs: docs/proofs/rows.md. Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from operator import mul
from struct import unpack

from kvverify.kernel.context import Context
from kvverify.kernel.document import OverLimit
from kvverify.kernel.facts import reject
from kvverify.kernel.numbers import MAX_EXPONENT, exp_upper

CELL = 44  # scores are known to a cell of 2^-44
ENTRY = 48  # entries of matrices are integers of units of 2^-48 ..
SPAN = 19  # .. and enclosed to so many of them
MASS = 80 + 2 * 58  # bits of the three tables of exponentials
_REACH = 18  # |query| . |key| must stay below the logit 2^18, so that no field overflows
_BLOCK = 256  # queries whose packed columns stay in a processor's cache ..
_FOUND = 1 << 21  # .. and of as many at a time as keep no more scores than this
_UNIT_BITS = 320  # of the unit of scores, but for its power of two: eight times as many
_STATE = 192


@lru_cache(maxsize=64)
def _halves(count: int, width: int) -> int:
    """X / 2 in every field."""
    return int.from_bytes((bytes(width - 1) + b"\x80") * count, "little")


def pack(values: Sequence[int], width: int) -> int:
    """The vector as one integer with fields of ``width`` bytes; |values| < X / 2."""
    half = 1 << (8 * width - 1)
    data = b"".join([(value + half).to_bytes(width, "little") for value in values])
    return int.from_bytes(data, "little") - _halves(len(values), width)


def floors(packed: int, count: int, width: int) -> tuple[int, ...]:
    """floor(v_l / 2^(8 width - 64)) of every field: its top 8 bytes, in two's complement once no field borrows."""
    halves = _halves(count, width)
    data = ((packed + halves) ^ halves).to_bytes(width * count, "little")
    return unpack("<" + (f"{width - 8}xq" * count if width > 8 else f"{count}q"), data)


def multiplications(fields: int, width: int, bits: int) -> int:
    """Units of work of one multiple of a packed vector: CPython multiplies digits of 30 bits, 256 of them a unit."""
    return 1 + (fields * width * 8 // 30 + 1) * (bits // 30 + 1) // 256


class Scores:
    """<query, key> * unit for all pairs; the unit is m * 2^-e. Charges for all work before it is done."""

    def __init__(self, context: Context, queries: list[list[int]], keys: list[list[int]], unit: Fraction) -> None:
        twos = _twos(queries), _twos(keys)
        unit *= 1 << sum(twos)
        self.power = unit.denominator.bit_length() - 1
        if unit.denominator != 1 << self.power:
            raise OverLimit("limit: a query_scale whose denominator is no power of two")
        if max(unit.numerator.bit_length(), self.power >> 3) > _UNIT_BITS:
            raise OverLimit(
                f"limit: a query_scale of more than {_UNIT_BITS} bits, or queries or keys as small as 1e-300"
            )
        queries = [[(x >> twos[0]) * unit.numerator for x in query] for query in queries]
        self.keys = [[x >> twos[1] for x in key] for key in keys]
        largest = [max(map(abs, column)) for column in zip(*self.keys, strict=True)]
        self.reach = max(sum(map(mul, map(abs, query), largest)) for query in queries)
        bits = max(abs(x) for query in queries for x in query).bit_length()
        self.width = 8 + max(0, self.power - CELL + 7, bits + 1 - 56) // 8
        self.shift = CELL + 8 * (self.width - 8) - self.power
        if self.reach << self.shift >> (CELL + 8 * (self.width - 8)) >> _REACH:
            raise OverLimit(f"limit: |query| . |key| reaches the logit 2^{_REACH}")
        block = max(1, min(_BLOCK, len(queries), _FOUND // len(keys)))
        self.blocks = [queries[i : i + block] for i in range(0, len(queries), block)]
        each = multiplications(block, self.width, max(largest).bit_length())
        context.charge(len(largest) * (4 * len(queries) + each * len(keys) * len(self.blocks)))
        context.charge(len(keys) * len(self.blocks) * (16 + block * self.width // 32))

    def floors(self, max_logit: Fraction | None = None) -> Iterator[tuple[int, ...]]:
        """For each query floor(score * 2^CELL) on every key. Rejects a score beyond ``max_logit``."""
        most = None if max_logit is None else (max_logit.numerator << self.power) // max_logit.denominator
        for block in self.blocks:
            columns = [pack(column, self.width) for column in zip(*block, strict=True)]
            found = []
            for key in self.keys:
                scores = sum(map(mul, key, columns))
                found.append(floors(scores << self.shift, len(block), self.width))
                if most is not None and not self._within(scores, len(block), most):
                    highest = Fraction(max(map(abs, found[-1])), 1 << CELL)
                    reject("logits of the queries on the keys <= max_logit", highest, max_logit)
            yield from zip(*found, strict=True)

    def _within(self, scores: int, count: int, most: int) -> bool:
        """Whether all fields are at most ``most``, exactly: the top bit of ``most`` -+ field + X / 2 says the sign."""
        if self.reach <= most:
            return True
        halves = _halves(count, self.width)
        budget = (halves >> (8 * self.width - 1)) * most + halves
        return bool((budget - scores) & (budget + scores) & halves == halves)


def _twos(matrix: list[list[int]]) -> int:
    """The power of two that all entries share."""
    bits = 0
    for row in matrix:
        for x in row:
            bits |= x
    return max(0, (bits & -bits).bit_length() - 1)


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
        return [coarse[d >> 36] * middle[d >> 24 & 4095] * fine[d >> 12 & 4095] for d in map(top.__sub__, cells)]

    def entries(self, cells: Sequence[int], top: int) -> list[int]:
        """Lower ends of the same weights in units of 2^-ENTRY; a weight is at most SPAN units more."""
        coarse, middle, fine = self._tables(top - min(cells))
        one, drop = 1 << CELL, MASS + CELL - ENTRY
        products = [
            coarse[d >> 36] * middle[d >> 24 & 4095] * fine[d >> 12 & 4095] * (one - (d & 4095))
            for d in map(top.__sub__, cells)
        ]
        return [(product >> drop) - 17 for product in products]

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


@cache
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
