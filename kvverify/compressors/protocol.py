"""The compressor protocol: two sides of one attention layer's KV cache, and nothing shared between them but settings.

Alice's side absorbs the stream and hands out a message; Bob's side is made from the settings and that message alone and
answers queries. Shapes follow the field: keys and values are ``(batch, kv_heads, tokens, dim)``, queries are
``(batch, heads, tokens, dim)`` with ``heads`` a multiple of ``kv_heads`` (grouped queries: query head ``h`` reads key
head ``h // (heads // kv_heads)``). A score is ``<q, k> * scale``.

Tensor attention has two factors of keys and of values. There ``kv_heads`` counts factor heads: 2h and 2h + 1 hold K1
and K2, V1 and V2 of tensor head h; and ``heads`` counts each query head once for either factor, so what goes into
`absorb` has the shapes above, while `attend` gets and answers queries ``(batch, heads / 2, r, d_k)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


FACTORS = {"softmax": 1, "visual": 1, "tensor": 2}
"""Every kind of attention, and how many factor heads of the stream make one of its heads.

Visual attention is softmax attention over the tokens of a pyramid of maps, which come scale by scale.
"""
SOFTMAX = tuple(kind for kind, factors in FACTORS.items() if factors == 1)
"""The kinds whose answers are a softmax over the cached tokens."""


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
    ``scale`` multiplies the scores; ``dtype`` ("float32", "bfloat16") is what keys and values are fed in; ``attention``
    is one of FACTORS.
    """

    compressor: str
    shape: Shape
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    scale: float = 1.0
    dtype: str = "float32"
    device: str = "cpu"
    seed: int = 0
    attention: str = "softmax"

    @property
    def factors(self) -> int:
        """Factor heads of the stream that make one head of this attention."""
        return FACTORS[self.attention]

    @property
    def answer_heads(self) -> int:
        """Heads of the queries that `Compressor.attend` gets, and of its answers."""
        return self.shape.heads // self.factors


@runtime_checkable
class Compressor(Protocol):
    """One attention layer's compressed cache; a factory ``f(settings)`` of it is what the command line names.

    A factory's attribute ``attention`` names the kinds that it answers, unless these are SOFTMAX.
    """

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Take the next chunk: ``(batch, heads, t, d_k)``, ``(batch, kv_heads, t, d_k)``, ``(..., t, d_v)``."""

    def message(self) -> Any:
        """The whole state, as plain containers of tensors and scalars; its encoding on the wire is what is counted."""

    def load(self, message: Any) -> None:
        """Become the state that ``message`` describes (called on a fresh object, in a fresh process)."""

    def attend(self, queries: Tensor, own_keys: Tensor, own_values: Tensor) -> Tensor:
        """Answer a batch of *independent* queries from the state at the cut, each with its own token appended.

        ``queries`` is ``(batch, heads, r, d_k)``, ``own_keys`` ``(batch, kv_heads, r, d_k)``, ``own_values``
        ``(batch, kv_heads, r, d_v)``: query j sees the cached tokens and own token j, no other own token. Under tensor
        attention there are ``heads / 2`` of them, and the own token makes pairs with every cached one and with itself.
        Returns ``(batch, heads, r, d_v)``, ``heads`` as in ``queries``. Must not change the state: asked twice, it
        answers the same.
        """


def claimed_bits(compressor: object) -> int | None:
    """Bits that a compressor says of itself (attribute or method ``claimed_bits``), or None when it claims nothing."""
    claim = getattr(compressor, "claimed_bits", None)
    value = claim() if callable(claim) else claim
    return None if value is None else int(value)


def residual_length(compressor: object) -> int:
    """Newest tokens that the compressor keeps unquantised (attribute ``residual_length``); 0 when it names none."""
    return int(getattr(compressor, "residual_length", 0))
