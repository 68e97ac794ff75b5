"""StreamingLLM: attention sinks and a window (Xiao, Tian, Chen, Han, Lewis, ICLR 2024, arXiv:2309.17453)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kvverify.compressors.base import StoredCache
from kvverify.compressors.parameters import integer

if TYPE_CHECKING:
    from torch import Tensor


class StreamingLlm(StoredCache):
    """The first ``sinks`` tokens and the newest ``window`` ones of every head, in the dtype in which they were fed.

    Keys come as attention sees them: the method's positions, counted within the cache, are the model's business. The
    state does not depend on how the stream was cut.

    State bits of a head, n tokens in F-bit scalars: F (d_k + d_v) min(n, sinks + window).
    """

    parameters = (integer("sinks", 4, 0, 1 << 24), integer("window", 508, 1, 1 << 24))

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Append, then forget what lies between; the copy lets go of its storage."""
        self.append(keys=keys, values=values)
        sinks, window = int(self.options["sinks"]), int(self.options["window"])
        if self.state["keys"].shape[2] > sinks + window:
            self.state = {
                side: torch.cat([tokens[:, :, :sinks], tokens[:, :, -window:]], dim=2)
                for side, tokens in self.state.items()
            }

    def read(self) -> tuple[Tensor, Tensor]:
        """Sinks and window."""
        return self.pair()

    def claimed_bits(self) -> int:
        """What is kept, in full."""
        keys = self.pair()[0]
        return self.scalars_bits(keys.shape[2], 8 * keys.dtype.itemsize)
