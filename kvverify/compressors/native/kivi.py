"""KIVI: keys quantised per channel, values per token (Liu et al., ICML 2024, arXiv:2402.02750)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kvverify.compressors.base import StoredCache
from kvverify.compressors.groups import Groups
from kvverify.compressors.parameters import integer
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from kvverify.compressors.protocol import Settings


class Kivi(StoredCache):
    """Asymmetric ``bits``-bit quantisation with a full-precision residual, by the paper's own schedule.

    Keys wait until ``residual`` of them are there, and are then quantised together, each channel in groups of ``group``
    tokens; so the newest n mod residual keys are in full. Of values the newest ``residual`` are in full, every older
    one is quantised by itself in groups of ``group`` channels (one group where a head has fewer). What is in full is
    in the dtype in which it was fed. The state does not depend on how the stream was cut into chunks.

    State bits of a head, n tokens in F-bit scalars, R = residual, G = group, m = R floor(n / R), w = min(n, R):
    keys m (bits 8 ceil(d_k / 8) + 32 d_k / G) + F d_k (n - m), values (n - w) (bits 8 ceil(d_v / 8) + 32 d_v / G) +
    F d_v w.
    """

    parameters = (integer("bits", 2, 1, 8), integer("group", 32, 1, 1 << 16), integer("residual", 128, 1, 1 << 24))

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        bits, group, self.residual_length = (int(self.options[name]) for name in ("bits", "group", "residual"))
        shape = self.settings.shape
        width = min(group, shape.value_dim)
        if self.residual_length % group:
            raise UsageError(f"kivi: residual={self.residual_length} is not legal; legal: a multiple of group={group}")
        if shape.value_dim % width:
            raise UsageError(f"kivi: group={group} does not divide the {shape.value_dim} channels of the values")
        self.groups = {"keys": Groups(bits, group, 1), "values": Groups(bits, 1, width)}
        self.dims = {"keys": shape.key_dim, "values": shape.value_dim}

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Append to the residuals, then quantise what has outgrown them."""
        self.append(recent_keys=keys, recent_values=values)
        waiting = {side: self.state[f"recent_{side}"].shape[2] for side in self.dims}
        self._quantise("keys", waiting["keys"] // self.residual_length * self.residual_length)
        self._quantise("values", waiting["values"] - self.residual_length)

    def _quantise(self, side: str, tokens: int) -> None:
        """The oldest tokens of a residual."""
        if tokens <= 0:
            return
        recent = self.state[f"recent_{side}"]
        parts = self.groups[side].quantise(recent[:, :, :tokens])
        self.append(**{f"{side}_{name}": part for name, part in parts.items()})
        self.state[f"recent_{side}"] = recent[:, :, tokens:].clone()

    def read(self) -> tuple[Tensor, Tensor]:
        """Quantised tokens at their levels, then the residual."""
        return self._side("keys"), self._side("values")

    def _side(self, side: str) -> Tensor:
        recent = self.state.get(f"recent_{side}", self.empty(self.dims[side]))
        if f"{side}_codes" not in self.state:
            return recent
        parts = {name: self.state[f"{side}_{name}"] for name in ("codes", "scale", "zero")}
        return torch.cat([self.groups[side].levels(parts, self.dims[side]), recent], dim=2)

    def claimed_bits(self) -> int:
        """Codes, zeros and scales, and both residuals in full."""
        head = 0
        for side, dim in self.dims.items():
            codes, recent = (self.state.get(name) for name in (f"{side}_codes", f"recent_{side}"))
            head += 0 if codes is None else self.groups[side].state_bits(codes.shape[2], dim)
            head += 0 if recent is None else 8 * recent.dtype.itemsize * recent.shape[2] * dim
        return head * self.settings.shape.batch * self.settings.shape.kv_heads
