"""The compressor protocol: two sides of one attention layer's KV cache, and nothing shared between them but settings.

Alice's side absorbs the stream and hands out a message; Bob's side is made from the settings and that message alone and
answers queries. Shapes follow the field: keys and values are ``(batch, kv_heads, tokens, dim)``, queries are
``(batch, heads, tokens, dim)`` with ``heads`` a multiple of ``kv_heads`` (grouped queries: query head ``h`` reads key
head ``h // (heads // kv_heads)``). A score is ``<q, k> * scale``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """The public shape of one layer: counts of heads, dimensions in scalars."""

    kv_heads: int
    heads: int
    key_dim: int
    value_dim: int
    batch: int = 1

    @property
    def group(self) -> int:
        """Query heads that read one key head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True)
class Settings:
    """All that both players know before the secret is drawn (free of charge in the count of bits).

    ``parameters`` are the compressor's own settings (``bits``, ``keep``, ...); ``seed`` is public randomness;
    ``scale`` multiplies the scores; ``dtype`` ("float32", "bfloat16") is what keys and values are fed in.
    """

    compressor: str
    shape: Shape
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    scale: float = 1.0
    dtype: str = "float32"
    device: str = "cpu"
    seed: int = 0


@runtime_checkable
class Compressor(Protocol):
    """One attention layer's compressed cache; a factory ``f(settings)`` of it is what the command line names."""

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Take the next chunk: ``(batch, heads, t, d_k)``, ``(batch, kv_heads, t, d_k)``, ``(..., t, d_v)``."""

    def message(self) -> Any:
        """The whole state, as plain containers of tensors and scalars; its encoding on the wire is what is counted."""

    def load(self, message: Any) -> None:
        """Become the state that ``message`` describes (called on a fresh object, in a fresh process)."""

    def attend(self, queries: Tensor, own_keys: Tensor, own_values: Tensor) -> Tensor:
        """Answer a batch of *independent* queries from the state at the cut, each with its own token appended.

        ``queries`` is ``(batch, heads, r, d_k)``, ``own_keys`` ``(batch, kv_heads, r, d_k)``, ``own_values``
        ``(batch, kv_heads, r, d_v)``: query j sees the cached tokens and own token j, no other own token.
        Returns ``(batch, heads, r, d_v)``. Must not change the state: asked twice, it answers the same.
        """


def claimed_bits(compressor: object) -> int | None:
    """Bits that a compressor says of itself (attribute or method ``claimed_bits``), or None when it claims nothing."""
    claim = getattr(compressor, "claimed_bits", None)
    value = claim() if callable(claim) else claim
    return None if value is None else int(value)


def residual_length(compressor: object) -> int:
    """Newest tokens that the compressor keeps unquantised (attribute ``residual_length``); 0 when it names none."""
    return int(getattr(compressor, "residual_length", 0))
