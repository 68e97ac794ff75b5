"""Reservoirs against every single coin, and what the rule must not accept."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.context import Context
from kvverify.kernel.rules import CLAIMS, sampling
from tests.kernel.controls import Control, rebuild
from tests.kernel.mutants import put
from tests.kernel.sampled import Sampler, coins, law, read
from tests.kernel.sampling_controls import controls, norm, together

Node = dict[str, Any]


def goal(tree: Node) -> sampling.Sampling:
    found = CLAIMS["sampling"](tree["statement"])
    assert isinstance(found, sampling.Sampling)
    return found


def named(name: str) -> Node:
    return next(control.tree for control in controls() if control.name == name)


def cell(weights: list[int], cells: list[list[int]], slots: int, walked: int, ratio: int | Fraction = 1) -> Node:
    """A certificate with numbers that are placeholders."""
    moments: Node = {"mean": ["0"], "variance": "0", "marginals": ["0"] * len(weights)}
    claim = {
        "claim": "sampling", "form": "cell", "weights": " ".join(map(str, weights)),
        "cells": [" ".join(map(str, row)) for row in cells], "cell_slots": str(slots),
        "weight_ratio_at_most": str(ratio), **moments,
    }  # fmt: skip
    given = {"slots_together": str(walked)}
    step = {"id": "outcomes", "rule": "reservoir", "uses": {}, "given": given, "gives": moments}
    return document.build(claim, [step])


def brute(tree: Node) -> tuple[list[Fraction], Fraction, list[Fraction]]:
    """Mean, variance and marginals of the whole estimate, all samplers and all slots in one space of coins."""
    stream = read(tree["statement"])
    (slots,) = stream.slots.values()
    (samplers,) = stream.samplers.values()
    runs: list[tuple[Fraction, list[tuple[Sampler, list[int]]]]] = [(Fraction(1), [])]
    for sampler in samplers:
        runs = [(p * q, [*held, (sampler, own)]) for p, held in runs for q, own in coins(sampler, slots)]
    mean, square = [Fraction(0)] * len(samplers[0].adds[0]), Fraction(0)
    marginals = [Fraction(0)] * len(stream.weights)
    for likely, held in runs:
        sums = [sum((s.adds[i][j] for s, own in held for i in own), Fraction(0)) for j in range(len(mean))]
        mean = [a + likely * b / slots for a, b in zip(mean, sums, strict=True)]
        square += likely * sum(x * x for x in sums) / slots**2
        for sampler, own in held:
            marginals[sampler.tokens[own[0]]] += likely
    return mean, square - sum(x * x for x in mean), marginals


CELLS: list[tuple[list[list[int]], int]] = [
    ([[0]], 3), ([[0, 1]], 3), ([[0, 1, 2]], 2), ([[0, 2], [1]], 2), ([[0], [1], [2]], 2), ([[0, 1, 2, 3]], 2),
    ([[0, 3], [1, 2]], 2), ([[0, 1, 2, 3, 4]], 1),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "slots"), CELLS)
def test_a_cell_by_all_coins(cells: list[list[int]], slots: int) -> None:
    draw = Random(slots)
    weights = [draw.randint(1, 9) for _ in range(sum(map(len, cells)))]
    tree = cell(weights, cells, slots, slots)
    mean, variance, marginals = brute(tree)
    for walked in (s for s in range(1, slots + 1) if slots % s == 0):
        found = sampling._moments(Context(goal(tree), Path()), goal(tree), walked, Fraction(walked, slots))
        assert (list(found.mean), found.variance, list(found.marginals)) == (mean, variance, marginals)
    assert mean == [sum(weights)]


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_sampler_by_norm_by_all_coins(slots: int) -> None:
    draw = Random(slots)
    for many in range(1, 5 if slots < 3 else 4):
        values = [[draw.randint(-3, 3), draw.randint(0, 2)] for _ in range(many)]
        values[-1] = [1, 1]
        rows = [" ".join(map(str, row)) for row in values]
        weights = " ".join(str(draw.randint(1, 9)) for _ in range(many))
        tree = norm(weights, rows, slots, ["0", "0"], "0", ["0"] * many)
        mean, variance, marginals = brute(tree)
        found = sampling._moments(Context(goal(tree), Path()), goal(tree), slots, Fraction(1))
        assert (list(found.mean), found.variance, list(found.marginals)) == (mean, variance, marginals)
        exact = [sum(w * row[j] for w, row in zip(goal(tree).weights, values, strict=True)) for j in (0, 1)]
        assert mean == exact


def test_the_law_of_a_slot_is_its_share_of_the_mass() -> None:
    for masses in product(range(1, 4), repeat=4):
        found = law(Sampler(list(range(4)), list(masses), []))
        assert found == [Fraction(mass, sum(masses)) for mass in masses]


def test_values_of_zero_make_the_recorded_variance_an_upper_bound() -> None:
    """(|V|^2 |w|^2 - |y|^2) / s is exact without zero values only: dropped tokens do not count in |w|^2."""
    with_zero, without = (
        norm("4 1 2", ["0", "1", "2"], 1, ["0"], "0", ["0"] * 3),
        norm("1 2", ["1", "2"], 1, ["0"], "0", ["0"] * 2),
    )
    (_, variance, _), (_, same, _) = brute(with_zero), brute(without)
    assert variance == same == 5 * (1 + 4) - 5**2
    assert variance < 5 * (16 + 1 + 4) - 5**2


RATIOS = ([1, 1, 1], [1, 2], [1, 7], [1, 1, 1, 9], [2, 3, 5, 7], [1, 49, 7, 7])


@pytest.mark.parametrize("weights", RATIOS)
def test_the_variance_is_within_the_bound_by_the_ratio(weights: list[int]) -> None:
    kappa = Fraction(max(weights), min(weights))
    _, variance, _ = brute(cell(weights, [list(range(len(weights)))], 1, 1))
    assert variance <= Fraction(sum(weights)) ** 2 * (kappa - 1) ** 2 / (4 * kappa)


def test_the_bound_by_the_ratio_is_sharp() -> None:
    """One token of weight 7 and seven of weight 1: the share of the large one is that of the parabola's top."""
    weights = [7] + [1] * 7
    _, variance, _ = brute(cell(weights, [list(range(8))], 1, 1))
    assert variance == Fraction(14**2 * 36, 28)


