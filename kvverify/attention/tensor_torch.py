"""Tensor attention in torch: many independent readers of one cache with a token of their own each; and the three orders
of evaluating one new token, for the benchmark.

The readers' form is re-associated: per reader a matrix of (n + 1) x (n + 1) scores, (q o k1_i) . k2_l, the own token in
the last row and column; weights times V2 first, then V1. Product rows, n^2 d of them, are never formed (ours).
"""

from __future__ import annotations

import torch
from torch import Tensor

from kvverify.attention.tensor import MEMORY_BYTES, require_two_cache, same_factors, split


def attend_tensor_with_own(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    own_keys: Tensor,
    own_values: Tensor,
    scale: float,
    memory_bytes: int = MEMORY_BYTES,
) -> Tensor:
    """Answers ``(batch, heads, r, d_v)`` of independent queries, each with its own token: 2 n + 1 more pairs.

    ``queries`` (batch, heads, r, d); ``keys`` (batch, 2 kv_heads, n, d), ``values`` (batch, 2 kv_heads, n, d_v), heads
    2h and 2h + 1 the factors of tensor head h, n may be 0; ``own_keys`` (batch, 2 kv_heads, r, d), ``own_values``
    (batch, 2 kv_heads, r, d_v). Computes and answers in float32 (float64 when the queries are). Chunks of queries, and
    of first-factor rows where one query alone is more, keep temporary matrices within ``memory_bytes``.
    Raises UsageError for an odd number of factor heads.
    """
    dtype = torch.float64 if queries.dtype == torch.float64 else torch.float32
    (k1, k2), (v1, v2), (own_k1, own_k2), (own_v1, own_v2) = (
        split(each.to(dtype)) for each in (keys, values, own_keys, own_values)
    )
    batch, heads, reads, head_dim = queries.shape
    kv_heads, tokens, value_dim = k1.shape[1], k1.shape[2], v1.shape[3]
    grouped = queries.to(dtype).reshape(batch, kv_heads, heads // kv_heads, reads, head_dim) * scale
    answers = grouped.new_empty((batch, kv_heads, heads // kv_heads, reads, value_dim))
    row_bytes = grouped.element_size() * batch * heads * (3 * (tokens + 1) + 2 * (head_dim + value_dim))
    rows = max(1, min(tokens + 1, memory_bytes // row_bytes))
    step = max(1, memory_bytes // (row_bytes * (tokens + 1)))
    for start in range(0, reads, step):
        some = slice(start, start + step)
        own = [each[:, :, None, some] for each in (own_k1, own_k2, own_v1, own_v2)]
        answers[..., some, :] = _attend(grouped[..., some, :], (k1, k2, v1, v2), own, rows)
    return answers.view(batch, heads, reads, value_dim)


def _attend(queries: Tensor, caches: tuple[Tensor, ...], own: list[Tensor], rows: int) -> Tensor:
    """Queries (batch, kv_heads, group, r, d), caches (batch, kv_heads, n, .), own tokens (batch, kv_heads, 1, r, .).

    A running maximum over blocks of first-factor rows, so that a block of ``rows`` x (n + 1) scores is all there is;
    the own token's row as the first factor is the last block.
    """
    k1, k2, v1, v2 = caches
    own_k1, own_k2, own_v1, own_v2 = own
    shape = queries.shape[:-1]
    top = queries.new_full((*shape, 1), float("-inf"))
    below, above = torch.zeros_like(top), queries.new_zeros((*shape, v1.shape[-1]))
    blocks = [(each[:, :, None, None], v1[:, :, None, None, at : at + rows]) for at, each in _blocks(k1, rows)]
    for first_keys, first_values in (*blocks, (own_k1[..., None, :], own_v1[..., None, :])):
        turned = queries[..., None, :] * first_keys
        folded = turned.flatten(2, 4) @ k2.transpose(-1, -2)  # one product a head: k2 is not repeated for each reader
        cached = folded.view(*turned.shape[:5], k2.shape[2])
        scores = torch.cat([cached, turned @ own_k2[..., None]], dim=-1)
        highest = torch.maximum(top, scores.amax((-2, -1))[..., None])
        weights = scores.sub_(highest[..., None]).exp_()
        inner = (weights[..., :-1].flatten(2, 4) @ v2).view(*turned.shape[:5], v2.shape[3])
        inner = inner + weights[..., -1:] * own_v2[..., None, :]
        kept = (top - highest).exp()
        above = above * kept + (inner * first_values).sum(-2)
        below = below * kept + weights.sum((-2, -1))[..., None]
        top = highest
    return above / below


def _blocks(cache: Tensor, rows: int) -> list[tuple[int, Tensor]]:
    return [(at, cache[:, :, at : at + rows]) for at in range(0, cache.shape[2], rows)]


def four_cache(
    query: Tensor, k1: Tensor, k2: Tensor, v1: Tensor, v2: Tensor, scale: float, memory_bytes: int
) -> Tensor:
    """The naive order for one new token, query (d,), caches (n, d) and (n, d_v): product rows are formed, then used.

    First-factor rows are taken in blocks, so that the product rows that exist at one time fit in ``memory_bytes``; the
    scores, n^2 of them, come on top. Answer (d_v,). Raises UsageError for factors that do not fit.
    """
    same_factors(k1=k1.shape, k2=k2.shape, v1=v1.shape, v2=v2.shape)
    rows = max(1, memory_bytes // (k1.element_size() * len(k2) * max(k1.shape[1], v1.shape[1])))
    some = [slice(start, start + rows) for start in range(0, len(k1), rows)]
    scores = torch.cat([_products(k1[block], k2) @ query for block in some])
    weights = torch.softmax(scores * scale, dim=0).view(len(k1), len(k2))
    parts = [weights[block].flatten() @ _products(v1[block], v2) for block in some]
    return torch.stack(parts).sum(0)


def re_associated(query: Tensor, k1: Tensor, k2: Tensor, v1: Tensor, v2: Tensor, scale: float) -> Tensor:
    """The same answer without product rows: n^2 scores and n (d + 2 d_v) further numbers. Shapes as `four_cache`."""
    same_factors(k1=k1.shape, k2=k2.shape, v1=v1.shape, v2=v2.shape)
    scores = (k1 * query) @ k2.T
    weights = torch.softmax(scores.flatten() * scale, dim=0).view_as(scores)
    return ((weights @ v2) * v1).sum(0)


class TwoCache:
    """The product rows themselves, as many as ``tokens`` can make; a new token forms its 2 n - 1 rows.

    They are laid out by the larger of the two indices, so that a new token's rows stand together. The new rows take all
    factors seen so far: ``append`` reads them, so the four small caches are kept as well.
    Raises UsageError where the product rows of ``tokens`` are more than ``memory_bytes``.
    """

    def __init__(self, tokens: int, head_dim: int, value_dim: int, memory_bytes: int = MEMORY_BYTES) -> None:
        require_two_cache(tokens, head_dim, value_dim, 4, memory_bytes)
        self.keys, self.values = torch.empty(tokens**2, head_dim), torch.empty(tokens**2, value_dim)
        self.tokens = 0

    def append(self, k1: Tensor, k2: Tensor, v1: Tensor, v2: Tensor) -> None:
        """Form the rows of the last token of the factor caches (n, .): pairs (n-1, l), then pairs (i, n-1), i < n-1."""
        last = self.tokens
        same_factors(k1=k1.shape, k2=k2.shape, v1=v1.shape, v2=v2.shape)
        for rows, first, second in ((self.keys, k1, k2), (self.values, v1, v2)):
            at, middle, end = last**2, last**2 + last + 1, (last + 1) ** 2
            torch.mul(second[: last + 1], first[last], out=rows[at:middle])
            torch.mul(first[:last], second[last], out=rows[middle:end])
        self.tokens += 1

    def attend(self, query: Tensor, scale: float) -> Tensor:
        """The answer (d_v,) for one query (d,) over all pairs."""
        seen = self.tokens**2
        return torch.softmax((self.keys[:seen] @ query) * scale, dim=0) @ self.values[:seen]


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Row products of two matrices, (rows of first * rows of second, dim)."""
    return (first[:, None] * second[None]).flatten(0, 1)
