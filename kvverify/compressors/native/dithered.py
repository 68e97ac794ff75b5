"""Subtractive dither (Roberts 1962; Schuchman 1964) with a guarantee; proof in docs/proofs/quantiser.md."""

from __future__ import annotations

import numpy as np

from kvverify.compressors.coins import public_coins
from kvverify.compressors.levels import LevelCache


class Dithered(LevelCache):
    """A dithered quantiser: on every input of the class an answer is off by more than ``tolerance`` with probability
    at most ``failure``, over coins that do not depend on the input.

    The coins are public: ``seed`` of the settings, which is fixed before the secret is drawn, and the token's index.
    Both sides draw them; rounding errors are then uniform over a cell and independent of the input. The class as in
    ``midpoint``.
    """

    method = "dithered"

    def encode(self, units: np.ndarray, first: int) -> np.ndarray:
        """The cell of a grid that the coins shift; a coordinate meets at most as many as there are levels."""
        cells: np.ndarray = np.floor(units * (self.radices - 1) + self._shifts(len(units), first)).astype(np.int64)
        inside: np.ndarray = np.minimum(cells, self.radices - 1)
        return inside

    def decode(self, levels: np.ndarray, first: int) -> np.ndarray:
        """Its middle, where the coins put it."""
        middles: np.ndarray = (levels + 0.5 - self._shifts(len(levels), first)) / (self.radices - 1)
        return middles

    def _shifts(self, tokens: int, first: int) -> np.ndarray:
        """Uniform on [0, 1), (tokens, streams, coordinates): a counter's, so that any token's are drawn at once."""
        drawn = public_coins(self.settings.seed, tokens, self.streams * len(self.radices), first)
        return drawn.reshape(tokens, self.streams, len(self.radices))
