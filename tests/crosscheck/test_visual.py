"""The second opinion on visual streams: it agrees with every control, and sees what is more than true."""

from __future__ import annotations

import copy
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from kvverify.crosscheck.arb import AGREES, CONTRARY, UNDECIDED, second_opinion
from kvverify.kernel import document
from tests.kernel.mutants import stronger
from tests.kernel.visual_controls import controls

Node = dict[str, Any]
UNIT = Fraction(1, 1 << 30)


def changed(name: str, change: Callable[[Node], None]) -> Node:
    tree = copy.deepcopy(next(c.tree for c in controls() if c.name == f"visual, {name}"))
    change(tree)
    return document.build(tree["statement"], tree["steps"])


@pytest.mark.parametrize("control", controls(), ids=str)
def test_it_agrees_with_every_control(control: Any) -> None:
    assert second_opinion(control.tree).verdict == AGREES


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_whatever_is_false_of_keys_and_sizes_is_not_agreed_to(name: str, tmp_path: Any) -> None:
    """But for determinants between the kernel's bound and the truth: this engine computes the determinant itself."""
    control = next(c for c in controls() if c.name == f"visual, {name}")
    tried = 0
    for mutant in stronger(control, tmp_path):
        opinion = second_opinion(mutant.content)
        if opinion.verdict == AGREES:
            assert mutant.rule == "visual-rows", mutant.name
            continue
        tried += 1
    assert tried >= 10


def add(step: int, name: str, amount: Fraction | int) -> Callable[[Node], None]:
    def change(tree: Node) -> None:
        gives = tree["steps"][step]["gives"]
        gives[name] = str(Fraction(gives[name]) + amount)

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bilinear", add(0, "off_target_at_most", -UNIT)),
        ("bilinear", add(0, "log2_det_at_least", Fraction(1, 10))),
        ("bilinear", add(1, "bits_at_least", UNIT)),
        ("bicubic", add(1, "bits_at_least", UNIT)),
        ("bilinear", lambda t: t["statement"].update(state_bits_at_least="23")),
        ("bilinear", lambda t: t["statement"].update(model_dim="7")),
        ("bilinear", lambda t: t["statement"].update(key_dim="2")),
        ("bilinear", lambda t: t["statement"].update(failure="91/100")),
        ("bicubic", lambda t: t["statement"].update(failure="51/100")),
        ("often wrong", lambda t: t["statement"].update(relative="9/10")),
        ("bilinear", lambda t: t["statement"].update(scales=["1x2", "2x2"])),
        ("bilinear", lambda t: t["statement"].update(scales=["2x2", "2x3"])),
        ("bilinear", lambda t: t["statement"].update(cut="later")),
        ("bilinear", lambda t: t["statement"].update(kv_heads="2")),
        ("bilinear", lambda t: t["steps"][0]["given"].update(across=["2 0"])),
        ("bilinear", lambda t: t["steps"][0]["given"].update(across=["0 3"])),
        ("bilinear", lambda t: t["steps"][0]["given"].update(across=[])),
        ("bilinear", lambda t: t["steps"][0]["given"].update(key_unit="1/16")),
        ("bilinear", lambda t: t["steps"][0]["given"].update(query_unit="1/128")),
        ("bilinear", lambda t: t["steps"][0]["given"]["keys"].pop()),
        ("bilinear", lambda t: t["steps"][0]["given"]["projections"].update(queries="0 1 2")),
        ("nearest", lambda t: t["steps"][1].update(rule="visual-symbols")),
        ("relative", lambda t: t["steps"][1].update(rule="visual-volume")),
    ],
)
def test_more_than_true_is_contrary(name: str, change: Callable[[Node], None]) -> None:
    assert second_opinion(changed(name, change)).verdict == CONTRARY


def test_a_singular_choice_of_carriers_is_contrary() -> None:
    def copies(tree: Node) -> None:
        tree["statement"].update(scales=["1x2", "1x4"], kernel="nearest")
        tree["steps"][0]["given"].update(down=["0"], across=["0 1"])  # both are copies of source index 0

    assert second_opinion(changed("bilinear", copies)).verdict == CONTRARY


def test_large_statements_are_left_open() -> None:
    wide = changed("nearest", lambda t: t["statement"].update(scales=["1", "65"]))
    assert second_opinion(wide).verdict == UNDECIDED
