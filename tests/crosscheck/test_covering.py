"""Covering numbers, the second opinion: it agrees with every control, and proves the contrary of one count better."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.covering import Question, best_cover
from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.check import Verdict, check
from tests.kernel.controls import Control, rebuild
from tests.kernel.covering_controls import controls
from tests.kernel.mutants import put, stronger

every_control = pytest.mark.parametrize("control", controls(), ids=str)


@every_control
def test_it_agrees_with_the_controls(control: Control) -> None:
    opinion = second_opinion(control.tree)
    assert (opinion.verdict, opinion.reason) == ("agrees", "")


@every_control
def test_it_proves_the_contrary_of_what_the_kernel_rejects(control: Control, tmp_path: Path) -> None:
    for mutant in stronger(control, tmp_path):
        assert second_opinion(mutant.content).verdict == "contrary", mutant.name


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("statement", "dim", "1"), "dimension 2"), (("statement", "angle", "22/7"), "at most pi"),
        (("statement", "dim", "5000"), "5000 dimensions"), (("statement", "at_least", "0"), "from 1 on"),
        (("steps", 0, "given", "form", "volume"), "about a ball"),
        (("steps", 0, "given", "form", "ball-through-sphere"), "ball-through-sphere for a ball"),
        (("steps", 0, "given", "form", "guess"), "few, volume, caps"),
        (("steps", 1, "given", "form", "lattice"), "about a ball"), (("steps", 1, "given", "form", "shells"), "shrink"),
        (("steps", 1, "given", "form", "arcs"), "a circle"), (("steps", 1, "given", "form", "few"), "vertices' caps"),
        (("steps", 1, "given", "form", "guess"), "expected one of few"),
        (("steps", 2, "uses", "upper", "lower"), "at_most >= the upper bound"),
        (("steps", 2, "gives", "at_least", "18"), "at_least <= the lower bound"),
    ],
)  # fmt: skip
def test_what_it_refuses(change: tuple[Any, ...], reason: str) -> None:
    tree = next(found.tree for found in controls() if found.name == "caps, packed")
    opinion = second_opinion(rebuild(put(tree, change[:-1], change[-1])))
    assert opinion.verdict == ("undecided" if change[1] == "dim" and change[2] == "5000" else "contrary")
    assert reason in opinion.reason


def test_it_agrees_in_high_dimensions() -> None:
    """Where the kernel takes thousands of terms and caps are as small as 2^-4000."""
    for dim in (1024, 4096):
        tree = best_cover(Question(dim, angle=Fraction(1, 2))).certificate
        assert check(tree).verdict is Verdict.VALID
        assert second_opinion(tree).verdict == "agrees"
