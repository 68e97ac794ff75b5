"""kvpress's presses (KV cache compression by hooks on attention layers), driven without a language model.

Needs ``pip install 'kvverify[presses]'``. A press hooks into the attention layers of a Llama without weights
(`_selection_model`), is fed the stream as its hidden states, and decides by its own code what stays in the cache. The
message is the layer's cache, the indices that the press left on the attention module (masked keys stay allocated, and
attention must know them), and what it buffers for the layer. Importing kvpress replaces transformers' attention
functions: it is imported in a player's process only.
"""

from __future__ import annotations

import importlib.metadata
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch

from kvverify.attention.softmax_torch import attend_with_own
from kvverify.compressors.adapters._presses import DECODING, INTERVAL, NEEDS_WEIGHTS, NOT_DRIVEN, PRESSES
from kvverify.compressors.adapters._selection_model import hidden_states, selection_model
from kvverify.compressors.parameters import choice, complete, rational
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from kvverify.compressors.protocol import Settings


class PressedLayer:
    """One layer's cache under a press; ``together`` makes all layers of one model, for presses that compare layers."""

    parameters = (choice("press", *PRESSES, *NOT_DRIVEN), rational("compression_ratio", "1/2", 0, 1))
    allow = ("transformers", "kvpress", "torch")

    def __init__(self, settings: Settings, model: PressedModel | None = None, layer: int = 0) -> None:
        self.settings, self.index = settings, layer
        self.model = model or pressed_model(settings, 1)
        self.seen = 0

    @classmethod
    def together(cls, settings: Settings, layers: int) -> tuple[PressedLayer, ...]:
        """The layers of one model under one press."""
        model = pressed_model(settings, layers)
        return tuple(cls(settings, model, layer) for layer in range(layers))

    @property
    def residual_length(self) -> int:
        """Not 0 for a press that evicts while decoding, so that the default schedule has steps for it."""
        return 2 * INTERVAL if self.model.name in DECODING else 0

    @torch.no_grad()
    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """One pass of the attention layer over the chunk. Raises UsageError without queries, or for d_k != d_v."""
        if queries is None or keys.shape[3] != values.shape[3]:
            given = "no queries" if queries is None else f"key_dim={keys.shape[3]}, value_dim={values.shape[3]}"
            raise UsageError(f"kvpress: {given} given; an attention layer needs queries, and one head dimension")
        # The module divides scores by sqrt(d), as presses do that compute them again.
        scaled = queries * (self.settings.scale * keys.shape[3] ** 0.5)
        hidden = hidden_states(scaled, keys, values).to(self.settings.device)
        self.model.forward(self.index, hidden, self.seen)
        self.seen += keys.shape[2]

    def message(self) -> dict[str, Any]:
        """The cache of the layer, masked keys, and what the press buffers for it."""
        return {
            "cache": self.model.cache.layers[self.index],
            "masked": self.model.masked(self.index),
            "press": _buffers(self.model.press, self.index),
            "seen": self.seen,
        }

    def load(self, message: dict[str, Any]) -> None:
        """Become that state. The press's buffers play no part in answers, and are not taken over."""
        self.model.cache.layers[self.index] = message["cache"]
        self.model.attention(self.index).masked_key_indices = message["masked"]
        self.seen = message["seen"]

    @torch.no_grad()
    def attend(self, queries: Tensor, own_keys: Tensor, own_values: Tensor) -> Tensor:
        """Answer every query as in a decoding step of its own; shapes as in `Compressor.attend`.

        kvpress gives a masked key a place far away from every query of the step, so that its weight is 0; here it is
        left out, head by head (tests compare the two).
        """
        queries, own_keys, own_values = (side.to(self.settings.device) for side in (queries, own_keys, own_values))
        layer, masked = self.model.cache.layers[self.index], self.model.masked(self.index)
        if masked is None:
            return attend_with_own(queries, layer.keys, layer.values, own_keys, own_values, self.settings.scale)
        kept = torch.ones(layer.keys.shape[:3], dtype=torch.bool, device=queries.device)
        kept[tuple(indices.to(queries.device) for indices in masked)] = False
        answers = torch.empty((*queries.shape[:3], own_values.shape[3]), device=queries.device)
        group = self.settings.shape.group
        for batch in range(kept.shape[0]):
            for head in range(kept.shape[1]):
                one = slice(batch, batch + 1), slice(head, head + 1)
                readers = one[0], slice(head * group, (head + 1) * group)
                keys, values = (side[one][:, :, kept[batch, head]] for side in (layer.keys, layer.values))
                own = own_keys[one], own_values[one]
                answers[readers] = attend_with_own(queries[readers], keys, values, *own, self.settings.scale)
        return answers


