"""The rules visual-rows, visual-volume and visual-symbols: brute force, carriers, budgets and projections."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations, pairwise
from math import exp, log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvverify.attention import visual as maps
from kvverify.attention.visual import Scale
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.context import Context
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import visual
from kvverify.kernel.rules.pyramid import KERNELS, Map, axis, whole
from tests.kernel.visual_controls import controls, thinned

Node = dict[str, Any]


def context() -> Context:
    return Context(visual.parse(controls()[0].tree["statement"]), Path())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("source", "target"), [(1, 3), (2, 3), (3, 4), (4, 4), (4, 8), (5, 6), (6, 8), (13, 16)])
def test_every_choice_of_carriers_tells_the_axis_as_the_interpolation_does(
    source: int, target: int, kernel: str
) -> None:
    """C Phi_T = Phi for the weights of `kvverify.attention.visual`, which are torch's; a singular choice is refused."""
    phi = maps.axis(source, target, kernel)
    choices = list(combinations(range(target), source))
    for chosen in random.Random(source).sample(choices, min(6, len(choices))):
        dense = np.array([[float(phi[i].get(s, 0)) for s in range(source)] for i in chosen])
        if abs(np.linalg.det(dense)) < 1e-9:
            with pytest.raises(Rejected, match="determine"):
                axis(context(), source, target, kernel, chosen)
            continue
        found = axis(context(), source, target, kernel, chosen)
        for i, row in enumerate(found.rows):
            told: dict[int, Fraction] = {}
            for s, x in row:
                for index, weight in phi[chosen[s]].items():
                    told[index] = told.get(index, Fraction(0)) + Fraction(x, found.below) * weight
            assert {index: weight for index, weight in told.items() if weight} == phi[i]
        assert found.reach == max(sum(map(abs, row.values())) for row in phi)
        assert [found.rows[i] for i in chosen] == [((s, found.below),) for s in range(source)]


def test_spread_and_gather_are_the_whole_matrix_and_its_transpose() -> None:
    down, across = axis(context(), 2, 3, "bicubic", [0, 2]), axis(context(), 3, 5, "bicubic", [0, 2, 4])
    each, draw = Map(down, across), random.Random(1)
    one, other = (
        [[dict(row).get(s, 0) for s in range(len(side.carriers))] for row in side.rows] for side in (down, across)
    )
    dense = np.kron(np.array(one, dtype=object), np.array(other, dtype=object))
    carried = [draw.randrange(-9, 9) for _ in range(each.carriers)]
    weights = [draw.randrange(-9, 9) for _ in range(each.tokens)]
    assert each.spread(carried) == (dense @ np.array(carried, dtype=object)).tolist()
    assert each.gather(weights) == (dense.T @ np.array(weights, dtype=object)).tolist()
    assert each.sums == np.abs(dense).sum(axis=0).tolist()
    assert each.work >= np.count_nonzero(np.array(one)) * 3


def test_secrets_of_that_size_keep_every_token_within_one() -> None:
    """The volume counts free maps of size 1/reach: the largest token is then 1, reached by the signs of a row."""
    phi = maps.weights(Scale(2, 3), Scale(3, 5), "bicubic")
    down, across = axis(context(), 2, 3, "bicubic", [0, 2]), axis(context(), 3, 5, "bicubic", [0, 2, 4])
    largest = max(sum(map(abs, row.values())) for row in phi)
    assert largest == down.reach * across.reach > 1
    chosen = [i * 5 + j for i in (0, 2) for j in (0, 2, 4)]
    dense = np.array([[float(phi[i].get(s, 0)) for s in range(6)] for i in chosen]) / float(largest)
    found = Map(down, across).log2_volume()
    assert abs(float(found) - log2(abs(np.linalg.det(dense)))) < 1e-9
    assert Map(whole(3), whole(2)).log2_volume() == 0


