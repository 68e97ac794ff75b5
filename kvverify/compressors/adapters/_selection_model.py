"""A Llama without weights, whose hidden states *are* queries, keys and values: presses hook into it as into any model.

Its projections select coordinates of a hidden state (q | k | v), its rotation is the identity, and its output
projection hands the attention's answer back, so that the genuine attention layer, its cache and the press's hooks see
the stream bit by bit. Nothing is downloaded; embeddings and MLPs are never run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from kvverify.compressors.protocol import Settings


class Select(nn.Module):
    """Coordinates start..stop of a hidden state."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, tokens, width) -> (batch, tokens, stop - start)."""
        return hidden[..., self.start : self.stop]


class NoRotation(nn.Module):
    """The interface of a rotary embedding with all angles 0."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.attention_scaling = dim, 1.0
        self.register_buffer("inv_freq", torch.zeros(dim // 2))

    def forward(self, like: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines 1 and sines 0, (batch, tokens, dim)."""
        cosines = torch.ones((*position_ids.shape, self.dim), dtype=like.dtype, device=like.device)
        return cosines, torch.zeros_like(cosines)


def selection_model(settings: Settings, layers: int, *, eager: bool) -> Any:
    """LlamaForCausalLM of that many layers for the settings' shape, dtype and device; ``eager`` attention or sdpa."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = settings.shape
    queries, keys = shape.heads * shape.key_dim, shape.kv_heads * shape.key_dim
    width = queries + 2 * keys
    config = LlamaConfig(
        hidden_size=width,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.key_dim,
        num_hidden_layers=layers,
        intermediate_size=8,
        vocab_size=8,
        attn_implementation="eager" if eager else "sdpa",
    )
    dtype = getattr(torch, settings.dtype)
    model = LlamaForCausalLM(config)
    model.model.rotary_emb = NoRotation(shape.key_dim)
    for layer in model.model.layers:
        attention = layer.self_attn
        attention.q_proj = Select(0, queries)
        attention.k_proj = Select(queries, queries + keys)
        attention.v_proj = Select(queries + keys, width)
        attention.o_proj.weight = nn.Parameter(torch.eye(width, queries), requires_grad=False)
    return model.to(device=settings.device, dtype=dtype).eval()


def hidden_states(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """(batch, heads, tokens, dim) of queries, keys and values -> (batch, tokens, width)."""
    return torch.cat([side.transpose(1, 2).flatten(2) for side in (queries, keys, values)], dim=2)
