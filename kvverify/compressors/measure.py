"""Measured error and bits of subgen and net beside what is proved of them: docs/subgen.md, docs/proofs/net_merging.md.

SubGen's theorem (SG-4 of the ledger, "as recorded"): with t >= 200 sinh^2(delta r)/eps'^2 slots a cell and
s >= 200 d/eps'^2 slots, eps' = eps/(2 + eps), an answer is off by more than eps |softmax|_2 |V|_op in 2-norm with
probability at most 1/100 (1/200 for each of the two samples). Norms are those of the n tokens and the own one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from flint import arb

from kvverify.compressors import find, nets, wire
from kvverify.compressors.protocol import Settings, Shape
from kvverify.compressors.reservoirs import state_bits
from kvverify.errors import UsageError

FAILURE = Fraction(1, 100)
"""How often SubGen's theorem allows an answer to be off by more, over coins."""


@dataclass(frozen=True)
class Inputs:
    """A stream of one KV head and its queries: keys (n, d_k) in the ``body``, values (n, d_v) in [-1, 1], queries
    (r, d_k) of norm ``query_norm`` (1-norm on the cube, 2-norm in the ball). The own token has key 0 and value 0."""

    keys: np.ndarray
    values: np.ndarray
    queries: np.ndarray
    body: str
    query_norm: Fraction

    @staticmethod
    def uniform(
        tokens: int, key_dim: int, query_norm: Fraction | int, *, value_dim: int | None = None, body: str = "ball",
        queries: int = 64, seed: int = 0,
    ) -> Inputs:  # fmt: skip
        """Keys uniform in the body, values uniform on [-1, 1], queries of uniform direction."""
        draw = np.random.default_rng(seed)
        directions = draw.standard_normal((queries, key_dim))
        if body == "cube":
            keys, size = draw.uniform(-1, 1, (tokens, key_dim)), np.abs(directions).sum(axis=1, keepdims=True)
        elif body == "ball":
            keys, size = draw.standard_normal((tokens, key_dim)), np.linalg.norm(directions, axis=1, keepdims=True)
            keys *= draw.random((tokens, 1)) ** (1 / key_dim) / np.linalg.norm(keys, axis=1, keepdims=True)
        else:
            raise UsageError(f"body: {body} given, cube or ball is needed")
        values = draw.uniform(-1, 1, (tokens, value_dim or key_dim))
        return Inputs(keys, values, directions / size * float(query_norm), body, Fraction(query_norm))


@dataclass(frozen=True)
class Measured:
    """What one compressor did with one stream of one KV head, over ``coins`` seeds, beside what is proved.

    Sizes in bits: ``state_bits`` are those of the message's tensors (the largest over coins), ``dense_bits`` those of
    a bf16 cache. ``error`` is the largest |answer - exact| over coordinates, queries and coins; ``relative_error`` the
    largest |answer - exact|_2 / (|softmax|_2 |V|_op). A proved bound is None where there is none. ``failures`` is the
    share of (query, coin) in which an answer was off by more than is proved, ``failures_at_most`` the proved share.
    """

    compressor: str
    parameters: tuple[tuple[str, str], ...]
    tokens: int
    key_dim: int
    value_dim: int
    queries: int
    coins: int
    cells: int
    cells_at_most: int
    state_bits: int
    state_bits_at_most: int
    dense_bits: int
    error: float
    error_at_most: float | None
    relative_error: float
    relative_error_at_most: Fraction | None
    failures: float | None
    failures_at_most: Fraction | None


def theorem_slots(delta_r: Fraction, epsilon: Fraction, value_dim: int) -> tuple[int, int]:
    """(t, s) of SG-4 with explicit constants, failure 1/200 each; ``delta_r`` = delta times the queries' norm."""
    if epsilon <= 0:
        raise UsageError(f"epsilon: {epsilon} given, above 0 is needed")
    inner = 200 / (epsilon / (2 + epsilon)) ** 2
    x = arb(delta_r.numerator) / delta_r.denominator
    t = nets.upper(lambda: x.sinh() ** 2 * inner.numerator / inner.denominator)
    return max(1, math.ceil(t)), math.ceil(inner * value_dim)


