"""Hard instances with a secret in keys as well as in values, after the joint rule (docs/proofs/payload.md).

The key of token l is (c_l | y_l): c_l a sign key, y_l secret. Value coordinate 0 is a public marker, 1 for every token;
the others are secret. With an own token of key (c_i | 0) and value 0, the query (q_i | t e_j) is answered at the marker
by X / (X + 1), X = e^(t y_ij) and what attention leaks: so y_ij is read off (ours; docs/proofs/game.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from kvverify.instances.hard import HardInstance, Place
from kvverify.instances.payload import to_bf16

KIND = "key-payload"


@dataclass(frozen=True, kw_only=True)
class KeyPayloadInstance(HardInstance):
    """What a game with a key payload shares: one KV head of one layer, discrete secrets only.

    The last ``key_coordinates`` = d of a key are the token's secret; in ``keys`` they are 0 until ``holding`` fills
    them. Queries come in d + 1 blocks of one query a token: those that read its value, and those that read its key
    coordinate j, for each j. ``payload`` names the token of each. ``leak_at_most`` is that of value reads; in a key
    read the tokens beside the target and Bob's own have at most e^(2 tilt) times as much. A read of key coordinate j
    (0..d-1) has the place of value coordinate ``value_dim`` + j.
    """

    tilt: ClassVar[int] = 2
    key_coordinates: int

    @staticmethod
    def of(half: HardInstance, key_coordinates: int) -> KeyPayloadInstance:
        """The instance on the sign keys of ``half``, whose logit budget leaves room for the tilt.

        Its class is part of this one, by zeros in all added coordinates, so that what is proved for it stands.
        """
        tokens, width = half.keys.shape

        def blocks(first: np.ndarray, others: np.ndarray) -> np.ndarray:
            code = np.concatenate([first, *[others] * key_coordinates])
            return np.pad(code, ((0, 0), (0, key_coordinates)))

        queries = blocks(half.queries, half.queries)
        for j in range(key_coordinates):
            queries[(j + 1) * tokens : (j + 2) * tokens, width + j] = KeyPayloadInstance.tilt
        return KeyPayloadInstance(
            keys=np.pad(half.keys, ((0, 0), (0, key_coordinates))), queries=queries,
            own_keys=blocks(half.own_keys, half.keys), log2_det_at_least=None, leak_at_most=half.leak_at_most,
            kv_heads=1, layers=1, value_dim=half.value_dim, max_logit=half.max_logit + KeyPayloadInstance.tilt,
            tolerance=half.tolerance, failure=half.failure, inputs=half.inputs,
            state_bits_at_least=half.state_bits_at_least, certificate=half.certificate,
            payload=tuple(range(tokens)) * (key_coordinates + 1), kind=KIND, key_coordinates=key_coordinates,
        )  # fmt: skip

    @property
    def carriers(self) -> int:
        """As in the base."""
        return self.rows // (self.key_coordinates + 1)

    @property
    def secret_at(self) -> np.ndarray:
        """As in the base: all coordinates but the marker of a value read, the marker alone of a key read."""
        found = np.zeros((self.rows, self.value_dim), dtype=bool)
        found[: self.carriers, 1:] = found[self.carriers :, 0] = True
        return found

    def holding(self, values: np.ndarray) -> KeyPayloadInstance:
        """As in the base; levels are rounded to bf16, a quarter of a step of the largest alphabet at most."""
        keys, carriers = self.keys.copy(), self.carriers
        secret = to_bf16(values[0, 0, carriers:, 0])
        keys[self.targets[:carriers], -self.key_coordinates :] = secret.reshape(self.key_coordinates, carriers).T
        return replace(self, keys=keys)

    def lay_out(self, values: np.ndarray) -> np.ndarray:
        """As in the base, with the marker."""
        fed = np.ones((1, 1, self.tokens, self.value_dim))
        fed[:, :, self.targets[: self.carriers], 1:] = values[:, :, : self.carriers, 1:]
        return fed

    def decoded(self, answers: np.ndarray) -> np.ndarray:
        """As in the base; of the marker the tilted coordinate that explains it, infinite where none does."""
        found = super().decoded(answers)
        marker = np.clip(found[..., 0], 0.0, 1.0)
        with np.errstate(divide="ignore"):
            found[..., 0] = (np.log(marker) - np.log1p(-marker)) / self.tilt
        return found

    def place(self, at: tuple[int, int, int, int]) -> Place:
        """As in the base."""
        block, coordinate = at[2] // self.carriers, at[3]
        return (*super().place(at)[:3], self.value_dim + block - 1 if block else coordinate)

    def query_of(self, place: Place) -> np.ndarray:
        """As in the base."""
        query: np.ndarray = self.queries[self._row(place)]
        return query

    def own_key_of(self, place: Place) -> np.ndarray:
        """As in the base."""
        key: np.ndarray = self.own_keys[self._row(place)]
        return key

    def seen(self, fed: np.ndarray, place: Place) -> Iterator[tuple[np.ndarray, Fraction]]:
        """As in the base."""
        coordinate = place[3] if place[3] < self.value_dim else 0
        yield from zip(self.keys, map(Fraction, fed[0, 0, :, coordinate].tolist()), strict=True)
        yield self.own_key_of(place), Fraction(0)

    def described(self) -> dict[str, Any]:
        """How much of a key is secret, and how it is read."""
        return {"key_coordinates": self.key_coordinates, "tilt": self.tilt}

    def _row(self, place: Place) -> int:
        block = max(0, place[3] - self.value_dim + 1)
        return block * self.carriers + self.read_of(place[2])
