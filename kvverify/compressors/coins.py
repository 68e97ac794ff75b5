"""Public coins: the numbers of a counter, so that those of any token are drawn at once, however a stream was cut."""

from __future__ import annotations

import numpy as np


def public_coins(seed: int, tokens: int, each: int, first: int) -> np.ndarray:
    """Uniform on [0, 1), (tokens, each), of the tokens from ``first`` on, 53 bits a number."""
    quads = -(-each // 4)  # a step of the counter gives four numbers
    counter = np.random.Philox(seed % (1 << 64)).advance(first * quads)
    return np.random.Generator(counter).random((tokens, 4 * quads))[:, :each]
