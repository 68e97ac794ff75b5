"""Ends of ranges of explicit inputs, and what facts hold where nothing is said: a broken kernel once got past these."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.claims.evidence.instances import collision, running_sum, unread_entry
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.context import Context
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import instances
from kvverify.kernel.rules.attention import Leak, Reading, Row, Scaled, Tilt
from kvverify.kernel.rules.instances import Run, Windowed
from tests.kernel.controls import rebuild
from tests.kernel.mutants import put

GOAL = instances.identity(running_sum(4)["statement"])


def charged(context: Context, before: int) -> int:
    return before - context.work


def test_matrices_and_entries_to_their_limits() -> None:
    assert len(instances.integer_rows([" ".join(["1"] * 128)] * 128, "m")) == 128
    assert instances.integer_rows([str((1 << 320) - 1)], "m")
    for rows in (["1"] * 16385, [str(1 << 320)], [str(-(1 << 320))]):
        with pytest.raises(OverLimit, match="16384 entries, or one of more than 320 bits"):
            instances.integer_rows(rows, "m")


def test_powers_to_their_limit_and_what_they_charge() -> None:
    context = Context(GOAL, Path())
    before = context.work
    assert instances._powers(context, Fraction(2), {0, 8192}) == {0: 1, 8192: 1 << 8192}
    assert charged(context, before) == 2 * (64 + 2048)
    with pytest.raises(OverLimit, match="16384 bits"):
        instances._powers(context, Fraction(2), {0, 8193})
    before = context.work
    found = instances._exps(context, {Fraction(0), Fraction(1), Fraction(5)})
    assert charged(context, before) == 3 << 13
    assert found[Fraction(0)][0] == 1 << 192 < found[Fraction(0)][1] < (1 << 192) + 16


def test_an_evaluation_charges_for_tokens_and_for_long_weights() -> None:
    for tokens, base in ((4, Fraction(2)), (6, Fraction(1 << 90))):
        goal = instances.identity(running_sum(tokens, base=base)["statement"])
        assert isinstance(goal, instances.Identity)
        one = goal.inputs
        width = len(one.keys[0]) + len(one.values[0])
        context = Context(goal, Path())
        before = context.work
        table = instances._power_table(context, one)
        powers = Context(goal, Path())
        instances._powers(powers, base, set(table))
        longest = max(table.values()).bit_length() // 256
        expected = tokens * tokens * (width + 2) + charged(powers, before) + tokens * (tokens + 16) * width * longest
        assert charged(context, before) == expected


def test_two_inputs_charge_for_their_entries() -> None:
    tree = unread_entry()
    goal = instances.two(tree["statement"])
    assert isinstance(goal, instances.TwoInputs)
    for scale in (Fraction(1), Fraction(1 << 200, 3)):
        about = instances.TwoInputs(*({**vars(goal), "scale": scale, "base": None}.values()))
        context = Context(about, Path())
        before = context.work
        gives = dict.fromkeys(("first_at_least", "second_at_least"), "-99") | dict.fromkeys(
            ("first_at_most", "second_at_most"), "99"
        )
        instances.two_inputs(context, {}, {}, gives)
        entries = sum(map(len, (*goal.inputs[0].keys, *goal.inputs[0].values)))
        bits = scale.numerator.bit_length() + scale.denominator.bit_length()
        scores = [len({instances._dot(each.query, key) for key in each.keys}) for each in goal.inputs]
        assert charged(context, before) == (entries + 1) * (32 + bits // 4) + (sum(scores) << 13)


def test_evaluations_that_differ_in_one_coordinate_do_not_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(context: Context, inputs: Windowed) -> Run:
        run = instances.by_running_sum(context, inputs)
        return Run([([above[0], *(x + below for x in above[1:])], below) for above, below in run.answers], run.words)

    tree = running_sum(4, head_dim=2)
    assert check(tree).verdict is Verdict.VALID
    monkeypatch.setitem(instances.EVALUATIONS, "running-sum", shifted)
    found = check(tree)
    assert found.verdict is Verdict.INVALID
    assert "the two answers of step 0 are equal" in found.reason


@pytest.mark.parametrize("side", ["left", "right"])
def test_words_are_named_where_they_are_no_number(side: str) -> None:
    found = check(rebuild(put(running_sum(4), ("steps", 0, "gives", f"{side}_words_at_most"), "many")))
    assert found.verdict is Verdict.INVALID
    assert f"{side}_words_at_most" in found.reason


def malformed(tree: Any, *where: Any, to: Any) -> str:
    found = check(rebuild(put(tree, ("statement", *where), to)))
    assert found.verdict is Verdict.INVALID
    return found.reason


def test_statements_have_their_fields_and_inputs_one_size() -> None:
    for tree in (running_sum(4), unread_entry(), collision()):
        assert "more" in malformed(tree, "more", to="1")
    one = unread_entry(tokens=3, head_dim=2)
    for name, rows in (("values", ["0 0"] * 4), ("keys", ["0 0"] * 4), ("values", ["0"] * 3)):
        assert "statement.second" in malformed(one, "second", name, to=rows)
    both = put(put(one, ("statement", "second", "values"), ["0 0"] * 4), ("statement", "second", "keys"), ["0 0"] * 4)
    assert "an input of the first one's size" in check(rebuild(both)).reason
    for base in ("1/2", "1"):
        assert "base" not in check(rebuild(put(one, ("statement", "base"), base))).reason
    for base in ("0", "-1/2"):
        assert "weights are positive" in malformed(one, "base", to=base)


def test_states_are_of_all_value_matrices_and_nothing_else_may_differ() -> None:
    tree = collision()
    states = tree["statement"]["states"].split(" ")
    listed = tree["statement"]["may_differ"]
    assert check(tree).verdict is Verdict.VALID
    for many in (states * 2, states[: len(states) // 2], states[:-1], [*states, "0"]):
        assert "one for each value matrix" in malformed(tree, "states", to=" ".join(many))
    assert "a state is one of value matrices" in malformed(tree, "may_differ", to=[*listed, "keys 0 0"])
    with pytest.raises(OverLimit):
        instances.integer_rows([" ".join(["1"] * 200)] * 100, "m")


def test_facts_hold_no_more_than_what_is_said() -> None:
    keys: Any = None
    assert Tilt(Fraction(1), Fraction(0), Fraction(1)).reach == 1
    assert Scaled(keys, Fraction(1, 2), 1).exponent == 0
    assert Reading(2, 1).top_mass == 0
    assert Leak(1, Row(Fraction(0), Fraction(0)), Fraction(0)).rows == ()
    with pytest.raises((Malformed, Rejected)):
        instances._input({"query": "1", "keys": ["1 2"], "values": ["1"]}, "first")
