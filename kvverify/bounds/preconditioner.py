"""Triangular factors of an approximate inverse, and what they prove of a determinant. Floats; source: ours.

|det K| >= |det(U L K)| / |det U det L|, with Ostrowski's bound on U L K, which is nearly the identity. scipy is loaded
late.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_ROWS = 1024
_FACTOR = 40  # bits that the kernel keeps of a factor's largest entry
_ENTRY = 19 * 2.0**-48  # width of its enclosure of an entry
_PRODUCTS = 2.0**-51, 2.0**-41  # what its two products round away, relative to the factors' largest entries


@dataclass(frozen=True)
class Factors:
    """``order``: rows of K as the factors take them; ``lower``, ``upper`` exact in float32; a bound on log2 |det K|."""

    order: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    log2_det: float


def factorise(matrix: np.ndarray) -> Factors | None:
    """Factors for K (r, r), whose entries are at most 1. None where they prove nothing: K is too near to singular."""
    from scipy.linalg import lu, solve_triangular

    size = len(matrix)
    permuted, first, _ = lu(matrix, p_indices=True)
    order = np.argsort(permuted)
    rows = matrix[order]
    lower = _kept(solve_triangular(first, np.eye(size), lower=True, unit_diagonal=True, check_finite=False), None)
    second = np.triu(lower @ rows)
    if not (np.isfinite(lower).all() and np.diag(second).all()):
        return None
    upper = _kept(solve_triangular(second, np.eye(size), check_finite=False), 1)
    if not (np.isfinite(upper).all() and np.diag(upper).all() and np.diag(lower).all()):
        return None
    near = upper @ (lower @ rows)
    reach, tall = np.abs(lower).max(), np.abs(upper).max(axis=1)
    error = np.abs(upper) @ (_ENTRY * np.abs(lower).sum(axis=1) + _PRODUCTS[0] * reach) + _PRODUCTS[1] * reach * tall
    margin = 2 * np.abs(np.diag(near)) - np.abs(near).sum(axis=1) - size * error
    if not (margin > 0).all():
        return None
    bits = np.log2(margin) - np.log2(np.abs(np.diag(lower))) - np.log2(np.abs(np.diag(upper)))
    return Factors(order, lower, upper, float(bits.sum()) - size * 2.0**-24 - 2.0**-12)


def _kept(factor: np.ndarray, axis: int | None) -> np.ndarray:
    """The factor in float32, without what the kernel rounds away of it as a whole or of each row."""
    with np.errstate(over="ignore"):
        short = factor.astype(np.float32).astype(np.float64)
    largest = np.abs(short).max(axis=axis, keepdims=True)
    unit = 2.0 ** (np.frexp(np.where(largest > 0, largest, 1))[1] - _FACTOR)
    rounded: np.ndarray = np.floor(short / unit) * unit
    return rounded
