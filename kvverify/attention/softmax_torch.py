"""Softmax attention for many independent readers of one cache: each query sees the cached tokens and its own token.

Query j and its own token (k_j, v_j) would make a cache of its own. Instead of one column per query the cache gets one
more token for all of them, in one more dimension: cached keys are extended by 0 and the extra key is (0, ..., 0, 1), so
that a query extended by the number <q_j, k_j> scores <q_j, k_j> there; cached values are extended by 0 and the extra
value is (0, ..., 0, 1), so that the last coordinate of the answer is the weight of the own token. The answer is then
the first coordinates plus that weight times v_j: exact, and one plain attention pass on any device (ours).
"""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

MEMORY_BYTES = 1 << 28
"""Default bound on what one chunk of queries allocates."""


def chunk_queries(
    tokens: int, heads: int, key_dim: int, value_dim: int, batch: int = 1, memory_bytes: int = MEMORY_BYTES
) -> int:
    """Queries per chunk, at least 1, so that a chunk allocates at most ``memory_bytes`` beside the padded cache.

    Counted in float32: a padded query, a padded answer, and a row of scores, which fused kernels do not even store.
    """
    row_bytes = 4 * batch * heads * (2 * _width(key_dim, value_dim) + tokens + 1)
    return max(1, memory_bytes // row_bytes)


def attend_with_own(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    own_keys: torch.Tensor,
    own_values: torch.Tensor,
    scale: float,
    chunk: int | None = None,
) -> torch.Tensor:
    """Answers ``(batch, heads, r, d_v)`` of independent queries, each with its own token as one more column.

    ``queries`` (batch, heads, r, d_k); ``keys`` (batch, kv_heads, n, d_k), ``values`` (batch, kv_heads, n, d_v), n may
    be 0; ``own_keys`` (batch, kv_heads, r, d_k), ``own_values`` (batch, kv_heads, r, d_v). Computes and answers in
    float32 (float64 when the queries are), whatever dtype the cache has: its rounding is audited, not ours.
    ``chunk`` is a number of queries; None takes `chunk_queries`.
    """
    batch, heads, reads, key_dim = queries.shape
    kv_heads, tokens, value_dim = keys.shape[1], keys.shape[2], values.shape[3]
    group = heads // kv_heads
    dtype = torch.float64 if queries.dtype == torch.float64 else torch.float32
    width = _width(key_dim, value_dim)
    padded_keys = _extended(keys, width, dtype)
    padded_values = _extended(values, width, dtype)
    queries = queries.reshape(batch, kv_heads, group, reads, key_dim)
    answers = queries.new_empty((batch, kv_heads, group, reads, value_dim), dtype=dtype)
    largest = chunk or chunk_queries(tokens, heads, key_dim, value_dim, batch)
    step = -(-reads // -(-reads // largest)) if reads else 1  # chunks of one size: short ones are slow
    for start in range(0, reads, step):
        own = slice(start, start + step)
        own_key, own_value = own_keys[:, :, None, own].to(dtype), own_values[:, :, None, own].to(dtype)
        rows = own_key.shape[3]
        query = queries.new_zeros((batch, kv_heads, group, rows, width), dtype=dtype)
        query[..., :key_dim] = queries[..., own, :]
        query[..., key_dim] = torch.einsum("...d,...d->...", query[..., :key_dim], own_key)
        folded = query.view(batch, kv_heads, group * rows, width)
        answer = scaled_dot_product_attention(folded, padded_keys, padded_values, scale=scale)
        answer = answer.reshape(batch, kv_heads, group, rows, width)
        weight = answer[..., value_dim : value_dim + 1]
        answers[..., own, :] = torch.addcmul(answer[..., :value_dim], weight, own_value)
    return answers.view(batch, heads, reads, value_dim)


def _width(key_dim: int, value_dim: int) -> int:
    """Keys and values in one width, the own token's coordinate included; fused kernels want multiples of 8."""
    return -(-(max(key_dim, value_dim) + 1) // 8) * 8


def _extended(cached: torch.Tensor, width: int, dtype: torch.dtype) -> torch.Tensor:
    """The cached vectors with zeros behind, and after them the own tokens' unit vector."""
    batch, heads, tokens, dim = cached.shape
    extended = cached.new_zeros((batch, heads, tokens + 1, width), dtype=dtype)
    extended[:, :, :tokens, :dim] = cached
    extended[:, :, tokens, dim] = 1
    return extended