@dataclass
class PressedModel:
    """A model without weights, the press on it, and the cache of all its layers."""

    name: str
    press: Any
    model: Any
    cache: Any
    hooks: ExitStack

    def attention(self, layer: int) -> Any:
        """The attention module of a layer."""
        return self.model.model.layers[layer].self_attn

    def masked(self, layer: int) -> Any:
        """(batch, head, token) indices of masked keys, or None."""
        return getattr(self.attention(layer), "masked_key_indices", None)

    def forward(self, layer: int, hidden: Tensor, seen: int) -> Tensor:
        """The layer's answers (batch, tokens, width) to ``hidden`` (batch, tokens, width), after ``seen`` tokens."""
        tokens = hidden.shape[1]
        positions = torch.arange(seen, seen + tokens, device=hidden.device)
        cached = self.cache.get_seq_length(layer)
        mask = torch.full((tokens, cached + tokens), float("-inf"), dtype=hidden.dtype, device=hidden.device)
        answers, _ = self.attention(layer)(
            hidden_states=hidden,
            position_embeddings=self.model.model.rotary_emb(hidden, positions[None]),
            attention_mask=mask.triu(cached + 1)[None, None],
            past_key_values=self.cache,
            cache_position=positions,
            position_ids=positions[None],
        )
        return answers  # type: ignore[no-any-return]


def pressed_model(settings: Settings, layers: int) -> PressedModel:
    """A fresh model with its press. Raises UsageError for a press or a version that cannot be driven."""
    options = complete("kvpress", PressedLayer.parameters, settings.parameters)
    name, ratio = str(options["press"]), float(Fraction(str(options["compression_ratio"])))
    if name in NOT_DRIVEN:
        raise UsageError(f"kvpress: {name} cannot be driven without a trained model: {NOT_DRIVEN[name]}")
    kvpress = _kvpress()
    from transformers import DynamicCache

    torch.manual_seed(settings.seed % (1 << 63))  # presses draw their sketches from the global generator: public coins
    press = PRESSES[name](kvpress, ratio, layers, settings.seed % (1 << 31))
    model = selection_model(settings, layers, eager=name in NEEDS_WEIGHTS)
    hooks = ExitStack()
    hooks.enter_context(press(model))
    return PressedModel(name, press, model, DynamicCache(config=model.config), hooks)


def _kvpress() -> Any:
    try:
        import kvpress
    except ImportError as error:
        raise UsageError(f"kvpress: {error}; pip install 'kvverify[presses]'") from error
    version = importlib.metadata.version("kvpress")
    if not version.startswith("0.5."):
        raise UsageError(f"kvpress: version {version} is installed; this adapter drives 0.5")
    return kvpress


def _buffers(press: Any, layer: int) -> dict[str, Any]:
    """What a press, and presses within it, keep for a layer: entries of dictionaries whose keys are layers."""
    found: dict[str, Any] = {}
    for name, value in vars(press).items():
        if isinstance(value, dict) and layer in value:
            found[name] = value[layer]
        elif hasattr(value, "forward_hook"):
            found.update({f"{name}.{inner}": kept for inner, kept in _buffers(value, layer).items()})
    return found
