"""Keeps every key and value; the baseline that everything else is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kvverify.compressors.base import StoredCache
from kvverify.compressors.parameters import choice

if TYPE_CHECKING:
    from torch import Tensor

_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Dense(StoredCache):
    """The dense cache: keys and values as they come, rounded to ``dtype``. State: 2 tensors, nothing else."""

    parameters = (choice("dtype", "bf16", "fp32"),)

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Append the chunk, rounded."""
        dtype = _DTYPES[str(self.options["dtype"])]
        self.append(keys=keys.to(dtype), values=values.to(dtype))

    def read(self) -> tuple[Tensor, Tensor]:
        """All tokens."""
        return self.pair()

    def claimed_bits(self) -> int:
        """16 or 32 bits a scalar."""
        bits = 8 * _DTYPES[str(self.options["dtype"])].itemsize
        return self.scalars_bits(self.pair()[0].shape[2], bits)