def measure(
    name: str, parameters: dict[str, Any], inputs: Inputs, *, epsilon: Fraction | None = None, coins: int = 1
) -> Measured:
    """Play ``subgen`` or ``net`` with these settings on that stream, and put what is proved beside it.

    For subgen ``epsilon`` takes t and s from the theorem (they are refused in ``parameters`` then); without it only the
    number of cells is bounded. For net the body and the budget are those of the inputs. Raises UsageError for another
    name, or for epsilon or coins where they mean nothing.
    """
    if name not in _PROVED:
        raise UsageError(f"{name}: nothing is proved here but of {', '.join(_PROVED)}")
    if name == "net" and (coins != 1 or epsilon is not None):
        raise UsageError("net has neither coins nor an epsilon; its promise is the setting tolerance")
    if {"t", "s"} & parameters.keys() and epsilon is not None:
        raise UsageError("epsilon takes t and s from the theorem; give it, or t and s, not both")
    (tokens, key_dim), value_dim = inputs.keys.shape, inputs.values.shape[1]
    shape = Shape(1, 1, key_dim, value_dim, coins)
    compressor: Any = find(name)(Settings(name, shape, _parameters(name, parameters, inputs, epsilon), dtype="float64"))
    keys, values, queries = (
        torch.from_numpy(side).expand(coins, 1, -1, -1) for side in (inputs.keys, inputs.values, inputs.queries)
    )
    compressor.absorb(None, keys, values)
    own_keys, own_values = torch.zeros_like(queries), queries.new_zeros((*queries.shape[:3], value_dim))
    answers = compressor.attend(queries, own_keys, own_values)[:, 0].numpy()
    exact, unit = _exact(inputs)
    proved = _PROVED[name](compressor, inputs, epsilon)
    errors, lengths = np.abs(answers - exact).max(axis=2), np.linalg.norm(answers - exact, axis=2)
    most = proved.error(unit)
    beyond = None if most is None else (lengths if proved.relative else errors) > most
    return Measured(
        compressor=name,
        parameters=tuple((key, str(value)) for key, value in compressor.settings.parameters.items()),
        tokens=tokens,
        key_dim=key_dim,
        value_dim=value_dim,
        queries=len(inputs.queries),
        coins=coins,
        cells=proved.cells,
        cells_at_most=proved.cells_at_most,
        state_bits=wire.measure(compressor.message()).readable_bits // coins,
        state_bits_at_most=proved.state_bits_at_most,
        dense_bits=16 * tokens * (key_dim + value_dim),
        error=float(errors.max()),
        error_at_most=None if most is None else float(most.max()),
        relative_error=float((lengths / unit).max()),
        relative_error_at_most=proved.relative,
        failures=None if beyond is None else float(beyond.mean()),
        failures_at_most=proved.failures,
    )


@dataclass(frozen=True)
class _Proved:
    """The proved side of `Measured`; ``entrywise`` or ``relative`` is what an answer keeps but for ``failures``."""

    cells: int
    cells_at_most: int
    state_bits_at_most: int
    entrywise: Fraction | None = None
    relative: Fraction | None = None
    failures: Fraction | None = None

    def error(self, unit: np.ndarray) -> np.ndarray | None:
        """The most by which answers to the queries, whose |softmax|_2 |V|_op is ``unit``, are off."""
        if self.relative is not None:
            return float(self.relative) * unit
        return None if self.entrywise is None else np.full_like(unit, float(self.entrywise))


def _parameters(name: str, given: dict[str, Any], inputs: Inputs, epsilon: Fraction | None) -> dict[str, Any]:
    if name == "net":
        return {**given, "body": inputs.body, "max_logit": str(inputs.query_norm)}
    if epsilon is None:
        return given
    delta_r = Fraction(str(given.get("delta", 1))) * inputs.query_norm  # on the cube their 1-norm, which is larger
    t, s = theorem_slots(delta_r, epsilon, inputs.values.shape[1])
    return {**given, "t": t, "s": s}


def _net(compressor: Any, inputs: Inputs, epsilon: Fraction | None) -> _Proved:
    shape, points = compressor.settings.shape, compressor.net.points_at_most()
    return _Proved(
        cells=len(compressor.streams[0].counts),
        cells_at_most=min(len(inputs.keys), points),
        state_bits_at_most=nets.state_bits_at_most(
            len(inputs.keys), points, radix=compressor.net.radix, key_dim=shape.key_dim, value_dim=shape.value_dim,
            value_levels=compressor.value_levels,
        ),
        entrywise=compressor.error_at_most,
        failures=Fraction(0),
    )  # fmt: skip


def _subgen(compressor: Any, inputs: Inputs, epsilon: Fraction | None) -> _Proved:
    """Representatives are further apart than delta: balls of half of it around them are disjoint."""
    shape, tokens = compressor.settings.shape, len(inputs.keys)
    delta = Fraction(str(compressor.settings.parameters["delta"]))
    cells = tokens
    if delta:
        radius = arb(1 if inputs.body == "ball" else shape.key_dim).sqrt()
        packing = nets.upper(lambda: (1 + 2 * radius * delta.denominator / delta.numerator) ** shape.key_dim)
        cells = min(tokens, math.floor(packing))
    words = {"key_dim": shape.key_dim, "value_dim": shape.value_dim, "scalar_bits": 8 * compressor.dtype.itemsize}
    return _Proved(
        cells=len(compressor.cells[0].counts),
        cells_at_most=cells,
        state_bits_at_most=state_bits(cells, t=compressor.t, s=compressor.s, **words),
        relative=epsilon,
        failures=None if epsilon is None else FAILURE,
    )


_PROVED: dict[str, Callable[[Any, Inputs, Fraction | None], _Proved]] = {"subgen": _subgen, "net": _net}


def _exact(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Answers (r, d_v) in float64, and |softmax|_2 |V|_op of each query (r,)."""
    scores = np.append(inputs.queries @ inputs.keys.T, np.zeros((len(inputs.queries), 1)), axis=1)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    exact = weights[:, :-1] @ inputs.values
    return exact, np.linalg.norm(weights, axis=1) * np.linalg.norm(inputs.values, 2)
