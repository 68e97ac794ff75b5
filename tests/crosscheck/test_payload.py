"""The second opinion on secrets in keys: the contrary of a little more, and of pools of reads that are no pair."""

from __future__ import annotations

import copy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from flint import acb, arb, ctx, fmpq

from kvverify.crosscheck.arb import second_opinion
from kvverify.crosscheck.facts import Leak, Tilt
from kvverify.crosscheck.payload import _key_read, tilt
from kvverify.crosscheck.settle import Case
from kvverify.crosscheck.statement import read
from kvverify.kernel.check import Verdict, check
from tests.crosscheck.controls import Tree, changed, control, signed
from tests.crosscheck.test_arb import FINE, UNIT, Change, assert_opinion, less, more

LITTLE = Fraction(1, 1 << 18)
STRONGER: list[tuple[str, str, str, Change]] = [
    # control, the step that is named, a part of the reason, the change
    ("joint", "tilt", "tanh", ("tilt/gives/tanh_half_at_least", more(UNIT))),
    ("joint", "tilt", "tanh", ("tilt/given/strength", less(Fraction(1, 1 << 40)))),
    ("joint", "tilt", "strength > 0", ("tilt/given/strength", "0")),
    ("joint", "tilt", "< 1", ("tilt/gives/tanh_half_at_least", "1")),
    ("joint", "tilt", "0 <", ("tilt/gives/tanh_half_at_least", "0")),
    ("joint", "budget-keys", "logit of the queries", ("tilt/given/strength", more(UNIT))),
    ("joint", "budget-keys", "logit of the queries", ("tilt/given/strength", "1000")),
    ("joint", "budget-keys", "logit of the queries", ("budget-keys/gives/logit_at_most", less(UNIT))),
    ("joint", "budget-keys", "max_logit", ("budget-keys/gives/logit_at_most", more(UNIT))),
    ("joint-explicit", "budget-keys", "logit of the queries", ("budget-keys/gives/logit_at_most", less(UNIT))),
    ("joint-paraboloid", "budget-keys", "logit of the queries", ("budget-keys/gives/logit_at_most", less(UNIT))),
    ("joint-pads", "leak-keys", "pads", ("leak-keys/gives/rest_at_most", less(FINE))),
    ("joint", "bits", "value part + key part", ("bits/gives/bits_at_least", more(LITTLE))),
    ("joint-streams", "bits", "value part + key part", ("bits/gives/bits_at_least", more(LITTLE))),
    ("joint-bf16", "bits", "value part + key part", ("bits/gives/bits_at_least", more(LITTLE))),
    ("joint-pads", "bits", "value part + key part", ("bits/gives/bits_at_least", more(LITTLE))),
    ("joint-sure", "bits", "value part + key part", ("bits/gives/bits_at_least", more(LITTLE))),
    ("joint-one-value", "bits", "value part + key part", ("bits/gives/bits_at_least", more(LITTLE))),
    ("joint-values-alone", "bits", "value part + key part", ("bits/gives/bits_at_least", more(LITTLE))),
    ("joint-keys-alone", "bits", "value part + key part", ("bits/gives/bits_at_least", more(LITTLE))),
    ("joint", "bits", "value part + key part", ("leak/gives/rest_at_most", more(Fraction(1, 1 << 20)))),
    ("joint", "bits", "value part + key part", ("leak-keys/gives/rest_at_most", more(Fraction(1, 1 << 20)))),
    ("joint", "bits", "value part + key part", ("leak-keys/gives/off_target_at_most", more(Fraction(1, 1 << 20)))),
    ("joint", "bits", "value part + key part", ("tilt/gives/tanh_half_at_least", less(Fraction(1, 1 << 20)))),
    ("joint", "bits", "off_target < 1", ("leak/gives/off_target_at_most", "1")),
    ("joint", "bits", "off_target < 1", ("leak-keys/gives/off_target_at_most", "1")),
    ("joint", "bits", "value part + key part", ("statement/tolerance", "1/15")),
    ("joint", "bits", "value part + key part", ("statement/failure", "101/1000")),
    ("joint", "bits", "failure <=", ("statement/failure", "31/32")),
    ("joint-bf16", "bits", "failure <=", ("statement/failure", 1 - Fraction(1, 16) - Fraction(1, 512))),
    ("joint", "bits", "value part + key part", ("statement/value_dim", "3")),
    ("joint", "bits", "value part + key part", ("statement/inputs", "bf16")),
    ("joint-streams", "bits", "value part + key part", ("statement/layers", "4")),
    ("joint", "bits", "fit", ("bits/given/key_coordinates", "5")),
    ("joint", "bits", "fit", ("statement/key_dim", "11")),
    ("joint", "bits", "at least one", ("bits/given/key_coordinates", "0")),
    ("joint", "bits", "value part + key part", ("bits/given/key_coordinates", "3")),
    ("joint", "bits", "room for the tilted secret", ("statement/body", "ball")),
    ("joint-ball", "shrunk", "<= 1", ("shrunk/given/code_radius", more(Fraction(1, 1 << 30)))),
    ("joint-ball", "shrunk", "<= 1", ("shrunk/gives/payload_radius", more(Fraction(1, 1 << 30)))),
    ("joint-ball-bf16", "shrunk", "257/256", ("shrunk/gives/payload_radius", more(Fraction(1, 1 << 30)))),
    ("joint-ball", "shrunk", "at least 2^-64", ("shrunk/gives/payload_radius", "0")),
    ("joint-ball", "shrunk", "in the ball", ("statement/body", "cube")),
    ("joint-ball", "tilt", "mean_at_most", ("tilt/gives/mean_at_most", less(UNIT))),
    ("joint-ball", "tilt", "entropy", ("tilt/gives/entropy_at_least", more(UNIT))),
    ("joint-ball", "tilt", "mean_at_most", ("tilt/given/strength", more(UNIT))),
    ("joint-ball", "tilt", "from 2^-64 to 1", ("tilt/given/radius", "1")),
    ("joint-ball", "tilt", "at least one", ("tilt/given/key_coordinates", "0")),
    ("joint-ball", "bits", "room for the tilted secret", ("shrunk/gives/payload_radius", less(UNIT))),
    ("joint-ball", "bits", "as many coordinates", ("bits/given/key_coordinates", "3")),
    (
        "joint-ball",
        "budget-keys",
        "logit of the queries",
        ("budget-keys/gives/logit_at_most", less(Fraction(1, 1 << 20))),
    ),
    ("joint-ball", "bits", "value part + key part", ("bits/gives/bits_at_least", more(LITTLE))),
    ("joint-ball-bf16", "bits", "value part + key part", ("bits/gives/bits_at_least", more(LITTLE))),
    ("joint-ball", "bits", "value part + key part", ("statement/failure", "101/1000")),
]


