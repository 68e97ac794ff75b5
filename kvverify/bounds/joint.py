"""Secrets in values and keys at once (docs/proofs/payload.md): a family's bits by floats, and the steps of the proof.

On the cube the payload coordinates stand beside the code, and a key read's tilt is taken off the logit. In the ball the
code keeps a part of the radius, its coordinates share the rest, and the squares of a query's two parts add up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
from flint import arb

from kvverify.bounds.candidate import Candidate, Sizes, best_of, masses, read_gain, unit
from kvverify.bounds.candidate import distortion as distortion_float
from kvverify.bounds.steps import (
    DECAY_BITS,
    SLACK,
    Node,
    ball_up,
    determinant,
    distortion,
    down,
    exact,
    gain_down,
    leak_steps,
    log2_up,
    payload_radius,
    root_down,
    step,
    up,
)
from kvverify.codes.base import KeyFamily, SignKeys
from kvverify.problem import Problem

STRENGTHS = [Fraction(k, 16) for k in (*range(4, 64), *range(64, 132, 4))]
# In the ball: the part of the radius that the code keeps, and the spread s of a tilted coordinate, for every pair.
CODE_RADII = [Fraction(k, 32) for k in (4, 10, 16, 20, 23, 25, 26, 27, 28, 29, 30, 31)]
SPREADS = (0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.8, 1.0, 1.3)


@dataclass(frozen=True)
class _Ways:
    """Ways to tilt, aligned: strengths, the code's radii, and as floats what a key read leaves the code of the logit
    (times that radius), E u, the secret's entropy and g. ``whole``: what a value read has, at the place ``of_way``."""

    strengths: list[Fraction]
    radii: list[Fraction]
    logits: np.ndarray
    mean: np.ndarray
    entropy: np.ndarray
    gain: np.ndarray
    whole: np.ndarray
    of_way: np.ndarray


@lru_cache(maxsize=256)
def _ways(problem: Problem, coordinates: int) -> _Ways:
    """All that the logit leaves room for."""
    return _in_ball(problem, coordinates) if problem.body == "ball" else _on_cube(problem)


def _on_cube(problem: Problem) -> _Ways:
    strengths = [t for t in STRENGTHS if t < problem.max_logit]
    t = np.array([float(t) for t in strengths])
    half = np.tanh(t / 2)
    gain = np.array([read_gain(problem, x / 2) for x in t])
    radii = [Fraction(1)] * len(strengths)
    whole, of_way = _value_logits(problem, np.ones(len(t)))
    return _Ways(strengths, radii, float(problem.max_logit) - t, t / half - 1, np.log2(half), gain, whole, of_way)


