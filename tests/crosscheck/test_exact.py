"""The second opinion on samplers and explicit inputs: contrary where a number is strengthened, and never generous."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.check import Verdict, check
from tests.kernel import instances_controls, sampling_controls
from tests.kernel.controls import Control, rebuild
from tests.kernel.mutants import put, rewritten, stronger

CONTROLS = (*sampling_controls.controls(), *instances_controls.controls())
every = pytest.mark.parametrize("control", CONTROLS, ids=str)


@every
def test_it_agrees_with_a_control(control: Control) -> None:
    opinion = second_opinion(control.tree)
    assert (opinion.verdict, opinion.reason) == ("agrees", "")


@every
def test_the_least_strengthening_is_contrary(control: Control, tmp_path: Path) -> None:
    seen = 0
    for mutant in stronger(control, tmp_path):
        opinion = second_opinion(mutant.content)
        assert (opinion.verdict, opinion.step) == ("contrary", mutant.step), f"{mutant.name}: {opinion.reason}"
        seen += 1
    assert seen >= 6


@every
def test_whatever_is_rewritten_is_judged_as_the_kernel_judges(control: Control) -> None:
    for mutant in rewritten(control):
        verdict = check(mutant.content).verdict
        opinion = second_opinion(mutant.content).verdict
        assert (verdict is Verdict.VALID) == (opinion == "agrees"), mutant.name


def test_what_is_too_much_for_it_is_undecided() -> None:
    """Work grows with what is stated: it is refused in short time."""
    tree = next(control.tree for control in CONTROLS if control.name == "combination")
    many = rebuild(put(put(tree, ("statement", "cell_slots"), "100"), ("statement", "norm_slots"), "100"))
    assert second_opinion(many).verdict == "undecided"
    huge = rebuild(put(tree, ("statement", "cell_slots"), "9" * 3000))
    assert second_opinion(huge).verdict == "undecided"
    tree = next(control.tree for control in CONTROLS if control.name == "window")
    far = rebuild(put(tree, ("statement", "stream", "base"), "1" + "0" * 3999))
    assert second_opinion(far).verdict == "undecided"
    keys = rebuild(put(tree, ("statement", "stream", "keys"), ["9" * 3999 + " 1"] * 6))
    assert second_opinion(json.dumps(keys).encode()).verdict == "undecided"
