"""A hard instance for the game: public keys, the query that reads each token, and what the kernel proved of them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class HardInstance:
    """What Alice and Bob share of an instance, for one key head (heads carry independent secrets on the same keys).

    ``keys`` (tokens, key_dim), ``queries`` (tokens, key_dim), ``own_keys`` (tokens, key_dim) are float64 arrays whose
    entries are exact in bf16. Query i reads token i: ``score = <queries[i], keys[l]>`` (scale 1). Bob's own token for
    read i has key ``own_keys[i]`` and value 0.

    ``log2_det_at_least`` bounds log2 |det W| of the tokens x tokens attention matrix from below (one value coordinate),
    ``leak_at_most`` the attention mass off the target of any row; both were proved by the kernel in ``certificate``
    (sha256 of its canonical bytes). ``state_bits_at_least`` is the certificate's bound for all ``kv_heads * layers``
    streams.
    """

    keys: np.ndarray
    queries: np.ndarray
    own_keys: np.ndarray
    log2_det_at_least: Fraction
    leak_at_most: Fraction
    kv_heads: int
    layers: int
    value_dim: int
    max_logit: Fraction
    tolerance: Fraction | None
    failure: Fraction
    inputs: str
    state_bits_at_least: int
    certificate: str

    @property
    def tokens(self) -> int:
        """Tokens that carry the secret."""
        return int(self.keys.shape[0])

    @property
    def key_dim(self) -> int:
        """Scalars of a key."""
        return int(self.keys.shape[1])