def floats(tree: Node) -> tuple[float, float]:
    """(worst off-target weight, log2 |det| of free maps -> answers), by a whole pyramid in floats."""
    claim, given = tree["statement"], tree["steps"][0]["given"]
    scales = maps.parse_scales(",".join(claim["scales"]))
    between = claim["cut"] == "between-steps"
    held = scales[:-1] if between else scales
    keys, queries = (
        np.array([row.split(" ") for row in given[name]], dtype=float) * float(Fraction(given[unit]))
        for name, unit in (("keys", "key_unit"), ("queries", "query_unit"))
    )
    tokens: list[Any] = []
    values: list[Any] = []
    told: list[Any] = []
    first = 0
    for m, scale in enumerate(held):
        before = held[max(m - 1, 0)]
        if m:
            rows = maps.weights(before, scale, claim["kernel"])
            phi = np.array([[float(row.get(i, 0)) for i in range(before.tokens)] for row in rows])
            chosen = [
                int(i) * scale.width + int(j)
                for i in given["down"][m - 1].split(" ")
                for j in given["across"][m - 1].split(" ")
            ]
        else:
            phi, chosen = np.eye(scale.tokens), list(range(scale.tokens))
        carried = keys[first : first + before.tokens]
        free = np.linalg.solve(phi[chosen], carried)  # the free map whose interpolation has these keys
        tokens.append(phi @ free)
        size = np.abs(phi).sum(axis=1).max()
        values.append(phi / size)
        told.append(phi[chosen] / size)
        first += before.tokens
    all_keys = np.concatenate(tokens)
    assert np.abs(all_keys).max() <= 1 + 1e-9
    weights = np.exp(queries @ all_keys.T)
    own = scales[-1].tokens * np.exp(-np.abs(queries).sum(axis=1)) if between else 0
    weights /= (weights.sum(axis=1) + own)[:, None]
    answers = np.concatenate(
        [weights[:, slice(*cut)] @ value for cut, value in zip(spans([len(v) for v in values]), values, strict=True)],
        axis=1,
    )
    carried_answers = np.concatenate(
        [
            answers[:, slice(*cut)] @ np.linalg.inv(each)
            for cut, each in zip(spans([len(t) for t in told]), told, strict=True)
        ],
        axis=1,
    )
    relative = carried_answers / np.diagonal(carried_answers)[:, None]
    worst = (np.abs(relative).sum(axis=1) - 1).max()
    return float(worst), float(np.linalg.slogdet(answers)[1] / np.log(2))


def spans(sizes: list[int]) -> list[tuple[int, int]]:
    ends = np.cumsum([0, *sizes]).tolist()
    return list(pairwise(ends))


@pytest.mark.parametrize("control", controls(), ids=str)
def test_what_is_stated_is_a_whole_pyramids(control: Any) -> None:
    """Off-target weights are met to the last digits; the bound on the determinant is near it, and below."""
    worst, determinant = floats(control.tree)
    stated = control.tree["steps"][0]["gives"]
    off, bound = (float(Fraction(stated[name])) for name in ("off_target_at_most", "log2_det_at_least"))
    assert abs(worst - off) < 1e-9
    assert bound <= determinant + 1e-9
    assert determinant - bound < 0.2 + 3 * len(control.tree["steps"][0]["given"]["keys"]) * off**2


def test_all_one_bit_states_are_too_few_for_two_free_tokens() -> None:
    """`exact`: 2 carriers of 2 values, relative 0: 4 bits. All states of 3 bits fail on some of the 16 inputs."""
    tree = next(c.tree for c in controls() if c.name == "visual, exact")
    assert tree["statement"]["state_bits_at_least"] == "4"
    answers = set()
    scores = np.array([row.split(" ") for row in tree["steps"][0]["given"]["keys"]], dtype=float) / 32
    asked = np.array([row.split(" ") for row in tree["steps"][0]["given"]["queries"]], dtype=float) / 256
    weights = np.exp(asked @ scores.T)
    for word in range(16):
        values = np.array([[word & 1, word >> 1 & 1], [word >> 2 & 1, word >> 3 & 1]], dtype=float)
        answers.add(tuple(np.round(weights @ values, 9).ravel()))
    assert len(answers) == 16  # exact answers differ for all inputs, so 8 states do not do


def changed(tree: Node, change: Callable[[Node], None]) -> Node:
    other = copy.deepcopy(tree)
    change(other)
    return document.build(other["statement"], other["steps"])


def given(tree: Node) -> Node:
    found: Node = tree["steps"][0]["given"]
    return found


