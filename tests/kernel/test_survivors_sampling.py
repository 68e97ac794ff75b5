"""Limits and charges of sampling that a broken kernel once got past the other tests with."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel.context import Context
from kvverify.kernel.document import OverLimit
from kvverify.kernel.rules import sampling
from kvverify.kernel.rules.sampling import Moments, Sampling, Tail

NONE = Moments((), Fraction(0), ())


def statement(weights: list[int], values: list[str]) -> dict[str, Any]:
    return {
        "claim": "sampling", "form": "norm", "weights": " ".join(map(str, weights)), "values": values,
        "norm_slots": "1", "mean": ["0"], "variance": "0", "marginals": ["0"],
    }  # fmt: skip


def test_tokens_weights_and_values_to_their_limits() -> None:
    most = sampling.parse(statement([1] * 255 + [(1 << 256) - 1], [" ".join([str((1 << 32) - 1)] * 64)] * 256))
    assert isinstance(most, Sampling)
    assert most.bound == 1
    for weights, values, limit in (
        ([1] * 257, ["1"] * 257, "256 tokens"), ([1, 1 << 256], ["1", "1"], "weights of 256 bits"),
        ([1, 1], ["1", str(-(1 << 32))], "values of 32 bits"), ([1], [" ".join(["1"] * 65)], "64 value coordinates"),
    ):  # fmt: skip
        with pytest.raises(OverLimit, match=limit):
            sampling.parse(statement(weights, values))


def goal(form: str, slots: dict[str, int], values: tuple[tuple[int, ...], ...], bound: int = 0) -> Sampling:
    weights = tuple(range(1, len(values) + 1))
    cells = () if form == "norm" else (tuple(range(len(values))),)
    return Sampling(form, weights, cells, values, slots, Fraction(bound), NONE)


def test_outcomes_to_their_limit() -> None:
    one = sampling._norm(goal("norm", {"norm_slots": 64}, ((3,),)))
    context = Context(goal("norm", {"norm_slots": 64}, ((3,),)), Path())
    assert sampling._walk(context, one, 64) == {(0,) * 64: Fraction(1)}
    with pytest.raises(OverLimit, match=r"2\^64 outcomes"):
        sampling._walk(context, one, 65)


def charged(about: Sampling, together: int = 2) -> int:
    context = Context(about, Path())
    before = context.work
    if about.form == "combination":
        assert isinstance(sampling._tail(context, about), Tail)
    else:
        sampling._moments(context, about, together, Fraction(1))
    return before - context.work


def test_work_is_charged_by_outcomes_and_by_the_length_of_numbers() -> None:
    """Two slots of three tokens: 1 + 4 + 9 states on the way, 9 in the end; numbers of some hundred bits."""
    long = tuple((10**70 + i, 10**69 + 7 * i) for i in range(3))
    source = sampling._norm(goal("norm", {"norm_slots": 2}, long))
    unit = sampling._estimates(Context(goal("norm", {}, long), Path()), source, 2, {})[1]
    assert len({unit.bit_length() // lane for lane in (31, 32, 33)}) == 3
    walk, estimates = 14 * 2 * (32 + 4), 9 * (2 + 4) * 2 * (8 + unit.bit_length() // 32)
    assert charged(goal("norm", {"norm_slots": 2}, long)) == walk + estimates

    both = goal("combination", {"cell_slots": 2, "norm_slots": 2}, long)
    (cell,) = sampling._cells(both)
    law = sampling._walk(Context(both, Path()), cell, 2)
    totals = sampling._estimates(Context(both, Path()), cell, 2, law)[0]
    products = sampling._estimates(Context(both, Path()), source, 2, law)[0]
    cells = walk + 9 * (2 + 4) * 8 + len(totals) * 64
    pairs = len(totals) * len(products) * 2 * (16 + unit.bit_length() // 32)
    assert charged(both) == cells + walk + estimates + pairs


def test_values_of_zero_are_estimated_without_an_error() -> None:
    about = goal("combination", {"cell_slots": 1, "norm_slots": 3}, ((0, 0), (0, 0)))
    assert sampling._tail(Context(about, Path()), about) == Tail(Fraction(0))
