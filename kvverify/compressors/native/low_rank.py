"""Low rank: blocks of keys and values by truncated singular value decomposition (Eckart, Young 1936).

That a head's keys have few large singular values is what ShadowKV (Sun et al. 2024, arXiv:2410.21465) builds on; Palu
(Chang et al. 2024, arXiv:2407.21118) has the same form with learned projections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kvverify.compressors.base import StoredCache
from kvverify.compressors.parameters import integer
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from kvverify.compressors.protocol import Settings


class LowRank(StoredCache):
    """Each ``block`` of tokens of a head is X ~ L R, the best of rank ``rank`` in squared error, both factors in bf16.

    L is (block, rank), R is (rank, d), for keys and for values. R spans the leading right singular vectors,
    eigenvectors of X^T X in float64, and L = X R^T. The newest tokens that do not fill a block stay in the dtype in
    which they were fed. The state does not depend on how the stream was cut.

    State bits of a head: each block 16 rank (2 block + d_k + d_v), each open token (d_k + d_v) scalars.
    """

    parameters = (integer("rank", 16, 1, 1 << 16), integer("block", 256, 1, 1 << 24))

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.rank, self.block = int(self.options["rank"]), int(self.options["block"])
        shape = self.settings.shape
        most = min(self.block, shape.key_dim, shape.value_dim)
        if self.rank > most:
            raise UsageError(
                f"low-rank: rank={self.rank} is not legal; legal: an integer from 1 to {most}, the least of block and"
                " head dimensions"
            )

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Append to the open block, then factor every block that is full."""
        self.append(open_keys=keys, open_values=values)
        starts = range(0, self.state["open_keys"].shape[2] - self.block + 1, self.block)
        for side in ("keys", "values") if starts else ():
            waiting = self.state[f"open_{side}"]
            factors = [self._factors(waiting[:, :, start : start + self.block]) for start in starts]
            left, right = (torch.cat(parts, dim=2) for parts in zip(*factors, strict=True))
            self.append(**{f"{side}_left": left, f"{side}_right": right})
            self.state[f"open_{side}"] = waiting[:, :, starts[-1] + self.block :].clone()

    def _factors(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """L (batch, kv_heads, block, rank) and R (batch, kv_heads, rank, d) of one block."""
        block = block.double()
        right = torch.linalg.eigh(block.mT @ block).eigenvectors[..., -self.rank :].mT.bfloat16()
        return (block @ right.double().mT).bfloat16(), right

    def read(self) -> tuple[Tensor, Tensor]:
        """Products of factors, then the open block."""
        open_keys, open_values = self.pair("open_keys", "open_values")
        return self._side("keys", open_keys), self._side("values", open_values)

    def _side(self, side: str, newest: Tensor) -> Tensor:
        if f"{side}_left" not in self.state:
            return newest
        left, right = (self.state[f"{side}_{factor}"].float() for factor in ("left", "right"))
        heads, dim = left.shape[:2], right.shape[3]
        blocks = left.reshape(*heads, -1, self.block, self.rank) @ right.reshape(*heads, -1, self.rank, dim)
        return torch.cat([blocks.reshape(*heads, -1, dim), newest], dim=2)

    def claimed_bits(self) -> int:
        """Factors in bf16, and the open block in full."""
        shape = self.settings.shape
        newest = self.pair("open_keys", "open_values")[0]
        blocks = self.state["keys_left"].shape[2] // self.block if "keys_left" in self.state else 0
        factors = 16 * self.rank * (2 * self.block + shape.key_dim + shape.value_dim)
        return blocks * factors * shape.batch * shape.kv_heads + self.scalars_bits(
            newest.shape[2], 8 * newest.dtype.itemsize
        )
