"""Pools of reads that are no pair: well-formed certificates, false in one respect, by the oracle and by the kernel."""

from __future__ import annotations

import copy
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel.check import Verdict, check
from kvverify.kernel.rules.attention import Decay, Keys, Leak, Row, Scaled, Tilt
from tests.kernel.apply import accepts
from tests.kernel.controls import Control, rebuild
from tests.kernel.marker import cube_tilt
from tests.kernel.mutants import broken, rewritten, stronger
from tests.kernel.oracle import first_false
from tests.kernel.payload_controls import controls

Node = dict[str, Any]
every_control = pytest.mark.parametrize("control", controls(), ids=str)


def at(tree: Node, name: str) -> Node:
    found: Node = next(step for step in tree["steps"] if step["id"] == name)
    return found


def weak(tree: Node) -> None:
    """Ask for next to nothing, so that no inequality is in the way of the fault."""
    at(tree, "bits")["gives"]["bits_at_least"] = tree["statement"]["state_bits_at_least"] = "0"


def loose(tree: Node, pool: str) -> None:
    """Room for one more pad."""
    gives = at(tree, f"leak{pool}")["gives"]
    gives["rest_at_most"] = str(Fraction(gives["rest_at_most"]) + 1)


def other_keys(tree: Node) -> None:
    tree["steps"].insert(1, copy.deepcopy(tree["steps"][0]) | {"id": "others"})
    at(tree, "budget-keys")["uses"]["keys"] = "others"


def fewer(pool: str) -> Callable[[Node], None]:
    def change(tree: Node) -> None:
        given = at(tree, f"budget{pool}")["given"]
        given["payload"] = str(int(given["payload"]) - 1)
        loose(tree, pool)

    return change


def swapped(tree: Node) -> None:
    at(tree, "bits")["uses"] = {"values": "leak-keys", "keys": "leak"}


def untilted(tree: Node) -> None:
    """The key reads' budget forgets its tilt, and the value reads' has it: of a scale that leaves room."""
    scale = Fraction(at(tree, "decay-keys")["given"]["exponent"])
    at(tree, "decay")["given"]["exponent"] = str(scale)
    at(tree, "decay")["gives"] = dict(at(tree, "decay-keys")["gives"])
    at(tree, "leak")["gives"] = dict(at(tree, "leak-keys")["gives"])
    del at(tree, "budget-keys")["uses"]["tilt"]
    at(tree, "budget")["uses"]["tilt"] = "tilt"
    tree["steps"].insert(1, tree["steps"].pop([step["id"] for step in tree["steps"]].index("tilt")))


def no_room(tree: Node) -> None:
    """Key reads at the scale of the value reads."""
    for name in ("decay", "leak"):
        at(tree, f"{name}-keys").update({part: dict(at(tree, name)[part]) for part in ("given", "gives")})


def relative(tree: Node) -> None:
    tree["statement"]["relative"] = tree["statement"].pop("tolerance")


def ball(tree: Node) -> None:
    tree["statement"]["body"] = "ball"


def coordinates(number: int) -> Callable[[Node], None]:
    def change(tree: Node) -> None:
        given = at(tree, "bits")["given"]
        given["key_coordinates"] = str(number if number < 1 else int(given["key_coordinates"]) + number)

    return change


def crowded(pool: str) -> Callable[[Node], None]:
    def change(tree: Node) -> None:
        at(tree, f"leak{pool}")["gives"]["off_target_at_most"] = "1"

    return change


def unsure(tree: Node) -> None:
    """Answers that may fail as often as guesses."""
    tree["statement"]["failure"] = str(1 - Fraction(tree["statement"]["tolerance"]) + Fraction(1, 1 << 50))


FAULTS: dict[str, tuple[Callable[[Node], None], str]] = {
    "keys of another step": (other_keys, "bits"), "a token less in value reads": (fewer(""), "bits"),
    "a token less in key reads": (fewer("-keys"), "bits"), "pools swapped": (swapped, "bits"),
    "tilt on the wrong side": (untilted, "bits"), "no room for the tilt": (no_room, "budget-keys"),
    "relative tolerance": (relative, "bits"), "ball": (ball, "bits"), "a coordinate more": (coordinates(1), "bits"),
    "no coordinate": (coordinates(0), "bits"), "a negative coordinate": (coordinates(-1), "bits"),
    "crowded value reads": (crowded(""), "bits"), "crowded key reads": (crowded("-keys"), "bits"),
    "guesses": (unsure, "bits"),
}  # fmt: skip


@every_control
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_rejected_by_its_rule(control: Control, fault: str) -> None:
    tree = copy.deepcopy(control.tree)
    change, step = FAULTS[fault]
    weak(tree)
    assert first_false(rebuild(tree)) is None
    only = at(tree, "budget")["given"]["payload"] == "1"  # and none fewer
    change(tree)
    tree = rebuild(tree)
    judged = first_false(tree)
    assert judged in (step, "budget", "budget-keys")  # in the ball some families have no room, and say so first
    assert judged == step or fault == "ball" or only
    result = check(tree)
    assert (result.verdict, result.step) == (Verdict.INVALID, judged), result.reason


