"""Lloyd-Max codebooks for one coordinate of a uniformly random unit vector (Lloyd 1957, 1982; Max 1960)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_ANGLES = 1 << 15  # of the quadrature
_SWEEPS = 400


@lru_cache(maxsize=64)
def codebook(dim: int, bits: int) -> tuple[Tensor, Tensor]:
    """Levels (2^bits,) and the edges between them (2^bits - 1,), ascending and symmetric around 0, float64.

    The coordinate is -cos(angle) with density sin(angle)^(dim - 2) on (0, pi); in dimension 1 it is -1 or 1. Lloyd's
    iteration (levels are centroids, edges midpoints) from levels that are crowded as high-resolution theory has it, by
    the density to the power 1/3 (Panter, Dite 1951).
    """
    levels = np.linspace(-1, 1, 1 << bits) if dim == 1 else _iterated(dim, 1 << bits)
    return torch.from_numpy(levels), torch.from_numpy((levels[1:] + levels[:-1]) / 2)


def _iterated(dim: int, count: int) -> np.ndarray:
    angles = np.linspace(0, np.pi, _ANGLES + 1)
    sines = np.sin((angles[1:] + angles[:-1]) / 2)
    mass, crowding = (np.concatenate([[0.0], np.cumsum(sines**power)]) for power in (dim - 2, dim / 3))
    mass *= np.pi / _ANGLES
    levels: np.ndarray = -np.cos(np.interp((np.arange(count) + 0.5) / count * crowding[-1], crowding, angles))
    for _ in range(_SWEEPS):
        cuts = np.concatenate([[0.0], np.arccos(-(levels[1:] + levels[:-1]) / 2), [np.pi]])
        masses, moments = np.diff(np.interp(cuts, angles, mass)), -np.diff(np.sin(cuts) ** (dim - 1)) / (dim - 1)
        levels = np.divide(moments, masses, out=levels, where=masses > 0)
        levels = (levels - levels[::-1]) / 2
    return levels
