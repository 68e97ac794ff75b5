"""Measured error and bits of subgen4 and subgen2 beside what is proved of them: docs/subgen.md.

Theorems (ours; docs/subgen.md): with eps' = eps/(2 + eps), queries of 2-norm r and factor entries at most 1,

- subgen4: t >= 200 sinh^2(2 delta r)/eps'^2 and s >= 200/eps'^2 keep an answer within eps |softmax|_2 |V1|_F |V2|_F;
- subgen2: t >= 200 sinh^2(delta r)/eps'^2 and s >= 200 d/eps'^2 keep it within eps |softmax|_2 |V1 * V2|_op,

each but for probability 1/100 over coins; norms are over all pairs of the n tokens and the own one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from flint import arb

from kvverify.attention.tensor import attend_tensor_reference
from kvverify.compressors import find, nets, wire
from kvverify.compressors.measure import FAILURE, Inputs, Measured, theorem_slots
from kvverify.compressors.protocol import Settings, Shape
from kvverify.compressors.reservoirs import state_bits
from kvverify.errors import UsageError

NAMES = ("subgen4", "subgen2")


@dataclass(frozen=True)
class TensorInputs:
    """Two factors of one stream, keys in the unit ball and values in [-1, 1], and queries of the first; the own token
    has factors 0."""

    first: Inputs
    second: Inputs

    @staticmethod
    def uniform(tokens: int, dim: int, query_norm: Fraction | int, *, queries: int = 16, seed: int = 0) -> TensorInputs:
        """Independent factors, each uniform in its body."""
        first, second = (
            Inputs.uniform(tokens, dim, query_norm, queries=queries, seed=2 * seed + factor) for factor in (0, 1)
        )
        return TensorInputs(first, second)

    def stacked(self, side: str) -> np.ndarray:
        """(1, 2, tokens, dim) of both factors."""
        return np.stack([getattr(self.first, side), getattr(self.second, side)])[None]


def measure_tensor(
    name: str, parameters: dict[str, Any], inputs: TensorInputs, *, epsilon: Fraction | None = None, coins: int = 1
) -> Measured:
    """As `measure.measure`, of tensor attention; dense bits are those of four bf16 caches, ``cells`` of both factors.

    Raises UsageError for another name, and for t and s beside ``epsilon``, which takes them from the theorem.
    """
    if name not in NAMES:
        raise UsageError(f"{name}: nothing is proved here but of {', '.join(NAMES)}")
    if {"t", "s"} & parameters.keys() and epsilon is not None:
        raise UsageError("epsilon takes t and s from the theorem; give it, or t and s, not both")
    (tokens, dim), asked = inputs.first.keys.shape, inputs.first.queries
    chosen = dict(parameters)
    if epsilon is not None:
        reach = Fraction(str(chosen.get("delta", 1))) * inputs.first.query_norm
        t, s = theorem_slots(2 * reach if name == "subgen4" else reach, epsilon, 1 if name == "subgen4" else dim)
        chosen |= {"t": t, "s": s}
    settings = Settings(name, Shape(2, 2, dim, dim, coins), chosen, dtype="float64", attention="tensor")
    compressor: Any = find(name)(settings)
    keys, values = (torch.from_numpy(inputs.stacked(side)).expand(coins, -1, -1, -1) for side in ("keys", "values"))
    compressor.absorb(None, keys, values)
    queries = torch.from_numpy(asked).expand(coins, 1, -1, -1)
    zeros = queries.new_zeros((coins, 2, len(asked), dim))
    answers = compressor.attend(queries, zeros, zeros)[:, 0].numpy()
    exact, weights = _exact(inputs)
    unit = weights * _size(name, inputs)
    errors, lengths = np.abs(answers - exact).max(axis=2), np.linalg.norm(answers - exact, axis=2)
    most = None if epsilon is None else float(epsilon) * unit
    held, heads = (compressor.sketch, 1) if name == "subgen2" else (compressor, 2)
    cells_at_most = _cells(
        Fraction(str(compressor.settings.parameters["delta"])), dim, tokens if heads == 2 else tokens**2
    )
    bits_at_most = state_bits(
        heads * cells_at_most, t=held.t, s=held.s, key_dim=dim, value_dim=dim, scalar_bits=8 * held.dtype.itemsize,
        streams=heads,
    )  # fmt: skip
    if name == "subgen2":
        bits_at_most += 4 * tokens * dim * 8 * held.dtype.itemsize
    return Measured(
        compressor=name,
        parameters=tuple((key, str(value)) for key, value in compressor.settings.parameters.items()),
        tokens=tokens, key_dim=dim, value_dim=dim, queries=len(asked), coins=coins,
        cells=sum(len(cells.counts) for cells in held.cells[:heads]),
        cells_at_most=heads * cells_at_most,
        state_bits=-(-wire.measure(compressor.message()).readable_bits // coins),
        state_bits_at_most=bits_at_most,
        dense_bits=16 * 2 * tokens * 2 * dim,
        error=float(errors.max()),
        error_at_most=None if most is None else float(most.max()),
        relative_error=float((lengths / unit).max()),
        relative_error_at_most=epsilon,
        failures=None if most is None else float((lengths > most).mean()),
        failures_at_most=None if epsilon is None else FAILURE,
    )  # fmt: skip


def _cells(delta: Fraction, dim: int, rows: int) -> int:
    """Representatives in the unit ball are further apart than delta: balls of half of it around them are disjoint."""
    if not delta:
        return rows
    packing = nets.upper(lambda: (1 + arb(2) * delta.denominator / delta.numerator) ** dim)
    return min(rows, math.floor(packing))


def _exact(inputs: TensorInputs) -> tuple[np.ndarray, np.ndarray]:
    """Answers (r, d_v) in float64, and |softmax|_2 of each query (r,) over all pairs with the own token's."""
    queries, zeros = inputs.first.queries, np.zeros((1, 2, len(inputs.first.queries), inputs.first.keys.shape[1]))
    exact = attend_tensor_reference(
        queries[None, None], inputs.stacked("keys"), inputs.stacked("values"), zeros, zeros, 1.0
    )[0, 0]
    norms = []
    for query in queries:
        scores = (query * inputs.first.keys) @ inputs.second.keys.T
        own = 2 * len(scores) + 1  # pairs of score 0
        norms.append(np.sqrt(np.exp(2 * scores).sum() + own) / (np.exp(scores).sum() + own))
    return exact, np.array(norms)


def _size(name: str, inputs: TensorInputs) -> float:
    """|V1|_F |V2|_F, or the operator norm of the product rows: its square is that of the product of Gram matrices."""
    first, second = inputs.first.values, inputs.second.values
    if name == "subgen4":
        return float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.sqrt(np.linalg.norm((first.T @ first) * (second.T @ second), 2)))