@pytest.mark.parametrize(("name", "step", "reason", "change"), STRONGER)
def test_contrary_of_a_little_more(name: str, step: str, reason: str, change: Change) -> None:
    where, new = change
    tree = changed(control(name), where, str(new) if isinstance(new, Fraction) else new)
    assert_opinion(second_opinion(tree), "contrary", step, reason)
    assert check(tree).verdict is Verdict.INVALID


def step_of(tree: Tree, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(step for step in tree["steps"] if step["id"] == name)
    return found


@pytest.mark.parametrize(
    ("name", "uses", "reason"),
    [
        ("bits", {"values": "leak", "keys": "leak"}, "room for a tilt"),
        ("bits", {"values": "leak-keys", "keys": "leak"}, "room for a tilt"),
        ("bits", {"values": "leak", "keys": "budget-keys"}, "kind Leak"),
        ("bits", {"values": "tilt", "keys": "leak-keys"}, "kind Leak"),
        ("bits", {"keys": "leak-keys"}, "kind Leak"),
        ("budget-keys", {"keys": "keys", "decay": "decay-keys", "tilt": "decay"}, "kind Tilt"),
        ("budget-keys", {"keys": "keys", "decay": "tilt", "tilt": "tilt"}, "kind Decay"),
    ],
)
def test_premises_are_of_their_kind(name: str, uses: dict[str, str], reason: str) -> None:
    tree = control("joint")
    step_of(tree, name)["uses"] = uses
    assert_opinion(second_opinion(signed(tree)), "contrary", name, reason)
    assert check(signed(tree)).verdict is Verdict.INVALID


def test_a_tilt_costs_logit() -> None:
    """Key reads at the scale of the value reads leave no room for a tilt."""
    tree = control("joint")
    step_of(tree, "budget-keys")["uses"]["decay"] = "decay"
    assert_opinion(second_opinion(signed(tree)), "contrary", "budget-keys", "logit of the queries")


def test_both_pools_are_of_one_key_step() -> None:
    """Equal keys of another step do not do: the secrets stand in one cache."""
    tree = control("joint")
    tree["steps"].insert(1, copy.deepcopy(tree["steps"][0]) | {"id": "others"})
    assert second_opinion(signed(tree)).verdict == "agrees"
    step_of(tree, "budget-keys")["uses"]["keys"] = "others"
    assert_opinion(second_opinion(signed(tree)), "contrary", "bits", "one key step")
    assert check(signed(tree)).verdict is Verdict.INVALID


@pytest.mark.parametrize("pool", ["", "-keys"])
def test_both_pools_read_the_same_tokens(pool: str) -> None:
    tree = control("joint")
    step_of(tree, f"budget{pool}")["given"]["payload"] = "15"
    step_of(tree, f"leak{pool}")["gives"]["rest_at_most"] = "1/8"  # the sixteenth token is a pad
    assert_opinion(second_opinion(signed(tree)), "contrary", "bits", "same tokens")
    assert check(signed(tree)).verdict is Verdict.INVALID


def test_value_reads_may_leave_room_too() -> None:
    """A pool of value reads at the smaller scale is as good a pool, and gives less."""
    tree = control("joint")
    step_of(tree, "bits")["uses"]["values"] = "leak-keys"
    tree["statement"]["state_bits_at_least"] = "0"
    assert_opinion(second_opinion(signed(tree)), "contrary", "bits", "value part + key part")
    weaker = changed(tree, "bits/gives/bits_at_least", "1")
    assert second_opinion(weaker).verdict == "agrees"


def test_a_relative_tolerance_has_no_joint_bound() -> None:
    tree = control("joint")
    tree["statement"]["relative"] = tree["statement"].pop("tolerance")
    assert_opinion(second_opinion(signed(tree)), "contrary", "bits", "additive")


def test_parts_below_zero_count_as_zero() -> None:
    """With both parts below 0 nothing is left but the bound 0."""
    tree = control("joint-values-alone")
    step_of(tree, "leak")["gives"]["rest_at_most"] = "1000"
    tree["statement"]["state_bits_at_least"] = "0"
    assert second_opinion(changed(tree, "bits/gives/bits_at_least", "0")).verdict == "agrees"
    beyond = changed(tree, "bits/gives/bits_at_least", f"1/{1 << 300}")
    assert_opinion(second_opinion(changed(beyond, "statement/layers", "9")), "contrary", "bits", "value part")


@pytest.mark.parametrize("half", [Fraction(1, 1000), Fraction(1, 2), Fraction(999, 1000)])
@pytest.mark.parametrize("sigma", [Fraction(0), Fraction(1, 3)])
def test_a_key_read_is_its_integral(half: Fraction, sigma: Fraction) -> None:
    """log2 T - 2 log2(1 + (sigma E u + rest) / 2), E u = mean of (1 + w)/(1 - w) over [-T, T], integrated by Arb."""
    rest = Fraction(1, 7)

    def exact(x: Fraction) -> fmpq:
        return fmpq(x.numerator, x.denominator)

    with ctx.workprec(128):
        t = arb(exact(half))
        total = _integral(t)
        mean = total / (2 * t)
        crowd = 1 + (arb(exact(sigma)) * mean + arb(exact(rest))) / 2
        expected = t.log() / arb(2).log() - 2 * crowd.log() / arb(2).log()
        case = Case(read(control("joint")["statement"]), Path())
        lean = tilt(case, {}, {"strength": "20"}, {"tanh_half_at_least": str(half)})
        assert isinstance(lean, Tilt)
        found = _key_read(Leak(1, exact(sigma), exact(rest), fmpq(0)), lean)
        assert abs(found - expected) < 1e-20
        assert found.rel_accuracy_bits() > 80


def _integral(t: arb) -> arb:
    return acb.integral(lambda w, _: (1 + w) / (1 - w), -t, t).real
