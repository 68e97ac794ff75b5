"""Softmax attention for many independent readers of one cache: each query sees the cached tokens and its own token.

Query j and its own token (k_j, v_j) would make a cache of its own; here it costs one plain attention pass, in one of
two exact ways (ours). The kernel for CPUs gives beside the answer a_j of the cached tokens the logarithm L_j of their
weights' sum: the own token's share is w_j = 1 / (1 + exp(L_j - s_j)), s_j its score, and the answer a_j + w_j (v_j -
a_j). On any other device the cache gets one more token for all of them, in one more dimension: cached keys are extended
by 0 and the extra key is (0, ..., 0, 1), so that a query extended by the number <q_j, k_j> scores <q_j, k_j> there;
cached values are extended by 0 and the extra value is (0, ..., 0, 1), so that the last coordinate of the answer is w_j.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

if TYPE_CHECKING:
    from collections.abc import Callable

    Pass = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], object]

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
    over = _by_normaliser if queries.device.type == "cpu" else _by_extra_token
    attend = over(keys.to(dtype), values.to(dtype), scale)
    queries = queries.reshape(batch, kv_heads, group, reads, key_dim)
    answers = queries.new_empty((batch, kv_heads, group, reads, value_dim), dtype=dtype)
    largest = chunk or chunk_queries(tokens, heads, key_dim, value_dim, batch)
    step = -(-reads // -(-reads // largest)) if reads else 1  # chunks of one size: short ones are slow
    for start in range(0, reads, step):
        own = slice(start, start + step)
        own_key, own_value = (side[:, :, None, own].to(dtype) for side in (own_keys, own_values))
        attend(queries[..., own, :].to(dtype), own_key, own_value, answers[..., own, :])
    return answers.view(batch, heads, reads, value_dim)


def _by_normaliser(keys: torch.Tensor, values: torch.Tensor, scale: float) -> Pass:
    """A pass over that cache: of queries (batch, kv_heads, group, r, d_k) with own tokens (batch, kv_heads, 1, r, ...),
    into ``answers`` (batch, kv_heads, group, r, d_v)."""
    value_dim, width = values.shape[3], max(keys.shape[3], values.shape[3])
    keys, values = (_wide(side, width) for side in (keys, values))
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def attend(
        queries: torch.Tensor, own_keys: torch.Tensor, own_values: torch.Tensor, answers: torch.Tensor
    ) -> object:
        if not keys.shape[2]:
            return answers.copy_(own_values)
        found, logs = attention(_wide(queries, width).flatten(2, 3), keys, values, scale=scale)
        found, logs = (side.reshape(*queries.shape[:4], *side.shape[3:]) for side in (found, logs))
        share = torch.sigmoid(_score(queries, own_keys).mul_(scale).sub_(logs))
        return torch.lerp(found[..., :value_dim], own_values, share[..., None], out=answers)

    return attend


def _by_extra_token(keys: torch.Tensor, values: torch.Tensor, scale: float) -> Pass:
    """The same on any device."""
    key_dim, value_dim = keys.shape[3], values.shape[3]
    width = _width(key_dim, value_dim)
    keys, values = (_extended(side, width) for side in (keys, values))

    def attend(
        queries: torch.Tensor, own_keys: torch.Tensor, own_values: torch.Tensor, answers: torch.Tensor
    ) -> object:
        extended = _wide(queries, width)
        extended[..., key_dim] = _score(queries, own_keys)
        found = scaled_dot_product_attention(extended.flatten(2, 3), keys, values, scale=scale)
        found = found.reshape(*queries.shape[:4], width)
        return torch.addcmul(found[..., :value_dim], found[..., value_dim : value_dim + 1], own_values, out=answers)

    return attend


def _score(queries: torch.Tensor, own_keys: torch.Tensor) -> torch.Tensor:
    return torch.einsum("...d,...d->...", queries, own_keys)


def _wide(vectors: torch.Tensor, width: int) -> torch.Tensor:
    """With zeros behind, up to that width."""
    return vectors if vectors.shape[-1] == width else pad(vectors, (0, width - vectors.shape[-1]))


def _width(key_dim: int, value_dim: int) -> int:
    """Keys and values in one width, the own token's coordinate included; fused kernels want multiples of 8."""
    return -(-(max(key_dim, value_dim) + 1) // 8) * 8


def _extended(cached: torch.Tensor, width: int) -> torch.Tensor:
    """The cached vectors with zeros behind, and after them the own tokens' unit vector."""
    extended = pad(cached, (0, width - cached.shape[3], 0, 1))
    extended[:, :, -1, cached.shape[3]] = 1
    return extended
