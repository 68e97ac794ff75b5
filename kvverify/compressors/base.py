"""The base of native compressors: a state of named tensors that grow along the token axis.

A subclass says how a chunk enters the state (``absorb``) and which keys and values attention sees (``read``); message,
loading and batched decoding come with it. Tensors are laid out (batch, kv_heads, tokens, ...).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch

from kvverify.attention.softmax_torch import attend_with_own
from kvverify.attention.tensor_torch import attend_tensor_with_own
from kvverify.compressors.parameters import complete
from kvverify.compressors.protocol import FACTORS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from kvverify.compressors.parameters import Parameter, Value
    from kvverify.compressors.protocol import Settings

_ATTEND: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]] = {
    "softmax": attend_with_own,
    "visual": attend_with_own,
    "tensor": attend_tensor_with_own,
}


class StoredCache(ABC):
    """A cache whose whole state is ``self.state``, tensors by name."""

    parameters: ClassVar[tuple[Parameter, ...]] = ()
    attention: ClassVar[tuple[str, ...]] = tuple(FACTORS)

    def __init__(self, settings: Settings) -> None:
        options = complete(settings.compressor, self.parameters, settings.parameters)
        self.settings = replace(settings, parameters=options)
        self.options: Mapping[str, Value] = options
        self.state: dict[str, Tensor] = {}

    @abstractmethod
    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Take the next chunk of the stream, shapes as in `Compressor.absorb`."""

    @abstractmethod
    def read(self) -> tuple[Tensor, Tensor]:
        """Keys (batch, kv_heads, n, d_k) and values (batch, kv_heads, n, d_v) as attention sees them."""

    def message(self) -> dict[str, Tensor]:
        """The state, tensors by name."""
        return dict(self.state)

    def load(self, message: Mapping[str, Tensor]) -> None:
        """Become the state of that message, on the device of the settings."""
        self.state = {name: tensor.to(self.settings.device) for name, tensor in message.items()}

    def attend(self, queries: Tensor, own_keys: Tensor, own_values: Tensor) -> Tensor:
        """Answer every query from the state and its own token: shapes as in `Compressor.attend`."""
        device, scale = self.settings.device, self.settings.scale
        queries, own_keys, own_values = (tensor.to(device) for tensor in (queries, own_keys, own_values))
        return _ATTEND[self.settings.attention](queries, *self.read(), own_keys, own_values, scale)

    def append(self, **chunks: Tensor) -> None:
        """Add to the named tensors along the token axis; copies, so that no view keeps the stream alive."""
        for name, chunk in chunks.items():
            chunk = chunk.to(self.settings.device)
            self.state[name] = torch.cat([self.state[name], chunk], dim=2) if name in self.state else chunk.clone()

    def pair(self, keys: str = "keys", values: str = "values") -> tuple[Tensor, Tensor]:
        """Two tensors of the state that hold keys and values as they are; no tokens before the first chunk."""
        layout = self.settings.shape
        return self.state.get(keys, self.empty(layout.key_dim)), self.state.get(values, self.empty(layout.value_dim))

    def empty(self, dim: int) -> Tensor:
        """No tokens: (batch, kv_heads, 0, dim)."""
        layout = self.settings.shape
        return torch.empty((layout.batch, layout.kv_heads, 0, dim), device=self.settings.device)

    def scalars_bits(self, tokens: int, bits_per_scalar: int) -> int:
        """Bits of keys and values of that many tokens of every head."""
        layout = self.settings.shape
        return tokens * bits_per_scalar * layout.batch * layout.kv_heads * (layout.key_dim + layout.value_dim)
