"""The second opinion on bits that are enough: it agrees with what is right, and refutes a little less."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from flint import arb, ctx, fmpq

from kvverify.crosscheck.arb import second_opinion
from kvverify.crosscheck.quantiser import _below, _beyond, _square
from kvverify.kernel.check import Verdict, check
from tests.crosscheck.controls import changed, control
from tests.crosscheck.test_arb import Change, assert_opinion, less, more

CONTRARY: list[tuple[str, str, Change]] = [
    # control, a part of the reason, the change
    ("midpoints", "error of scores and values", ("bits/given/key_levels", less(Fraction(2)))),
    ("midpoints", "error of scores and values", ("bits/given/value_levels", less(Fraction(1)))),
    ("midpoints", "error of scores and values", ("statement/tolerance", "9/1000")),
    ("midpoints", "error of scores and values", ("statement/max_logit", "17")),
    ("midpoints", "error of scores and values", ("statement/body", "ball")),
    ("midpoints", "fit in bits_per_token", ("bits/gives/bits_per_token", less(Fraction(1)))),
    ("midpoints", "fit in bits_per_token", ("statement/key_dim", "17")),
    ("midpoints", "at least one level", ("bits/given/key_levels", "0")),
    ("midpoints", "state_bits_enough is not below", ("statement/state_bits_enough", less(Fraction(1)))),
    ("midpoints", "state_bits_enough is not below", ("statement/tokens", "301")),
    ("midpoints-ball", "error of scores and values", ("bits/given/key_levels", less(Fraction(2)))),
    ("dithered", "cut off", ("bits/given/key_levels", less(Fraction(16)))),
    ("dithered", "cut off", ("bits/given/value_levels", less(Fraction(1)))),
    ("dithered", "cut off", ("statement/failure", "9/100")),
    ("dithered", "cut off", ("statement/tolerance", "99/10000")),
    ("dithered", "cut off", ("statement/max_logit", "17")),
    ("dithered", "2 exp", ("bits/given/tail", "gaussian")),
    ("dithered", "two levels", ("bits/given/value_levels", "1")),
    ("dithered", "failure above 0", ("statement/failure", "0")),
    ("dithered", "tail: gaussian or", ("bits/given/tail", "sure")),
    ("dithered", "remainder < tolerance", ("bits/given/key_levels", "9")),
    ("dithered", "fit in bits_per_token", ("bits/gives/bits_per_token", less(Fraction(1)))),
    ("dithered-often", "cut off", ("bits/given/key_levels", less(Fraction(30)))),
    ("dithered-seldom", "2 exp", ("bits/given/key_levels", less(Fraction(30)))),
    ("dithered-seldom", "2 exp", ("statement/failure", "9/1000")),
    ("dithered-ball", "cut off", ("bits/given/key_levels", less(Fraction(30)))),
]


@pytest.mark.parametrize(("name", "reason", "change"), CONTRARY)
def test_contrary_of_a_little_less(name: str, reason: str, change: Change) -> None:
    where, new = change
    tree = changed(control(name), where, new)
    assert_opinion(second_opinion(tree), "contrary", "bits", reason)
    assert check(tree).verdict is Verdict.INVALID


def test_an_upper_bound_is_no_lower_one() -> None:
    for name, bound in (("midpoints", "state_bits_at_least"), ("volume", "state_bits_enough")):
        tree = control(name)
        statement: dict[str, Any] = {k: v for k, v in tree["statement"].items() if not k.startswith("state_bits")}
        claim = "state-bits-enough" if bound == "state_bits_enough" else "state-bits"
        tree["statement"] = {**statement, "claim": claim, bound: "0" if claim == "state-bits" else str(10**9)}
        tree = changed(tree, "statement/tokens", tree["statement"]["tokens"])
        assert_opinion(second_opinion(tree), "contrary", "bits", "of the kind claimed")


def test_more_bits_than_enough_are_enough() -> None:
    tree = changed(control("dithered"), "statement/state_bits_enough", more(1))
    assert second_opinion(tree).verdict == "agrees"
    relative = changed(control("midpoints"), "statement/tolerance", "1/2")
    relative["statement"]["relative"] = relative["statement"].pop("tolerance")
    assert_opinion(second_opinion(changed(relative, "statement/tokens", "300")), "contrary", "bits", "additive")


@pytest.mark.parametrize("delta", [fmpq(1, 10), fmpq(1, 2), fmpq(1, 1000), fmpq(9, 10)])
def test_cells_bound_every_law_in_them(delta: fmpq) -> None:
    """From below, at lengths within; as sharp as the cell is short."""
    with ctx.workprec(256):
        for low, high in ((fmpq(0), fmpq(1, 64)), (fmpq(1, 64), fmpq(1, 32)), (fmpq(1), fmpq(2)), (fmpq(40), None)):
            ends = [low + (high - low) * fmpq(k, 9) for k in range(1, 9)] if high else [fmpq(41), fmpq(400)]
            within = [_square(x) / _beyond(x, delta) ** 2 for x in ends]
            assert all(_below(low, high, delta) < value for value in within)
        tight = _below(fmpq(1), fmpq(10001, 10000), delta) / (_square(fmpq(1)) / _beyond(fmpq(1), delta) ** 2)
        assert arb(fmpq(999, 1000)) < tight
