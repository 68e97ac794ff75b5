"""Public random matrices, and signs of projections: drawn from the settings' seed, so that they cost no bits."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from kvverify.compressors.packing import pack, unpack
from kvverify.errors import UsageError


@lru_cache(maxsize=32)
def gaussian(rows: int, dim: int, seed: tuple[int, ...]) -> Tensor:
    """Independent standard normal entries, (rows, dim), float64."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, dim)))


@lru_cache(maxsize=32)
def orthogonal(dim: int, seed: tuple[int, ...]) -> Tensor:
    """A uniform (Haar) orthogonal matrix (dim, dim), float64: Q of QR with positive diagonal of R (Mezzadri 2007)."""
    q, r = np.linalg.qr(gaussian(dim, dim, seed).numpy())
    return torch.from_numpy(q * np.copysign(1.0, np.diag(r)))


@lru_cache(maxsize=32)
def hadamard(dim: int, seed: tuple[int, ...]) -> Tensor:
    """A randomised Hadamard matrix (dim, dim), float64: H D / sqrt(dim) with random signs D (Ailon, Chazelle 2006).

    Raises UsageError where dim is no power of two.
    """
    if dim & (dim - 1):
        raise UsageError(f"rotation=hadamard needs a head dimension that is a power of two, {dim} given")
    signs = np.random.default_rng(seed).integers(0, 2, dim) * 2.0 - 1
    matrix = np.ones((1, 1))
    while len(matrix) < dim:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return torch.from_numpy(matrix * signs / math.sqrt(dim))


def sketch(vectors: Tensor, projection: Tensor) -> Tensor:
    """Signs of <row, vector>, packed: (..., 1, ceil(rows / 8)) of vectors (..., dim) and a projection (rows, dim)."""
    return pack((vectors @ projection.T >= 0).to(torch.uint8), 1)


def unsketch(packed: Tensor, projection: Tensor) -> Tensor:
    """The direction (..., dim), float32, whose inner product with any q estimates <q, unit vector> without bias.

    For a Gaussian row s and a unit vector u, E <s, q> sign <s, u> = sqrt(2 / pi) <q, u>.
    """
    rows = len(projection)
    weights = projection.float() * (math.sqrt(math.pi / 2) / rows)
    return (unpack(packed, rows).float() @ (2 * weights)).sub_(weights.sum(dim=0))  # a sign is 2 * bit - 1


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Euclidean norms (..., 1) and unit vectors, float64; where the norm is 0 the vector stays 0."""
    vectors = vectors.double()
    norms = vectors.norm(dim=-1, keepdim=True)
    return norms, vectors / norms.masked_fill(norms == 0, 1.0)
