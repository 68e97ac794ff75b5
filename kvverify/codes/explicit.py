"""Keys given as integers, each read by its own multiple: distances from the Gram matrix, row by row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kvverify.codes.base import decimal, require_size
from kvverify.errors import UsageError

_TILE = 256


@dataclass(frozen=True, eq=False)
class ExplicitKeys:
    """``table`` (size, dim) int64, query ``c k_i``, exponent ``<k_i, k_i> - <k_i, k_l>``, which must be at least 1.

    The keys are divided by their largest entry; with ``power_of_two`` by the power of two above it, which keeps keys
    of at most 8 significant bits exact in bf16 and costs logit budget.
    """

    table: np.ndarray
    label: str
    power_of_two: bool = False
    query_unit = Fraction(1)

    def __post_init__(self) -> None:
        if self.table.ndim != 2 or 0 in self.table.shape or self.table.dtype != np.int64:
            raise UsageError(f"{self.label}: keys are a (tokens, dim) table of int64, not {self.table.shape}")
        if int(abs(self.table).max()) ** 2 * self.dim >= 1 << 60 or not self.table.any():
            raise UsageError(f"{self.label}: keys must not all be zero, and their squared norms be below 2^60")

    @property
    def name(self) -> str:
        """Where they come from."""
        return self.label

    @property
    def size(self) -> int:
        """Rows."""
        return int(self.table.shape[0])

    @property
    def dim(self) -> int:
        """Columns."""
        return int(self.table.shape[1])

    @property
    def divisor(self) -> int:
        """What brings the keys into the cube."""
        top = int(abs(self.table).max())
        return 1 << (top - 1).bit_length() if self.power_of_two else top

    @property
    def unit(self) -> Fraction:
        """The largest 1-norm times the divisor."""
        return Fraction(int(abs(self.table).sum(axis=1).max()) * self.divisor)

    @property
    def own_exponent(self) -> int:
        """Twice the least squared norm."""
        return 2 * int((self.table**2).sum(axis=1).min())

    @property
    def bf16_exact(self) -> bool:
        """The divisor is a power of two and every entry has at most 8 significant bits."""
        odd = abs(self.table) // np.maximum(self.table & -self.table, 1)
        return self.divisor & (self.divisor - 1) == 0 and bool((odd < 256).all())

    def exponents(self) -> dict[int, int]:
        """Raises UsageError where another key scores at least as much as the target."""
        return dict(self._counted)

    def keys(self, tokens: int) -> np.ndarray:
        """The first rows."""
        require_size(self, tokens)
        return self.table[:tokens]

    def queries(self, tokens: int) -> np.ndarray:
        """The keys."""
        return self.keys(tokens)

    def own_keys(self, tokens: int) -> np.ndarray:
        """The negated keys."""
        return -self.keys(tokens)

    def step(self) -> dict[str, Any]:
        """Rule ``explicit-keys``."""
        rows = [" ".join(map(str, row)) for row in self.table.tolist()]
        return {
            "rule": "explicit-keys",
            "given": {"keys": rows},
            "gives": {"exponents": decimal(self.exponents())},
        }

    @cached_property
    def _counted(self) -> dict[int, int]:
        # The j-th least exponent of the worst row is the least j-th least exponent of any row.
        least = np.full(self.size, np.iinfo(np.int64).max)
        for start in range(0, self.size, _TILE):
            tile = self.table[start : start + _TILE]
            exponents = (tile**2).sum(axis=1, keepdims=True) - tile @ self.table.T
            exponents[np.arange(len(tile)), start + np.arange(len(tile))] = np.iinfo(np.int64).max
            least = np.minimum(least, np.sort(exponents, axis=1).min(axis=0))
        if self.size > 1 and least[0] < 1:
            raise UsageError(f"{self.name}: some key scores another key at least as high as itself")
        return dict(Counter(least[:-1].tolist()))


def read_keys(path: Path) -> ExplicitKeys:
    """Integer keys from a .npy, .safetensors (its only tensor) or .txt file, one key a row. Raises UsageError."""
    if not path.is_file():
        raise UsageError(f"no key file {path}")
    if path.suffix == ".npy":
        table = np.load(path, allow_pickle=False)
    elif path.suffix == ".safetensors":
        table = _only_tensor(path)
    elif path.suffix == ".txt":
        table = np.loadtxt(path, dtype=np.int64, ndmin=2)
    else:
        raise UsageError(f"keys are read from .npy, .safetensors or .txt, not from {path.name}")
    whole = table.astype(np.int64)
    if table.ndim != 2 or not np.array_equal(whole, table):
        raise UsageError(f"{path.name}: keys are a (tokens, dim) table of integers")
    return ExplicitKeys(whole, f"explicit({path})")


def _only_tensor(path: Path) -> np.ndarray:
    try:
        from safetensors.numpy import load_file
    except ImportError:
        raise UsageError('safetensors files need the extra: pip install "kvverify[audit]"') from None
    tensors = list(load_file(path).values())
    if len(tensors) != 1:
        raise UsageError(f"{path.name} has {len(tensors)} tensors: one is needed")
    return np.asarray(tensors[0])
