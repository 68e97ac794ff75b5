"""Drives any cache with transformers' interface, ``update(key_states, value_states, layer_idx) -> (keys, values)``.

The message is the cache object itself. An answer is what attention would get in one decoding step: the cache is copied
over the wire (deepcopy fails on some quantised tensors, a shallow copy shares what is written in place), one own token
is appended to the copy, and the keys and values that ``update`` hands back are what that step sees: dequantised,
whereas the first ``update`` of a quantised cache hands back its exact input. The last column is the own token, exact or
as the cache has quantised it. If the first and the last own token lead to the same cached columns, all queries are
answered in one batch, else each takes a step of its own.
"""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from kvverify.attention.softmax_torch import attend_with_own
from kvverify.compressors import wire
from kvverify.errors import Incomplete, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kvverify.compressors.protocol import Settings

_RESIDUALS = ("residual_length", "residual_len", "fp16_window")
"""Names under which caches say how many of the newest tokens they keep as they are."""


class UpdateCache:
    """A cache of which layer 0 is under audit; ``allow`` are the modules that its message may name.

    They are those of its classes, and ``home``, the module of the factory that made it.
    """

    def __init__(self, settings: Settings, cache: Any, home: str = "torch") -> None:
        self.settings, self.cache = settings, cache
        homes = (base.__module__.partition(".")[0] for base in type(cache).__mro__[:-1])
        self.allow = tuple(dict.fromkeys((*homes, home, "transformers", "hqq", "optimum", "torch")))

    @property
    def residual_length(self) -> int:
        """The newest tokens that the cache says it keeps unquantised; 0 when it does not say."""
        holders = (self.cache, *getattr(self.cache, "layers", ()))
        return max(int(getattr(holder, name, 0) or 0) for holder in holders for name in _RESIDUALS)

    @torch.no_grad()
    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """One ``update`` with the whole chunk."""
        self.update(self.cache, keys.to(self.settings.device), values.to(self.settings.device))

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

        def answers(rows: slice, seen: Seen) -> Tensor:
            return attend_with_own(queries[:, :, rows], *seen, self.settings.scale)

        def step(rows: slice) -> Seen:
            return self._step(state, own_keys[:, :, rows], own_values[:, :, rows])

        ends = slice(0, 1), slice(reads - 1, reads)
        first, last = (step(rows) for rows in ends)
        if _equal(first.keys, last.keys) and _equal(first.values, last.values):
            exact = Seen(first.keys, first.values, own_keys, own_values)
            if all(exact.agrees(rows, seen) for rows, seen in zip(ends, (first, last), strict=True)):
                return answers(slice(reads), exact)
            together = step(slice(reads))
            if all(together.agrees(rows, seen) for rows, seen in zip(ends, (first, last), strict=True)):
                return answers(slice(reads), together)
        return torch.cat([answers(rows, step(rows)) for rows in (slice(row, row + 1) for row in range(reads))], dim=2)

    def _step(self, state: bytes, own_keys: Tensor, own_values: Tensor) -> Seen:
        """What one call of ``update`` with these own tokens hands back, on a copy of the state."""
        seen = self._update(state, own_keys, own_values)
        if not _equal(seen.own_keys, own_keys) and own_keys.shape[2] == 1:
            opposite = self._update(state, -own_keys, own_values)
            if _inner(seen.own_keys, own_keys) <= 0 or _inner(opposite.own_keys, own_keys) >= 0:
                name = type(self.cache).__name__
                raise Incomplete(f"{name}.update does not hand the newest token back last: it cannot be driven")
        return seen

    def _update(self, state: bytes, own_keys: Tensor, own_values: Tensor) -> Seen:
        tokens = own_keys.shape[2]
        keys, values = self.update(wire.decode(state, self.allow), own_keys, own_values)
        return Seen(keys[:, :, :-tokens], values[:, :, :-tokens], keys[:, :, -tokens:], values[:, :, -tokens:])

    def update(self, cache: Any, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Call the cache's ``update`` for layer 0; what it hands back ends with the newest token."""
        seen: tuple[Tensor, Tensor] = cache.update(keys, values, 0)
        return seen


class Seen(NamedTuple):
    """What a decoding step attends to: cached keys and values (batch, kv_heads, n, dim), own tokens (..., r, dim)."""

    keys: Tensor
    values: Tensor
    own_keys: Tensor
    own_values: Tensor

    def agrees(self, rows: slice, one: Seen) -> bool:
        """Whether these rows of it are what the step ``one`` saw."""
        mine = (self.keys, self.values, self.own_keys[:, :, rows], self.own_values[:, :, rows])
        return all(_equal(a, b) for a, b in zip(mine, one, strict=True))


def _equal(one: Tensor, other: Tensor) -> bool:
    """Equal numbers, whatever the dtypes."""
    return one.shape == other.shape and bool((one == other).all())


def _inner(one: Tensor, other: Tensor) -> float:
    return float((one.float() * other.float()).sum())


def construct(factory: Callable[..., Any], settings: Settings) -> Any:
    """A cache from its class: settings by keyword, and what the shape decides where the class asks for it by name.

    Filled in unless given: ``config`` (a LlamaConfig of one layer), ``head_dim``, ``num_hidden_layers``, ``num_layers``
    and ``device``. Raises UsageError for a setting that the class does not have, or one that is missing.
    """
    names = inspect.signature(factory).parameters
    if any(name not in names for name in settings.parameters) and not _takes_any(names):
        unknown = next(name for name in settings.parameters if name not in names)
        raise UsageError(f"{settings.compressor} has no setting {unknown!r}; it has {', '.join(names) or 'none'}")
    given = {name: _literal(str(text)) for name, text in settings.parameters.items()}
    fill = {"head_dim": settings.shape.key_dim, "num_hidden_layers": 1, "num_layers": 1, "device": settings.device}
    given = {**{name: value for name, value in fill.items() if name in names}, **given}
    if "config" in names and "config" not in given:
        given["config"] = config(settings)
    missing = [
        name
        for name, one in names.items()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) and name not in given
    ]
    if missing:
        raise UsageError(f"{settings.compressor} needs {', '.join(missing)}: give --set, or write a factory in a file")
    return factory(**given)


def config(settings: Settings, **more: Any) -> Any:
    """transformers' configuration of one attention layer of the settings' shape."""
    from transformers import LlamaConfig

    shape = settings.shape
    return LlamaConfig(
        hidden_size=shape.heads * shape.key_dim,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.key_dim,
        num_hidden_layers=1,
        **more,
    )


def _takes_any(names: Mapping[str, inspect.Parameter]) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in names.values())


def _literal(text: str) -> Any:
    """A number, True, False or None where the text is one; else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
