"""The instance with secret amplitudes on small shapes: softmax over whole keys, in floats."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np


@dataclass(frozen=True)
class Shape:
    """Sign words; C, s and w of the amplitude reads; the asker's own weight beta in them."""

    words: tuple[str, ...]
    scale: float
    strength: float
    width: float
    beta: float = 1.0
    pads: int = 0

    @property
    def code(self) -> np.ndarray:
        """(payload, L) signs."""
        return 1.0 - 2.0 * np.array([[int(bit) for bit in word] for word in self.words])

    @property
    def length(self) -> int:
        return len(self.words[0])

    @property
    def budget(self) -> float:
        """|q|_1 of an amplitude read."""
        return self.scale * self.length + self.strength

    @property
    def reach(self) -> float:
        return self.budget * self.width / 2

    def keys(self, r: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(samples, payload + pads, L + d) cached keys for amplitudes 1 - r (samples, payload, L)."""
        cached = np.concatenate([self.code * (1 - r), y], axis=2)
        assert abs(cached).max() <= 1
        return np.concatenate([cached, np.zeros((len(r), self.pads, cached.shape[2]))], axis=1)

    def query(self, i: int, m: int) -> np.ndarray:
        lean = np.eye(self.length)[m] * self.strength
        query: np.ndarray = self.code[i] * (self.scale + lean)
        return query

    def answers(self, r: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(samples, payload, L) the marker's exact outputs of all amplitude reads, by softmax over whole keys."""
        cached = self.keys(r, y)
        found = np.zeros(r.shape)
        theta = 1 - self.width / 2 + np.log(self.beta) / self.budget
        assert -1 <= theta <= 1
        for i, m in product(range(len(self.words)), range(self.length)):
            query = np.concatenate([self.query(i, m), np.zeros(y.shape[2])])
            assert np.isclose(abs(query).sum(), self.budget)
            own = np.concatenate([theta * self.code[i], np.zeros(y.shape[2])])
            scores = np.concatenate([cached @ query, np.full((len(r), 1), own @ query)], axis=1)
            weights = np.exp(scores)
            found[:, i, m] = (weights[:, :-1].sum(axis=1) - weights[:, -1]) / weights.sum(axis=1)
        return found

    def key_answers(self, r: np.ndarray, y: np.ndarray, scale: float, tilt: float) -> np.ndarray:
        """(samples, payload, d) the marker's outputs of key reads; the asker's own key has the target's code part."""
        cached, found = self.keys(r, y), np.zeros(y.shape)
        for i, j in product(range(len(self.words)), range(y.shape[2])):
            query = np.concatenate([scale * self.code[i], tilt * np.eye(y.shape[2])[j]])
            own = cached[:, i] * (np.arange(cached.shape[2]) < self.length)
            weights, mine = np.exp(cached @ query).sum(axis=1), np.exp(own @ query)
            found[:, i, j] = (weights - mine) / (weights + mine)
        return found

    def value_answers(self, r: np.ndarray, y: np.ndarray, values: np.ndarray, scale: float) -> np.ndarray:
        """(samples, payload, value_dim - 1) outputs of all value reads of values (samples, payload, value_dim - 1)."""
        cached, found = self.keys(r, y), np.zeros(values.shape)
        for i, signs in enumerate(self.code):
            weights = np.exp(cached @ np.concatenate([scale * signs, np.zeros(y.shape[2])]))
            total = weights.sum(axis=1) + np.exp(-scale * self.length)
            found[:, i] = np.einsum("sl,slv->sv", weights[:, : len(self.words)], values) / total[:, None]
        return found

    def masses(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(samples, payload, L) x and (samples, payload, L, payload) the a_l, as the proof writes them; a_i = 0."""
        x = np.zeros(r.shape)
        a = np.zeros((*r.shape, len(self.words)))
        centred = r - self.width / 2
        for i, m in product(range(len(self.words)), range(self.length)):
            entries = abs(self.query(i, m))
            x[:, i, m] = np.exp(-(centred[:, i] @ entries))
            for k in range(len(self.words)):
                agree = self.code[i] * self.code[k]
                distance = entries[agree < 0].sum()
                noise = centred[:, k] @ (entries * agree)
                a[:, i, m, k] = (k != i) * np.exp(-2 * (1 - self.width / 2) * distance - noise)
        return x, a

    @property
    def pad_mass(self) -> float:
        return float(self.pads * np.exp(-self.budget * (1 - self.width / 2)))

    @property
    def kappa(self) -> float:
        square = (self.length - 1) * self.scale**2 + (self.scale + self.strength) ** 2
        return square * self.width**2 / 24


def draws(shape: Shape, number: int, coordinates: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes' r, some at the ends of [0, w], and payload coordinates."""
    random = np.random.default_rng(5)
    r = random.uniform(0, shape.width, (number, len(shape.words), shape.length))
    r[: number // 4] = shape.width * (r[: number // 4] > shape.width / 2)
    return r, random.uniform(-1, 1, (number, len(shape.words), coordinates))


def grid(shape: Shape, nodes: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre over ``size`` amplitudes' r: points (nodes^size, size) and their weights, which sum to 1."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    r = shape.width * (1 + np.stack(np.meshgrid(*[points] * size, indexing="ij"), axis=-1).reshape(-1, size)) / 2
    mass = np.prod(np.stack(np.meshgrid(*[weights / 2] * size, indexing="ij"), axis=-1).reshape(-1, size), axis=1)
    return r, mass
