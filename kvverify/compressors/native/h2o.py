"""H2O: the heavy-hitter oracle (Zhang et al., NeurIPS 2023, arXiv:2306.14048)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kvverify.compressors.base import StoredCache
from kvverify.compressors.parameters import integer
from kvverify.compressors.protocol import SOFTMAX
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 256  # tokens whose scores are computed at a time


class H2o(StoredCache):
    """Every KV head keeps its ``recent`` newest tokens and the ``heavy`` older ones of most accumulated attention.

    The paper's eviction policy, token by token, in a prefill too: token i joins, its queries attend to what is kept,
    the weights are added to each token's sum (over the head's group of queries), and beyond heavy + recent tokens the
    one of the least sum among those older than ``recent`` goes for good. So the state depends on the order of arrival
    and not on how the stream was cut; published code that sees a whole prompt before it evicts differs there. The sums
    are kept, as later evictions need them. Kept tokens are in order, in the dtype in which they were fed.

    State bits of a head, n tokens in F-bit scalars: (F (d_k + d_v) + 32) min(n, heavy + recent).
    """

    attention = SOFTMAX  # their votes are weights of tokens, not of pairs
    parameters = (integer("heavy", 256, 1, 1 << 24), integer("recent", 256, 1, 1 << 24))

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Take the chunk token by token. Raises UsageError when it comes without queries."""
        if queries is None:
            raise UsageError("h2o: the stream came without queries; their attention decides what is kept")
        sides = [side.to(self.settings.device) for side in (queries, keys, values)]
        for start in range(0, keys.shape[2], _BLOCK):
            self._take(*(side[:, :, start : start + _BLOCK] for side in sides))

    def _take(self, queries: Tensor, keys: Tensor, values: Tensor) -> None:
        """What is kept and the block make a pool of tokens; evictions are decided on its scores, then it is cut."""
        before = self.pair()[0].shape[2]
        sums = self.state.get("sums", self.empty(1)[..., 0])
        pool = {
            side: torch.cat([self.state[side], block], dim=2) if before else block
            for side, block in (("keys", keys), ("values", values))
        }
        kept, sums = self._kept(self._scores(queries, pool["keys"]), before, sums)
        index = kept[..., None]
        self.state = {
            side: tokens.gather(2, index.expand(*kept.shape, tokens.shape[3])) for side, tokens in pool.items()
        }
        self.state["sums"] = sums

    def _scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(batch, kv_heads, group, queries, keys), float64: a sum that decides must not depend on the chunk."""
        shape = self.settings.shape
        grouped = queries.double().reshape(shape.batch, shape.kv_heads, shape.group, -1, shape.key_dim)
        scores: Tensor = grouped @ keys.double()[:, :, None].mT
        return scores * self.settings.scale

    def _kept(self, scores: Tensor, before: int, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Places in the pool that are kept, ascending (batch, kv_heads, tokens), and their sums."""
        heavy, recent = int(self.options["heavy"]), int(self.options["recent"])
        group, device = scores.shape[2], scores.device
        kept = torch.arange(before, device=device).expand(*scores.shape[:2], before)
        places = torch.arange(heavy + recent, device=device)
        for step in range(scores.shape[3]):
            kept = torch.cat([kept, kept.new_full((*kept.shape[:2], 1), before + step)], dim=2)
            seen = scores[:, :, :, step].gather(3, kept[:, :, None].expand(-1, -1, group, -1))
            sums = torch.nn.functional.pad(sums, (0, 1)) + seen.softmax(dim=3).sum(dim=2).float()
            if kept.shape[2] > heavy + recent:
                least = sums[:, :, : heavy + 1].argmin(dim=2, keepdim=True)
                others = places + (places >= least)
                kept, sums = kept.gather(2, others), sums.gather(2, others)
        return kept, sums

    def read(self) -> tuple[Tensor, Tensor]:
        """What is kept."""
        return self.pair()

    def claimed_bits(self) -> int:
        """What is kept, in full, and its sums in float32."""
        shape, keys = self.settings.shape, self.pair()[0]
        tokens = keys.shape[2]
        return self.scalars_bits(tokens, 8 * keys.dtype.itemsize) + 32 * tokens * shape.batch * shape.kv_heads