def changed(tree: Node, *where: Any, to: Any) -> Node:
    found: Node = rebuild(put(tree, where, to))
    return found


def rejected(tree: Node, reason: str, step: str | None = "outcomes") -> None:
    result = check(tree)
    assert (result.verdict, result.step) == (Verdict.INVALID, step), result.reason
    assert reason in result.reason


REFUSED: list[tuple[str, tuple[Any, ...], Any, str]] = [
    ("cell", ("statement", "form"), "cells", "statement.form"),
    ("cell", ("statement", "weights"), "1 0 1 1 1", "positive"),
    ("cell", ("statement", "weights"), "1 -1 1 1 1", "positive"),
    ("cell", ("statement", "cells"), ["0 1 2 3"], "one cell"),
    ("cell", ("statement", "cells"), ["0 1 2", "2 3 4"], "one cell"),
    ("cell", ("statement", "cells"), ["0 1 2 4 3"], "order of arrival"),
    ("cell", ("statement", "cells"), [], "at least one row"),
    ("cell", ("statement", "cell_slots"), "0", "at least one slot"),
    ("cell", ("statement", "weight_ratio_at_most"), "1/2", "least value"),
    ("norm", ("statement", "values"), ["1 0", "1 0", "1 0"], "one row for each weight"),
    ("norm", ("statement", "values"), ["1 0", "1 0", "1 0", "1"], "one length"),
    ("norm", ("statement", "norm_slots"), "-2", "at least one slot"),
    ("combination", ("statement", "radius_square"), "-1", "least value"),
]


@pytest.mark.parametrize(("name", "where", "value", "reason"), REFUSED)
def test_statements_out_of_range_are_malformed(name: str, where: tuple[Any, ...], value: Any, reason: str) -> None:
    rejected(changed(named(name), *where, to=value), reason, None)


