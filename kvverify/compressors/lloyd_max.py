"""Lloyd-Max codebooks for one coordinate of a uniformly random unit vector (Lloyd 1957, 1982; Max 1960)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_POINTS = 1 << 15  # of the quadrature over the angle
_SWEEPS = 400


@lru_cache(maxsize=64)
def codebook(dim: int, bits: int) -> tuple[Tensor, Tensor]:
    """Levels (2^bits,) and the edges between them (2^bits - 1,), ascending, float64.

    The coordinate is cos(angle) with density sin(angle)^(dim - 2) on (0, pi), for dim 1 it is -1 or 1; Lloyd's
    iteration on the quadrature's points, from levels that are crowded as high-resolution theory has it (density to the
    1/3, Panter and Dite 1951). Levels are centroids, edges are midpoints; both are symmetric around 0.
    """
    angles = (np.arange(_POINTS) + 0.5) * (np.pi / _POINTS)
    points = -np.cos(angles) if dim > 1 else np.sign(angles - np.pi / 2)
    weights = np.sin(angles) ** max(dim - 2, 0)
    below = np.concatenate([[0.0], np.cumsum(weights)])
    moments = np.concatenate([[0.0], np.cumsum(weights * points)])
    crowding = np.cumsum(weights ** (1 / 3) * np.sin(angles) ** (2 / 3))
    shares = (np.arange(1 << bits) + 0.5) / (1 << bits)
    levels = points[np.searchsorted(crowding, shares * crowding[-1])]
    for _ in range(_SWEEPS):
        cuts = np.searchsorted(points, (levels[1:] + levels[:-1]) / 2)
        starts, stops = np.concatenate([[0], cuts]), np.concatenate([cuts, [_POINTS]])
        mass = below[stops] - below[starts]
        centroids = np.where(mass > 0, (moments[stops] - moments[starts]) / np.where(mass > 0, mass, 1), levels)
        levels = (centroids - centroids[::-1]) / 2
    return torch.from_numpy(levels), torch.from_numpy((levels[1:] + levels[:-1]) / 2)
