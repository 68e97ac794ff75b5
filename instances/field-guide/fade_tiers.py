"""fade-kv: after each prefill its policy without scores moves tokens into tiers, which ``update`` alone does not do."""

from __future__ import annotations

from typing import Any

from fade.cache import TieredKVCache
from fade.policy import reassign_tiers_by_position


class Tiered(TieredKVCache):
    """The tiered cache; a chunk of several tokens is followed by the policy."""

    def update(self, key_states: Any, value_states: Any, layer_idx: int, cache_kwargs: Any = None) -> Any:
        """What the cache holds after the policy has run."""
        found = super().update(key_states, value_states, layer_idx, cache_kwargs)
        if key_states.shape[2] == 1:
            return found
        reassign_tiers_by_position(self, 1)
        return found