def _value_logits(problem: Problem, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each logit once, and where each way finds it."""
    found, place = np.unique(share, return_inverse=True)
    return float(problem.max_logit) * found, place


def _in_ball(problem: Problem, coordinates: int) -> _Ways:
    """A grid over the code's radius and the spread, which is the strength in units of a coordinate's deviation."""
    pairs = set()
    for radius in CODE_RADII:
        deviation = math.sqrt((1 - radius**2) / (coordinates + 2))
        pairs |= {(radius, Fraction(max(1, round(16 * spread / deviation)), 16)) for spread in SPREADS}
    return _ball_ways(problem, coordinates, sorted(pairs))


@lru_cache(maxsize=4096)
def _nearby(problem: Problem, coordinates: int, radius: Fraction, strength: Fraction) -> _Ways:
    """The finer grid around a place of the coarse one."""
    radii = [radius + Fraction(k, 128) for k in range(-2, 3)]
    strengths = [round(16 * strength * (1 + Fraction(k, 16))) for k in range(-2, 3)]
    pairs = {(r, Fraction(max(1, b), 16)) for r in radii if r < 1 for b in strengths}
    return _ball_ways(problem, coordinates, sorted(pairs))


def _ball_ways(problem: Problem, coordinates: int, pairs: list[tuple[Fraction, Fraction]]) -> _Ways:
    pairs = [(radius, strength) for radius, strength in pairs if strength < problem.max_logit]
    radii, strengths = ([pair[i] for pair in pairs] for i in (0, 1))
    b, share = (np.array([float(x) for x in row]) for row in (strengths, radii))
    beside = {radius: payload_radius(radius, problem) for radius in set(radii)}
    left = np.array([float(beside[radius]) for radius in radii])
    gain = [
        read_gain(problem, float(x * _reach(beside[radius]) / 2)) for radius, x in zip(radii, strengths, strict=True)
    ]
    square = (b * left) ** 2 / (coordinates + 2)
    volume = math.log2(math.pi) / 2 - math.lgamma(coordinates / 2 + 1) / math.log(2) / coordinates
    entropy = np.log2(left * b) + volume - 2 - square / 4 / math.log(2)
    logits = share * np.sqrt(float(problem.max_logit) ** 2 - b**2)
    return _Ways(strengths, radii, logits, np.exp(square / 2), entropy, np.array(gain), *_value_logits(problem, share))


def estimate(family: KeyFamily, sizes: Sizes, problem: Problem) -> list[Candidate]:
    """The best way to tilt and payload size, where any gives a bit.

    Payloads are all tokens or a power of two of them; below a sixteenth they are left to the value bounds.
    """
    sizes = sizes.pick(_few(sizes.exact, problem.tokens))
    coordinates = problem.key_dim - family.dim
    shrinks = problem.inputs == "real" or isinstance(family, SignKeys)
    if coordinates < 1 or not sizes or (problem.body == "ball" and not shrinks):
        return []
    ways = _ways(problem, coordinates)
    found = _best_way(family, sizes, problem, ways)
    if found and problem.body == "ball":
        ways = _nearby(problem, coordinates, found[0].code_radius, found[0].strength)
        found = _best_way(family, sizes.pick([sizes.exact.index(found[0].payload)]), problem, ways)
    return found


@lru_cache(maxsize=1024)
def _few(sizes: tuple[int, ...], tokens: int) -> list[int]:
    """Where all tokens and the powers of two from a sixteenth of them on stand among the sizes."""
    return [i for i, size in enumerate(sizes) if size == tokens or (16 * size >= tokens and size & (size - 1) == 0)]


def _best_way(family: KeyFamily, sizes: Sizes, problem: Problem, ways: _Ways) -> list[Candidate]:
    """The best of these ways; none where none gives a bit."""
    if not ways.strengths:
        return []
    whole = float(unit(family, problem, ways.radii[0]) * ways.radii[0])  # that of a code of radius 1
    sigma, squares, rest = masses(family, sizes, problem, ways.logits / whole)
    crowd = 1 + (sigma * ways.mean + rest) / 2
    read = np.maximum(ways.gain + ways.entropy - 2 * np.log2(crowd) - distortion_float(sigma, squares), 0.0)
    off, mean, other = masses(family, sizes, problem, ways.whole / whole)
    loss = np.log2(1 + off + other) + distortion_float(off, mean)
    value = np.maximum(read_gain(problem) - loss, 0.0) * (problem.value_dim - 1)
    # Off-target mass of 1 or more on either side leaves no determinant, hence no joint bound.
    total = np.where(
        (sigma < 1) & (off < 1)[:, ways.of_way], value[:, ways.of_way] + (problem.key_dim - family.dim) * read, 0.0
    )
    best = total.argmax(axis=1)
    gains = total[np.arange(len(sizes)), best]
    found = best_of(family, sizes, "joint", np.zeros(len(sizes)), gains, np.full(len(sizes), math.inf))
    way = int(best[sizes.exact.index(found.payload)])
    return [replace(found, strength=ways.strengths[way], code_radius=ways.radii[way])] if found.bits else []


def steps(candidate: Candidate, problem: Problem, values: list[Fraction]) -> list[Node]:
    """The key reads at their own scale, and both secrets added up; ``values`` is the leak of the value reads."""
    strength, payload = candidate.strength, candidate.payload
    coordinates = problem.key_dim - candidate.family.dim
    if problem.body == "ball":
        radius = payload_radius(candidate.code_radius, problem)
        lean, mean, entropy = _ball_tilt(strength, radius, coordinates)
        reach = _reach(radius)
        logit = root_down(problem.max_logit**2 - strength**2, 32)
    else:
        lean, mean, entropy = cube_tilt(strength)
        logit, reach = problem.max_logit - strength, Fraction(1)
    exponent = logit / unit(candidate.family, problem, candidate.code_radius)
    chain, keys = leak_steps(candidate, problem, exponent, "-keys", tilted=True)
    value_part = payload * (gain_down(problem) - SLACK) + determinant(payload, values)
    sigma, _, rest = keys
    crowd = 1 + (sigma * mean + rest) / 2
    read = gain_down(problem, strength * reach / 2) + entropy - 2 * log2_up(crowd) - distortion(keys)
    zero = Fraction(0)
    total = (problem.value_dim - 1) * max(value_part, zero) + coordinates * max(payload * (read - SLACK), zero)
    bits = down(problem.streams * total, 20)
    return [
        lean,
        *chain,
        step(
            "bits", "joint", {"values": "leak", "keys": "leak-keys"}, {"key_coordinates": coordinates},
            {"bits_at_least": bits},
        ),
    ]  # fmt: skip


def cube_tilt(strength: Fraction) -> tuple[Node, Fraction, Fraction]:
    """The step, E u and the secret's entropy, on the cube."""
    half = 1 - up(ball_up(lambda: 1 - (arb(exact(strength)) / 2).tanh()), DECAY_BITS)
    lean = step("tilt", "tilt", {}, {"strength": strength}, {"tanh_half_at_least": half})
    return lean, strength / half - 1, -log2_up(1 / half)


def _reach(radius: Fraction) -> Fraction:
    """The least power of two that a secret of that norm stays within: its coordinates' rounding is as much finer."""
    return Fraction(1, 1 << ((radius.denominator // radius.numerator).bit_length() - 1))


def _ball_tilt(strength: Fraction, radius: Fraction, coordinates: int) -> tuple[Node, Fraction, Fraction]:
    """The same in the ball."""
    square = (strength * radius) ** 2 / (coordinates + 2)
    mean = up(ball_up(lambda: arb(exact(square / 2)).exp()), DECAY_BITS)
    half = arb(coordinates) / 2

    def lost() -> arb:
        """Minus the entropy of a coordinate."""
        volume = half * arb.pi().log() - (half + 1).lgamma()
        nats = arb(exact(radius * strength)).log() + volume / coordinates - arb(exact(square / 4))
        return 2 - nats / arb.const_log2()

    entropy = down(-ball_up(lost) - SLACK, 60)
    given = {"strength": strength, "radius": radius, "key_coordinates": coordinates}
    gives = {"mean_at_most": mean, "entropy_at_least": entropy}
    return step("tilt", "ball-tilt", {}, given, gives), mean, entropy
