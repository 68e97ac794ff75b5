"""Windows against plain softmax, two inputs against exact answers, all pairs of the smallest cache."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kvverify.claims.evidence.instances import collision, running_sum, separated_pair, unread_entries, unread_entry
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.context import Context
from kvverify.kernel.rules import instances
from tests.kernel.controls import rebuild
from tests.kernel.explicit import answer, apart, masked, two, window
from tests.kernel.instances_controls import controls
from tests.kernel.mutants import put
from tests.kernel.real import ball

Node = dict[str, Any]


def named(name: str) -> Node:
    return next(control.tree for control in controls() if control.name == name)


def changed(tree: Node, *where: Any, to: Any) -> Node:
    found: Node = rebuild(put(tree, where, to))
    return found


def rejected(tree: Node, reason: str, step: str | None) -> None:
    result = check(tree)
    assert (result.verdict, result.step) == (Verdict.INVALID, step), result.reason
    assert reason in result.reason


def limited(tree: Node, reason: str) -> None:
    result = check(tree)
    assert result.verdict is Verdict.INCOMPLETE, result.reason
    assert reason in result.reason


@pytest.mark.parametrize("tokens", range(1, 9))
def test_both_evaluations_are_plain_softmax_for_every_window(tokens: int) -> None:
    for many in range(1, tokens + 2):
        tree = running_sum(tokens, many, 1 + many % 2, Fraction(1 + many, 2), seed=10 * tokens + many)
        problem = window(tree["statement"])
        goal = instances.identity(tree["statement"])
        assert isinstance(goal, instances.Identity)
        for evaluate in instances.EVALUATIONS.values():
            run = evaluate(Context(goal, Path()), goal.inputs)
            for i, (above, below) in enumerate(run.answers):
                assert [Fraction(x, below) for x in above] == masked(problem, i)
        assert check(tree).verdict is Verdict.VALID


def test_the_words_are_those_of_the_tokens_that_the_next_step_sees() -> None:
    for tokens, many, dim in product(range(1, 6), range(1, 8), (1, 3)):
        claimed = int(running_sum(tokens, many, dim)["statement"]["right_words_at_most"])
        assert claimed == (2 * min(many - 1, tokens) + 1) * dim
        less = changed(running_sum(tokens, many, dim), "statement", "right_words_at_most", to=str(claimed - 1))
        rejected(less, "right_words_at_most", "equal")
        for side in ("left", "right"):
            field = f"{side}_words_at_most"
            words = int(running_sum(tokens, many, dim)["steps"][0]["gives"][field])
            fewer = changed(running_sum(tokens, many, dim), "steps", 0, "gives", field, to=str(words - 1))
            rejected(fewer, f"words kept between steps <= {field}", "equal")
    recorded = changed(running_sum(7, 3, 2), "statement", "right_words_at_most", to=str((2 * 3 + 1) * 2))
    assert check(recorded).verdict is Verdict.VALID


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_window_that_is_off_by_one_does_not_agree(shift: int) -> None:
    tree = running_sum(6, 3)
    goal = instances.identity(tree["statement"])
    assert isinstance(goal, instances.Identity)
    context = Context(goal, Path())
    other = instances.Windowed(*(vars(goal.inputs) | {"window": 3 + shift}).values())
    left, right = instances.masked_window(context, goal.inputs), instances.by_running_sum(context, other)
    same = [
        all(x * below == y * bottom for x, y in zip(top, above, strict=True))
        for (above, below), (top, bottom) in zip(left.answers, right.answers, strict=True)
    ]
    assert same[0]
    assert not all(same)


STREAM = [
    ("window", "0", "itself"), ("window", "-1", "itself"), ("base", "0", "positive"), ("base", "-3/2", "positive"),
    ("keys", ["1 0"], "as many queries"), ("queries", ["1"] * 6, "one length"),
    ("values", ["1", "1 2"] * 3, "one length"),
    ("values", [], "one at least"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "reason"), STREAM)
def test_streams_out_of_range_are_malformed(field: str, value: Any, reason: str) -> None:
    rejected(changed(named("window"), "statement", "stream", field, to=value), reason, None)


def test_an_identity_is_of_two_different_known_evaluations() -> None:
    tree = named("window")
    rejected(changed(tree, "statement", "right", to="masked-window"), "expected", None)
    rejected(changed(tree, "statement", "right", to="walking-sum"), "expected", None)
    rejected(changed(tree, "steps", 0, "rule", to="reservoir"), "kind", "equal")
    swapped = changed(changed(tree, "statement", "left", to="running-sum"), "statement", "right", to="masked-window")
    rejected(swapped, "right_words_at_most", "equal")


def test_weights_that_differ_too_much_and_large_streams_are_refused() -> None:
    tree = named("window")
    limited(changed(tree, "statement", "stream", "base", to="1" + "0" * 3000), "weights that differ by more")
    limited(changed(tree, "statement", "stream", "keys", to=["1 " + "9" * 90] * 6), "weights that differ by more")
    limited(changed(tree, "statement", "stream", "keys", to=["1 " + "9" * 117] * 6), "entries, or one of more than 320")
    rows = ["1"] * 12_000
    stream = {"base": "2", "window": "12000", "queries": rows, "keys": rows, "values": rows}
    limited(changed(tree, "statement", "stream", to=stream), "units of work")
    limited(changed(tree, "statement", "stream", to=stream | {"keys": ["1"] * 20_000}), "entries")


# two inputs


def test_all_pairs_of_the_smallest_cache_are_told_apart() -> None:
    """n = d = 2: 120 pairs of value matrices, so no exact state of 3 bits serves."""
    for one, other in combinations(range(16), 2):
        tree = separated_pair(one, other)
        assert check(tree).verdict is Verdict.VALID
        problem = two(tree["statement"])
        read = [answer(problem, which) for which in (0, 1)]
        assert apart(problem, [read[0], read[0], read[1], read[1]])


def test_any_table_of_fewer_states_has_a_collision() -> None:
    draw = Random(5)
    for _ in range(50):
        table = [draw.randrange(15) for _ in range(16)]
        tree = collision(table)
        assert check(tree).verdict is Verdict.VALID
        states = []
        for which in ("first", "second"):
            bits = " ".join(tree["statement"][which]["values"]).split(" ")
            states.append(table[sum(int(bit) << b for b, bit in enumerate(bits))])
        assert states[0] == states[1]


def test_every_small_access_set_leaves_an_entry_that_matters() -> None:
    tokens, dim = 3, 2
    entries = list(product(range(tokens), range(dim)))
    for size in range((tokens - 1) * dim):
        for access in combinations(entries, size):
            unread = unread_entries(access, tokens, dim)
            assert unread
            for entry in unread:
                tree = unread_entry(tokens, dim, entry=entry)
                assert check(tree).verdict is Verdict.VALID
                first, second = two(tree["statement"]).inputs
                seen = [[each["keys"][i][j] for i, j in access] for each in (first, second)]
                assert seen[0] == seen[1]
    needed = [(i, j) for i, j in entries if i]
    assert unread_entries(needed, tokens, dim) == []


def test_the_weight_of_an_unread_entry_is_needed_strictly() -> None:
    """n = 3, eta = 1/2: E > 7, and 8 is enough."""
    tree = unread_entry()
    assert tree["statement"]["base"] == "8"
    seven = changed(tree, "statement", "base", to="7")
    for field in ("second_at_least", "second_at_most"):
        seven = changed(seven, "steps", 0, "gives", field, to="1/9")
    rejected(seven, "interval ends before", "answers")
    rejected(changed(tree, "statement", "relative", to="5/9"), "interval ends before", "answers")  # 7/13 is the most
    assert check(changed(tree, "statement", "relative", to="6/13")).verdict is Verdict.VALID
    rejected(changed(tree, "statement", "relative", to="7/13"), "interval ends before", "answers")


def test_inputs_differ_where_it_is_listed_only() -> None:
    tree = unread_entry()
    rejected(changed(tree, "statement", "may_differ", to=[]), "listed entries only", "answers")
    rejected(changed(tree, "statement", "may_differ", to=["keys 1 1"]), "listed entries only", "answers")
    rejected(changed(tree, "statement", "second", "query", to="1 2"), "listed entries only", "answers")
    everything = [
        "query 0",
        "query 1",
        *(f"{part} {i} {j}" for part in ("keys", "values") for i in range(3) for j in (0, 1)),
    ]
    for listed in (["keys 1 0", "query 0", "values 2 1"], everything):
        assert check(changed(tree, "statement", "may_differ", to=listed)).verdict is Verdict.VALID


OUT_OF_RANGE: list[tuple[str, tuple[str, ...], Any, str]] = [
    ("unread entry", ("base",), "0", "positive"), ("unread entry", ("scale",), "0", "above 0"),
    ("unread entry", ("relative",), "1", "below 1"), ("unread entry", ("relative",), "-1/2", "at least 0"),
    ("unread entry", ("coordinate",), "2", "coordinates"), ("unread entry", ("coordinate",), "-1", "coordinates"),
    ("unread entry", ("may_differ",), ["keys 1 0", "keys 1 0"], "once"),
    ("unread entry", ("may_differ",), ["keys 3 0"], "entries of the inputs"),
    ("unread entry", ("may_differ",), ["keys 01 0"], "entries of the inputs"),
    ("unread entry", ("second", "keys"), ["0 0", "1 0"], "as many keys"),
    ("unread entry", ("second", "query"), "1", "query's length"),
    ("collision", ("states",), "0 0", "one for each"), ("collision", ("may_differ",), ["keys 0 0"], "value matrices"),
    ("collision", ("second", "values"), ["2 0", "0 0"], "0 or 1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "where", "value", "reason"), OUT_OF_RANGE)
def test_pairs_out_of_range_are_malformed(name: str, where: tuple[str, ...], value: Any, reason: str) -> None:
    rejected(changed(named(name), "statement", *where, to=value), reason, None)


def test_a_pair_of_different_states_is_no_collision() -> None:
    tree = collision()
    states = tree["statement"]["states"].split(" ")
    states[1] = "9"
    rejected(changed(tree, "statement", "states", to=" ".join(states)), "the same state", "answers")


def test_scores_are_whole_where_the_base_is_rational() -> None:
    rejected(changed(unread_entry(), "statement", "scale", to="2"), "scores are integers", "answers")


def test_powers_of_e_are_enclosed() -> None:
    """The bounds of the answer, in units of 2^-150, against Arb at 400 bits; signs of values and of answers mixed."""
    draw = Random(2)
    for _ in range(40):
        keys = [str(draw.randint(-4, 4)) for _ in range(3)]
        first, second = (
            {"query": str(draw.randint(-3, 3)), "keys": keys, "values": [str(draw.randint(-3, 3)) for _ in keys]}
            for _ in range(2)
        )
        names = ["query 0", "values 0 0", "values 1 0", "values 2 0"]
        claim = {
            "claim": "two-inputs", "scale": str(draw.randint(1, 3)), "relative": "0", "coordinate": "0",
            "first": first, "second": second, "may_differ": names,
        }  # fmt: skip
        goal = instances.two(claim)
        assert isinstance(goal, instances.TwoInputs)
        for which in (0, 1):
            low, high = instances._answer(Context(goal, Path()), goal, goal.inputs[which])
            exact = ball(answer(two(claim), which))
            assert high - low < Fraction(1, 1 << 150)
            assert not exact < ball(low)
            assert not exact > ball(high)


def test_dear_pairs_are_refused() -> None:
    tree = named("two inputs, signs")
    far = changed(tree, "statement", "first", "query", to="9" * 96)
    limited(far, "limit: exp of a number above 4096")
    tree = unread_entry()
    huge = changed(tree, "statement", "second", "keys", to=["0 0", "20000 0", "0 0"])
    limited(huge, "weights that differ by more")
    limited(changed(tree, "statement", "first", "keys", to=["0 0", "9" * 98 + " 0", "0 0"]), "entries")


def test_the_claims_are_said_in_one_line() -> None:
    for control in controls():
        assert len(check(control.tree).claim) > 20
    assert "of one state" in check(collision()).claim
    assert "(1 +- 1/2)" in check(unread_entry()).claim
