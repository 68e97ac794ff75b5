"""Caches of other people's packages that are built from objects of their own: `kvverify audit THIS_FILE:name`.

Those whose class takes plain settings need no factory: `kvverify audit module:Class --set name=value`.
"""

from __future__ import annotations

from typing import Any


def turboquant_kv(settings: Any) -> Any:
    """turboquant-kv: its quantiser, and a dynamic cache around it."""
    from turboquant import TurboQuantProd
    from turboquant.hf_cache import TurboQuantDynamicCache

    from kvverify.compressors.adapters._update import config

    bits = float(settings.parameters.get("bits", 3))
    quantiser = TurboQuantProd(bits=bits, head_dim=settings.shape.key_dim, device=settings.device, seed=0)
    return TurboQuantDynamicCache(config(settings), quantiser)


def polarquant(settings: Any) -> Any:
    """polarquant: its configuration, and the cache of one layer."""
    from polarengine_vllm.kv_cache import PolarKVCache, PolarKVConfig

    shape, bits = settings.shape, int(settings.parameters.get("bits", 3))
    return PolarKVCache(PolarKVConfig(bits, head_dim=shape.key_dim, num_kv_heads=shape.kv_heads, num_layers=1), "cpu")
