"""The key payload's instance on small shapes: softmax over whole keys, and the bound through the rules themselves."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import log2 as log2_float
from typing import Any

import numpy as np
from flint import arb

from kvverify.kernel.facts import Fact
from kvverify.kernel.rules.attention import Leak, Tilt
from tests.kernel.apply import TINY, accepts, apply
from tests.kernel.families import Keys, counted, distances, family
from tests.kernel.oracle import ROUNDING, leak_sums
from tests.kernel.real import ball, divergence, down, exp, log2, log_ratio, up

MASSES = ("off_target_at_most", "off_target_squares_at_most", "rest_at_most")


def cube_tilt(strength: Fraction, half: Fraction) -> Tilt:
    """The fact of a tilt whose secret has (u - 1)/(u + 1) uniform on [-half, half]."""
    return Tilt(strength, strength / half - 1, down(log2(half), 60))


@dataclass(frozen=True)
class Shape:
    """Sign words as code part; ``exponent`` of the key reads, the value reads have the whole budget."""

    words: tuple[str, ...]
    exponent: Fraction
    strength: Fraction
    pads: int = 0
    coordinates: int = 1
    value_dim: int = 1

    @property
    def code(self) -> np.ndarray:
        """(payload, length) signs."""
        return 1.0 - 2.0 * np.array([[int(bit) for bit in word] for word in self.words])

    @property
    def length(self) -> int:
        return len(self.words[0])

    @property
    def max_logit(self) -> Fraction:
        return self.exponent * Fraction(self.length, 2) + self.strength

    @property
    def statement(self) -> dict[str, object]:
        return {
            "tokens": len(self.words) + self.pads, "key_dim": self.length + self.coordinates,
            "value_dim": self.value_dim, "max_logit": self.max_logit,
        }  # fmt: skip

    def answers(self, y: np.ndarray, coordinate: int = 0) -> np.ndarray:
        """Marker's exact outputs (samples, payload) of all key reads of one coordinate; y (samples, payload, d)."""
        code, reads = self.code, []
        samples, payload, width = y.shape
        keys = np.zeros((samples, payload + self.pads + 1, self.length + width))
        keys[:, :payload, : self.length], keys[:, :payload, self.length :] = code, y
        marker = np.ones(keys.shape[1])
        marker[-1] = -1
        for i in range(payload):
            keys[:, -1, : self.length] = code[i]
            tilted = np.eye(width)[coordinate] * float(self.strength)
            weights = np.exp(keys @ np.concatenate([code[i] * float(self.exponent) / 2, tilted]))
            reads.append(weights @ marker / weights.sum(axis=1))
        return np.stack(reads, axis=1)

    def value_answers(self, y: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Exact outputs (payload, value_dim - 1) of all value reads; y (payload, d), values as the outputs."""
        code, payload = self.code, len(self.words)
        keys = np.zeros((payload + self.pads + 1, self.length + y.shape[1]))
        keys[:payload, : self.length], keys[:payload, self.length :] = code, y
        whole = np.zeros((len(keys), values.shape[1]))
        whole[:payload] = values
        reads = []
        for i in range(payload):
            keys[-1, : self.length] = -code[i]
            query = np.concatenate([code[i] * float(self.max_logit) / self.length, np.zeros(y.shape[1])])
            weights = np.exp(keys @ query)
            reads.append(weights @ whole / weights.sum())
        return np.array(reads)


def premises(shape: Shape) -> dict[str, Fact]:
    """Both leaks, made by the kernel's rules, every number tight; "tilt" is among them."""
    words = np.array([[int(bit) for bit in word] for word in shape.words])
    weights = {str(e): str(n) for e, n in counted(distances(words)[0]).items()}
    step: dict[str, Any] = {
        "rule": "coset-union", "given": {"generator": [], "representatives": list(shape.words)},
        "gives": {"weights": weights},
    }  # fmt: skip
    known = family(step, "cube", "real")
    e, plain = exp(shape.strength), shape.max_logit / known.unit
    bound = down((e - 1) / (e + 1), 80)
    tilt = apply("tilt", {}, {"strength": shape.strength}, {"tanh_half_at_least": bound}, **shape.statement)
    keys = apply(step["rule"], {}, step["given"], step["gives"], **shape.statement)
    return {
        "values": _leak(shape, {"keys": keys}, plain, known),
        "keys": _leak(shape, {"keys": keys, "tilt": tilt}, shape.exponent, known), "tilt": tilt,
    }  # fmt: skip


def _leak(shape: Shape, uses: dict[str, Fact], exponent: Fraction, known: Keys) -> Leak:
    z, payload = up(exp(-exponent), 80), len(shape.words)
    decay = apply("exp-bound", {}, {"exponent": exponent}, {"exp_minus_at_most": z}, **shape.statement)
    budget = apply(
        "budget", {**uses, "decay": decay}, {"payload": payload}, {"logit_at_most": shape.max_logit}, **shape.statement
    )
    sums = (up(x, 80) for x in leak_sums(known, z, payload, payload + shape.pads))
    leak: Leak = apply("leak", {"budget": budget}, {}, dict(zip(MASSES, sums, strict=True)), **shape.statement)
    return leak


def formula(
    values: Leak, keys: Leak, tilt: Tilt, coordinates: int, tolerance: Fraction, failure: Fraction, *, value_dim: int,
    streams: int = 1, bf16: bool = False,
) -> arb:  # fmt: skip
    """What `joint` promises, as the design writes it: S_value + S_key, bits."""
    h, t = ROUNDING if bf16 else Fraction(0), tilt.strength
    row = values.worst
    a = divergence(tolerance + h, failure) - log2(1 + row.off_target + row.rest) - _distortion(values)
    row = keys.worst
    half = t / (tilt.mean + 1)
    crowd = 1 + (row.off_target * (t / half - 1) + row.rest) / 2
    b = log2(half) + divergence(tolerance + t * h / 2, failure) - 2 * log2(crowd) - _distortion(keys)
    a, b = (x if x > 0 else arb(0) for x in (a, b))
    return streams * keys.payload * ((value_dim - 1) * a + coordinates * b)


def _distortion(leak: Leak) -> arb:
    return log_ratio(leak.worst.off_target) * ball(leak.squares) / arb(2).log()


def series_tail(leak: Leak) -> Fraction:
    """What the kernel's c(sigma) gives away, bits a row: its geometric tail."""
    sigma = leak.worst.off_target
    return 2 * leak.squares * sigma**30 / (32 * (1 - sigma)) + TINY


def best(shape: Shape, tolerance: Fraction, failure: Fraction = Fraction(0)) -> Fraction:
    """The most bits that the rule grants, to the tail of its series; nothing above its formula is granted."""
    facts = premises(shape)
    values, keys, tilt = (facts[name] for name in ("values", "keys", "tilt"))
    assert isinstance(values, Leak)
    assert isinstance(keys, Leak)
    assert isinstance(tilt, Tilt)
    bound = formula(values, keys, tilt, shape.coordinates, tolerance, failure, value_dim=shape.value_dim)
    tail = keys.payload * ((shape.value_dim - 1) * series_tail(values) + shape.coordinates * series_tail(keys))
    granted = max(down(bound - ball(tail), 50), Fraction(0)) if bound > 0 else Fraction(0)
    beyond = down(bound + ball(TINY), 40) + Fraction(1, 1 << 39)
    problem = {**shape.statement, "tolerance": tolerance, "failure": failure}
    uses, given = {"values": values, "keys": keys}, {"key_coordinates": shape.coordinates}
    assert accepts("joint", uses, given, {"bits_at_least": granted}, **problem)
    assert not accepts("joint", uses, given, {"bits_at_least": beyond}, **problem)
    return granted


def entropy(shape: Shape, edge: float, coordinates: int = 1) -> float:
    """h of all marker outputs in bits: Gauss-Legendre over v, the Jacobian of direct softmax by differences.

    Every coordinate of every token is one variable of one map; the determinant is of the whole of it.
    """
    payload, step = len(shape.words), 1e-5
    size = payload * coordinates
    nodes, weights = np.polynomial.legendre.leggauss({1: 60, 2: 40, 3: 18, 4: 9}[size])
    v = edge * np.stack(np.meshgrid(*[nodes] * size, indexing="ij"), axis=-1).reshape(-1, size)
    mass = np.prod(np.stack(np.meshgrid(*[weights / 2] * size, indexing="ij"), axis=-1).reshape(-1, size), axis=1)

    def outputs(point: np.ndarray) -> np.ndarray:
        y = (2 * np.arctanh(point) / float(shape.strength)).reshape(-1, payload, coordinates)
        return np.concatenate([shape.answers(y, j) for j in range(coordinates)], axis=1)

    columns = [(outputs(v + d) - outputs(v - d)) / (2 * step) for d in np.eye(size) * step]
    jacobian = np.linalg.det(np.stack(columns, axis=2))
    return float(size * log2_float(2 * edge) + mass @ np.log2(abs(jacobian)))


def squares(shape: Shape, edge: float, eps: float, parts: int = 240) -> tuple[int, list[int], int]:
    """Squares of width 2 eps that the pair of answers can reach, and how many of parts^2 equal cells of (v_1, v_2)
    surely fall in each of them, most first; and parts^2. Outputs grow in both variables, so corners bound a cell."""
    v = np.linspace(-edge, edge, parts + 1)
    y = 2 * np.arctanh(np.stack(np.meshgrid(v, v, indexing="ij"), axis=-1)) / float(shape.strength)
    grid = shape.answers(y.reshape(-1, 2, 1)).reshape(parts + 1, parts + 1, 2)
    low = np.floor((grid[:-1, :-1] - 1e-12) / (2 * eps)).astype(int)
    high = np.floor((grid[1:, 1:] + 1e-12) / (2 * eps)).astype(int)
    reached: set[tuple[int, int]] = set()
    sure: dict[tuple[int, int], int] = {}
    for a, b in zip(low.reshape(-1, 2).tolist(), high.reshape(-1, 2).tolist(), strict=True):
        span = list(product(range(a[0], b[0] + 1), range(a[1], b[1] + 1)))
        reached.update(span)
        if len(span) == 1:
            sure[span[0]] = sure.get(span[0], 0) + 1
    return len(reached), sorted(sure.values(), reverse=True), parts * parts
