"""Keeps a random subset of the tokens, another one for each head: the baseline of every eviction policy."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch

from kvverify.compressors.base import StoredCache
from kvverify.compressors.parameters import share

if TYPE_CHECKING:
    from torch import Tensor

    from kvverify.compressors.protocol import Settings


class RandomEviction(StoredCache):
    """Of each block of tokens every head keeps its own random ``keep``, in the dtype in which they were fed.

    A block is the smallest multiple of keep's denominator that reaches 64 tokens; which of its tokens stay is public
    randomness (the settings' seed and the number of the block), so that the choice costs no bits and does not depend
    on how the stream was cut. The newest tokens that do not fill a block are all kept.
    """

    parameters = (share("keep", "1/2"),)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        keep = Fraction(str(self.options["keep"]))
        self.block = -(-64 // keep.denominator) * keep.denominator
        self.kept_per_block = int(keep * self.block)

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Append to the open block, then thin out every block that is full."""
        self.append(open_keys=keys, open_values=values)
        full = self.state["open_keys"].shape[2] // self.block
        if full == 0:
            return
        first = self.pair()[0].shape[2] // self.kept_per_block
        kept = torch.cat([self._choice(first + i) + i * self.block for i in range(full)], dim=2)
        for side in ("keys", "values"):
            waiting = self.state[f"open_{side}"]
            index = kept[..., None].expand(-1, -1, -1, waiting.shape[3])
            self.append(**{side: waiting.gather(2, index)})
            self.state[f"open_{side}"] = waiting[:, :, full * self.block :].clone()

    def read(self) -> tuple[Tensor, Tensor]:
        """The kept tokens and the open block."""
        sides = zip(self.pair(), self.pair("open_keys", "open_values"), strict=True)
        keys, values = (torch.cat(both, dim=2) for both in sides)
        return keys, values

    def claimed_bits(self) -> int:
        """The kept tokens in full; positions are public."""
        keys = self.read()[0]
        return self.scalars_bits(keys.shape[2], 8 * keys.dtype.itemsize)

    def _choice(self, block: int) -> Tensor:
        """Positions within a block that each head keeps, in order: (batch, kv_heads, kept_per_block)."""
        layout = self.settings.shape
        public = np.random.default_rng((self.settings.seed % (1 << 64), block))
        order = public.random((layout.batch, layout.kv_heads, self.block)).argsort(axis=2)
        return torch.from_numpy(np.sort(order[:, :, : self.kept_per_block])).to(self.settings.device)
