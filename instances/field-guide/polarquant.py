"""polarquant: the cache of one layer from its own configuration. `kvverify audit THIS_FILE:cache`."""

from __future__ import annotations

from typing import Any

from polarengine_vllm.kv_cache import PolarKVCache, PolarKVConfig


def cache(settings: Any) -> PolarKVCache:
    """Bits from the settings (3), heads and dimension from the shape."""
    shape, bits = settings.shape, int(settings.parameters.get("bits", 3))
    return PolarKVCache(PolarKVConfig(bits, head_dim=shape.key_dim, num_kv_heads=shape.kv_heads, num_layers=1), "cpu")
