"""Secrets that the ball has no room for: well-formed certificates, false in one respect, by oracle and by kernel."""

from __future__ import annotations

import copy
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.check import Verdict, check
from tests.kernel.controls import Control, rebuild
from tests.kernel.oracle import first_false
from tests.kernel.payload_ball_controls import controls
from tests.kernel.test_mutants_payload import at, fewer, loose, swapped, weak

Node = dict[str, Any]
LITTLE = Fraction(1, 1 << 30)


def changed(step: str, part: str, field: str, change: Callable[[Fraction], Fraction]) -> Callable[[Node], None]:
    def mutate(tree: Node) -> None:
        node = at(tree, step)[part]
        node[field] = str(change(Fraction(node[field])))

    return mutate


def unshrunk(tree: Node) -> None:
    """Both pools read the keys as they were, which fill the ball; for as little logit as that takes."""
    for pool in ("", "-keys"):
        at(tree, f"budget{pool}")["uses"]["keys"] = "keys"
    tree["steps"] = [step for step in tree["steps"] if step["id"] != "shrunk"]


def shrunk_twice(tree: Node) -> None:
    """Key reads of keys that were shrunk in another step, as much."""
    tree["steps"].insert(2, copy.deepcopy(at(tree, "shrunk")) | {"id": "others"})
    at(tree, "budget-keys")["uses"]["keys"] = "others"


def values_of_whole_keys(tree: Node) -> None:
    """Value reads of the keys as they were."""
    at(tree, "budget")["uses"]["keys"] = "keys"


def tilt_of_the_cube(tree: Node) -> None:
    lean = at(tree, "tilt")
    lean.update({"rule": "tilt", "given": {"strength": lean["given"]["strength"]}})
    lean["gives"] = {"tanh_half_at_least": "1/100"}


def in_the_cube(tree: Node) -> None:
    tree["statement"]["body"] = "cube"


def crowded(pool: str) -> Callable[[Node], None]:
    def change(tree: Node) -> None:
        at(tree, f"leak{pool}")["gives"]["off_target_at_most"] = "1"

    return change


def no_room_for_the_tilt(tree: Node) -> None:
    """Key reads at the scale of the value reads."""
    for name in ("decay", "leak"):
        at(tree, f"{name}-keys").update({part: dict(at(tree, name)[part]) for part in ("given", "gives")})


FAULTS: dict[str, tuple[Callable[[Node], None], str]] = {
    "keys fill the ball": (unshrunk, "bits"),
    "keys of another step": (shrunk_twice, "bits"),
    "values of whole keys": (values_of_whole_keys, "bits"),
    "a tilt of the cube": (tilt_of_the_cube, "bits"),
    "in the cube": (in_the_cube, "shrunk"),
    "a larger code": (changed("shrunk", "given", "code_radius", lambda x: x + LITTLE), "shrunk"),
    "a larger room": (changed("shrunk", "gives", "payload_radius", lambda x: x + LITTLE), "shrunk"),
    "a smaller room": (changed("shrunk", "gives", "payload_radius", lambda x: x - LITTLE), "bits"),
    "no code": (changed("shrunk", "given", "code_radius", lambda x: Fraction(0)), "shrunk"),
    "a code turned over": (changed("shrunk", "given", "code_radius", lambda x: -x), "shrunk"),
    "no room": (changed("shrunk", "gives", "payload_radius", lambda x: Fraction(0)), "shrunk"),
    "a smaller mean": (changed("tilt", "gives", "mean_at_most", lambda x: x - LITTLE), "tilt"),
    "a larger entropy": (changed("tilt", "gives", "entropy_at_least", lambda x: x + LITTLE), "tilt"),
    "more coordinates": (changed("tilt", "given", "key_coordinates", lambda x: x + 1), "tilt"),
    "other coordinates": (changed("bits", "given", "key_coordinates", lambda x: x + 1), "bits"),
    "no coordinates": (changed("tilt", "given", "key_coordinates", lambda x: Fraction(0)), "tilt"),
    "a stronger tilt": (changed("tilt", "given", "strength", lambda x: x + Fraction(1, 4)), "tilt"),
    "no room for the tilt": (no_room_for_the_tilt, "budget-keys"),
    "pools swapped": (swapped, "bits"),
    "a token less in value reads": (fewer(""), "bits"),
    "crowded value reads": (crowded(""), "bits"),
    "crowded key reads": (crowded("-keys"), "bits"),
}


@pytest.mark.parametrize("control", controls(), ids=str)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_rejected_by_its_rule(control: Control, fault: str) -> None:
    tree = copy.deepcopy(control.tree)
    change, step = FAULTS[fault]
    weak(tree)
    if fault == "more coordinates":  # the entropy of a coordinate falls with their number
        at(tree, "bits")["given"]["key_coordinates"] = str(int(at(tree, "bits")["given"]["key_coordinates"]) + 1)
        tree["statement"]["key_dim"] = str(int(tree["statement"]["key_dim"]) + 1)
    only = at(tree, "budget")["given"]["payload"] == "1"  # and none fewer
    change(tree)
    tree = rebuild(tree)
    judged = first_false(tree)
    assert judged == step or (only and judged == "budget")
    result = check(tree)
    assert (result.verdict, result.step) == (Verdict.INVALID, judged), result.reason
    opinion = second_opinion(tree)
    if fault != "no room for the tilt" or opinion.verdict != "agrees":  # a query's exact norm may have room
        assert (opinion.verdict, opinion.step) == ("contrary", judged), opinion.reason


def test_a_smaller_secret_needs_less_room() -> None:
    """A tilt of a ball within the room is no fault."""
    tree = copy.deepcopy(controls()[0].tree)
    weak(tree)
    given, gives = at(tree, "tilt")["given"], at(tree, "tilt")["gives"]
    given["radius"] = str(Fraction(given["radius"]) / 2)
    gives["entropy_at_least"] = str(Fraction(gives["entropy_at_least"]) - 2)
    loose(tree, "")
    tree = rebuild(tree)
    assert first_false(tree) is None
    assert check(tree).verdict is Verdict.VALID
    assert second_opinion(tree).verdict == "agrees"