def control(name: str) -> Node:
    return next(c.tree for c in controls() if c.name == f"visual, {name}")


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("bilinear", lambda t: given(t).update(across=["2 0"]), "target indices that grow"),
        ("bilinear", lambda t: given(t).update(across=["0 3"]), "target indices that grow"),
        ("bilinear", lambda t: given(t).update(across=["-1 2"]), "target indices that grow"),
        ("bilinear", lambda t: given(t).update(across=["0 1 2"]), "as many carriers"),
        ("bilinear", lambda t: given(t).update(across=[]), "every map but the first"),
        ("nearest", lambda t: t["statement"].update(scales=["1", "2", "2x3"]), "every map but the first"),
        ("bilinear", lambda t: given(t)["keys"].pop(), "keys: one for each carrier"),
        ("bilinear", lambda t: given(t)["queries"].append("0 0"), "queries: one for each carrier"),
        ("bilinear", lambda t: given(t)["queries"].insert(0, given(t)["queries"].pop() + " 0"), "rows of one length"),
        ("bilinear", lambda t: given(t).update(keys=[], queries=[]), "at least one of the keys"),
        ("bilinear", lambda t: given(t).update(key_unit="1/16"), "lie in the cube"),
        ("bilinear", lambda t: given(t).update(query_unit="1/128"), "max_logit"),
        ("bilinear", lambda t: given(t).update(query_unit="-1/256"), "max_logit"),
        ("bilinear", lambda t: t["statement"].update(key_dim="1"), "keys fit key_dim"),
        ("bilinear", lambda t: t["statement"].update(model_dim="5"), "coordinates of a token"),
        ("bilinear", lambda t: given(t)["projections"].update(queries="0 1 2"), "coordinates are distinct"),
        ("bilinear", lambda t: given(t)["projections"].update(queries="2"), "as many queries"),
        ("bilinear", lambda t: given(t)["projections"].update(values=["6"]), "value_dim coordinates"),
        ("bilinear", lambda t: given(t)["projections"].update(values=["6 7", "8 9"]), "values of every head"),
        ("bilinear", lambda t: given(t)["projections"].update(values=["-1 7"]), "coordinates of a token"),
        ("exact", lambda t: given(t).update(queries=["-256 0", "256 0"]), "of one length"),
        ("nearest", lambda t: given(t).update(queries=["0", "0"]), "off-target weights"),
        ("bicubic", lambda t: t["statement"].update(failure="51/100"), "failure <= 1/2"),
        ("bilinear", lambda t: t["statement"].update(failure="91/100"), "failure <= 1 - tolerance"),
        ("often wrong", lambda t: t["statement"].update(relative="9/10"), "(1 - relative) (1 - off_target)"),
    ],
)  # fmt: skip
def test_every_hypothesis_is_asked_for(name: str, change: Callable[[Node], None], reason: str) -> None:
    result = check(changed(control(name), change))
    assert result.verdict is Verdict.INVALID
    assert reason in result.reason


def test_a_carrier_that_does_not_lead_its_row_is_refused() -> None:
    tree = control("between steps")
    found = check(changed(tree, lambda t: given(t).update(queries=[*given(t)["queries"][:1]] * 5)))
    assert found.verdict is Verdict.INVALID
    assert "off-target weights" in found.reason or "positive weight" in found.reason


def test_a_carrier_may_even_have_a_negative_weight_in_its_own_row() -> None:
    """Then nothing is known: a token between carriers can draw the query more than its carrier, with C < 0."""
    tree = control("between steps")

    def against(other: Node) -> None:
        query = [-int(x) for x in given(other)["queries"][2].split(" ")]
        given(other)["queries"][2] = " ".join(map(str, query))

    assert check(changed(tree, against)).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    "change",
    [
        {"scales": []}, {"scales": ["2"]}, {"scales": ["2", "2"]}, {"scales": ["2", "1x3"]}, {"scales": ["2x2", "3"]},
        {"scales": ["02", "3"]}, {"scales": ["0", "3"]}, {"scales": ["2", "3x"]}, {"scales": ["1x2x3"]},
        {"scales": ["-1", "3"]}, {"kernel": "lanczos"}, {"edge": "reflect"}, {"cut": "later"}, {"inputs": "bf16"},
        {"kv_heads": "0"}, {"key_dim": "-1"}, {"state_bits_at_least": "-1"}, {"max_logit": "0"}, {"failure": "1"},
        {"relative": "1/2"}, {"tolerance": "1"}, {"tolerance": "0"}, {"more": "1"},
    ],
)  # fmt: skip
def test_statements_outside_of_the_class_are_malformed(change: Node) -> None:
    claim = control("words for keys")["statement"] | change
    with pytest.raises(Malformed):
        visual.parse(claim)


