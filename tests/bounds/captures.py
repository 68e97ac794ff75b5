"""A capture as small as can be: two layers of two KV heads and four query heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kvverify.bounds.key_files import safetensors
from kvverify.kernel.document import write_bytes

TOKENS, LATER, DIM = 10, 8, 6


def arrays(layers: int = 2) -> dict[str, np.ndarray]:
    """Queries that single a token out, in every head another; queries of head 3 that single out none."""
    made = {}
    random = np.random.default_rng(3)
    for layer in range(layers):
        keys = random.normal(size=(2, TOKENS, DIM)).astype(np.float32)
        queries = np.stack([keys[head // 2, head : head + LATER] * 3 for head in range(3)] + [keys[1, :LATER] * 0.01])
        made |= {f"layers.{layer}.keys": keys, f"layers.{layer}.queries": queries.astype(np.float32)}
    return made


def capture(path: Path, tensors: dict[str, np.ndarray] | None = None) -> Path:
    write_bytes(path, safetensors(arrays() if tensors is None else tensors))
    return path
