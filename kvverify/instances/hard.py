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

    ``keys`` (tokens, key_dim), ``queries`` (carriers, key_dim), ``own_keys`` (carriers, key_dim) are float64 arrays.
    Query i reads token ``payload[i]`` (None: token i): ``score = <queries[i], keys[l]>`` (scale 1). Bob's own token for
    read i has key ``own_keys[i]`` and value 0; tokens that carry no secret have value 0. ``in_order``: the order of the
    stream is part of the instance; else the game draws one from public coins.

    ``log2_det_at_least`` bounds log2 |det W| of the carriers x carriers attention matrix from below (one value
    coordinate), ``leak_at_most`` the attention mass off the target of any row; both were proved by the kernel in
    ``certificate`` (sha256 of its canonical bytes). ``state_bits_at_least`` is what it proves for all
    ``kv_heads * layers`` streams. ``budget`` says on what a query's logit is at most ``max_logit``: on the whole body
    of keys (class), or on these keys (own-keys; own-queries where the queries are given too). ``kind``: the option's.
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
    payload: tuple[int, ...] | None = None
    in_order: bool = False
    budget: str = "class"
    kind: str = "hard"

    @property
    def tokens(self) -> int:
        """Tokens of the stream."""
        return int(self.keys.shape[0])

    @property
    def carriers(self) -> int:
        """Tokens that carry the secret, each with a query of its own."""
        return int(self.queries.shape[0])

    @property
    def targets(self) -> np.ndarray:
        """(carriers,) the token that each query reads."""
        import numpy as np

        return np.arange(self.carriers) if self.payload is None else np.asarray(self.payload)

    def read_of(self, token: int) -> int:
        """The query that reads a carrier."""
        return token if self.payload is None else self.payload.index(token)

    @property
    def key_dim(self) -> int:
        """Scalars of a key."""
        return int(self.keys.shape[1])
