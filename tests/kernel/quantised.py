"""Quantisers a second time: their inequalities by Arb, and what they really do to the answers of hard inputs."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from flint import arb

from tests.kernel.families import require
from tests.kernel.real import at_most, ball, precision

Node = dict[str, Any]
SAMPLES = 1000


@dataclass(frozen=True)
class Enough:
    bits: Fraction


def quantiser(problem: Any, step: Node, facts: Node, folder: object) -> Enough:
    key, value, eps = _levels(problem, step)
    require(Fraction(1, value) <= eps and _reach_squared(problem, key) <= (eps - Fraction(1, value)) ** 2, "error")
    return _enough(problem, step, key, value)


def dithered(problem: Any, step: Node, facts: Node, folder: object) -> Enough:
    key, value, eps = _levels(problem, step)
    delta, tail = problem.number["failure"], step["given"]["tail"]
    require(key > 1 and value > 1 and delta > 0 and tail in ("gaussian", "log-concave"), "form")
    score, noise = (problem.number["max_logit"] / (key - 1)) ** 2 / 3, Fraction(1, 3 * (value - 1) ** 2)
    variance = noise * (1 + eps**2) + max(score - noise, Fraction(0)) * (Fraction(1, 2) + Fraction(3, 2) * eps**2)
    with precision():
        reach = ball(_reach_squared(problem, key - 1)).sqrt()
        growth = reach.exp() - 1
        threshold = ball(eps) - (growth - reach) / 2 - growth / (value - 1)
        require(not at_most(threshold, 0), "remainder")
        ratio = ball(variance) / threshold**2
        if tail == "gaussian":
            require(at_most(2 * (-1 / (2 * ratio)).exp(), delta), "tail")
        else:
            require(at_most(ratio, least_variance(delta)), "tail")
    return _enough(problem, step, key, value)


def _levels(problem: Any, step: Node) -> tuple[int, int, Fraction]:
    key, value = (int(step["given"][name]) for name in ("key_levels", "value_levels"))
    require(min(key, value) >= 1 and "tolerance" in problem.number, "levels")
    require(problem.node["budget"] == "class", "budget")
    return key, value, problem.number["tolerance"]


def _reach_squared(problem: Any, cells: int) -> Fraction:
    square: Fraction = (problem.number["max_logit"] / cells) ** 2
    return square if problem.node["body"] == "cube" else square * problem.number["key_dim"]


def _enough(problem: Any, step: Node, key: int, value: int) -> Enough:
    bits = int(step["gives"]["bits_per_token"])
    dims = [int(problem.number[name]) for name in ("key_dim", "value_dim")]
    require(bits >= 0 and key ** dims[0] * value ** dims[1] <= 1 << bits, "bits")
    return Enough(bits * problem.number["tokens"] * problem.streams)


@cache
def least_variance(delta: Fraction) -> arb:
    """The least variance of a truncated exponential law with P(|X| > 1) = delta: a grid, then golden sections."""

    stays = ball(delta)

    def variance(length: arb) -> arb:
        square = 2 - (length**2 + 2 * length) / (length.exp() - 1)
        return square / (stays + (1 - stays) * (-length).exp()).log() ** 2

    with precision():
        ends = [1 / (3 * (1 - stays) ** 2), 2 / stays.log() ** 2]
        grid = [ball(Fraction(1, 64) * Fraction(9, 8) ** k) for k in range(100)]
        best = min(range(1, 99), key=lambda k: float(variance(grid[k])))
        low, high, golden = grid[best - 1], grid[best + 1], (ball(5).sqrt() - 1) / 2
        for _ in range(90):
            left, right = high - golden * (high - low), low + golden * (high - low)
            low, high = (low, right.mid()) if variance(left) < variance(right) else (left.mid(), high)
        found = variance((low + high) / 2)
        for end in ends:
            found = end if end < found else found
        return found


# --- what really happens ---

INPUTS = [
    *product([(0, 1, 0), (0.5, 0.5, 0)], [(1, 1, 0), (-1, 1, 0), (-1, -1, 0), (0, 1, 0)]),
    *product([(0, 0.5, 0.5), (0, 0.75, 0.25), (0.2, 0.4, 0.4)], [(0, 1, -1), (0, -1, 1), (1, 1, -1), (0, 1, 1)]),
]  # weights of the own token and two more, and values


def upper_claim_holds(problem: Any, tree: Node) -> bool:
    """Errors of hard inputs, with queries along an axis and along the diagonal, and the cells that coordinates meet."""
    step = tree["steps"][-1]
    key, value = (int(step["given"][name]) for name in ("key_levels", "value_levels"))
    dithers = step["rule"] == "dithered"
    words = cells_met(key, dithers) ** int(problem.number["key_dim"]) * cells_met(value, dithers) ** int(
        problem.number["value_dim"]
    )
    states = words ** int(problem.number["tokens"] * problem.streams)
    if states > 1 << int(problem.number["state_bits_enough"]):
        return False
    eps, delta = float(problem.number["tolerance"]), float(problem.number["failure"])
    worst = max(_failures(problem, noise, eps) for noise in _noises(problem, key, value, dithers=dithers))
    return worst <= (delta + 5 * np.sqrt(delta / SAMPLES) if dithers else 0)


def cells_met(levels: int, dithers: bool) -> int:
    """The most cells that [-1, 1] meets: ``levels`` of them, or steps of 2 / (levels - 1) shifted by any coins."""
    if not dithers:
        return levels
    if levels > 64:
        return levels
    points = np.linspace(0, 2, 64 * levels + 1)
    steps = points / (2 / (levels - 1))
    return max(len({*np.floor(steps + shift).astype(int).tolist()}) for shift in (0, 1 / 3, 0.5, 1 - 1e-6))


def _noises(problem: Any, key: int, value: int, *, dithers: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Errors of two tokens' scores and values, (samples, 2) each: the corners, or coins."""
    dim, rho = int(problem.number["key_dim"]), float(problem.number["max_logit"])
    norms = [1.0, 1.0 if problem.node["body"] == "cube" else dim**0.5]  # |q|_1 along an axis, and along the diagonal
    if not dithers:
        corners = np.array([*product((-1.0, 1.0), repeat=4)])
        return [(rho * norm / key * corners[:, :2], corners[:, 2:] / value) for norm in norms]
    coins = np.random.default_rng(7).uniform(-1, 1, (SAMPLES, 4))
    many = np.random.default_rng(8).uniform(-1, 1, (SAMPLES, 2, min(dim, 8))).mean(axis=2)
    values = coins[:, 2:] / (value - 1)
    return [(rho * norms[0] / (key - 1) * coins[:, :2], values), (rho * norms[1] / (key - 1) * many, values)]


def _failures(problem: Any, noise: tuple[np.ndarray, np.ndarray], eps: float) -> float:
    """The largest share of failures over the inputs."""
    scores, errors = (np.pad(part, ((0, 0), (1, 0)))[None] for part in noise)
    masses, values = (np.array([pair[i] for pair in INPUTS], dtype=float)[:, None] for i in (0, 1))
    weights = masses * np.exp(scores)
    answers = (weights * (values + errors)).sum(axis=2) / weights.sum(axis=2)
    off = np.abs(answers - (masses * values).sum(axis=2)) > eps + 1e-12
    return float(off.mean(axis=1).max())
