"""Tensor attention: two factors of keys and two of values, every pair of tokens one column of the softmax.

Tokens have factor rows k1_i, k2_i in R^d and v1_i, v2_i in R^(d_v). Pair (i, l) has the key k1_i o k2_l and the value
v1_i o v2_l (entrywise products), so the score <q, k1_i o k2_l> * scale; the answer is the softmax's mean over all
pairs. The paper's scaling 1/d is this ``scale``. Source of the definition: Chen et al., "Limits of KV Cache Compression
for Tensor Attention based Autoregressive Transformers" (arXiv 2503.11108), as recorded in the ledger.

`evaluate` is exact, in the three orders that one can take. `attend_tensor_reference` is float64 with a proved error
bound: what a referee compares fast answers with. There one tensor head is two heads of the usual layout: heads 2h and
2h + 1 of ``keys`` are K1 and K2 of tensor head h, of ``values`` V1 and V2.

Theorem (ours; standard rounding analysis, Higham 2002, chapters 3 and 4). u = 2^-53, m = n + 1 tokens with the asker's
own, key dimension d, g(k) = k u / (1 - k u), S >= |scale| sum_j |q_j k1_ij k2_lj| for all pairs, values in [-1, 1].
Assume that exp is good to 4 ulp and (2 m + 4) u < 0.01. Then `attend_tensor_reference` is within 2 t / (1 - t) +
4 g(2 m + 4) + m^2 2^-1000 of the exact answer, where t = e^a - 1 and a = g(d + 2) S + 4 u S + 8 u.
Proof. A computed score has d products of three factors, d - 1 additions and the scaling: off by at most g(d + 2) S, in
whatever order is added. What is subtracted from all scores of a row is a common factor of all weights and cancels in
the quotient; it is at most S (1 + g) in size, so subtracting rounds by at most u (2 S)(1 + g) <= 4 u S. With exp's own
8 u, every weight is a common factor times its exact value times 1 + t', |t'| <= t. Relative weights move an average of
values from an interval of length 2 by at most 2 t / (1 - t). Numerator: m terms over l with a product each, then times
v1, then m terms over i; off by g(2 m + 2) of the sum of the weights, as |v1|, |v2| <= 1. Denominator: two such sums,
the division u: together below 4 g(2 m + 4). Weights that underflow are lost, each below 2^-1000 of the largest, which
is within e^(2 a) of 1. The bound is enlarged by 2^-20 of its size for its own rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from kvverify.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

UNIT = 2.0**-53
MEMORY_BYTES = 1 << 28
"""Default bound on what one chunk of scores allocates, and on a two-cache form that one may ask for."""
ORDERS = ("four-cache", "two-cache", "re-associated")
MAX_EXACT_PAIRS = 1 << 20  # of `evaluate`; beyond this Python's integers take minutes

Row = Sequence[int | Fraction]


@dataclass(frozen=True)
class Factors:
    """The four caches of n tokens: ``k1``, ``k2`` n rows of head_dim entries, ``v1``, ``v2`` n rows of value_dim.

    Entries are integers or Fractions. Raises UsageError where the shapes do not fit each other.
    """

    k1: Sequence[Row]
    k2: Sequence[Row]
    v1: Sequence[Row]
    v2: Sequence[Row]

    def __post_init__(self) -> None:
        shapes = {name: _shape(name, getattr(self, name)) for name in ("k1", "k2", "v1", "v2")}
        same_factors(**shapes)

    @property
    def tokens(self) -> int:
        """Tokens in the four caches."""
        return len(self.k1)

    def words(self, order: str) -> int:
        """Words kept between steps by that order: the four caches, or the product rows of the two-cache form."""
        width = len(self.k1[0]) + len(self.v1[0])
        return self.tokens**2 * width if order == "two-cache" else 2 * self.tokens * width


@dataclass(frozen=True)
class Evaluation:
    """An exact answer, and the multiplications that its order takes for one new token.

    Products of entries alone are counted: exponentials, scaling, divisions and additions are not.
    """

    answer: tuple[Fraction, ...]
    multiplications: int


def same_factors(**shapes: tuple[int, ...]) -> None:
    """Shapes (..., tokens, dim) of k1, k2, v1, v2: equal pairs, as many value rows as key rows.

    Raises UsageError, one line, where they are not, or where there is no token.
    """
    k1, k2, v1, v2 = (shapes[name] for name in ("k1", "k2", "v1", "v2"))
    if k1 != k2 or v1 != v2 or k1[:-1] != v1[:-1] or not k1[-2]:
        given = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items())
        raise UsageError(f"factors of shapes {given}: k1 and k2 have one shape, v1 and v2 too, with as many rows")


def multiplications(order: str, tokens: int, head_dim: int, value_dim: int) -> int:
    """Products of entries for one new token, ``tokens`` counted with it: the closed form of what `evaluate` counts.

    four-cache: all product rows are formed, then scored, then averaged. two-cache: the 2 n - 1 new ones are formed.
    re-associated: (q o k1) k2, then weights v2, then v1. Source: ours.
    """
    both, pairs = head_dim + value_dim, tokens * tokens
    formed = {"four-cache": pairs, "two-cache": 2 * tokens - 1, "re-associated": tokens}
    return pairs * both + formed[order] * both


def two_cache_bytes(tokens: int, head_dim: int, value_dim: int, word_bytes: int = 4) -> int:
    """Bytes of the two caches K1 * K2 and V1 * V2: one row of each for every pair of tokens."""
    return tokens * tokens * (head_dim + value_dim) * word_bytes


def require_two_cache(
    tokens: int, head_dim: int, value_dim: int, word_bytes: int = 4, memory_bytes: int = MEMORY_BYTES
) -> None:
    """Raise UsageError, with the need in bytes, where the two-cache form is larger than ``memory_bytes``."""
    needed = two_cache_bytes(tokens, head_dim, value_dim, word_bytes)
    if needed > memory_bytes:
        raise UsageError(
            f"the two-cache form of {tokens} tokens needs {needed:,} bytes, more than {memory_bytes:,}: "
            "take the re-associated order of the four caches"
        )


def evaluate(order: str, query: Row, factors: Factors, base: int | Fraction, scale: int | Fraction = 1) -> Evaluation:
    """The exact answer for one query in one of `ORDERS`; a pair weighs base^(score), which must be an integer power.

    ``query``: head_dim integers or Fractions. Raises UsageError for an unknown order, a base that is not positive, a
    query of another length, scores that are not integers, and more than 2^20 pairs.
    """
    if order not in ORDERS or base <= 0:
        raise UsageError(f"order {order!r} with base {base}: expected {', '.join(ORDERS)} and a positive base")
    if len(query) != len(factors.k1[0]):
        raise UsageError(f"a query of {len(query)} entries, the keys have {len(factors.k1[0])}")
    if factors.tokens**2 > MAX_EXACT_PAIRS:
        raise UsageError(f"{factors.tokens} tokens: an exact evaluation takes up to {MAX_EXACT_PAIRS} pairs")
    counter = _Counter()
    run = _re_associated if order == "re-associated" else _by_products
    fresh = order == "four-cache"
    above, below = run(counter, query, factors, lambda score: _power(Fraction(base), score * scale), fresh)
    return Evaluation(tuple(Fraction(x) / below for x in above), counter.products)


class _Counter:
    """Counts products of entries."""

    def __init__(self) -> None:
        self.products = 0

    def times(self, left: Row, right: Row) -> list[Any]:
        """Entrywise product of two rows."""
        self.products += len(left)
        return [a * b for a, b in zip(left, right, strict=True)]


def _by_products(counter: _Counter, query: Row, factors: Factors, weigh: Any, fresh: bool) -> tuple[list[Any], Any]:
    """All product rows, of which the two-cache form (not ``fresh``) has the ones without the last token already."""
    old, last = _Counter(), factors.tokens - 1
    above: list[Any] = [0] * len(factors.v1[0])
    below: Any = 0
    for i, (k1, v1) in enumerate(zip(factors.k1, factors.v1, strict=True)):
        for j, (k2, v2) in enumerate(zip(factors.k2, factors.v2, strict=True)):
            forming = counter if fresh or last in (i, j) else old
            key, value = forming.times(k1, k2), forming.times(v1, v2)
            weight = weigh(sum(counter.times(query, key)))
            counter.products += len(value)
            above = [x + weight * y for x, y in zip(above, value, strict=True)]
            below += weight
    return above, below


def _re_associated(counter: _Counter, query: Row, factors: Factors, weigh: Any, fresh: bool) -> tuple[list[Any], Any]:
    """The query times k1 first, then all k2; weights times v2 first, then v1."""
    above: list[Any] = [0] * len(factors.v1[0])
    below: Any = 0
    for k1, v1 in zip(factors.k1, factors.v1, strict=True):
        turned = counter.times(query, k1)
        inner: list[Any] = [0] * len(v1)
        for k2, v2 in zip(factors.k2, factors.v2, strict=True):
            weight = weigh(sum(counter.times(turned, k2)))
            counter.products += len(v2)
            inner = [x + weight * y for x, y in zip(inner, v2, strict=True)]
            below += weight
        above = [x + y for x, y in zip(above, counter.times(v1, inner), strict=True)]
    return above, below


def attend_tensor_reference(
    queries: Any, keys: Any, values: Any, own_keys: Any, own_values: Any, scale: float, memory_bytes: int = MEMORY_BYTES
) -> Array:
    """Answers (batch, heads, r, d_v), float64, of queries (batch, heads, r, d) that each see all pairs of cached tokens
    and one own token, which brings 2 n + 1 more: keys (batch, 2 kv_heads, n, d), values (batch, 2 kv_heads, n, d_v),
    own_keys (batch, 2 kv_heads, r, d), own_values (batch, 2 kv_heads, r, d_v), factors in turn; heads a multiple of
    kv_heads. Memory: about three blocks of scores, of ``memory_bytes`` / 3 each but one row of pairs at least.

    Raises UsageError for factors whose shapes do not fit.
    """
    queries, *rest = (np.asarray(array, dtype=np.float64) for array in (queries, keys, values, own_keys, own_values))
    (k1, k2), (v1, v2), (own_k1, own_k2), (own_v1, own_v2) = (split(array) for array in rest)
    batch, heads, reads, _ = queries.shape
    answers = np.empty((batch, heads, reads, v1.shape[3]))
    for row, head in np.ndindex(batch, heads):
        at = row, head * k1.shape[1] // heads
        for some in _slices(reads, 8 * (k1.shape[2] + 1) ** 2, memory_bytes // 3):
            caches = _extended(k1[at], own_k1[at][some]), _extended(v1[at], own_v1[at][some])
            second = k2[at], v2[at], own_k2[at][some], own_v2[at][some]
            answers[row, head, some] = _attend(queries[row, head, some] * scale, caches, second, memory_bytes // 3)
    return answers


def tensor_reference_error(queries: Any, keys: Any, own_keys: Any, scale: float) -> float:
    """A proved bound on |`attend_tensor_reference` - exact answer| for values in [-1, 1] (theorem above); same shapes.

    Raises ValueError when there are too many tokens for the theorem (2^45).
    """
    queries, keys, own_keys = (np.asarray(array, dtype=np.float64) for array in (queries, keys, own_keys))
    tokens, head_dim = keys.shape[2] + 1, queries.shape[3]
    if (2 * tokens + 4) * UNIT >= 0.01:
        raise ValueError(f"{tokens} tokens are too many for the error bound (less than 2^45)")
    largest = [np.abs(x).max(axis=(0, 1, 2), initial=0.0) for x in (*split(keys), *split(own_keys))]
    products = np.maximum(largest[0], largest[2]) * np.maximum(largest[1], largest[3])
    score = abs(scale) * float((np.abs(queries) @ products).max(initial=0.0)) * (1 + 1e-9)
    spread: float = np.expm1(_gamma(head_dim + 2) * score + 4 * UNIT * score + 8 * UNIT)
    if spread >= 1:
        return 2.0  # no more than values in [-1, 1] can differ
    rounding = 4 * _gamma(2 * tokens + 4) + float(tokens) ** 2 * 2.0**-1000
    return float(2 * spread / (1 - spread) + rounding) * (1 + 2.0**-20)


def split(heads: Any) -> tuple[Any, Any]:
    """The two factors of (batch, 2 kv_heads, ...), each (batch, kv_heads, ...). Raises UsageError for an odd number."""
    if heads.shape[1] % 2:
        raise UsageError(f"{heads.shape[1]} factor heads: a tensor head is two of them, K1 and K2 (V1 and V2) in turn")
    return heads[:, 0::2], heads[:, 1::2]


def _attend(queries: Array, first: tuple[Array, Array], second: tuple[Array, ...], memory_bytes: int) -> Array:
    """Scaled queries (r, d), first factors (r, n + 1, .) with the own token, second ones and the own token's apart."""
    (k1, v1), (k2, v2, own_k2, own_v2) = first, second
    tokens = k1.shape[1]
    blocks = list(_slices(tokens, 8 * len(queries) * tokens, memory_bytes))

    def scores(block: slice) -> Array:
        turned = queries[:, None] * k1[:, block]
        return np.concatenate([turned @ k2.T, (turned @ own_k2[:, :, None])], axis=2)

    largest = np.max([scores(block).max(axis=(1, 2)) for block in blocks], axis=0)
    above, below = np.zeros((len(queries), v1.shape[2])), np.zeros(len(queries))
    for block in blocks:
        weights = scores(block)
        np.exp(np.subtract(weights, largest[:, None, None], out=weights), out=weights)
        inner = weights[:, :, :-1] @ v2 + weights[:, :, -1:] * own_v2[:, None]
        above += (inner * v1[:, block]).sum(axis=1)
        below += weights.sum(axis=2).sum(axis=1)
    quotient: Array = above / below[:, None]
    return quotient


def _extended(cached: Array, own: Array) -> Array:
    """The cached rows (n, dim) and, last, the own row of each reader (r, dim): (r, n + 1, dim)."""
    return np.concatenate([np.broadcast_to(cached, (len(own), *cached.shape)), own[:, None]], axis=1)


def _slices(count: int, each_bytes: int, memory_bytes: int) -> Iterator[slice]:
    step = max(1, memory_bytes // each_bytes)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _shape(name: str, rows: Sequence[Row]) -> tuple[int, int]:
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise UsageError(f"{name} has rows of {', '.join(map(str, sorted(lengths)))} entries: expected one length")
    return len(rows), max(lengths, default=0)


def _power(base: Fraction, score: int | Fraction) -> Fraction:
    exponent = Fraction(score)
    if exponent.denominator != 1:
        raise UsageError(f"a score of {exponent}: exact weights are base^score with an integer score")
    return base**exponent.numerator


def _gamma(operations: int) -> float:
    return operations * UNIT / (1 - operations * UNIT)
