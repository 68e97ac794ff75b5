"""Scalar quantisation with a worst case: midpoints of equal cells of [-1, 1]; proof in docs/proofs/quantiser.md."""

from __future__ import annotations

import numpy as np

from kvverify.compressors.levels import LevelCache


class Midpoint(LevelCache):
    """The fixed midpoint quantiser: on every input of the class no answer is off by more than ``tolerance``.

    The class: keys in the ``body``, values in [-1, 1], |<q, k>| * scale at most ``max_logit`` on the whole body. The
    ``failure`` is not used. No scales, no zero points: the class fixes the ranges.
    """

    method = "quantiser"

    def encode(self, units: np.ndarray, first: int) -> np.ndarray:
        """The cell."""
        cells: np.ndarray = np.minimum(units * self.radices, self.radices - 1).astype(np.int64)
        return cells

    def decode(self, levels: np.ndarray, first: int) -> np.ndarray:
        """Its middle."""
        middles: np.ndarray = (levels + 0.5) / self.radices
        return middles
