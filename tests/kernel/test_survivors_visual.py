"""Limits and equalities of visual and tensor statements that a broken kernel once got past the other tests with."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel.context import Context
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import tensor_explicit, visual
from kvverify.kernel.rules.visual import Mixed, VisualBits
from tests.kernel.tensor_controls import orders
from tests.kernel.visual_controls import controls

TINY = Fraction(1, 10**50)
SIZES = ("model_dim", "key_dim", "value_dim", "kv_heads")


def statement(scales: list[str], **fields: str) -> dict[str, Any]:
    node: dict[str, Any] = {
        "claim": "visual-state-bits", "scales": scales, "kernel": "nearest", "edge": "clamp", "cut": "all-keys",
        "inputs": "real", "max_logit": "1/9", "failure": "0", "tolerance": "1/2", "state_bits_at_least": "0",
        **dict.fromkeys(SIZES, "1"), **fields,
    }  # fmt: skip
    if "relative" in fields:
        del node["tolerance"]
    return node


def goal(scales: list[str], **fields: str) -> VisualBits:
    found = visual.parse(statement(scales, **fields))
    assert isinstance(found, VisualBits)
    return found


def test_pyramids_to_their_limits() -> None:
    assert goal(["1", "64"]).tokens == 4097
    assert goal(["63x64", "64"]).tokens == 63 * 64 + 4096
    assert goal(["64x32", "64"], cut="between-steps").tokens == 2048
    assert visual.MAX_TOKENS == 1 << 13
    assert goal(["63x64", "64"]).tokens + 64 == visual.MAX_TOKENS
    assert goal(["1x64", "63x64", "64"]).tokens == visual.MAX_TOKENS
    with pytest.raises(OverLimit, match="sides up to 64"):
        goal(["1", "1x65"])
    with pytest.raises(OverLimit, match="8192 tokens"):
        goal(["62x64", "63x64", "64"])
    for name in ("max_logit", "state_bits_at_least", *SIZES):
        with pytest.raises(Malformed, match=name):
            goal(["1", "2"], **{name: "-1" if name == "state_bits_at_least" else "0"})
    with pytest.raises(Malformed, match="scales"):
        goal(["2"], cut="between-steps")
    assert goal(["2"]).tokens == 4
    assert "2x3" in goal(["1", "2x3"]).said()


def last(about: VisualBits, rule: Any, off: Fraction) -> bool:
    try:
        rule(Context(about, Path()), {"rows": Mixed(3, Fraction(0), off)}, {}, {"bits_at_least": "-9"})
    except Rejected:
        return False
    return True


def test_bits_are_read_strictly_apart_and_failures_to_their_ends() -> None:
    half = goal(["1", "2"], relative="1/2")
    # (1 - 1/2) (1 - x) against (1 + 1/2) x: equal at 1/4
    for off, fine in ((Fraction(1, 4), False), (Fraction(1, 4) - TINY, True)):
        assert last(half, visual.visual_symbols, off) is fine
    for failure, fine in (("1/2", True), (str(Fraction(1, 2) + TINY), False), ("2/5", True)):
        about = goal(["1", "2"], relative="1/2", failure=failure)
        assert last(about, visual.visual_symbols, Fraction(0)) is fine
        about = goal(["1", "2"], tolerance="1/2", failure=failure)
        assert last(about, visual.visual_volume, Fraction(0)) is fine


def rows(name: str) -> tuple[VisualBits, dict[str, Any], dict[str, Any]]:
    """The first step of a control: goal, given and gives."""
    tree = next(control.tree for control in controls() if control.name == name)
    found = visual.parse(tree["statement"])
    assert isinstance(found, VisualBits)
    return found, tree["steps"][0]["given"], tree["steps"][0]["gives"]


def test_every_token_of_the_last_map_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    named = [control.name for control in controls()]

    def mixed(*given: Any) -> Any:
        seen.append(given[-1])
        raise Rejected("seen")

    monkeypatch.setattr(visual, "_mixed", mixed)
    for name in named:
        about, given, gives = rows(name)
        with pytest.raises(Rejected, match="seen"):
            visual.visual_rows(Context(about, Path()), {}, given, gives)
        height, width = about.scales[-1]
        assert seen.pop() == (0 if about.cut == "all-keys" else height * width)
    about, given, gives = rows("visual, between steps")
    wide = VisualBits(**{**vars(about), "scales": (*about.scales[:-1], (about.scales[-1][0], 61))})
    with pytest.raises(Rejected, match="seen"):
        visual.visual_rows(Context(wide, Path()), {}, given, gives)
    assert seen.pop() == about.scales[-1][0] * 61


def test_what_is_stated_may_be_all_that_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of others 1/2 in two rows: Ostrowski's bound is 2 bits, what is near the identity proves less."""
    about, given, _ = rows("visual, nearest")

    def step(worst: Fraction, off: Fraction, log2_det: Fraction) -> None:
        monkeypatch.setattr(visual, "_mixed", lambda *_: ([worst, Fraction(0)], Fraction(0), Fraction(99)))
        stated = {"off_target_at_most": str(off), "log2_det_at_least": str(log2_det)}
        visual.visual_rows(Context(about, Path()), {}, given, stated)

    half = Fraction(1, 2)
    volume = sum((each.log2_volume() for each in visual._maps(Context(about, Path()), about, given)), Fraction(0))
    step(half, half, volume - 1)
    for worst, off, log2_det in (
        (half, half - TINY, volume - 1), (half, half, volume - 1 + TINY), (Fraction(1), Fraction(2), Fraction(-999)),
    ):  # fmt: skip
        with pytest.raises(Rejected):
            step(worst, off, log2_det)
    third = Fraction(1, 3)
    with pytest.raises(Rejected, match="log2_det_at_least"):
        step(third, Fraction(1), volume - Fraction(584962500721156181453738943947, 10**30) + Fraction(1, 10**30))


