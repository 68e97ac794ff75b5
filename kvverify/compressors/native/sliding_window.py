"""Keeps the newest tokens: sliding window attention, as in Longformer (Beltagy et al. 2020, arXiv:2004.05150)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvverify.compressors.base import StoredCache
from kvverify.compressors.parameters import integer

if TYPE_CHECKING:
    from torch import Tensor


class SlidingWindow(StoredCache):
    """The newest ``window`` tokens of every head, in the dtype in which they were fed; the own token comes on top."""

    parameters = (integer("window", 512, 1, 1 << 24),)

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Append, then forget what is older; the clone lets go of its storage."""
        self.append(keys=keys, values=values)
        window = int(self.options["window"])
        self.state = {side: tensor[:, :, -window:].clone() for side, tensor in self.state.items()}

    def read(self) -> tuple[Tensor, Tensor]:
        """The window."""
        return self.pair()

    def claimed_bits(self) -> int:
        """The window in full."""
        keys = self.pair()[0]
        return self.scalars_bits(keys.shape[2], 8 * keys.dtype.itemsize)
