"""turboquant-torch: its cache compresses on call, which this class makes after each prefill."""

from __future__ import annotations

from typing import Any

from turboquant.hf_cache import TurboQuantDynamicCache


class Compressed(TurboQuantDynamicCache):
    """The dynamic cache; a chunk of several tokens is followed by ``compress_all``."""

    def update(self, key_states: Any, value_states: Any, layer_idx: int, cache_kwargs: Any = None) -> Any:
        """What the cache hands back; the next call sees what the compression has left."""
        found = super().update(key_states, value_states, layer_idx, cache_kwargs)
        if key_states.shape[2] > 1:
            self.compress_all()
        return found
