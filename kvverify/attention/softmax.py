"""Softmax attention in float64, slowly and with a proved error bound: what a referee compares fast answers with.

Theorem (ours; standard rounding analysis, Higham 2002, chapters 3 and 4). u = 2^-53, N columns, key dimension d,
g(m) = m u / (1 - m u), S >= |scale| |q| |k| for every pair (Euclidean norms), values in [-1, 1]. Assume that exp is
good to 4 ulp and N u < 0.01. Then `attend_reference` is within 2 t / (1 - t) + 4 g(N + 1) + N 2^-1000 of the exact
answer, where t = e^a - 1 and a = g(d + 1) S + 4 u S + 8 u.
Proof. A computed score is off by at most g(d + 1) S, in whatever order the products are added. The largest computed
score of the row, whatever it is, is a common factor of all weights and cancels in the quotient; subtracting it rounds
by at most u (2 S)(1 + g) <= 4 u S. With exp's own 8 u, every weight is a common factor times its exact value times
1 + t', |t'| <= t. Relative weights move an average of values from an interval of length 2 by at most
2 t / (1 - t). Numerator and denominator are sums of N non-negative weights (times values of size at most 1), off by
g(N + 1) of the sum of the weights each, the division by u: together below 4 g(N + 1). Weights that underflow are lost,
each below 2^-1000 of the largest, which is 1. The bound itself is enlarged by 2^-20 of its size for its own rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

UNIT = 2.0**-53


def attend_reference(queries: Any, keys: Any, values: Any, own_keys: Any, own_values: Any, scale: float) -> Array:
    """Answers (batch, heads, r, d_v), float64, of queries (batch, heads, r, d_k) that each see all cached tokens and
    their own: keys (batch, kv_heads, n, d_k), values (batch, kv_heads, n, d_v), own_keys (batch, kv_heads, r, d_k),
    own_values (batch, kv_heads, r, d_v). Memory: one matrix of r x (n + 1) doubles.
    """
    queries, keys, values, own_keys, own_values = (
        np.asarray(array, dtype=np.float64) for array in (queries, keys, values, own_keys, own_values)
    )
    batch, heads, reads, _ = queries.shape
    group = heads // keys.shape[1]
    answers = np.empty((batch, heads, reads, values.shape[3]))
    for row, head in np.ndindex(batch, heads):
        at = row, head // group
        query = queries[row, head]
        scores = np.column_stack([query @ keys[at].T, np.einsum("rd,rd->r", query, own_keys[at])]) * scale
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        totals = weights[:, :-1] @ values[at] + weights[:, -1:] * own_values[at]
        answers[row, head] = totals / weights.sum(axis=1, keepdims=True)
    return answers


def reference_error(queries: Any, keys: Any, own_keys: Any, scale: float) -> float:
    """A proved bound on |`attend_reference` - exact attention| for values in [-1, 1] (theorem above); same shapes.

    Raises ValueError when there are too many columns for the theorem (2^46).
    """
    queries, keys, own_keys = (np.asarray(array, dtype=np.float64) for array in (queries, keys, own_keys))
    columns, key_dim = keys.shape[2] + 1, queries.shape[3]
    if columns * UNIT >= 0.01:
        raise ValueError(f"{columns} columns are too many for the error bound (less than 2^46)")
    largest_key = max(_norm(keys), _norm(own_keys))
    score = abs(scale) * _norm(queries) * largest_key * (1 + 1e-9)
    spread: float = np.expm1(_gamma(key_dim + 1) * score + 4 * UNIT * score + 8 * UNIT)
    if spread >= 1:
        return 2.0  # no more than values in [-1, 1] can differ
    return float(2 * spread / (1 - spread) + 4 * _gamma(columns + 1) + columns * 2.0**-1000) * (1 + 2.0**-20)


def _gamma(operations: int) -> float:
    return operations * UNIT / (1 - operations * UNIT)


def _norm(vectors: Array) -> float:
    """The largest Euclidean norm along the last axis, not rounded down by more than the caller's margin."""
    return float(np.sqrt((vectors * vectors).sum(axis=-1)).max(initial=0.0))