def test_tilted_budgets_have_enough_mutants() -> None:
    """Changed numbers, and changed texts, of the budget with a tilt: at least 25, half of them strengthened."""
    strengthened = [m for c in controls() for m in stronger(c, Path()) if m.step == "budget-keys"]
    assert len(strengthened) >= 13
    other = 0
    for c in controls():
        where = f"('steps', {[step['id'] for step in c.tree['steps']].index('budget-keys')},"
        mutants = [m for m in [*broken(c, outside=False), *rewritten(c)] if m.name.startswith(where)]
        other += len(mutants)
        for m in mutants:
            result = check(m.content)
            assert result.verdict is not Verdict.VALID or first_false(m.content) is None, m.name  # type: ignore[arg-type]
    assert other >= 12


# --- premises made for the test ---

HALF = cube_tilt(Fraction(2), Fraction(3, 4))
CODE = Keys(4, 3, ((2, 3),), Fraction(3, 2), 1, 3, bf16=True)
NEAR = Row(Fraction(1, 8), Fraction(1, 16))


def pool(
    keys: Keys = CODE, payload: int = 4, tilt: Tilt | None = HALF, *, family: bool = True, row: Row = NEAR
) -> Leak:
    scaled = Scaled(keys, Fraction(1, 20), payload, tilt) if family else None
    return Leak(payload, row, row.off_target**2, scaled=scaled)


def joined(values: object, keys: object, number: int = 2, bits: Fraction | int = 1, **changes: object) -> bool:
    premises: Any = {"values": values, "keys": keys}
    statement = {"key_dim": 5, **changes}
    return accepts("joint", premises, {"key_coordinates": number}, {"bits_at_least": bits}, **statement)


def test_what_joint_asks_of_its_premises() -> None:
    assert joined(pool(tilt=None), pool())
    assert joined(pool(), pool())
    equal = Keys(4, 3, ((2, 3),), Fraction(3, 2), 1, 3, bf16=True)
    assert not joined(pool(tilt=None), pool(equal))
    for values, keys in (
        (pool(), pool(tilt=None)),
        (pool(), pool(family=False)),
        (pool(family=False), pool()),
        (pool(payload=3), pool()),
        (pool(), pool(payload=3)),
        (pool(row=Row(Fraction(1), Fraction(0))), pool()),
        (pool(), pool(row=Row(Fraction(1), Fraction(0)))),
    ):
        assert not joined(values, keys)
    for other in (CODE, HALF, Decay(Fraction(1), Fraction(1, 2)), Scaled(CODE, Fraction(1, 20), 4, HALF)):
        assert not joined(other, pool())
        assert not joined(pool(), other)
    for number in (0, -1, 3):
        assert not joined(pool(), pool(), number)
    for changes in (
        {"body": "ball"}, {"key_dim": 4}, {"tolerance": None, "relative": 0}, {"tolerance": Fraction(99, 100)},
        {"failure": Fraction(99, 100) + Fraction(1, 1 << 50)},
    ):  # fmt: skip
        assert not joined(pool(), pool(), bits=-1, **changes)
    assert joined(pool(), pool(), bits=0, failure=Fraction(99, 100))


def test_bf16_has_a_reach_of_its_own_in_each_pool() -> None:
    """Of values the rounding, of keys half of strength times rounding: each limits the failure."""
    eps, h = Fraction(1, 100), Fraction(1, 512)
    for strength, reach in ((Fraction(1), h), (Fraction(2), h), (Fraction(5), 5 * h / 2)):
        keys = pool(tilt=cube_tilt(strength, Fraction(1, 4)))
        bf16 = {"inputs": "bf16", "bits": 0}
        assert joined(pool(), keys, failure=1 - eps - reach, **bf16)
        assert not joined(pool(), keys, failure=1 - eps - reach + Fraction(1, 1 << 50), **bf16)


def test_parts_below_zero_count_as_zero() -> None:
    """The sum never falls when one part does."""
    far = Row(Fraction(1, 8), Fraction(1000))
    thin = cube_tilt(Fraction(2), Fraction(1, 1000))
    key_alone = [joined(pool(row=far), pool(), bits=x) for x in (1, 1000)]
    value_alone = [joined(pool(), pool(tilt=thin), bits=x) for x in (1, 1000)]
    assert key_alone == value_alone == [True, False]
    nothing = pool(row=far), pool(tilt=thin)
    assert joined(*nothing, bits=0)
    assert not joined(*nothing, bits=Fraction(1, 1 << 200))
    assert not joined(pool(), pool(tilt=thin), bits=Fraction(1, 1 << 200), value_dim=1)


def test_a_budget_with_a_tilt_is_exact_to_its_threshold() -> None:
    premises: Any = {"keys": CODE, "decay": Decay(Fraction(4), Fraction(1, 20)), "tilt": HALF}
    least, tiny = Fraction(8), Fraction(1, 1 << 50)  # 4 * 3/2 + 2

    def holds(logit: Fraction, max_logit: Fraction, **changed: object) -> bool:
        statement = {"tokens": 4, "key_dim": 3, "max_logit": max_logit}
        return accepts("budget", {**premises, **changed}, {"payload": 4}, {"logit_at_most": logit}, **statement)

    assert holds(least, least)
    assert not holds(least - tiny, least)
    assert not holds(least, least - tiny)
    assert not any(holds(least, least, tilt=wrong) for wrong in (CODE, premises["decay"], pool()))
