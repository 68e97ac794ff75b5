"""Uniform quantisation, min-max asymmetric, really bit-packed, after KIVI (Liu et al., ICML 2024, arXiv:2402.02750)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kvverify.compressors.base import StoredCache
from kvverify.compressors.packing import pack, unpack
from kvverify.compressors.parameters import choice, integer
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from kvverify.compressors.protocol import Settings


class Uniform(StoredCache):
    """Each group of scalars is rounded to 2^bits levels between its least and its greatest.

    A group is ``group`` consecutive channels of one token (per-token) or ``group`` consecutive tokens of one channel
    (per-channel, KIVI's choice for keys, whose outliers sit in few channels); a head of fewer channels makes one group
    a token. Level = zero + scale * code, zero and scale in 16 bits each (``metadata``), code in ``bits`` bits, packed
    as bit planes: byte j of plane b holds bit b of codes 8 j to 8 j + 7. The newest ``residual`` tokens, and those that
    do not fill a per-channel group yet, stay in the dtype in which they were fed.
    """

    parameters = (
        integer("bits", 4, 1, 8),
        integer("group", 64, 1, 1 << 16),
        choice("keys", "per-channel", "per-token"),
        choice("values", "per-token", "per-channel"),
        choice("metadata", "fp16", "bf16"),
        integer("residual", 0, 0, 1 << 24),
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.bits, self.group = int(self.options["bits"]), int(self.options["group"])
        self.residual_length = int(self.options["residual"])
        self.dims = {"keys": self.settings.shape.key_dim, "values": self.settings.shape.value_dim}
        self.channels: dict[str, int] = {}  # channels of a group; 1 means per-channel
        for side, dim in self.dims.items():
            self.channels[side] = 1 if self.options[side] == "per-channel" else min(self.group, dim)
            if dim % self.channels[side]:
                raise UsageError(f"uniform: group={self.group} does not divide the {dim} channels of the {side}")
        self.step = self.group if 1 in self.channels.values() else 1  # tokens that are quantised together

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Append to the residual, then quantise its oldest whole groups beyond ``residual`` tokens."""
        self.append(recent_keys=keys, recent_values=values)
        recent = self.state["recent_keys"].shape[2]
        ready = max(0, recent - self.residual_length) // self.step * self.step
        if ready == 0:
            return
        for side in self.dims:
            waiting = self.state[f"recent_{side}"]
            codes, scale, zero = self._quantise(waiting[:, :, :ready], side)
            self.append(**{f"{side}_codes": codes, f"{side}_scale": scale, f"{side}_zero": zero})
            self.state[f"recent_{side}"] = waiting[:, :, ready:].clone()

    def read(self) -> tuple[Tensor, Tensor]:
        """Quantised tokens at their levels, then the residual."""
        keys, values = (self._levels(side) for side in self.dims)
        recent_keys, recent_values = self.pair("recent_keys", "recent_values")
        return torch.cat([keys, recent_keys], dim=2), torch.cat([values, recent_values], dim=2)

    def claimed_bits(self) -> int:
        """Codes, zeros and scales, and the residual in full."""
        recent = self.state.get("recent_keys")
        rest = 0 if recent is None else self.scalars_bits(recent.shape[2], 8 * recent.dtype.itemsize)
        layout = self.settings.shape
        tokens = self._quantised_tokens()
        for side, dim in self.dims.items():
            groups = tokens * dim // (self.group if self.channels[side] == 1 else self.channels[side])
            rest += layout.batch * layout.kv_heads * (tokens * self.bits * -(-dim // 8) * 8 + 32 * groups)
        return rest

    def _quantised_tokens(self) -> int:
        return self.state["keys_codes"].shape[2] if "keys_codes" in self.state else 0

    def _grouped(self, scalars: Tensor, side: str) -> Tensor:
        """(batch, heads, groups of tokens, tokens of a group, groups of channels, channels of a group)."""
        batch, heads, tokens, dim = scalars.shape
        together = self.group if self.channels[side] == 1 else 1
        width = self.channels[side]
        return scalars.reshape(batch, heads, tokens // together, together, dim // width, width)

    def _quantise(self, scalars: Tensor, side: str) -> tuple[Tensor, Tensor, Tensor]:
        grouped = self._grouped(scalars.float(), side)
        metadata = torch.float16 if self.options["metadata"] == "fp16" else torch.bfloat16
        zero = grouped.amin(dim=(3, 5), keepdim=True).to(metadata)
        top = 2**self.bits - 1
        scale = ((grouped.amax(dim=(3, 5), keepdim=True) - zero.float()) / top).to(metadata)
        steps = scale.float().masked_fill(scale == 0, 1.0)  # all scalars of the group are its zero
        codes = ((grouped - zero.float()) / steps).round_().clamp_(0, top).to(torch.uint8)
        return pack(codes.reshape(scalars.shape), self.bits), scale[:, :, :, 0, :, 0], zero[:, :, :, 0, :, 0]

    def _levels(self, side: str) -> Tensor:
        dim = self.dims[side]
        if not self._quantised_tokens():
            return self.empty(dim)
        codes = unpack(self.state[f"{side}_codes"], dim)
        scale, zero = (self.state[f"{side}_{part}"].float()[:, :, :, None, :, None] for part in ("scale", "zero"))
        return torch.addcmul(zero, scale, self._grouped(codes.float(), side)).reshape(codes.shape)
