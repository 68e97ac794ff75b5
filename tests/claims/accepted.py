"""What both test files of builders ask of a certificate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.check import Verdict, check

Node = dict[str, Any]


def assert_accepted(build: Callable[..., Node], given: Node) -> None:
    """VALID, proved by the second opinion too, and the same each time."""
    tree = build(**given)
    assert check(tree).verdict is Verdict.VALID
    assert second_opinion(tree).verdict == "agrees"
    assert build(**given) == tree
