"""Eight-bit floating point with scales, by the formats of Micikevicius et al. 2022, arXiv:2209.05433."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kvverify.compressors.base import StoredCache
from kvverify.compressors.parameters import choice

if TYPE_CHECKING:
    from torch import Tensor

_FORMATS = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


class Fp8(StoredCache):
    """Every scalar in e4m3 (largest 448) or e5m2 (largest 57,344), after division by a scale; beyond it saturates.

    ``scale`` per-token: one of each head and token, for keys and for values, that maps the greatest size to the
    format's largest number, in bf16. ``scale`` none: 1, as serving systems do by default, and nothing is kept for it.
    The state does not depend on how the stream was cut.

    State bits of a head and token: 8 (d_k + d_v), and 32 with ``scale`` per-token.
    """

    parameters = (choice("format", "e4m3", "e5m2"), choice("scale", "per-token", "none"))

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Append the chunk, rounded."""
        for side, scalars in (("keys", keys.float()), ("values", values.float())):
            dtype = _FORMATS[str(self.options["format"])]
            largest = torch.finfo(dtype).max
            if self._scaled():
                scale = (scalars.abs().amax(dim=3, keepdim=True) / largest).bfloat16()
                scalars = scalars / scale.float().masked_fill(scale == 0, 1.0)
                self.append(**{f"{side}_scale": scale})
            self.append(**{side: scalars.clamp(-largest, largest).to(dtype)})

    def read(self) -> tuple[Tensor, Tensor]:
        """All tokens, float32."""
        keys, values = (side.float() for side in self.pair())
        if not self._scaled() or not self.state:
            return keys, values
        return keys.mul_(self.state["keys_scale"]), values.mul_(self.state["values_scale"])

    def claimed_bits(self) -> int:
        """8 bits a scalar, and 32 a token for the scales."""
        shape = self.settings.shape
        tokens = self.pair()[0].shape[2]
        scales = 32 * tokens * shape.batch * shape.kv_heads if self._scaled() else 0
        return self.scalars_bits(tokens, 8) + scales

    def _scaled(self) -> bool:
        return self.options["scale"] == "per-token"
