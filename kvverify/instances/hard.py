"""A hard instance for the game: public keys, the query that reads each token, and what the kernel proved of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from kvverify.attention.softmax import attend_reference, reference_error

Place = tuple[int, int, int, int]
"""Of a read: layer, KV head, token, value coordinate."""
_ROWS = 1 << 25  # scores of one reference block


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

    This class is softmax attention; other kinds are subclasses, which say what differs: how the secret enters the
    stream, what Bob is asked, the exact answers, and how symbols are read off them. ``log2_det_at_least`` is None where
    no volume is known: such an instance takes discrete secrets only.
    """

    attention: ClassVar[str] = "softmax"
    factors: ClassVar[int] = 1
    rest: ClassVar[float] = 0.0

    keys: np.ndarray
    queries: np.ndarray
    own_keys: np.ndarray
    log2_det_at_least: Fraction | None
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
        return int(self.keys.shape[-2])

    @property
    def key_dim(self) -> int:
        """Scalars of a key."""
        return int(self.keys.shape[-1])

    @property
    def carriers(self) -> int:
        """Tokens that carry the secret, each with a query of its own."""
        return self.rows

    @property
    def rows(self) -> int:
        """Rows of the secret (layers, kv_heads, rows, value_dim), each read by one query: one a carrier, if no more."""
        return int(self.queries.shape[-2])

    @property
    def secret_at(self) -> np.ndarray:
        """(rows, value_dim) where the secret is read: booleans, the same in every head of every layer."""
        return np.ones((self.rows, self.value_dim), dtype=bool)

    @property
    def context_norm(self) -> float:
        """The l1 norm of Alice's context queries: within it, no key of the stream scores more than the budget."""
        return float(self.max_logit) / max(1.0, float(np.abs(self.keys).max()))

    @property
    def columns(self) -> int:
        """Columns of the softmax before the asker's own."""
        return self.tokens

    @property
    def targets(self) -> np.ndarray:
        """(rows,) the token that each query reads."""
        return np.arange(self.rows) if self.payload is None else np.asarray(self.payload)

    @property
    def schedule(self) -> str | None:
        """How the stream is fed unless the game says otherwise; None leaves it to the compressor's residual length."""
        return None

    @property
    def answers_together(self) -> bool:
        """Whether a symbol is read off the answers to all queries, so that none can be left out."""
        return False

    def read_of(self, token: int) -> int:
        """The query that reads a carrier."""
        return token if self.payload is None else self.payload.index(token)

    def holding(self, values: np.ndarray) -> HardInstance:
        """The instance once the secret (layers, kv_heads, rows, value_dim) is in its keys, where keys are no secret."""
        del values
        return self

    def lay_out(self, values: np.ndarray) -> np.ndarray:
        """Values (layers, kv_heads, tokens, value_dim) of the stream: those of the carriers, ``rest`` elsewhere."""
        if self.payload is None:
            return values
        layers, heads, _, dim = values.shape
        whole = np.full((layers, heads, self.tokens, dim), self.rest)
        whole[:, :, self.targets] = values
        return whole

    def sent(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What Bob gets for the queries ``asked``: queries (reads, key_dim), own keys (factors, reads, key_dim).

        His answers (layers, kv_heads / factors, reads, value_dim) are in the order of the secret's (layers, kv_heads,
        len(asked), value_dim).
        """
        queries, own_keys = self.queries[..., asked, :], self.own_keys[..., asked, :]
        return queries.reshape(-1, self.key_dim), own_keys.reshape(self.factors, -1, self.key_dim)

    def exact(self, fed: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """Reference answers (layers, kv_heads, len(asked), value_dim) to the stream of values ``fed``, in float64."""
        layers, heads, tokens, dim = fed.shape
        columns = np.moveaxis(fed, 2, 0).reshape(tokens, -1)  # heads share the keys, so one pass serves all of them
        blocks: list[Any] = []
        step = max(1, _ROWS // tokens)
        for start in range(0, len(asked), step):
            queries, own_keys = self.sent(asked[start : start + step])
            own_values = np.zeros((len(queries), columns.shape[1]))
            found = attend_reference(
                _one(queries), _one(self.keys), _one(columns), own_keys[None], _one(own_values), 1.0
            )
            blocks.append(found[0, 0])
        return np.moveaxis(np.concatenate(blocks).reshape(len(asked), layers, heads, dim), 0, 2)

    def margin(self) -> float:
        """A proved bound on how far ``exact`` is from the exact answer to any query."""
        return reference_error(_one(self.queries), _one(self.keys), _one(self.own_keys), 1.0)

    def decoded(self, answers: np.ndarray) -> np.ndarray:
        """Values whose nearest levels are the symbols read: of each read its own answer."""
        return answers.astype(np.float64)

    def place(self, at: tuple[int, int, int, int]) -> Place:
        """What the entry (layer, KV head, row, value coordinate) of the secret is called where people read of it."""
        layer, head, row, coordinate = at
        return layer, head, int(self.targets[row]), coordinate

    def query_of(self, place: Place) -> np.ndarray:
        """The query (key_dim,) of one read."""
        query: np.ndarray = self.queries[self.read_of(place[2])]
        return query

    def own_key_of(self, place: Place) -> np.ndarray:
        """The key of the own token of one read; of tensor attention both factors, (2, key_dim)."""
        key: np.ndarray = self.own_keys[self.read_of(place[2])]
        return key

    def seen(self, fed: np.ndarray, place: Place) -> Iterator[tuple[np.ndarray, Fraction]]:
        """Every column that one read sees, exactly: its key (key_dim,), its value at the coordinate; Bob's own last."""
        layer, head, _, coordinate = place
        yield from zip(self.keys, map(Fraction, fed[layer, head, :, coordinate].tolist()), strict=True)
        yield self.own_key_of(place), Fraction(0)

    def described(self) -> dict[str, Any]:
        """What the report says of the instance beside its shape."""
        return {}


def _one(array: np.ndarray) -> np.ndarray:
    """One batch of one head."""
    return array[None, None]
