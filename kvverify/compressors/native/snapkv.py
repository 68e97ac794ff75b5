"""SnapKV: the end of the prompt chooses its tokens (Li et al., NeurIPS 2024, arXiv:2404.14469)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import avg_pool1d, max_pool1d

from kvverify.compressors.base import StoredCache
from kvverify.compressors.parameters import choice, integer
from kvverify.compressors.protocol import SOFTMAX
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from kvverify.compressors.protocol import Settings


class SnapKv(StoredCache):
    """Of the prompt every KV head keeps its ``window`` newest tokens and the ``keep`` others that they attend to most.

    The votes for a token are its attention weights summed over the last ``window`` queries of the head's group, then
    pooled over ``kernel`` neighbouring tokens. Kept tokens stay in order, in the dtype in which they were fed; queries
    are not kept. **The prompt is the first chunk**, as the method is one of the prefill: tokens that come later are all
    kept, so the state depends on where the prompt ends, and on no later cut.

    State bits of a head, a prompt of p tokens and t later ones in F-bit scalars: F (d_k + d_v) (min(p, keep + window)
    + t).
    """

    attention = SOFTMAX  # their votes are weights of tokens, not of pairs
    parameters = (
        integer("keep", 480, 1, 1 << 24),
        integer("window", 32, 1, 1 << 16),
        integer("kernel", 5, 1, 1 << 10),
        choice("pool", "mean", "max"),
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.keep, self.window, self.kernel = (int(self.options[name]) for name in ("keep", "window", "kernel"))
        if self.kernel % 2 == 0:
            raise UsageError(f"snapkv: kernel={self.kernel} is not legal; legal: an odd integer")

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Choose from the first chunk, append later ones. Raises UsageError for a long prompt without queries."""
        if not self.state and keys.shape[2] > self.keep + self.window:
            if queries is None:
                raise UsageError("snapkv: the prompt came without queries; they choose its tokens")
            index = self._chosen(queries.to(self.settings.device), keys.to(self.settings.device))[..., None]
            keys, values = (
                side.to(index.device).gather(2, index.expand(*index.shape[:3], side.shape[3]))
                for side in (keys, values)
            )
        self.append(keys=keys, values=values)

    def _chosen(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Positions in the prompt, ascending: (batch, kv_heads, keep + window)."""
        tokens, shape = keys.shape[2], self.settings.shape
        last = queries[:, :, -self.window :].float()
        grouped = last.reshape(shape.batch, shape.kv_heads, shape.group, self.window, shape.key_dim)
        scores = (grouped @ keys.float()[:, :, None].mT) * self.settings.scale
        ahead = torch.ones(self.window, tokens, dtype=torch.bool, device=keys.device).triu(tokens - self.window + 1)
        weights = scores.masked_fill(ahead, -torch.inf).softmax(dim=-1)
        votes = weights.sum(dim=(2, 3))[..., : tokens - self.window]
        pool = max_pool1d if self.options["pool"] == "max" else avg_pool1d
        pooled: Tensor = pool(votes, self.kernel, stride=1, padding=self.kernel // 2)
        ranked = pooled.sort(dim=-1, descending=True, stable=True).indices  # of equals the earlier one
        chosen = ranked[..., : self.keep].sort(dim=-1).values
        newest = torch.arange(tokens - self.window, tokens, device=keys.device)
        return torch.cat([chosen, newest.expand(*chosen.shape[:2], -1)], dim=-1)

    def read(self) -> tuple[Tensor, Tensor]:
        """What is kept of the prompt, and all later tokens."""
        return self.pair()

    def claimed_bits(self) -> int:
        """What is kept, in full."""
        keys = self.pair()[0]
        return self.scalars_bits(keys.shape[2], 8 * keys.dtype.itemsize)
