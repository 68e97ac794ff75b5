"""Sparse rows: the top mass of a statement against causal rows that are computed one by one, and its mutants."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from kvverify.codes import by_name
from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.check import Verdict, check
from tests.kernel import quantiser_controls
from tests.kernel.controls import controls, rebuild

CONTROLS = {control.name: control.tree for control in controls()}
SPARSE = [name for name, tree in CONTROLS.items() if "top_mass_at_least" in tree["statement"]]
STEP = Fraction(1, 1 << 60)


def stated(tree: dict[str, Any]) -> Fraction:
    """1/(1 + off_target + rest) of the stated leak."""
    gives = next(step["gives"] for step in tree["steps"] if step["rule"] == "leak")
    return 1 / (1 + Fraction(gives["off_target_at_most"]) + Fraction(gives["rest_at_most"]))


def changed(tree: dict[str, Any], **fields: object) -> dict[str, Any]:
    return rebuild({**tree, "statement": {**tree["statement"], **{name: str(x) for name, x in fields.items()}}})


@pytest.mark.parametrize("name", SPARSE)
def test_up_to_what_the_leak_leaves_and_no_further(name: str) -> None:
    tree = CONTROLS[name]
    exact = changed(tree, top_mass_at_least=stated(tree))
    assert check(exact).verdict is Verdict.VALID
    assert second_opinion(exact).verdict == "agrees"
    more = changed(tree, top_mass_at_least=stated(tree) + STEP)
    found = check(more)
    assert found.verdict is Verdict.INVALID
    assert "top_mass_at_least <= what the steps prove" in found.reason
    assert second_opinion(more).verdict == "contrary"


@pytest.mark.parametrize("mass", ["1", "-1/9", "3/2"])
def test_a_mass_is_a_share(mass: str) -> None:
    found = check(changed(CONTROLS[SPARSE[0]], top_mass_at_least=mass))
    assert found.verdict is Verdict.INVALID
    assert found.reason == "statement.top_mass_at_least: outside the problem class"


@pytest.mark.parametrize("name", ["golay, volume", "explicit, volume", "hypercube 5, separation", "one token"])
def test_with_pads_and_by_other_rules_nothing_is_known(name: str) -> None:
    """A pad's row may be flat; the volume rule does not say what rows its reads come from."""
    found = check(changed(CONTROLS[name], top_mass_at_least=STEP))
    assert found.verdict is Verdict.INVALID
    assert "top_mass_at_least <= what the steps prove" in found.reason


@pytest.mark.parametrize("name", ["rm, separation", "hypercube 4, levels"])
def test_where_every_token_is_asked_for_it_is_known(name: str) -> None:
    tree = CONTROLS[name]
    assert check(changed(tree, top_mass_at_least=stated(tree))).verdict is Verdict.VALID


def test_an_upper_bound_has_none() -> None:
    tree = quantiser_controls.controls()[0].tree
    assert check(changed(tree, top_mass_at_least=0)).verdict is Verdict.VALID
    assert check(changed(tree, top_mass_at_least="1/9")).verdict is Verdict.INVALID


@pytest.mark.parametrize("name", SPARSE)
def test_the_rows_are_so_sparse(name: str) -> None:
    """Queries c k_i for every token, rows in float64: the leak's bounds are above every causal row's own."""
    tree = CONTROLS[name]
    tokens = int(tree["statement"]["tokens"])
    keys = np.sign(by_name("reed-muller(1,3)" if name.startswith("rm") else "hypercube(2)").keys(tokens))
    exponent = next(Fraction(s["given"]["exponent"]) for s in tree["steps"] if s["rule"] == "exp-bound")
    scores = float(exponent) * (keys @ keys.T) / 2
    for i in range(len(keys)):
        row = np.exp(scores[i, : i + 1] - scores[i, : i + 1].max())
        assert row.max() / row.sum() >= float(stated(tree))
