"""kvpress's presses by name: those that one attention layer's stream can drive, and why the others cannot be.

``ratio`` is the share that a press is asked to remove. Where a default of the package is meant for prompts longer than
an audit's (a recent window of 1024, say), the table below has a smaller number; all else is the package's default. A
wrapper wraps SnapKV, or Knorm or Random where its scores must not depend on queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


INTERVAL = 16
"""Steps between two evictions of the presses that act while decoding."""
TARGET = 256
"""Tokens that those with an absolute target keep."""

PRESSES: dict[str, Callable[[Any, float, int, int], Any]] = {
    "knorm": lambda k, r, _, __: k.KnormPress(r),
    "random": lambda k, r, _, seed: k.RandomPress(r, seed=seed),
    "streaming-llm": lambda k, r, _, __: k.StreamingLLMPress(r),
    "snapkv": lambda k, r, _, __: k.SnapKVPress(r),
    "expected-attention": lambda k, r, _, __: k.ExpectedAttentionPress(r),
    "tova": lambda k, r, _, __: k.TOVAPress(r),
    "keydiff": lambda k, r, _, __: k.KeyDiffPress(r),
    "lagkv": lambda k, r, _, __: k.LagKVPress(r),
    "leverage": lambda k, r, _, __: k.LeverageScorePress(r),
    "non-causal-attention": lambda k, r, _, __: k.NonCausalAttnPress(r),
    "compactor": lambda k, r, _, __: k.CompactorPress(r),
    "cur": lambda k, r, _, __: k.CURPress(r),
    "cap": lambda k, r, _, __: k.CapPress(r),
    "observed-attention": lambda k, r, _, __: k.ObservedAttentionPress(r),
    "pyramidkv": lambda k, r, _, __: k.PyramidKVPress(r),
    "criticalkv": lambda k, r, _, __: k.CriticalKVPress(k.SnapKVPress(r)),
    "adakv": lambda k, r, _, __: k.AdaKVPress(k.SnapKVPress(r)),
    "critical-adakv": lambda k, r, _, __: k.CriticalAdaKVPress(k.SnapKVPress(r)),
    "merging": lambda k, r, _, __: k.MergingPress(k.SnapKVPress(r)),
    "chunk": lambda k, r, _, __: k.ChunkPress(k.KnormPress(r), chunk_length=128),
    "chunkkv": lambda k, r, _, __: k.ChunkKVPress(k.SnapKVPress(r)),
    "entropy-gated-chunkkv": lambda k, r, _, __: k.EntropyGatedChunkKVPress(k.SnapKVPress(r)),
    "block": lambda k, r, _, __: k.BlockPress(k.KnormPress(r)),
    "key-rerotation": lambda k, r, _, __: k.KeyRerotationPress(k.SnapKVPress(r)),
    "think": lambda k, r, _, __: k.ThinKPress(r),
    "composed": lambda k, r, _, __: k.ComposedPress([k.SnapKVPress(r), k.ThinKPress(r)]),
    "dms": lambda k, r, _, seed: k.DMSPress(k.RandomPress(seed=seed), threshold=r),  # scores are uniform on [0, 1]
    "simlayerkv": lambda k, _, __, ___: k.SimLayerKVPress(lazy_threshold=0.2, n_recent=128),
    "per-layer": lambda k, r, layers, _: k.PerLayerCompressionPress(
        k.SnapKVPress(r), [r * (layer + 1) / layers for layer in range(layers)]
    ),
    "decoding": lambda k, _, __, ___: k.DecodingPress(k.KnormPress(), INTERVAL, TARGET),
    "ratio-decoding": lambda k, r, _, __: k.CompressionRatioDecodingPress(
        k.KnormPress(), compression_interval=INTERVAL, target_compression_ratio=r
    ),
    "prefill-decoding": lambda k, r, _, __: k.PrefillDecodingPress(
        k.SnapKVPress(r), k.DecodingPress(k.KnormPress(), INTERVAL, TARGET)
    ),
    "cam": lambda k, _, __, ___: k.CAMPress(k.KnormPress(), INTERVAL, TARGET),
}
"""Name -> (the module kvpress, ratio, layers, public seed) -> a fresh press."""

DECODING = frozenset({"decoding", "ratio-decoding", "prefill-decoding", "cam"})
"""They evict while decoding, every `INTERVAL` steps."""
NEEDS_WEIGHTS = frozenset({"observed-attention"})
"""They read the attention weights of the forward pass, which only the eager implementation hands out."""
NEEDS_LAYERS = frozenset({"pyramidkv", "per-layer", "simlayerkv"})
"""They treat layers differently: on one layer they show less than they are."""

NOT_DRIVEN = {
    "duo-attention": "its heads come from a file of patterns trained for each model",
    "expected-attention-stats": "its query statistics come from a file made for each model",
    "fast-kvzip": "its gates are trained for each model",
    "finch": "it splits the prompt at a delimiter token, and a stream of keys and values has none",
    "kvcompose": "it scores in a second pass over a whole model",
    "kvgrad": "it needs gradients through a whole model, and its tokenizer",
    "kvzap": "its scorers are trained for each model",
    "kvzip": "it lets a whole model repeat its prompt, and needs its tokenizer",
    "lukv": "its budgets come from a file made for each model",
    "qfilter": "its filters are trained for each model",
    "restorekv": "its restore tokens are trained for each model",
}
"""Presses that need what no stream of keys and values has; see the package's documentation of each."""
