"""Hard instances of tensor attention: every pair of tokens can be addressed, and both value factors carry a secret.

Of n tokens token i has the key factors k1_i = (u_i, 1 .. 1) and k2_i = (1 .. 1, w_i), u and w signs on the two halves
of the coordinates, so that the n^2 products (u_i, w_l) are distinct. One token, the sentinel, has ones in both value
factors: the pair (i, sentinel) has the value v1_i, the pair (sentinel, i) the value v2_i. So each of the 2 (n - 1) rows
of V1 and V2 beside the sentinel's is read by a query of its own (ours; docs/proofs/game.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kvverify.attention.tensor import attend_tensor_reference, tensor_reference_error
from kvverify.figures import exact
from kvverify.instances.hard import HardInstance, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTORS = 2


@dataclass(frozen=True)
class TensorInstance(HardInstance):
    """What a tensor game shares. One tensor head is two factor heads, 2h and 2h + 1, in ``kv_heads`` and in the stream.

    ``keys`` (2, tokens, key_dim) are K1 and K2. Factor f of token ``payload[i]`` is read by ``queries[f, i]``, of shape
    (2, carriers, key_dim), with Bob's own factors ``own_keys[:, f, i]``, of shape (2, 2, carriers, key_dim), and own
    values 0. The sentinel is the one token that is not in ``payload``. Discrete secrets only: answers are products of
    means of V1 and of V2, and no volume is certified for them.
    """

    attention: ClassVar[str] = "tensor"
    factors: ClassVar[int] = FACTORS
    rest: ClassVar[float] = 1.0

    @staticmethod
    def of(half: HardInstance, tensor_heads: int, value_dim: int, head_dim: int) -> TensorInstance:
        """The instance whose u and w are the keys of ``half``, sign keys of softmax attention; token 0 is the sentinel.

        Key coordinates beyond both halves, up to ``head_dim``, are 0.

        Scores are sums of one of u and one of w, so the mass of all pairs beside the target's, Bob's 2 n + 1 among
        them, is a product: the target keeps at least (1 - leak)^2.
        """
        tokens, dim = half.keys.shape
        others = np.arange(1, tokens)
        ones, fill = np.ones((tokens, dim)), ((0, 0), (0, head_dim - 2 * dim))

        def both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            return np.pad(np.hstack([first, second]), fill)

        query, sentinel = half.queries[others], np.repeat(half.queries[:1], tokens - 1, axis=0)
        own, own_sentinel = half.own_keys[others], np.repeat(half.own_keys[:1], tokens - 1, axis=0)
        blank = ones[1:]
        return TensorInstance(
            keys=np.stack([both(half.keys, ones), both(ones, half.keys)]),
            queries=np.stack([both(query, sentinel), both(sentinel, query)]),
            own_keys=np.stack(
                [
                    np.stack([both(own, blank), both(own_sentinel, blank)]),
                    np.stack([both(blank, own_sentinel), both(blank, own)]),
                ]
            ),
            log2_det_at_least=None,
            leak_at_most=1 - (1 - half.leak_at_most) ** 2,
            kv_heads=FACTORS * tensor_heads, layers=half.layers, value_dim=value_dim, max_logit=2 * half.max_logit,
            tolerance=None, failure=half.failure, inputs="real", state_bits_at_least=0, certificate="",
            payload=tuple(others.tolist()), kind="tensor",
        )  # fmt: skip

    @property
    def columns(self) -> int:
        """Pairs of cached tokens."""
        return self.tokens**2

    def exact(self, fed: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """As in the base; ``fed`` (layers, 2 tensor heads, tokens, value_dim) are V1 and V2 of every tensor head."""
        layers, heads, _, dim = fed.shape
        queries, own_keys = self.sent(asked)
        answers = np.empty((layers, heads // FACTORS, queries.shape[0], dim))
        no_values = np.zeros((1, FACTORS, len(queries), dim))
        for layer, head in np.ndindex(*answers.shape[:2]):
            values = fed[layer, FACTORS * head : FACTORS * (head + 1)]
            found = attend_tensor_reference(
                queries[None, None], self.keys[None], values[None], own_keys[None], no_values, 1.0
            )
            answers[layer, head] = found[0, 0]
        return answers.reshape(layers, heads, len(asked), dim)

    def margin(self) -> float:
        """As in the base."""
        queries, own_keys = self.sent(np.arange(self.carriers))
        return tensor_reference_error(queries[None, None], self.keys[None], own_keys[None], 1.0)

    def seen(self, fed: np.ndarray, place: Place) -> Iterator[tuple[np.ndarray, Fraction]]:
        """Every pair with its product key and value; products of float32 numbers are exact."""
        layer, head, _, coordinate = place
        first, second = (np.vstack(pair) for pair in zip(self.keys, self.own_key_of(place), strict=True))
        pair = fed[layer, head - head % FACTORS :][:FACTORS, :, coordinate]
        values = [[*map(Fraction, factor.tolist()), Fraction(0)] for factor in pair]
        for key1, value1 in zip(first, values[0], strict=True):
            for key2, value2 in zip(second, values[1], strict=True):
                yield key1 * key2, value1 * value2

    def query_of(self, place: Place) -> np.ndarray:
        """As in the base."""
        query: np.ndarray = self.queries[place[1] % FACTORS, self.read_of(place[2])]
        return query

    def own_key_of(self, place: Place) -> np.ndarray:
        """As in the base."""
        keys: np.ndarray = self.own_keys[:, place[1] % FACTORS, self.read_of(place[2])]
        return keys

    def described(self) -> dict[str, Any]:
        """The size of the other form: product rows of keys and of values, 16 bits a scalar."""
        heads = self.kv_heads // FACTORS * self.layers
        return {"two_cache_bits": exact(16 * heads * self.tokens**2 * (self.key_dim + self.value_dim))}