def test_one_tolerance_or_the_other() -> None:
    claim = dict(control("exact")["statement"])
    assert visual.parse(claim | {"relative": "1/2"}) != visual.parse(claim)
    with pytest.raises(Malformed, match="relative"):
        visual.parse(claim | {"relative": "1"})
    with pytest.raises(Malformed, match="exactly one"):
        visual.parse({name: value for name, value in claim.items() if name != "relative"})


def test_all_keys_may_be_of_one_scale_and_between_steps_may_not() -> None:
    claim = control("nearest")["statement"] | {"scales": ["3x2"]}
    assert isinstance(found := visual.parse(claim), visual.VisualBits)
    assert (found.tokens, found.held) == (6, ((3, 2),))
    assert "3x2 (all keys)" in found.said()


@pytest.mark.parametrize("change", [{"scales": ["1", "65"]}, {"scales": ["1", "64", "64x65"]}, {"model_dim": "16385"}])
def test_large_statements_are_over_the_limit(change: Node) -> None:
    with pytest.raises(OverLimit, match="limit"):
        visual.parse(control("nearest")["statement"] | change)
    assert visual.parse(control("nearest")["statement"] | {"scales": ["1", "64"], "model_dim": "16384"})


def test_large_numbers_are_over_the_limit() -> None:
    tree = control("nearest")
    large = changed(tree, lambda t: given(t)["keys"].__setitem__(0, str(1 << 64)))
    assert check(large).verdict is Verdict.INCOMPLETE
    far = changed(tree, lambda t: given(t).update(query_unit="2"))
    far = changed(far, lambda t: t["statement"].update(max_logit="9000"))
    assert check(far).verdict is Verdict.INCOMPLETE


def test_long_units_and_too_many_keys_are_over_the_limit() -> None:
    tree = control("nearest")
    for name in ("key_unit", "query_unit"):
        found = check(changed(tree, lambda t, name=name: given(t).update({name: f"1/{1 << 320}"})))  # type: ignore[misc]
        assert found.verdict is Verdict.INCOMPLETE
        assert "units of more than 320 bits" in found.reason
    wide = changed(tree, lambda t: t["statement"].update(scales=["1", "64"], key_dim="256", model_dim="514"))
    columns = {name: [" ".join(["1"] * 256)] * 2 for name in ("keys", "queries")}
    apart = {"keys": range(256), "queries": range(256, 512), "values": range(512, 514)}
    rows = {name: " ".join(map(str, row)) for name, row in apart.items()}
    wide = changed(wide, lambda t: given(t).update(columns))
    wide = changed(wide, lambda t: given(t).update(projections=rows | {"values": [rows["values"]]}))
    assert "1048576 entries" in check(wide).reason


def test_old_rules_refuse_the_new_claim_and_new_rules_the_old() -> None:
    tree = control("nearest")
    for rule in ("volume", "random-access-code"):
        found = check(changed(tree, lambda t, rule=rule: t["steps"][1].update(rule=rule)))  # type: ignore[misc]
        assert found.verdict is Verdict.INVALID
    claim = {
        "claim": "state-bits", "attention": "softmax", "tokens": "5", "key_dim": "2", "value_dim": "2",
        "kv_heads": "1", "layers": "1", "body": "cube", "budget": "class", "max_logit": "12", "failure": "0",
        "inputs": "real", "tolerance": "1/10", "state_bits_at_least": "1",
    }  # fmt: skip
    found = check(document.build(claim, tree["steps"]))
    assert (found.verdict, found.step) == (Verdict.INVALID, tree["steps"][0]["id"])
    assert "VisualBits" in found.reason


def test_thinned_keys_still_tell_tokens_apart() -> None:
    rows = [row.split(" ") for row in thinned(control("bilinear"))["steps"][0]["given"]["keys"]]
    assert len({tuple(row) for row in rows}) == len(rows) == 4


def test_own_tokens_of_the_last_map_are_in_every_sum() -> None:
    """Between steps all of the last map's tokens stand in the softmax: with more of them less is proved."""
    tree = control("words for keys")
    wider = changed(tree, lambda t: t["statement"].update(scales=["1", "1x2", "40"]))
    found = check(wider)
    assert (found.verdict, found.step) == (Verdict.INVALID, tree["steps"][0]["id"])
    assert exp(-8) * 1600 > 0.5
