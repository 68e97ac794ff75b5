"""z3 and cvc5 refute the denial of every rational leaf, and do not where a number was strengthened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvverify.export.leaves import find_leaves
from kvverify.export.smt import to_smt
from kvverify.kernel import document
from tests.export.provers import ROOT, chosen, cvc5_says, leaves_of, z3_says
from tests.export.test_coq import STRENGTHENED, strengthened

Solver = Callable[[str], list[str]]
both = pytest.mark.parametrize("says", [z3_says, cvc5_says])


@both
def test_the_denial_of_every_rational_leaf_is_refuted(says: Solver) -> None:
    scripts = [to_smt(leaves_of(control.tree)) for control in chosen()]
    paths = sorted((ROOT / "certificates" / "ours").glob("*.json"))
    scripts += [to_smt(find_leaves(document.read(path))) for path in paths]
    for script, _ in scripts:
        asked = script.count("(check-sat)")
        assert asked >= 2
        assert says(script) == ["unsat"] * asked


@both
@pytest.mark.parametrize(("control", "where", "step", "name"), STRENGTHENED, ids=lambda value: str(value)[:40])
def test_the_denial_of_a_false_leaf_is_satisfied(
    says: Solver, control: str, where: tuple[object, ...], step: int, name: str
) -> None:
    found = leaves_of(strengthened(control, where, step))
    script, refused = to_smt(found)
    exported = [leaf.name for leaf in found.leaves if leaf not in refused]
    answers = dict(zip(exported, says(script), strict=True))
    if name in exported:
        assert answers[name] == "sat"
    else:
        assert name.rsplit("__", 1)[1] in ("decay", "near_identity", "bits", "tanh", "mean", "entropy", "tail")


def test_what_cannot_be_said_is_listed(tmp_path: Path) -> None:
    for control in chosen():
        found = leaves_of(control.tree)
        script, refused = to_smt(found)
        assert script.isascii()
        assert script.count("(check-sat)") == len(found.leaves) - len(refused)
        assert all(f"; - {leaf.step}, {leaf.rule}: {leaf.words}" in script for leaf in refused)
        assert all(f"; - {fact.step}, {fact.rule}: {fact.words}" in script for fact in found.unexported)
