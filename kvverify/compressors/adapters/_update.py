"""Drives any cache with transformers' interface, ``update(key_states, value_states, layer_idx) -> (keys, values)``.

The message is the cache object itself. An answer is what attention would get in one decoding step: the cache is copied
over the wire (deepcopy fails on some quantised tensors, a shallow copy shares what is written in place), one own token
is appended to the copy, and the keys and values that ``update`` hands back, less the own column, are what that step
sees: dequantised, whereas the first ``update`` of a quantised cache hands back its exact input. If another own token
leads to the same cached columns, all queries are answered in one batch, else each takes a step of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from kvverify.attention.softmax_torch import attend_with_own
from kvverify.compressors import wire
from kvverify.errors import Incomplete

if TYPE_CHECKING:
    from torch import Tensor

    from kvverify.compressors.protocol import Settings


class UpdateCache:
    """A cache of which layer 0 is under audit; ``allow`` are the modules that its message may name."""

    def __init__(self, settings: Settings, cache: Any) -> None:
        self.settings, self.cache = settings, cache
        home = type(cache).__module__.partition(".")[0]
        self.allow = tuple(dict.fromkeys((home, "transformers", "hqq", "optimum", "torch")))

    @property
    def residual_length(self) -> int:
        """The newest tokens that the cache says it keeps unquantised; 0 when it does not say."""
        holders = (self.cache, *getattr(self.cache, "layers", ()))
        return max(int(getattr(holder, "residual_length", 0)) for holder in holders)

    @torch.no_grad()
    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """One ``update`` with the whole chunk."""
        self.cache.update(keys.to(self.settings.device), values.to(self.settings.device), 0)

    def message(self) -> Any:
        """The cache."""
        return self.cache

    def load(self, message: Any) -> None:
        """Become that cache."""
        if type(message) is not type(self.cache):
            raise wire.WireError(f"message: a {type(message).__name__}, not a {type(self.cache).__name__}")
        self.cache = message

    @torch.no_grad()
    def attend(self, queries: Tensor, own_keys: Tensor, own_values: Tensor) -> Tensor:
        """Answer every query as in a decoding step of its own; shapes as in `Compressor.attend`."""
        device, reads = self.settings.device, queries.shape[2]
        queries, own_keys, own_values = (tensor.to(device) for tensor in (queries, own_keys, own_values))
        state = wire.encode(self.cache, self.allow)

        def answers(rows: slice, seen: tuple[Tensor, Tensor]) -> Tensor:
            own = own_keys[:, :, rows], own_values[:, :, rows]
            return attend_with_own(queries[:, :, rows], *seen, *own, self.settings.scale)

        def step(row: int) -> tuple[Tensor, Tensor]:
            return self._step(state, own_keys[:, :, row : row + 1], own_values[:, :, row : row + 1])

        first, last = step(0), step(reads - 1)
        if all(torch.equal(a, b) for a, b in zip(first, last, strict=True)):
            return answers(slice(reads), first)
        return torch.cat([answers(slice(row, row + 1), step(row)) for row in range(reads)], dim=2)

    def _step(self, state: bytes, own_key: Tensor, own_value: Tensor) -> tuple[Tensor, Tensor]:
        """Cached keys and values as one decoding step with this own token sees them."""
        keys, values = wire.decode(state, self.allow).update(own_key, own_value, 0)
        if not (torch.equal(keys[:, :, -1:], own_key) and torch.equal(values[:, :, -1:], own_value)):
            name = type(self.cache).__name__
            raise Incomplete(f"{name}.update does not hand the newest token back last; this adapter cannot drive it")
        return keys[:, :, :-1], values[:, :, :-1]
