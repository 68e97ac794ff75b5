"""The referee's score: answers against attention in float64 with a proved error bound, counted read by read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from kvverify.audit.recovery import Recovery, recovery
from kvverify.audit.statistics import (
    GRID,
    Point,
    continuous_floor_bits,
    discrete_floor_bits,
    sampled_upper,
)
from kvverify.instances.payload import CELL, Secret, nearest

if TYPE_CHECKING:
    from kvverify.instances.hard import HardInstance

BF16_ROUNDING = Fraction(1, 1 << 9)
"""How far rounding to bf16 moves a value in [-1, 1], and so an average of such values."""
_ROUNDING = 2.0**-50  # of the few sums of numbers up to 2 that compare an answer with the reference


@dataclass(frozen=True)
class Read:
    """One read: its place (layer, kv_head, token, coordinate), the answer, and the interval of the exact answer."""

    place: tuple[int, int, int, int]
    answer: float
    exact: tuple[float, float]


@dataclass(frozen=True)
class Score:
    """``asked`` of ``reads`` reads; counts are of the asked ones, floors are of all (sampled: at a confidence end)."""

    reads: int
    asked: int
    wrong_reads: int
    missed: int
    tolerance: Fraction
    relative: bool
    max_abs_error: float | None
    certified_floor_bits: int
    curve: tuple[Point, ...]
    worst: Read
    recovery: Recovery


@dataclass(frozen=True)
class Rules:
    """How a game is scored: ``alphabet`` None for a continuous secret; the tolerance of the claim, if there is one.

    ``relative``: the tolerance is a share of the exact answer's size.
    """

    alphabet: int | None
    tolerance: Fraction | None
    relative: bool = False


def score(
    instance: HardInstance, secret: Secret, fed: np.ndarray, answers: np.ndarray, asked: np.ndarray, rules: Rules
) -> Score:
    """Score ``answers`` (layers, kv_heads, len(asked), value_dim) to the queries ``asked``.

    ``fed`` (layers, kv_heads, tokens, value_dim) are the values that the exact answers are about. Only answers that
    carry a symbol of the secret are reads. One counts as wrong unless it is surely within the tolerance, and as missed
    only when it is surely outside.
    """
    exact = instance.exact(fed, asked)
    margin = instance.margin() + _ROUNDING
    finite = np.isfinite(answers)
    errors = np.where(finite, np.abs(np.where(finite, answers, 0.0).astype(np.float64) - exact), math.inf)
    secret_at = instance.secret_at
    read = np.broadcast_to(secret_at[asked], errors.shape)
    most = np.where(read, errors + (margin + CELL), 0.0)
    least = np.where(read, errors - margin, -math.inf)

    streams = fed.shape[0] * fed.shape[1]
    reads, count = streams * int(np.count_nonzero(secret_at)), int(np.count_nonzero(read))

    def total(wrong: int) -> int:
        return sampled_upper(wrong, count, len(asked), reads)

    one_coordinate = Fraction(0) if instance.log2_det_at_least is None else instance.log2_det_at_least
    log2_det = streams * fed.shape[3] * one_coordinate
    rounding = BF16_ROUNDING if instance.inputs == "bf16" else Fraction(0)
    curve = []
    for tolerance in GRID:
        off = int(np.count_nonzero(most > float(tolerance)))
        floor = None
        if rules.alphabet is None:
            floor = continuous_floor_bits(log2_det, reads, total(off), tolerance, rounding)
        curve.append(Point(tolerance, off, floor))

    best = max(curve, key=lambda point: point.floor_bits or 0)
    tolerance = rules.tolerance if rules.tolerance is not None else instance.tolerance or best.tolerance
    least_allowed, most_allowed = _allowed(tolerance, exact, margin, relative=rules.relative)
    if rules.alphabet is None or secret.symbols is None:
        wrong = most > least_allowed
        certified = best.floor_bits or 0
    else:
        symbols = secret.symbols[:, :, asked]
        wrong = read & (nearest(instance.decoded(answers), rules.alphabet) != symbols)
        certified = discrete_floor_bits(reads, total(int(np.count_nonzero(wrong))), rules.alphabet)
    worst = np.unravel_index(int(np.argmax(least - most_allowed)), least.shape)
    return Score(
        reads=reads,
        asked=count,
        wrong_reads=int(np.count_nonzero(wrong)),
        missed=int(np.count_nonzero(least > most_allowed)),
        tolerance=tolerance,
        relative=rules.relative,
        max_abs_error=float(most.max()) if np.isfinite(most).all() else None,
        certified_floor_bits=certified,
        curve=tuple(curve),
        worst=Read(
            place=instance.place((int(worst[0]), int(worst[1]), int(asked[worst[2]]), int(worst[3]))),
            answer=float(answers[worst]),
            exact=(float(exact[worst]) - margin, float(exact[worst]) + margin),
        ),
        recovery=recovery(wrong, read, instance.targets[asked], instance.tokens),
    )


def _allowed(tolerance: Fraction, exact: np.ndarray, margin: float, *, relative: bool) -> tuple[Any, Any]:
    """What an error may be, from below and from above: the tolerance, or that share of each exact answer's size."""
    if not relative:
        return _down(tolerance), _up(tolerance)
    slack = 1 + 2.0**-48  # for the rounding of these lines themselves
    low, high = np.maximum(np.abs(exact) - (margin + CELL), 0.0), np.abs(exact) + margin
    return _down(tolerance) * low / slack, _up(tolerance) * high * slack


def _down(value: Fraction) -> float:
    """The largest double that is at most ``value``."""
    found = float(value)
    return found if Fraction(found) <= value else math.nextafter(found, -math.inf)


def _up(value: Fraction) -> float:
    """The least double that is at least ``value``."""
    return -_down(-value)