def test_queries_to_the_budget_and_to_the_reach() -> None:
    about, given, gives = rows("visual, nearest")
    largest = max(sum(map(abs, map(int, row.split()))) for row in given["queries"])
    size = Fraction(given["query_unit"])
    for less, fine in ((Fraction(0), True), (TINY, False)):
        tight = VisualBits(**{**vars(about), "max_logit": size * largest - less})
        reason = ""
        try:
            visual.visual_rows(Context(tight, Path()), {}, given, gives)
        except Rejected as error:
            reason = str(error)
        assert ("max_logit" in reason) is not fine
    wide = VisualBits(**{**vars(about), "max_logit": Fraction(1 << 40)})
    with pytest.raises(OverLimit, match="above 4096"):
        visual.visual_rows(Context(wide, Path()), {}, {**given, "query_unit": str(1 << 13)}, gives)
    first, *others = given["queries"]
    one = {**given, "query_unit": str(1 << 13), "queries": [" ".join(["0"] * len(first.split())), *others]}
    with pytest.raises(OverLimit, match="above 4096"):  # one of them is enough
        visual.visual_rows(Context(wide, Path()), {}, one, gives)
    for unit in ("0", "-1"):
        with pytest.raises(Rejected, match="max_logit"):
            visual.visual_rows(Context(about, Path()), {}, {**given, "query_unit": unit}, gives)


def test_entries_have_64_bits() -> None:
    for text, fine in ((str((1 << 64) - 1), True), (str(-(1 << 64)), False)):
        if fine:
            assert visual._integers({"keys": [text]}, "keys")
        else:
            with pytest.raises(OverLimit, match="64 bits"):
                visual._integers({"keys": [text]}, "keys")


# tensor statements


def test_tensor_statements_have_their_fields_and_sizes() -> None:
    node = orders(3, 2, 2, "2", (3, -4))["statement"]
    assert tensor_explicit.identity(node)
    assert tensor_explicit.identity({**node, "word_bits": "320"})
    for name, value in (
        ("more", "1"),
        ("word_bits", "321"),
        ("word_bits", "0"),
        ("k1", ["1 1"] * 2),
        ("v1", ["1"] * 3),
    ):
        with pytest.raises(Malformed):
            tensor_explicit.identity({**node, name: value})
    pattern = {"claim": "tensor-patterns", "tokens": "2", "form": "binary", "reachable": "10"}
    assert tensor_explicit.patterns(pattern)
    with pytest.raises(Malformed):
        tensor_explicit.patterns({**pattern, "more": "1"})
