"""Pools of reads and numbers that give no amplitudes: well-formed certificates, false in one respect."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from kvverify.kernel.check import Verdict, check
from kvverify.kernel.numbers import exp_upper
from kvverify.kernel.rules.attention import Decay, Keys, Leak, Row, Scaled, Tilt
from tests.kernel.amplitude_controls import controls, larger
from tests.kernel.apply import TINY, accepts
from tests.kernel.controls import Control, rebuild
from tests.kernel.instance import claim_holds
from tests.kernel.marker import cube_tilt
from tests.kernel.oracle import first_false

Node = dict[str, Any]
Change = Callable[[Node], None]
ALL = controls() + larger()
BARE = [control for control in ALL if "tilt" not in control.rules]
POOLS = ("values", "values-worst", "amplitudes", "keys", "keys-worst")


def at(tree: Node, name: str) -> Node:
    found: Node = next(step for step in tree["steps"] if step["id"] == name)
    return found


def weak(tree: Node) -> None:
    """Ask for next to nothing, and let budgets state all of the logit: no inequality is in the way of the fault."""
    at(tree, "bits")["gives"]["bits_at_least"] = tree["statement"]["state_bits_at_least"] = "0"
    for step in tree["steps"]:
        if step["rule"] == "budget":
            step["gives"]["logit_at_most"] = tree["statement"]["max_logit"]


def number(name: str, change: Callable[[Fraction], object]) -> Change:
    def apply(tree: Node) -> None:
        given = at(tree, "bits")["given"]
        given[name] = str(change(Fraction(given[name])))

    return apply


def stretched(pool: str) -> Change:
    """A scale that is a little larger than the pool may have; its masses only fall."""

    def change(tree: Node) -> None:
        given = at(tree, f"decay-{pool}")["given"]
        given["exponent"] = str(Fraction(given["exponent"]) + TINY)

    return change


def other_keys(pool: str) -> Change:
    def change(tree: Node) -> None:
        tree["steps"].insert(1, copy.deepcopy(tree["steps"][0]) | {"id": "others"})
        at(tree, f"budget-{pool}")["uses"]["keys"] = "others"

    return change


def fewer(pool: str) -> Change:
    def change(tree: Node) -> None:
        given, gives = at(tree, f"budget-{pool}")["given"], at(tree, f"leak-{pool}")["gives"]
        given["payload"] = str(int(given["payload"]) - 1)
        gives["rest_at_most"] = str(Fraction(gives["rest_at_most"]) + 1)  # room for one more pad

    return change


def crowded(pool: str) -> Change:
    def change(tree: Node) -> None:
        at(tree, f"leak-{pool}")["gives"]["off_target_at_most"] = "1"

    return change


def used(premise: str, pool: str) -> Change:
    """Another pool in the place of a premise."""

    def change(tree: Node) -> None:
        uses = at(tree, "bits")["uses"]
        uses[premise] = f"leak-{pool}"
        kept = {"bits"}
        for step in reversed(tree["steps"]):  # no idle steps
            if step["id"] in kept:
                kept |= set(step["uses"].values())
        tree["steps"] = [step for step in tree["steps"] if step["id"] in kept]

    return change


def said(field: str, value: object) -> Change:
    def change(tree: Node) -> None:
        tree["statement"][field] = str(value)

    return change


def relative(tree: Node) -> None:
    tree["statement"]["relative"] = tree["statement"].pop("tolerance")


def guesses(tree: Node) -> None:
    tree["statement"]["failure"] = str(1 - Fraction(tree["statement"]["tolerance"]) + TINY)


def untilted(tree: Node) -> None:
    del at(tree, "budget-keys")["uses"]["tilt"]
    tree["steps"] = [step for step in tree["steps"] if step["id"] != "tilt"]


def steeper(tree: Node) -> None:
    given = at(tree, "tilt")["given"]
    given["strength"] = str(Fraction(given["strength"]) + TINY)


def narrow(tree: Node) -> None:
    """No place for the code's last coordinate, or the payload's."""
    tree["statement"]["key_dim"] = str(int(tree["statement"]["key_dim"]) - 1)


FAULTS: dict[str, Change] = {
    **{f"{pool} of another key step": other_keys(pool) for pool in POOLS},
    **{f"a token less in {pool}": fewer(pool) for pool in POOLS},
    **{f"{pool} at a larger scale": stretched(pool) for pool in POOLS},
    "amplitudes down to -1": number("width", lambda _: 2),
    "no amplitudes": number("width", lambda _: 0), "amplitudes down to 0": number("width", lambda _: 1),
    "negative width": number("width", lambda w: -w), "amplitudes below 0": number("width", lambda _: Fraction(9, 8)),
    "a little wider": number("width", lambda w: w + TINY),
    "a little steeper": number("strength", lambda s: s + TINY), "no lean": number("strength", lambda _: 0),
    "a negative lean": number("strength", lambda s: -s),
    "a reference below 1": number("reference", lambda _: 1 - TINY), "no reference": number("reference", lambda _: 0),
    "a reference out of reach": number("reference", lambda _: 1000),
    "no slack": number("slack", lambda _: 0), "a negative slack": number("slack", lambda s: -s),
    "all slack": number("slack", lambda _: 1000),
    "crowded values": crowded("values-worst"), "crowded keys": crowded("keys-worst"),
    "means for the worst values": used("values-worst", "values"),
    "means for the worst keys": used("keys-worst", "keys"),
    "values at the scale of amplitudes": used("values", "amplitudes"),
    "amplitudes at the scale of values": used("amplitudes", "values"),
    "keys without a tilt": used("keys", "amplitudes"), "an untilted budget": untilted, "a steeper tilt": steeper,
    "relative tolerance": relative, "guesses": guesses, "ball": said("body", "ball"), "bf16": said("inputs", "bf16"),
    "narrow keys": narrow, "a coordinate more": number("key_coordinates", lambda d: d + 1),
    "no coordinate": number("key_coordinates", lambda d: 0 if d else 1),
    "a negative coordinate": number("key_coordinates", lambda _: -1),
}  # fmt: skip
ABOUT_KEYS = {name for name in FAULTS if "keys" in name or "tilt" in name} - {"narrow keys"}


@pytest.mark.parametrize("control", ALL, ids=str)
def test_a_control_is_valid_and_true(control: Control) -> None:
    assert check(control.tree).verdict is Verdict.VALID
    assert first_false(control.tree) is None
    assert claim_holds(control.tree)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("control", ALL, ids=str)
def test_a_fault_is_rejected(control: Control, fault: str) -> None:
    if (control in BARE and fault in ABOUT_KEYS) or (
        fault == "narrow keys" and control.tree["statement"]["key_dim"] == "1"
    ):
        return  # nothing there to be at fault
    tree = copy.deepcopy(control.tree)
    weak(tree)
    assert first_false(rebuild(tree)) is None
    assert check(rebuild(tree)).verdict is Verdict.VALID
    FAULTS[fault](tree)
    tree = rebuild(tree)
    judged, result = first_false(tree), check(tree)
    assert judged is not None
    assert (result.verdict, result.step) == (Verdict.INVALID, judged), result.reason
    elsewhere = {"a token less": "budget", "a steeper tilt": "budget", "ball": "budget", "narrow keys": "budget"}
    start = next((elsewhere[name] for name in elsewhere if fault.startswith(name)), "bits")
    assert judged == "bits" or judged.startswith(start)


# --- premises made for the test ---

CODE = Keys(4, 3, ((2, 3),), Fraction(3, 2), 3, 3, bf16=True, signs=True)
HALF = cube_tilt(Fraction(2), Fraction(3, 4))
GIVEN = {
    "width": Fraction(1, 8), "strength": Fraction(6), "reference": Fraction(3, 2), "slack": Fraction(1, 1 << 14),
    "key_coordinates": 2,
}  # fmt: skip
LOGIT = 24
SCALES = {"values": Fraction(8), "amplitudes": Fraction(6), "keys": Fraction(22, 3)}  # 24, 18 and 22 over L = 3


def pool(name: str, keys: Keys = CODE, payload: int = 4) -> Leak:
    """A leak of that pool, with room beside the truth."""
    kind, _, worst = name.partition("-")
    share = Fraction(1) if worst else Fraction(1, 2)
    exponent = 2 * SCALES[kind] * (1 - Fraction(1, 8) * share)
    z = exp_upper(-exponent)
    scaled = Scaled(keys, z, payload, HALF if kind == "keys" and not worst else None, exponent)
    return Leak(payload, Row(4 * z**2, z), Fraction(1, 100) if worst else 4 * z**4, scaled=scaled)


def tilted(lean: Tilt | None) -> Leak:
    """Key reads with another tilt."""
    leak = pool("keys")
    assert leak.scaled is not None
    return replace(leak, scaled=replace(leak.scaled, tilt=lean))


def pools(**changed: object) -> dict[str, Any]:
    return {name: pool(name) for name in POOLS} | {name.replace("_", "-"): value for name, value in changed.items()}


def holds(uses: dict[str, Any], bits: Fraction | int = 0, given: Node | None = None, **changes: object) -> bool:
    statement = {"key_dim": 5, "max_logit": LOGIT, "tolerance": Fraction(1, 100)} | changes
    return accepts("amplitude", uses, GIVEN | (given or {}), {"bits_at_least": bits}, **statement)


def test_what_it_asks_of_its_premises() -> None:
    assert holds(pools(), 60)
    assert not holds(pools(), 1000)
    twin = replace(CODE)
    integer = replace(CODE, signs=False)
    assert twin == CODE
    for name in POOLS:
        field = name.replace("-", "_")
        for wrong in (
            pool(name, twin), pool(name, payload=3), replace(pool(name), scaled=None), CODE, HALF,
            Decay(Fraction(1), Fraction(1, 2)), pool(name).scaled,
        ):  # fmt: skip
            assert not holds(pools(**{field: wrong})), name
    assert not holds({name: pool(name, integer) for name in POOLS})
    assert not holds(pools(keys=tilted(None)))
    ball = Tilt(Fraction(2), HALF.mean, HALF.entropy, (Fraction(1), 2))
    assert not holds(pools(keys=tilted(ball)))
    assert holds(pools(keys=tilted(replace(ball, ball=None))))
    one = Row(Fraction(1), Fraction(0))
    for name in ("values_worst", "keys_worst"):
        assert not holds(pools(**{name: replace(pool(name.replace("_", "-")), worst=one)}))


@pytest.mark.parametrize("name", ["values", "amplitudes", "keys"])
def test_each_pool_keeps_the_whole_logit(name: str) -> None:
    """C L and what the query adds: equality is admissible, the least step beyond is not."""
    exact = pool(name)
    assert exact.scaled is not None
    over = replace(exact, scaled=replace(exact.scaled, exponent=exact.scaled.exponent + TINY))
    assert not holds(pools(**{name: over}))
    assert holds(pools())
    assert not holds(pools(), max_logit=LOGIT - TINY)
    if name != "amplitudes":
        worst = pool(f"{name}-worst")
        assert worst.scaled is not None
        milder = replace(worst, scaled=replace(worst.scaled, exponent=worst.scaled.exponent - TINY))
        harder = replace(worst, scaled=replace(worst.scaled, exponent=worst.scaled.exponent + TINY))
        assert holds(pools(**{f"{name}_worst": milder}))
        assert not holds(pools(**{f"{name}_worst": harder}))


def test_premises_for_keys_just_where_there_are_coordinates() -> None:
    bare = {name: leak for name, leak in pools().items() if "keys" not in name}
    assert holds(bare, given={"key_coordinates": 0})
    assert not holds(pools(), given={"key_coordinates": 0})
    assert not holds(bare)
    assert not holds({**bare, "keys": pool("keys")})
    assert not holds(pools(), given={"key_coordinates": 3})
    assert not holds(pools(), given={"key_coordinates": -1})
    assert not holds(bare, given={"key_coordinates": -1})


def test_no_premise_weighs_less_than_it_should() -> None:
    """More mass, more squares, a larger decay: never more bits."""

    def most(uses: dict[str, Any]) -> Fraction:
        low, high = Fraction(0), Fraction(1000)
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(uses, middle) else (low, middle)
        return low

    before = most(pools())
    for name in POOLS:
        leak = pool(name)
        assert leak.scaled is not None
        field, tenth = name.replace("-", "_"), Fraction(1, 10)
        rows = [Row(leak.worst.off_target + tenth, leak.worst.rest), Row(leak.worst.off_target, leak.worst.rest + 1)]
        heavier = [replace(leak, worst=row) for row in rows]
        heavier.append(replace(leak, squares=leak.squares + tenth))
        heavier.append(replace(leak, scaled=replace(leak.scaled, decay=Fraction(1, 100))))
        after = [most(pools(**{field: changed})) for changed in heavier]
        assert all(bits <= before for bits in after), name
        read = {"values": [1, 1, 0, 0], "keys": [1, 1, 0, 0], "amplitudes": [1, 1, 1, 1]}
        expected = read.get(name, [1, 0, 1, 0])  # the worst case's rest and decay play no part
        assert [bits < before for bits in after] == [bool(x) for x in expected], name


def test_parts_below_zero_count_as_zero() -> None:
    """Values, payload and amplitudes, each by itself: where two give nothing, the third stands."""
    far = Fraction(1 << 40)
    crowd: dict[str, Any] = {
        name: replace(pool(name), worst=Row(Fraction(1, 8), far)) for name in ("values", "keys", "amplitudes")
    }
    for alone in crowd:
        uses = pools(**{name: leak for name, leak in crowd.items() if name != alone})
        assert holds(uses, 4), alone
    assert holds(pools(**crowd), 0)
    assert not holds(pools(**crowd), Fraction(1, 1 << 200))


def test_ranges_of_the_widened_read() -> None:
    """Tolerance and failure as the noise widens them: failure <= 1 - tolerance in values and keys does not do."""
    assert holds(pools(), failure=Fraction(9, 10))
    assert not holds(pools(), failure=Fraction(99, 100))  # in the range without noise
    assert not holds(pools(), failure=Fraction(99, 100) + TINY)
    assert not holds(pools(), given={"slack": Fraction(1, 1 << 60)})  # as good as never within the slack
    assert not holds(pools(), given={"slack": Fraction(4)})
