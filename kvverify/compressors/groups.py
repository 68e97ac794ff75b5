"""Groups of scalars rounded between their least and their greatest, with 16-bit zeros and scales, packed to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from kvverify.compressors.packing import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True)
class Groups:
    """Asymmetric min-max quantisation: level = zero + scale * code, zero and scale in fp16, the code in ``bits`` bits.

    A group is ``tokens`` consecutive tokens by ``channels`` consecutive channels; both divide what is quantised.
    """

    bits: int
    tokens: int
    channels: int

    def quantise(self, scalars: Tensor) -> dict[str, Tensor]:
        """``codes`` (batch, heads, n, bits, ceil(dim / 8)) as bit planes of bytes, ``scale`` and ``zero`` (batch,
        heads, n / tokens, dim / channels), of scalars (batch, heads, n, dim)."""
        grouped = self._grouped(scalars.float())
        zero = grouped.amin(dim=(3, 5), keepdim=True).half()
        top = 2**self.bits - 1
        scale = ((grouped.amax(dim=(3, 5), keepdim=True) - zero.float()) / top).half()
        steps = scale.float().masked_fill(scale == 0, 1.0)  # all scalars of the group are its zero
        codes = ((grouped - zero.float()) / steps).round_().clamp_(0, top).to(torch.uint8)
        return {
            "codes": pack(codes.reshape(scalars.shape), self.bits),
            "scale": scale[:, :, :, 0, :, 0],
            "zero": zero[:, :, :, 0, :, 0],
        }

    def levels(self, parts: Mapping[str, Tensor], dim: int) -> Tensor:
        """The scalars (batch, heads, n, dim) that the parts of `quantise` stand for, float32."""
        codes = unpack(parts["codes"], dim)
        scale, zero = (parts[name].float()[:, :, :, None, :, None] for name in ("scale", "zero"))
        return torch.addcmul(zero, scale, self._grouped(codes.float())).reshape(codes.shape)

    def state_bits(self, tokens: int, dim: int) -> int:
        """Bits of so many tokens of one head: codes, and 32 for each group."""
        return tokens * self.bits * -(-dim // 8) * 8 + 32 * (tokens // self.tokens) * (dim // self.channels)

    def _grouped(self, scalars: Tensor) -> Tensor:
        batch, heads, tokens, dim = scalars.shape
        return scalars.reshape(batch, heads, tokens // self.tokens, self.tokens, dim // self.channels, self.channels)
