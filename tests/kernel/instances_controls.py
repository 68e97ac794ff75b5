"""Controls of explicit inputs: windows of all kinds; unread entries and collisions; weights that are powers of e."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

from kvverify.claims.evidence import instances
from kvverify.kernel import document
from tests.kernel.controls import Control
from tests.kernel.explicit import BOUNDS, answer, two
from tests.kernel.real import down, up

Node = dict[str, Any]
UNIT = 32


def paired(first: Node, second: Node, may_differ: list[str], **changes: str) -> Node:
    """Two inputs with bounds on their answers in units of 2^-32, at the largest tolerance in the same unit."""
    claim: Node = {
        "claim": "two-inputs", "scale": "1", "relative": "0", "coordinate": "0", "first": first, "second": second,
        "may_differ": may_differ, **changes,
    }  # fmt: skip
    problem = two(claim)
    bounds = [rounded(answer(problem, which), UNIT) for which in (0, 1) for rounded in (down, up)]
    low, high = (max(abs(x) for x in pair) for pair in sorted((bounds[:2], bounds[2:])))
    if bounds[0] > 0 < bounds[2]:  # (1 + eta) low < (1 - eta) high
        claim["relative"] = str(down((high - low) / (high + low) - Fraction(2, 1 << UNIT), UNIT))
    gives = {name: str(x) for name, x in zip(BOUNDS, bounds, strict=True)}
    step = {"id": "answers", "rule": "two-inputs", "uses": {}, "given": {}, "gives": gives}
    return document.build(claim, [step])


def _swapped(tree: Node) -> Node:
    """Left and right exchanged: the words of the whole cache are claimed."""
    claim, step = tree["statement"], tree["steps"][0]
    words = step["gives"]
    claim = {
        **claim,
        "left": claim["right"],
        "right": claim["left"],
        "right_words_at_most": words["left_words_at_most"],
    }
    gives = {"left_words_at_most": words["right_words_at_most"], "right_words_at_most": words["left_words_at_most"]}
    return document.build(claim, [{**step, "gives": gives}])


@cache
def controls() -> tuple[Control, ...]:
    """All of them."""
    zero, one = ["0 0", "0 0", "0 0"], ["0 0", "0 1", "0 0"]
    values = ["1 0", "0 0", "0 0"]
    third = Fraction(1, 3)
    return (
        Control("window", instances.running_sum(tokens=6)),
        Control("window, itself alone", instances.running_sum(tokens=4, window=1, base=Fraction(2))),
        Control("window, longer than the stream", instances.running_sum(tokens=3, window=9, head_dim=1)),
        Control("window, exchanged", _swapped(instances.running_sum(tokens=4, window=2, base=Fraction(1, 3)))),
        Control("unread entry", instances.unread_entry()),
        Control("unread entry, exact", instances.unread_entry(tokens=2, relative=Fraction(0), entry=(1, 1))),
        Control("collision", instances.collision()),
        Control("collision, one token", instances.collision([4, 4], 1, 1, relative=third)),
        Control(
            "unread entry, by e",
            paired(
                {"query": "5 5", "keys": zero, "values": values}, {"query": "5 5", "keys": one, "values": values},
                ["keys 1 1"], scale="2",
            ),
        ),
        Control(
            "two inputs, signs",
            paired(
                {"query": "1", "keys": ["1", "-1", "2"], "values": ["-3 7", "2 7", "-1 7"]},
                {"query": "-2", "keys": ["1", "-1", "2"], "values": ["-3 7", "2 7", "-1 8"]},
                ["query 0", "values 2 1"],
            ),
        ),
        Control(
            "two inputs, second above",
            paired(
                {"query": "1 2", "keys": ["0 1", "1 0"], "values": ["0 1", "0 5"]},
                {"query": "1 2", "keys": ["0 1", "1 0"], "values": ["0 1", "0 6"]},
                ["values 1 1"], coordinate="1", base="3/2", scale="1/3",
            ),
        ),
    )  # fmt: skip
