"""The second opinion on secret amplitudes: the contrary of a little more, and of pools of reads that do not fit."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from kvverify.crosscheck.amplitude import _Pool
from kvverify.crosscheck.arb import second_opinion
from kvverify.crosscheck.facts import Leak
from kvverify.kernel.check import Verdict, check
from tests.crosscheck.controls import Tree, changed, control, signed
from tests.crosscheck.test_arb import UNIT, Change, assert_opinion, less, more
from tests.kernel.amplitude_controls import controls, larger

BITS = "value, key and amplitude parts"
BARE, KEYED, SMALL = "amplitude-bare", "amplitude", "amplitude-streams"
STRONGER: list[tuple[str, str, str, Change]] = [
    # control, the step that is named, a part of the reason, the change
    (KEYED, "bits", BITS, ("bits/gives/bits_at_least", more(64))),
    (BARE, "bits", BITS, ("bits/gives/bits_at_least", more(4))),
    (SMALL, "bits", BITS, ("bits/gives/bits_at_least", more(6))),
    (SMALL, "bits", BITS, ("statement/kv_heads", "2")),
    (KEYED, "bits", BITS, ("statement/value_dim", "1")),
    (KEYED, "bits", BITS, ("statement/tolerance", "1/300")),
    (KEYED, "bits", BITS, ("statement/failure", "1/4")),
    (KEYED, "bits", "failure <=", ("statement/failure", 1 - Fraction(1, 1000) + UNIT)),
    (BARE, "bits", "as widened", ("statement/failure", 1 - Fraction(1, 1000))),
    (KEYED, "bits", "real numbers", ("statement/body", "ball")),
    (KEYED, "bits", "real numbers", ("statement/inputs", "bf16")),
    (KEYED, "bits", "fit", ("statement/key_dim", "9")),
    (KEYED, "bits", "fit", ("bits/given/key_coordinates", "3")),
    (KEYED, "bits", "where there are key coordinates", ("bits/given/key_coordinates", "0")),
    (BARE, "bits", "where there are key coordinates", ("bits/given/key_coordinates", "1")),
    (BARE, "bits", "not negative", ("bits/given/key_coordinates", "-1")),
    (KEYED, "bits", "0 < width < 1", ("bits/given/width", "0")),
    (KEYED, "bits", "0 < width < 1", ("bits/given/width", "1")),
    (KEYED, "bits", "max_logit", ("bits/given/width", more(UNIT))),
    (KEYED, "bits", "max_logit", ("bits/given/strength", more(UNIT))),
    (KEYED, "bits", "above 0", ("bits/given/strength", "0")),
    (KEYED, "bits", "reference >= 1", ("bits/given/reference", 1 - UNIT)),
    (KEYED, "bits", "reference <=", ("bits/given/reference", "21")),
    (KEYED, "bits", "above 0", ("bits/given/slack", "0")),
    (KEYED, "bits", "as widened", ("bits/given/slack", "3")),
    (KEYED, "bits", "as widened", ("bits/given/slack", Fraction(1, 1 << 50))),
    (KEYED, "bits", BITS, ("bits/given/slack", Fraction(1, 100))),
    (KEYED, "bits", "max_logit", ("decay-values/given/exponent", more(UNIT))),
    (KEYED, "bits", "max_logit", ("decay-amplitudes/given/exponent", more(UNIT))),
    (KEYED, "bits", "max_logit", ("decay-keys/given/exponent", more(UNIT))),
    (KEYED, "bits", "max_logit", ("tilt/given/strength", more(UNIT))),
    (KEYED, "bits", "worst case's scale", ("decay-values-worst/given/exponent", more(UNIT))),
    (KEYED, "bits", "worst case's scale", ("decay-keys-worst/given/exponent", more(UNIT))),
    (KEYED, "bits", "worst case's scale", ("decay-values/given/exponent", less(UNIT))),
    (KEYED, "bits", "off_target < 1", ("leak-values-worst/gives/off_target_at_most", "1")),
    (KEYED, "bits", "off_target < 1", ("leak-keys-worst/gives/off_target_at_most", "1")),
    (KEYED, "bits", BITS, ("leak-values-worst/gives/off_target_squares_at_most", "40")),
    (KEYED, "bits", BITS, ("leak-values/gives/rest_at_most", "1000")),
    (KEYED, "bits", BITS, ("leak-keys/gives/off_target_at_most", "1000")),
    (KEYED, "bits", BITS, ("leak-amplitudes/gives/rest_at_most", "1000")),
    (KEYED, "bits", "as widened", ("leak-amplitudes/gives/off_target_squares_at_most", "1000")),
]  # fmt: skip


def loose(name: str) -> Tree:
    """The control, its budgets stated with room for a little more; whatever is left of the logit is not theirs."""
    tree = control(name)
    for step in tree["steps"]:
        if step["rule"] == "budget":
            step["gives"]["logit_at_most"] = tree["statement"]["max_logit"]
    return tree


@pytest.mark.parametrize(("name", "step", "reason", "change"), STRONGER)
def test_contrary_of_a_little_more(name: str, step: str, reason: str, change: Change) -> None:
    where, new = change
    tree = changed(loose(name), where, str(new) if isinstance(new, Fraction) else new)
    assert_opinion(second_opinion(tree), "contrary", step, reason)
    assert check(tree).verdict is Verdict.INVALID


@pytest.mark.parametrize("tree", [c.tree for c in (*controls(), *larger())], ids=lambda t: t["statement"]["tokens"])
def test_it_grants_a_little_more_than_the_kernel(tree: Tree) -> None:
    """Stretches are sinh(a)/a, not exp(a^2/6): at most so much that a hundredth more is contrary."""
    assert second_opinion(tree).verdict == "agrees"
    assert second_opinion(changed(tree, "bits/gives/bits_at_least", more(UNIT))).verdict == "agrees"
    beyond = changed(tree, "bits/gives/bits_at_least", lambda bits: bits * Fraction(21, 20))
    assert_opinion(second_opinion(beyond), "contrary", "bits", BITS)


@pytest.mark.parametrize(
    ("uses", "reason"),
    [
        ({"values": "leak-amplitudes"}, "worst case's scale"),
        ({"amplitudes": "leak-values"}, "max_logit"),
        ({"keys": "leak-values"}, "room for a tilt"),
        ({"values-worst": "leak-values"}, "worst case's scale"),
        ({"keys-worst": "leak-keys"}, "worst case's scale"),
        ({"values": "budget-values"}, "kind Leak"),
        ({"amplitudes": "keys"}, "kind Leak"),
    ],
)
def test_premises_are_what_they_are_used_for(uses: dict[str, str], reason: str) -> None:
    tree = loose("amplitude")
    tree["steps"][-1]["uses"] |= uses
    assert_opinion(second_opinion(signed(tree)), "contrary", "bits", reason)
    assert check(signed(tree)).verdict is Verdict.INVALID


POOLS = ("values", "values-worst", "amplitudes", "keys", "keys-worst")


def step_of(tree: Tree, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(step for step in tree["steps"] if step["id"] == name)
    return found


@pytest.mark.parametrize("pool", POOLS)
def test_all_pools_are_of_one_key_step_and_payload(pool: str) -> None:
    tree = loose("amplitude")
    tree["steps"].insert(1, copy.deepcopy(tree["steps"][0]) | {"id": "others"})
    assert second_opinion(signed(tree)).verdict == "agrees"
    step_of(tree, f"budget-{pool}")["uses"]["keys"] = "others"
    assert_opinion(second_opinion(signed(tree)), "contrary", "bits", "one key step")
    tree = loose("amplitude")
    step_of(tree, f"budget-{pool}")["given"]["payload"] = "15"
    step_of(tree, f"leak-{pool}")["gives"]["rest_at_most"] = "1"
    assert_opinion(second_opinion(signed(tree)), "contrary", "bits", "same tokens")


def test_integer_keys_have_no_amplitudes() -> None:
    """Vectors of 1 and -1 as integer keys: their exponents count twice."""
    tree = control("amplitude-bare")
    rows = ["1 1 1 1 1 1 1", "-1 -1 -1 -1 1 1 1", "-1 -1 1 1 -1 -1 1"]
    exponents = {"exponents": {"8": "2"}}
    tree["steps"][0] = {"id": "keys", "rule": "explicit-keys", "uses": {}, "given": {"keys": rows}, "gives": exponents}
    tree["statement"]["max_logit"] = "1000"
    for step in tree["steps"]:
        if step["rule"] == "budget":
            step["gives"]["logit_at_most"] = "1000"
    assert_opinion(second_opinion(signed(tree)), "contrary", "bits", "signs")
    assert check(signed(tree)).step == "bits"


def test_stretches_are_means() -> None:
    """E exp of a sum of centred amplitudes, by quadrature."""
    pool = _Pool(Leak(1, *[_exact(Fraction(0))] * 3), _exact(Fraction(3)), _exact(Fraction(1, 2)), 2)
    nodes, weights = np.polynomial.legendre.leggauss(30)
    once = float(weights / 2 @ np.exp(3 * nodes / 4))
    assert float(pool.mean(2, pool.scale)) == pytest.approx(once**2, rel=1e-12)


def _exact(x: Fraction) -> Any:
    from flint import fmpq

    return fmpq(x.numerator, x.denominator)
