"""Every rule has a control that it accepts, and mutants that it must reject: zero wrong VALID."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel.check import Verdict, check
from kvverify.kernel.rules import FAMILIES, RULES, precondition
from tests.kernel import (
    amplitude_controls,
    comparison_controls,
    covering_controls,
    instances_controls,
    nets_controls,
    own_controls,
    payload_ball_controls,
    payload_controls,
    polynomials_controls,
    quantiser_controls,
    sampling_controls,
    tensor_controls,
    visual_controls,
)
from tests.kernel import controls as plain
from tests.kernel.controls import Control
from tests.kernel.instance import claim_holds
from tests.kernel.mutants import Mutant, Stronger, broken, rewritten, stronger
from tests.kernel.oracle import first_false


@cache
def controls() -> tuple[Control, ...]:
    lists = (
        plain, payload_controls, payload_ball_controls, amplitude_controls, quantiser_controls, covering_controls,
        own_controls, sampling_controls, instances_controls, nets_controls,
        comparison_controls, polynomials_controls, visual_controls, tensor_controls,
    )  # fmt: skip
    return tuple(control for family in lists for control in family.controls())


MUTANTS, STRONGER = 25, 13  # at least, of each rule and of each form of the determinant
every_control = pytest.mark.parametrize("control", controls(), ids=str)


def breakable() -> Iterator[Any]:
    """All controls; those none of whose steps has a form of its own are broken like one before them: slow."""
    seen: set[tuple[str, ...]] = set()
    for control in controls():
        forms = {
            (step["rule"], str(step["given"].get("form")), *step["given"], "", *step["gives"], "", *step["uses"])
            for step in control.tree["steps"]
        }
        marks = [pytest.mark.slow] if forms <= seen else []
        seen |= forms
        yield pytest.param(control, marks=marks, id=str(control))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For every control a folder with the files that it refers to."""
    found = {}
    for control in controls():
        found[control.name] = folder = tmp_path_factory.mktemp("control")
        for name, content in control.files:
            (folder / name).write_bytes(content)
    return found


@cache
def strengthened(control: Control, folder: Path) -> list[Stronger]:
    return list(stronger(control, folder))


def faults(control: Control) -> Iterator[Mutant]:
    return broken(control, outside=control in (plain.controls()[0], plain.controls()[-1]))


def ruled(control: Control, mutant: Mutant) -> str:
    """The rule, with the form that the control's determinant has."""
    form = next((s["given"]["form"] for s in control.tree["steps"] if s["rule"] == "determinant"), "")
    return f"determinant, {form}" if mutant.rule == "determinant" else mutant.rule


@every_control
def test_a_control_is_valid_and_true(control: Control, folders: dict[str, Path]) -> None:
    result = check(control.tree, folders[control.name])
    assert (result.verdict, result.step, result.reason) == (Verdict.VALID, None, "")
    assert result.rules == tuple(control.rules)
    assert first_false(control.tree, folders[control.name]) is None
    assert claim_holds(control.tree, folders[control.name])


@pytest.mark.parametrize("control", breakable())
def test_a_broken_document_is_invalid(control: Control, folders: dict[str, Path]) -> None:
    results = [(m.name, check(m.content, folders[control.name])) for m in faults(control)]
    assert [(name, r.verdict, r.reason) for name, r in results if r.verdict is not Verdict.INVALID] == []


@every_control
def test_a_rewritten_certificate_is_valid_only_where_it_is_true(control: Control, folders: dict[str, Path]) -> None:
    folder = folders[control.name]
    for mutant in rewritten(control):
        if check(mutant.content, folder).verdict is Verdict.VALID:
            assert isinstance(mutant.content, dict)
            assert first_false(mutant.content, folder) is None, mutant.name
            assert claim_holds(mutant.content, folder), mutant.name


@every_control
def test_the_least_strengthening_is_rejected_by_its_rule(control: Control, folders: dict[str, Path]) -> None:
    for mutant in strengthened(control, folders[control.name]):
        result = check(mutant.content, folders[control.name])
        assert (result.verdict, result.step) == (Verdict.INVALID, mutant.step), f"{mutant.name}: {result.reason}"


COARSE = Fraction(1, 1 << 16)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every proved bound of the rules moves away from the truth: upper ones up, lower ones down.

    But for the tables of exponentials (packed.py), whose closeness is a part of what a matrix's enclosures say.
    """

    def wider(name: str, bound: Any) -> Any:
        sign = 1 if name.lower().endswith("upper") else -1
        if not callable(bound):
            return bound * (1 + sign * COARSE)
        if name.startswith(("log2", "divergence", "fano", "unit_ball")):
            return lambda *given: bound(*given) + sign * COARSE
        return lambda *given: bound(*given) * (1 + sign * COARSE)

    for family in (*FAMILIES, precondition):
        for name, bound in list(vars(family).items()):
            if name.lower().endswith(("_upper", "_lower")):
                monkeypatch.setattr(family, name, wider(name, bound))


@every_control
@pytest.mark.usefixtures("coarse")
def test_every_bound_errs_on_the_safe_side(control: Control, folders: dict[str, Path]) -> None:
    """Coarser bounds prove less; one that is taken in the wrong direction would now let a false step pass."""
    for mutant in strengthened(control, folders[control.name]):
        assert isinstance(mutant.content, dict)
        result = check(mutant.content, folders[control.name])
        order = [None, *(step["id"] for step in mutant.content["steps"])]
        assert result.verdict is not Verdict.VALID, mutant.name
        assert order.index(result.step) <= order.index(mutant.step), mutant.name


def test_every_rule_and_form_has_enough_mutants(folders: dict[str, Path]) -> None:
    counts: dict[str, Counter[str]] = {"all": Counter(), "stronger": Counter()}
    for control in controls():
        extra = strengthened(control, folders[control.name])
        counts["stronger"] += Counter(ruled(control, m) for m in extra)
        counts["all"] += Counter(ruled(control, m) for m in [*extra, *faults(control), *rewritten(control)])
    forms = {f"determinant, {form}" for form in ("near-identity", "ostrowski", "exact", "preconditioned")}
    for rule in (RULES.keys() - {"determinant"}) | forms:
        assert counts["all"][rule] >= MUTANTS, rule
        assert counts["stronger"][rule] >= STRONGER, rule
