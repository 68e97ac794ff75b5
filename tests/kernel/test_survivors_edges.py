"""A step may state exactly what its rule computes, and not the least more: every ``<=`` of a rule at its edge."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel import facts
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.numbers import LOG2_E_UPPER, log_ratio_upper, round_up
from kvverify.kernel.rules import RULES, amplitude, precondition, quantiser, rows
from kvverify.kernel.rules.attention import Leak, Matrix, Row
from kvverify.kernel.rules.volume import distortion
from tests.kernel.apply import accepts, apply
from tests.kernel.controls import Control
from tests.kernel.test_mutants import controls

LEAST = Fraction(1, 10**1000)
BITS = (("bits_at_least", 1, 1),)
# By rule, of the numbers that it gives in the order of its last comparisons: which side of these is the rule's own, and
# the sign of what says more.
GIVES: dict[str, tuple[tuple[str, int, int], ...]] = {
    "determinant": (("log2_det_at_least", 1, 1),), "volume": BITS, "random-access-code": BITS, "joint": BITS,
    "amplitude": BITS, "ball-tilt": (("mean_at_most", 0, -1), ("entropy_at_least", 1, 1)),
    "leak": tuple((f"{name}_at_most", 0, -1) for name in ("off_target", "off_target_squares", "rest")),
}  # fmt: skip


@pytest.mark.parametrize("control", [c for c in controls() if GIVES.keys() & set(c.rules)], ids=str)
def test_all_that_a_rule_proves_may_be_stated(
    control: Control, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compared: list[tuple[Any, Any]] = []
    original = facts.need

    def need(condition: bool, test: str, left: object = "", right: object = "") -> None:
        compared.append((left, right))
        original(condition, test, left, right)

    def edged(rule: str, apply: Any) -> Any:
        named = GIVES[rule]

        def step(context: Any, uses: Any, given: Any, gives: Any) -> Any:
            fact = apply(context, uses, given, gives)
            last = zip(named, compared[-len(named) :], strict=True)
            exact = {name: str(sides[own]) for (name, own, _), sides in last}
            if any(len(text) > 4000 for text in exact.values()):
                return fact
            apply(context, uses, given, exact)
            for name, _, sign in named:
                with pytest.raises(Rejected):
                    apply(context, uses, given, {**exact, name: str(Fraction(exact[name]) + sign * LEAST)})
            return fact

        return step

    for name, module in list(sys.modules.items()):
        if name.startswith("kvverify.kernel") and vars(module).get("need") is original:
            monkeypatch.setattr(module, "need", need)
    for rule in GIVES:
        monkeypatch.setitem(RULES, rule, edged(rule, RULES[rule]))
    for file, content in control.files:
        (tmp_path / file).write_bytes(content)
    assert check(control.tree, tmp_path).verdict is Verdict.VALID


def test_what_is_rounded_in_the_distortion() -> None:
    third = Fraction(1, 3)
    squares = Fraction(1, 7)  # that no power of two near 2^256 rounds alike
    leak = Leak(1, Row(third, Fraction(0)), squares)
    assert distortion(leak) == LOG2_E_UPPER * log_ratio_upper(round_up(third, 128)) * round_up(squares, 256)


@pytest.mark.parametrize("size", [48, 49])
def test_exact_elimination_ends_at_48_rows(size: int) -> None:
    low = [[int(i == j) << 30 for j in range(size)] for i in range(size)]
    matrix = Matrix(low, 30, 0, (Fraction(1),) * size)
    leak = Leak(size, Row(Fraction(0), Fraction(0)), Fraction(0), matrix=lambda: matrix)
    if size == 48:
        assert accepts("determinant", {"leak": leak}, {"form": "exact"}, {"log2_det_at_least": -1})
        return
    with pytest.raises(OverLimit, match="exact elimination"):
        apply("determinant", {"leak": leak}, {"form": "exact"}, {"log2_det_at_least": -1})


def dithers(key: int, value: int, max_logit: Fraction, failure: Fraction, tail: str = "log-concave") -> bool:
    given = {"key_levels": key, "value_levels": value, "tail": tail}
    large: Any = {"key_dim": 1, "value_dim": 1, "tolerance": Fraction(99, 100)}
    return accepts("dithered", {}, given, {"bits_per_token": 99}, max_logit=max_logit, failure=failure, **large)


def test_dithering_with_the_coarsest_steps() -> None:
    often, small = Fraction(9, 10), Fraction(1, 100)
    assert dithers(2, 2, small, often)
    assert dithers(2, 10**6, Fraction(1), often)
    assert dithers(3, 10**6, Fraction(12, 5), often)  # an error of a score of more than 1
    assert not dithers(3, 10**6, Fraction(18, 5), often)  # a remainder beyond the tolerance, as far as would be enough
    for key, value in ((1, 2), (2, 1), (1, 1), (1, 10**6), (10**6, 1)):
        assert not dithers(key, value, small, often)


@pytest.mark.parametrize(("bound", "moved"), [("exp_upper", 1), ("log2_lower", -1), ("exp_lower", -1)])
def test_rates_are_settled_by_bounds_that_err_on_the_safe_side(
    bound: str, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coarser bound settles less: the largest ratio that it does settle falls."""

    def largest() -> Fraction:
        low, high = Fraction(0), Fraction(8)
        for _ in range(30):
            middle = (low + high) / 2
            settled = quantiser._settled(middle, Fraction(1, 10), Fraction(1, 2), Fraction(9, 16))
            low, high = (middle, high) if settled else (low, middle)
        return low

    before, exact = largest(), getattr(quantiser, bound)
    monkeypatch.setattr(quantiser, bound, lambda x: exact(x) + Fraction(moved, 64))
    assert 0 < largest() < before < 7


