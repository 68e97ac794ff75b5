"""Controls of the samplers: both forms, all slots walked and groups of them, zero values, and a tail."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

from kvverify.claims.evidence import sampling
from kvverify.kernel import document
from tests.kernel.controls import Control

Node = dict[str, Any]


def together(tree: Node, slots: int) -> Node:
    """The same claim with so many slots walked at once."""
    step = {**tree["steps"][0], "given": {"slots_together": str(slots)}}
    return document.build(tree["statement"], [step])


def norm(weights: str, values: list[str], slots: int, mean: list[str], variance: str, marginals: list[str]) -> Node:
    """A certificate of numbers that are given."""
    moments: Node = {"mean": mean, "variance": variance, "marginals": marginals}
    claim = {"claim": "sampling", "form": "norm", "weights": weights, "values": values, "norm_slots": str(slots)}
    given = {"slots_together": str(slots)}
    step = {"id": "outcomes", "rule": "reservoir", "uses": {}, "given": given, "gives": moments}
    return document.build({**claim, **moments}, [step])


@cache
def controls() -> tuple[Control, ...]:
    """All of them."""
    half = Fraction(1, 2)
    return (
        Control("cell", sampling.reservoir_cell()),
        Control("cell, one slot walked", together(sampling.reservoir_cell(tokens=6, slots=6, base=3), 1)),
        Control("cell, slots in groups", together(sampling.reservoir_cell(tokens=4, cells=1, slots=4), 2)),
        Control("cell, equal weights", sampling.reservoir_cell(tokens=4, cells=3, spread=0)),
        Control("norm", sampling.reservoir_norm()),
        Control("norm, slots in groups", together(sampling.reservoir_norm(head_dim=3, slots=6, seed=1), 3)),
        Control("norm, no value", norm("2 3", ["0", "0"], 3, ["0"], "0", ["0", "0"])),
        Control("norm, by hand", norm("2 1", ["1", "2"], 2, ["4"], "9/2", ["1/5", "4/5"])),
        Control("combination", sampling.combination(tokens=3, norm_slots=2)),
        Control("combination, two cells", _two_cells(half)),
    )


def _two_cells(radius: Fraction) -> Node:
    """Weights 1, 2, 4 in the cells {0, 2} and {1}, values 1, 0, -1: the answer is -3/7."""
    # tau = 2 + 2 * 1 or 2 + 2 * 4, one slot each, equally likely; z = 2 w v = 2 or -8, equally likely.
    cases = [Fraction(z, tau) for tau in (4, 10) for z in (2, -8)]
    far = sum(Fraction(1, 4) for x in cases if (x + Fraction(3, 7)) ** 2 > radius)
    claim = {
        "claim": "sampling", "form": "combination", "weights": "1 2 4", "cells": ["0 2", "1"],
        "values": ["1", "0", "-1"], "cell_slots": "1", "norm_slots": "1", "radius_square": str(radius),
        "probability": str(far),
    }  # fmt: skip
    step = {"id": "outcomes", "rule": "reservoir", "uses": {}, "given": {}, "gives": {"probability": str(far)}}
    return document.build(claim, [step])