def test_every_hypothesis_of_a_cell() -> None:
    tree = named("cell")
    rejected(together(tree, 3), "divides")
    rejected(changed(tree, "steps", 0, "given", "slots_together", to="0"), "divides")
    ratio = Fraction(tree["statement"]["weight_ratio_at_most"]) - Fraction(1, 1 << 60)
    rejected(changed(tree, "statement", "weight_ratio_at_most", to=str(ratio)), "weight_ratio_at_most")
    other = changed(named("combination"), "steps", 0, "rule", to="two-inputs")
    gives = dict.fromkeys(("first_at_least", "first_at_most", "second_at_least", "second_at_most"), "0")
    rejected(changed(other, "steps", 0, "gives", to=gives), "kind that this rule is about")
    for field, reason in (("mean", "mean"), ("variance", "variance"), ("marginals", "marginals")):
        rejected(changed(tree, "steps", 0, "gives", field, to=wrong(tree["steps"][0]["gives"][field])), reason)
        rejected(changed(tree, "statement", field, to=wrong(tree["statement"][field])), "the last step gives")


def wrong(value: Any) -> Any:
    """The number, or the last one of a list, a little larger."""
    if isinstance(value, list):
        return [*value[:-1], wrong(value[-1])]
    return str(Fraction(value) + Fraction(1, 1 << 60))


def test_another_order_of_a_norm_stream_gives_the_same_numbers() -> None:
    tree = norm("2 1", ["1", "2"], 2, ["4"], "9/2", ["1/5", "4/5"])
    assert check(tree).verdict is Verdict.VALID
    swapped = norm("1 2", ["2", "1"], 2, ["4"], "9/2", ["4/5", "1/5"])
    assert check(swapped).verdict is Verdict.VALID


def test_a_tail_counts_errors_above_the_radius_strictly() -> None:
    """The errors are |x + 3/7| for x = 2/4, -8/4, 2/10, -8/10, each with probability 1/4."""
    tree = named("combination, two cells")
    for x, above in ((Fraction(1, 2), 1), (Fraction(-2), 0), (Fraction(1, 5), 2), (Fraction(-4, 5), 3)):
        square = (x + Fraction(3, 7)) ** 2
        at = changed(tree, "statement", "radius_square", to=str(square))
        claimed = str(Fraction(above, 4))
        for where in (("statement", "probability"), ("steps", 0, "gives", "probability")):
            at = changed(at, *where, to=claimed)
        assert check(at).verdict is Verdict.VALID
        rejected(changed(at, "statement", "radius_square", to=str(square - Fraction(1, 1 << 60))), "is as stated")


def limited(tree: Node, reason: str) -> None:
    result = check(tree)
    assert result.verdict is Verdict.INCOMPLETE, result.reason
    assert reason in result.reason


def test_work_is_refused_before_it_is_done() -> None:
    many = cell([1] * 256, [list(range(256))], 7, 7)
    limited(many, "limit: this step needs")
    limited(cell([1] * 256, [list(range(256))], 10**6, 10**6), "limit: more than 2^64 outcomes")
    limited(cell([1], [[0]], 10**3990, 10**3990), "limit: more than 2^64 outcomes")
    limited(cell([1] * 257, [list(range(257))], 1, 1), "256 tokens")
    limited(cell([1 << 256], [[0]], 1, 1), "256 bits")
    limited(norm("1", [str(1 << 32)], 1, ["0"], "0", ["1"]), "32 bits")
    limited(norm("1", [" ".join(["1"] * 65)], 1, ["0"], "0", ["1"]), "64 value coordinates")
    far = changed(named("combination"), "statement", "norm_slots", to="60")
    limited(changed(far, "statement", "cell_slots", to="60"), "limit")


def test_one_slot_for_all_is_enough_for_a_long_stream() -> None:
    """200 tokens and 115,200 slots: as cheap as one slot."""
    weights = [1 + i % 3 for i in range(200)]
    variance = Fraction(200 * sum(w * w for w in weights) - sum(weights) ** 2, 115_200)
    moments: Node = {"mean": [str(sum(weights))], "variance": str(variance), "marginals": ["1/200"] * 200}
    tree = cell(weights, [list(range(200))], 115_200, 1, 3)
    claim, step = {**tree["statement"], **moments}, {**tree["steps"][0], "gives": moments}
    assert check(document.build(claim, [step])).verdict is Verdict.VALID


@pytest.mark.parametrize("control", controls(), ids=str)
def test_the_claim_is_said_in_one_line(control: Control) -> None:
    said = goal(control.tree).said()
    assert said.startswith("sampling (")
    assert "\n" not in said