def test_values_of_three_levels_are_noisy_however_fine_the_keys_are() -> None:
    for failure, enough in ((Fraction(1, 10), False), (Fraction(11, 100), True)):
        assert dithers(10**6, 3, Fraction(1, 100), failure, "gaussian") is enough


def test_a_token_of_nine_values_takes_four_bits() -> None:
    changes: Any = {"key_dim": 1, "value_dim": 1, "max_logit": Fraction(1, 100), "tolerance": Fraction(99, 100)}
    for key, value, least in ((3, 3, 4), (2, 4, 3), (4, 4, 4), (1, 1, 0), (1, 5, 3)):
        for bits in (least, least - 1):
            given = {"key_levels": key, "value_levels": value}
            assert accepts("quantiser", {}, given, {"bits_per_token": bits}, **changes) is (bits == least and value > 1)


def test_amplitude_reads_at_the_ends_of_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the premises of a control; none of its bits are asked for."""
    (control,) = (c for c in controls() if c.name == "amplitude, pads")
    highest: list[Any] = []
    original, apply_ = facts.need, RULES["amplitude"]

    def need(condition: bool, test: str, left: object = "", right: object = "") -> None:
        highest.extend([right] if test.startswith("1 <= reference") else [])
        original(condition, test, left, right)

    def step(context: Any, uses: Any, given: Any, gives: Any) -> Any:
        fact = apply_(context, uses, given, gives)
        most, none = highest[0], {"bits_at_least": "0"}
        for changes in ({"reference": "1"}, {"reference": str(most)}):
            assert apply_(context, uses, {**given, **changes}, none)
        refused = [{"reference": str(1 - LEAST)}, {"reference": str(most + LEAST)}, {"reference": "0"}]
        refused += [{"width": width, "reference": "1"} for width in ("0", "-1/2", "1", "3/2")]
        refused += [{name: value} for name in ("strength", "slack") for value in ("0", "-1/9")]
        for changes in refused:
            with pytest.raises(Rejected):
                apply_(context, uses, {**given, **changes}, none)
        return fact

    monkeypatch.setattr(amplitude, "need", need)
    monkeypatch.setitem(RULES, "amplitude", step)
    assert check(control.tree).verdict is Verdict.VALID
    assert highest


@pytest.mark.parametrize("control", [c for c in controls() if "attention-row" in c.rules], ids=str)
def test_all_that_rows_weigh_may_be_stated(control: Control, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weighed: dict[str, Fraction] = {}
    at_most, attention_row = rows._at_most, RULES["attention-row"]

    def noted(found: Fraction, stated: Fraction, test: str) -> None:
        name = test.rpartition(" ")[2]
        weighed[name] = max(found, weighed.get(name, found))
        at_most(found, stated, test)

    def step(context: Any, uses: Any, given: Any, gives: Any) -> Any:
        fact = attention_row(context, uses, given, gives)
        exact = {name: str(value) for name, value in weighed.items()}
        assert attention_row(context, uses, given, exact)
        for name, value in list(weighed.items()):
            with pytest.raises(Rejected):
                attention_row(context, uses, given, {**exact, name: str(value - LEAST)})
        return fact

    monkeypatch.setattr(rows, "_at_most", noted)
    monkeypatch.setitem(RULES, "attention-row", step)
    for file, content in control.files:
        (tmp_path / file).write_bytes(content)
    assert check(control.tree, tmp_path).verdict is Verdict.VALID
    assert len(weighed) == 3


@pytest.mark.parametrize(
    ("cells", "own"), [((7, 3), -7), ((3, 7), -7), ((7, -9), -8), ((7, -8), -7), ((-2, -9), -8), ((-3, -3), -3)]
)
def test_the_askers_own_score_is_minus_the_largest(cells: tuple[int, ...], own: int) -> None:
    """A score of cell c lies in [c, c + 1), so that of -9 is above 8 in absolute value; none is above the largest."""
    seen: list[tuple[list[int], int]] = []

    class Weights:
        def masses(self, found: list[int], top: int) -> list[int]:
            seen.append((found, top))
            return [1] * len(found)

    class Few:
        def floors(self, most: Fraction) -> Any:
            return iter([cells])

    few, weights = Few(), Weights()
    _, _, _, tops = rows._sums(few, weights, 1, Fraction(1))  # type: ignore[arg-type]
    assert seen == [([*cells, own], max(cells))]
    assert tops == [max(cells)]


@pytest.mark.parametrize("control", [c for c in controls() if '"preconditioned"' in json.dumps(c.tree)], ids=str)
def test_preconditioning_ends_at_its_number_of_rows(
    control: Control, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for file, content in control.files:
        (tmp_path / file).write_bytes(content)
    (size,) = (len(s["given"]["payload"].split()) for s in control.tree["steps"] if s["rule"] == "attention-row")
    for most, verdict in ((size, Verdict.VALID), (size - 1, Verdict.INCOMPLETE)):
        monkeypatch.setattr(precondition, "MAX_ROWS", most)
        assert check(control.tree, tmp_path).verdict is verdict


@pytest.mark.parametrize("rule", sorted({rule for control in controls() for rule in control.rules}))
def test_a_step_says_nothing_that_its_rule_does_not_ask_for(
    rule: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    control = next(c for c in controls() if rule in c.rules)
    original = RULES[rule]

    def step(context: Any, uses: Any, given: Any, gives: Any) -> Any:
        fact = original(context, uses, given, gives)
        for more in (
            ({**uses, "more": fact}, given, gives), (uses, {**given, "more": "1"}, gives),
            (uses, given, {**gives, "more": "1"}),
        ):  # fmt: skip
            with pytest.raises(Malformed, match="more"):
                original(context, *more)
        return fact

    monkeypatch.setitem(RULES, rule, step)
    for file, content in control.files:
        (tmp_path / file).write_bytes(content)
    assert check(control.tree, tmp_path).verdict is Verdict.VALID


@pytest.mark.parametrize("name", ["amplitude, pads", "amplitude, keys and values"])
def test_every_exponential_of_amplitude_reads_is_taken_from_above(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one alone made coarser takes bits away."""
    (control,) = (c for c in controls() if c.name == name)
    bits: list[Any] = []
    calls: list[Fraction] = []
    coarse = [-1]
    need, exp_upper, apply_ = facts.need, amplitude.exp_upper, RULES["amplitude"]

    def noted(condition: bool, test: str, left: object = "", right: object = "") -> None:
        bits.extend([right] if test.startswith("bits_at_least") else [])
        need(condition, test, left, right)

    def moved(x: Fraction) -> Fraction:
        calls.append(x)
        return exp_upper(x) * (1 + Fraction(int(len(calls) - 1 == coarse[0]), 1 << 16))

    def step(context: Any, uses: Any, given: Any, gives: Any) -> Any:
        fact, number = apply_(context, uses, given, gives), len(calls)
        assert number >= 5
        for coarse[0] in range(number):
            calls.clear()
            apply_(context, uses, given, {"bits_at_least": "0"})
            assert bits[-1] < bits[0]
        return fact

    monkeypatch.setattr(amplitude, "need", noted)
    monkeypatch.setattr(amplitude, "exp_upper", moved)
    monkeypatch.setitem(RULES, "amplitude", step)
    assert check(control.tree).verdict is Verdict.VALID
