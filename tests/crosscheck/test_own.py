"""The second opinion on recorded queries and preconditioned determinants."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from kvverify.crosscheck.arb import second_opinion
from tests.kernel.controls import LEAK, Control, rebuild
from tests.kernel.mutants import put, without
from tests.kernel.own_controls import controls

every_control = pytest.mark.parametrize("control", controls(), ids=str)


@pytest.fixture
def folder(control: Control, tmp_path: Path) -> Path:
    for name, content in control.files:
        (tmp_path / name).write_bytes(content)
    return tmp_path


@every_control
def test_it_agrees_with_the_controls(control: Control, folder: Path) -> None:
    assert second_opinion(control.tree, folder).verdict == "agrees"


@every_control
@pytest.mark.parametrize("name", LEAK)
def test_masses_below_the_true_ones_are_contrary(control: Control, folder: Path, name: str) -> None:
    where = ("steps", 0, "gives", name)
    opinion = second_opinion(rebuild(put(control.tree, where, "1/4096")), folder)
    assert (opinion.verdict, opinion.step) == ("contrary", "leak")


@every_control
def test_a_determinant_above_the_true_one_is_contrary(control: Control, folder: Path) -> None:
    where = ("steps", 1, "gives", "log2_det_at_least")
    more = Fraction(control.tree["steps"][1]["gives"]["log2_det_at_least"]) + 2
    opinion = second_opinion(rebuild(put(control.tree, where, str(more))), folder)
    assert (opinion.verdict, opinion.step) == ("contrary", "det")


@every_control
@pytest.mark.parametrize("change", [("rows", "0 1 9"), ("rows", "0"), ("query_scale", "-1"), ("payload", "0 0 1")])
def test_rows_that_are_none_are_contrary(control: Control, folder: Path, change: tuple[str, str]) -> None:
    tree = rebuild(put(control.tree, ("steps", 0, "given", change[0]), change[1]))
    assert second_opinion(tree, folder).verdict == "contrary"


@every_control
def test_files_that_are_others_or_absent(control: Control, folder: Path) -> None:
    content = dict(control.files)["queries.safetensors"]
    (folder / "queries.safetensors").write_bytes(content[:-1] + b"\1")
    assert second_opinion(control.tree, folder).verdict == "contrary"
    (folder / "queries.safetensors").unlink()
    assert second_opinion(control.tree, folder).verdict == "undecided"


def test_recorded_queries_are_those_of_the_statement(tmp_path: Path) -> None:
    control = controls()[1]
    for name, content in control.files:
        (tmp_path / name).write_bytes(content)
    scaled = rebuild(put(control.tree, ("steps", 0, "given", "query_scale"), "1/2"))
    unnamed = rebuild(without(control.tree, ("statement", "queries")))
    for tree in (scaled, unnamed):
        assert second_opinion(tree, tmp_path).verdict == "contrary"
