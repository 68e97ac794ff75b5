"""TurboQuant: random rotation, then Lloyd-Max (Zandieh, Daliri, Hadian, Mirrokni 2025, arXiv:2504.19874)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kvverify.compressors.base import StoredCache
from kvverify.compressors.lloyd_max import codebook
from kvverify.compressors.packing import pack, unpack
from kvverify.compressors.parameters import choice, integer
from kvverify.compressors.projections import gaussian, hadamard, orthogonal, sketch, unit, unsketch
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from kvverify.compressors.protocol import Settings

_ROTATIONS = {"orthogonal": orthogonal, "hadamard": hadamard}


class TurboQuant(StoredCache):
    """Vector quantisation by scalars: norm apart, unit vector rotated, every coordinate to the nearest of 2^b levels.

    The levels are Lloyd-Max's for the distribution that a coordinate then has on *every* input, so nothing is learned
    and nothing but codes and norms (fp16) is kept. ``keys`` mse: b = ``bits``, as for values. ``keys`` prod: b =
    bits - 1, and d_k signs of a Gaussian projection of what is left over, with its norm (fp16), which make scores
    unbiased over the coins. Rotation and projection are public (the settings' seed), the same for all heads;
    ``rotation`` hadamard stands for H D with random signs D, where d is a power of two. The paper's two bit widths for
    outlier channels are left out. The state does not depend on how the stream was cut.

    State bits of a head and token: bits (8 ceil(d_k / 8) + 8 ceil(d_v / 8)) + 32, and 16 more with ``keys`` prod.
    """

    parameters = (
        integer("bits", 4, 1, 8),
        choice("keys", "mse", "prod"),
        choice("rotation", "orthogonal", "hadamard"),
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.bits, self.unbiased = int(self.options["bits"]), self.options["keys"] == "prod"
        if self.unbiased and self.bits == 1:
            raise UsageError("turboquant: bits=1 is not legal for keys=prod; legal: an integer from 2 to 8")
        shape, device = self.settings.shape, self.settings.device
        seed = self.settings.seed % (1 << 64)
        self.dims = {"keys": shape.key_dim, "values": shape.value_dim}
        rotate = _ROTATIONS[str(self.options["rotation"])]
        self.rotations = {side: rotate(dim, (seed, i)).to(device) for i, (side, dim) in enumerate(self.dims.items())}
        self.projection = gaussian(shape.key_dim, shape.key_dim, (seed, 2)).to(device)
        self.books = {}
        for side, dim in self.dims.items():
            levels, edges = codebook(dim, self.bits - (self.unbiased and side == "keys"))
            self.books[side] = levels.to(device), edges.to(device)

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Quantise in float64, so that no code depends on the chunk."""
        self.append(**self._quantise("keys", keys), **self._quantise("values", values))

    def _quantise(self, side: str, vectors: Tensor) -> dict[str, Tensor]:
        levels, edges = self.books[side]
        norms, units = unit(vectors.to(self.settings.device))
        rotated = units @ self.rotations[side].T
        codes = torch.bucketize(rotated, edges)
        bits = (len(levels) - 1).bit_length()
        parts = {f"{side}_codes": pack(codes.to(torch.uint8), bits), f"{side}_norms": norms.half()}
        if side == "keys" and self.unbiased:
            left, direction = unit(rotated - levels[codes])
            parts |= {"left_signs": sketch(direction, self.projection), "left_norms": left.half()}
        return parts

    def read(self) -> tuple[Tensor, Tensor]:
        """Levels, with the estimate of what is left over, rotated back, times the norm."""
        if not self.state:
            return self.pair()
        return self._vectors("keys"), self._vectors("values")

    def _vectors(self, side: str) -> Tensor:
        codes = unpack(self.state[f"{side}_codes"], self.dims[side])
        rotated = self.books[side][0].float().index_select(0, codes.int().flatten()).view(codes.shape)
        if side == "keys" and self.unbiased:
            left = unsketch(self.state["left_signs"], self.projection)
            rotated = torch.addcmul(rotated, left, self.state["left_norms"].float())
        return (rotated @ self.rotations[side].float()).mul_(self.state[f"{side}_norms"])

    def claimed_bits(self) -> int:
        """Codes and norms; signs take the place of one bit of the codes."""
        shape = self.settings.shape
        tokens = self.state["keys_codes"].shape[2] if self.state else 0
        token = sum(16 + self.bits * -(-dim // 8) * 8 for dim in self.dims.values()) + 16 * self.unbiased
        return tokens * token * shape.batch * shape.kv_heads
