"""Amplitudes of sign keys as a third secret (docs/proofs/amplitude.md): a code's bits by floats, and the proof's steps.

Given the width of the amplitudes the three pools of reads are apart: each takes its own best numbers of a grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from flint import arb

from kvverify.bounds.candidate import Amplitudes, Candidate, distortion
from kvverify.bounds.joint import cube_tilt
from kvverify.bounds.steps import DECAY_BITS, SLACK, Node, ball_up, down, exact, leak_steps, log2_up, step, up
from kvverify.bounds.steps import distortion as distortion_up
from kvverify.codes.base import SignKeys
from kvverify.problem import Problem

WIDTHS = np.array([3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 24, 28, 32]) / 64
STRENGTHS = np.array([2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 48])
TILTS = np.array([1, 1.5, 2, 2.5, 2.75, 3, 3.25, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8])
REFERENCES = np.array([1, 1.5, 2])  # of the asker's own token, over what it is weighed against
SLACKS = np.array([4, 4.75, 5.5, 7])  # standard deviations of the others' mass


@dataclass(frozen=True)
class _Code:
    """A row's exponents and how many tokens have each, nearest first; the code's length; pads beside the payload."""

    exponents: np.ndarray
    numbers: np.ndarray
    length: int
    pads: float

    @classmethod
    def of(cls, family: SignKeys, payload: int, tokens: int) -> _Code:
        """The rows of the family's first ``payload`` keys."""
        exponents, numbers, left = [], [], payload - 1
        for exponent, number in sorted(family.exponents().items()):
            if left > 0:
                exponents.append(float(exponent))
                numbers.append(float(min(number, left)))
                left -= number
        return cls(np.array(exponents), np.array(numbers), family.length, float(tokens - payload))

    def masses(self, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Off-target mass, its squares, the rest, at decays exp(-2 scale e); shaped as the scales."""
        weights = np.exp(-2 * scales[..., None] * self.exponents)
        rest = np.exp(-2 * scales * self.length) + self.pads * np.exp(-scales * self.length)
        return weights @ self.numbers, weights**2 @ self.numbers, rest


def improve(candidate: Candidate, problem: Problem) -> list[Candidate]:
    """The candidate with a secret in the amplitudes too, where that gives a bit: on the cube, for real inputs."""
    if problem.body != "cube" or problem.inputs != "real" or not isinstance(candidate.family, SignKeys):
        return []
    best = _best(_Code.of(candidate.family, candidate.payload, problem.tokens), problem)
    if best is None:
        return []
    bits, strength, amplitudes = best
    total = candidate.payload * bits
    return [replace(candidate, method="amplitude", bits=total, strength=strength, amplitudes=amplitudes)]


def _best(code: _Code, problem: Problem) -> tuple[float, Fraction, Amplitudes] | None:
    """Bits of one token, the tilt of key reads, and the amplitudes; None where amplitudes give nothing."""
    gain = float(divergences(np.array(float(problem.tolerance or 0)), np.array(float(problem.failure))))
    value, fits = _value_part(code, problem, gain)
    keys, tilts = _key_part(code, problem, gain)
    own, numbers = _amplitude_part(code, problem)
    total = np.where(fits & (own > 0), value + keys + own, 0.0)
    i = int(total.argmax())
    if not total[i]:
        return None
    strength, reference, slack = numbers[i]
    return float(total[i]), Fraction(tilts[i]), Amplitudes(
        Fraction(WIDTHS[i]), Fraction(strength),
        max(Fraction(1), Fraction(math.floor(reference * 64), 64)), Fraction(math.ceil(slack * 2**24), 2**24),
    )  # fmt: skip


def divergences(tolerance: np.ndarray, failure: np.ndarray) -> np.ndarray:
    """g(eps, delta) in bits where it is defined, 0 elsewhere."""
    holds = (tolerance < 1) & (failure <= 1 - tolerance)
    eps, delta = np.where(holds, tolerance, 0.5), np.where(holds, failure, 0.5)
    rare = np.where(delta > 0, delta * np.log2(np.maximum(delta, 1e-300) / (1 - eps)), 0.0)
    bits: np.ndarray = np.where(holds, (1 - delta) * np.log2((1 - delta) / eps) + rare, 0.0)
    return bits


def _crowd(code: _Code, scale: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean off-target mass and rest, and the worst case's off-target mass and squares."""
    spread = np.exp(code.length * (scale * w) ** 2 / 12)
    off, _, rest = code.masses(scale * (1 - w / 2))
    worst, squares, _ = code.masses(scale * (1 - w))
    return off * spread, rest * spread, worst, squares


def _value_part(code: _Code, problem: Problem, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Per width: bits of all value reads of a token, and whether there is a determinant."""
    off, rest, worst, squares = _crowd(code, np.full(len(WIDTHS), float(problem.max_logit) / code.length), WIDTHS)
    read = gain - np.log2(1 + off + rest) - distortion(worst, squares)
    return np.maximum(read, 0) * (problem.value_dim - 1), worst < 1


def _key_part(code: _Code, problem: Problem, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Per width: bits of all reads of payload coordinates of a token, and the best tilt."""
    tilts = TILTS[: np.searchsorted(TILTS, float(problem.max_logit))]
    if code.length == problem.key_dim or not len(tilts):
        return np.zeros(len(WIDTHS)), np.ones(len(WIDTHS))
    w, t = WIDTHS[:, None], tilts[None, :]
    off, rest, worst, squares = _crowd(code, (float(problem.max_logit) - t) / code.length + 0 * w, w)
    half = np.tanh(t / 2)
    read = gain + np.log2(half) - 2 * np.log2(1 + (off * (t / half - 1) + rest) / 2) - distortion(worst, squares)
    read = np.where(worst < 1, np.maximum(read, 0), 0)
    chosen = read.argmax(axis=1)
    return read.max(axis=1) * (problem.key_dim - code.length), tilts[chosen]


def _amplitude_part(code: _Code, problem: Problem) -> tuple[np.ndarray, list[tuple[float, float, float]]]:
    """Per width: bits of all amplitudes of a token, and the strength, reference and slack that give them."""
    strengths = STRENGTHS[: np.searchsorted(STRENGTHS, float(problem.max_logit))]
    if not len(strengths):
        return np.zeros(len(WIDTHS)), [(1.0, 1.0, 1.0)] * len(WIDTHS)
    shape = (len(WIDTHS), len(strengths), len(REFERENCES), len(SLACKS))
    w, s = WIDTHS[:, None, None, None], strengths[None, :, None, None]
    scale = (float(problem.max_logit) - s) / code.length
    reach = np.broadcast_to(float(problem.max_logit) * w / 2, shape)
    curve = ((code.length - 1) * scale**2 + (scale + s) ** 2) * w**2 / 24
    off, squares, rest = code.masses(scale * (1 - w / 2))
    mean = np.exp(curve) + off * np.exp(curve) + rest
    variance = squares * np.expm1(4 * curve)
    largest = np.exp(reach - 2 * scale * (1 - w / 2) * (code.exponents[0] if len(code.exponents) else 1))
    reference = np.clip(mean * REFERENCES[None, None, :, None], 1, np.exp(reach) * (1 - 1e-9))
    slack = SLACKS * np.sqrt(variance) + 1e-9
    missed = 2 * np.exp(-(slack**2) / (2 * variance + largest * slack * 2 / 3))
    error = 2 * reference * slack / (np.exp(-reach) + reference) ** 2
    gain = divergences(float(problem.tolerance or 0) + error, float(problem.failure) + missed)
    read = gain + np.log2(w * s * reference) - 2 * np.log2(mean + reference)
    bits = code.length * read + np.log2(1 + scale * code.length / s)
    flat = np.broadcast_to(bits, shape).reshape(len(WIDTHS), -1)
    numbers = []
    for i, place in enumerate(flat.argmax(axis=1)):
        _, j, k, m = np.unravel_index(place, (1, *shape[1:]))
        numbers.append(
            (float(strengths[j]), float(reference[i, j, k, 0]), float(np.broadcast_to(slack, shape)[i, j, k, m]))
        )
    return np.maximum(flat.max(axis=1), 0), numbers


def steps(candidate: Candidate, problem: Problem) -> list[Node]:
    """Leaks at the mean and the worst scale of each pool of reads, and the three secrets added up."""
    numbers, length = candidate.amplitudes, candidate.family.dim
    assert numbers is not None
    coordinates, width = problem.key_dim - length, numbers.width
    chain: list[Node] = []

    def leak(name: str, scale: Fraction, *, tilted: bool = False) -> list[Fraction]:
        found, sums = leak_steps(candidate, problem, 2 * scale, name, tilted=tilted)
        chain.extend(found)
        return sums

    def mean_row(name: str, scale: Fraction, *, tilted: bool = False) -> tuple[Fraction, Fraction, Fraction]:
        """Mean off-target mass and rest of a pool, and its determinant's share."""
        off, _, rest = leak(name, scale * (1 - width / 2), tilted=tilted)
        worst = leak(f"{name}-worst", scale * (1 - width))
        spread = _exp_up(length * (scale * width) ** 2 / 12)
        return off * spread, rest * spread, distortion_up(worst) if worst[0] < 1 else Fraction(1 << 20)

    off, rest, lost = mean_row("", problem.max_logit / length)
    value_part = _gain_down(problem) - log2_up(1 + off + rest) - lost - SLACK
    uses = {"values": "leak", "values-worst": "leak-worst", "amplitudes": "leak-amplitudes"}
    key_part = Fraction(0)
    if coordinates:
        lean, mean, entropy = cube_tilt(candidate.strength)
        chain.append(lean)
        off, rest, lost = mean_row("-keys", (problem.max_logit - candidate.strength) / length, tilted=True)
        key_part = _gain_down(problem) + entropy - 2 * log2_up(1 + (off * mean + rest) / 2) - lost - SLACK
        uses |= {"keys": "leak-keys", "keys-worst": "leak-keys-worst"}
    scale = (problem.max_logit - numbers.strength) / length
    own_part = _amplitude_bits(candidate, problem, leak("-amplitudes", scale * (1 - width / 2)))
    parts = ((problem.value_dim - 1) * value_part, coordinates * key_part, own_part - SLACK)
    bits = down(problem.streams * candidate.payload * sum((max(part, Fraction(0)) for part in parts), Fraction(0)), 20)
    given = {
        "width": width, "strength": numbers.strength, "reference": numbers.reference, "slack": numbers.slack,
        "key_coordinates": coordinates,
    }  # fmt: skip
    return [*chain, step("bits", "amplitude", uses, given, {"bits_at_least": bits})]


def _amplitude_bits(candidate: Candidate, problem: Problem, leak: list[Fraction]) -> Fraction:
    """Bits of all amplitudes of a token, rounded down (a length's worth of roundings, each far below a slack)."""
    numbers, length = candidate.amplitudes, candidate.family.dim
    assert numbers is not None
    width, strength, reference, slack = numbers.width, numbers.strength, numbers.reference, numbers.slack
    scale = (problem.max_logit - strength) / length
    reach = problem.max_logit * width / 2
    curve = ((length - 1) * scale**2 + (scale + strength) ** 2) * width**2 / 24
    off, squares, rest = leak
    spread = _exp_up(curve)
    variance = squares * (_exp_up(4 * curve) - 1)
    nearest = min(candidate.family.exponents(), default=1)
    largest = up(_exp_up(-2 * scale * (1 - width / 2)), DECAY_BITS) ** nearest * _exp_up(reach)
    missed = up(2 * _exp_up(-(slack**2) / (2 * variance + largest * slack * Fraction(2, 3))), 80)
    error = up(2 * reference * slack / (1 / _exp_up(reach) + reference) ** 2, 80)
    read = _gain_down(problem, error, missed) - log2_up(1 / (width * strength * reference))
    read -= 2 * log2_up(spread * (1 + off) + rest + reference)
    return length * (read - SLACK) - log2_up(1 / (1 + scale * length / strength))


def _gain_down(problem: Problem, error: Fraction = Fraction(0), missed: Fraction = Fraction(0)) -> Fraction:
    """g at the tolerance and failure, both widened, rounded down; 0 beyond its range."""
    assert problem.tolerance is not None
    eps, delta = problem.tolerance + error, problem.failure + missed
    if eps >= 1 or delta > 1 - eps:
        return Fraction(-1 << 20)
    return -(1 - delta) * log2_up(eps / (1 - delta)) - (delta * log2_up((1 - eps) / delta) if delta else 0)


def _exp_up(x: Fraction) -> Fraction:
    """e^x, rounded up."""
    return up(ball_up(lambda: arb(exact(x)).exp()), 160)
