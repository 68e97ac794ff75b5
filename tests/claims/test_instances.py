"""Certificates about explicit inputs: accepted by both engines, and parameters outside of their hypotheses."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from kvverify.claims.evidence.instances import collision, running_sum, separated_pair, unread_entries, unread_entry
from kvverify.errors import UsageError
from kvverify.kernel.check import Verdict, check
from tests.claims.accepted import Node, assert_accepted

BUILT: list[tuple[Callable[..., Node], dict[str, Any]]] = [
    (running_sum, {}), (running_sum, {"tokens": 1, "window": 1, "head_dim": 1}), (running_sum, {"window": 20}),
    (running_sum, {"tokens": 12, "window": 4, "head_dim": 3, "base": Fraction(1, 2), "seed": 7}),
    (unread_entry, {}), (unread_entry, {"tokens": 2, "head_dim": 1}), (unread_entry, {"entry": (2, 1), "weight": 100}),
    (unread_entry, {"tokens": 1000, "head_dim": 4, "entry": (999, 3)}), (unread_entry, {"relative": Fraction(0)}),
    (collision, {}), (collision, {"tokens": 3, "value_dim": 2, "base": 9}), (collision, {"states": [0] * 16}),
    (separated_pair, {"one": 6, "other": 9}),
]  # fmt: skip


@pytest.mark.parametrize(("build", "given"), BUILT)
def test_every_certificate_is_valid_and_the_second_opinion_agrees(build: Callable[..., Node], given: Node) -> None:
    assert_accepted(build, given)


def test_an_entry_is_unread_where_the_access_set_is_small() -> None:
    assert unread_entries([(0, 0), (1, 0), (2, 1)]) == [(1, 1), (2, 0)]
    assert unread_entries([]) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    with pytest.raises(UsageError, match=r"access to \(3, 0\)"):
        unread_entries([(3, 0)])


REFUSED: list[tuple[Callable[..., Node], dict[str, Any], str]] = [
    (running_sum, {"window": 0}, "window = 0"), (running_sum, {"tokens": 0}, "tokens = 0"),
    (running_sum, {"head_dim": 0}, "head_dim = 0"), (running_sum, {"base": Fraction(0)}, "base = 0"),
    (unread_entry, {"tokens": 1}, "tokens = 1"), (unread_entry, {"entry": (0, 0)}, "entry (0, 0)"),
    (unread_entry, {"entry": (1, 2)}, "entry (1, 2)"), (unread_entry, {"relative": Fraction(1)}, "relative = 1"),
    (unread_entry, {"weight": 7}, "n (1 + eta) / (1 - eta) - n + 1 = 7"),
    (collision, {"states": list(range(16))}, "all states differ"), (collision, {"states": [0]}, "1 states"),
    (collision, {"base": 2}, "(1 - eta) W_ii > (1 + eta)"), (collision, {"base": 1}, "base = 1"),
    (collision, {"tokens": 7}, "tokens times value_dim = 14"), (collision, {"relative": Fraction(-1)}, "relative = -1"),
    (separated_pair, {"one": 3, "other": 3}, "two different numbers"),
    (separated_pair, {"one": 3, "other": 16}, "from 0 to 15"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "given", "reason"), REFUSED)
def test_parameters_out_of_range_name_the_hypothesis(build: Callable[..., Node], given: Node, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(**given)
    assert reason in str(caught.value)
    assert "expected" in str(caught.value)


def test_base_6_does_not_separate_a_longer_curve_and_7_does() -> None:
    """Rows in the middle have two neighbours: 2 (1/B + 1/B^4 + ..) < 1/3."""
    with pytest.raises(UsageError, match="row 1 fails"):
        collision(tokens=3, value_dim=1, base=6)
    assert check(collision(tokens=3, value_dim=1, base=7)).verdict is Verdict.VALID
