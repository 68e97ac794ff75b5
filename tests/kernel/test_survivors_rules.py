"""Ends of ranges that a broken kernel once got past the other tests with (scripts/mutate_kernel.py)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from kvverify.kernel.document import OverLimit
from kvverify.kernel.numbers import exp_lower, exp_upper
from kvverify.kernel.rules.attention import Decay, Keys, Leak, Row, Tilt
from kvverify.kernel.rules.payload import LEAST_RADIUS
from tests.kernel.apply import TINY, accepts, apply

KEYS = Keys(4, 2, ((1, 2), (2, 1)), Fraction(1), 2, 2, bf16=True, signs=True)
LEAST = Fraction(1, 10**1000)


def levels(alphabet: int, tolerance: Fraction, inputs: str = "real") -> bool:
    leak = Leak(1, Row(Fraction(0), Fraction(0)), Fraction(0))
    return accepts("levels", {"leak": leak}, {}, {"alphabet": alphabet}, tolerance=tolerance, inputs=inputs)


def test_levels_from_2_to_their_limit() -> None:
    for alphabet, fine in ((1, False), (0, False), (2, True), (1 << 64, True), ((1 << 64) + 1, False)):
        assert levels(alphabet, Fraction(1, 1 << 70)) is fine


@pytest.mark.parametrize("gaps", [2, 3, 255, 256, 511, 512, 513, 1024])
def test_levels_are_exact_in_bf16_just_where_they_are_few_halves_apart(gaps: int) -> None:
    edge = Fraction(1, gaps) - (0 if gaps in (2, 256, 512) else Fraction(1, 512))
    if edge > 0:
        assert levels(gaps + 1, edge - LEAST, "bf16")
        assert not levels(gaps + 1, edge, "bf16")
    else:
        assert not levels(gaps + 1, LEAST, "bf16")


def test_two_levels_are_exact_in_bf16() -> None:
    leak = Leak(2, Row(Fraction(1, 2), Fraction(0)), Fraction(0))
    for tolerance, fine in ((Fraction(1, 3) - LEAST, True), (Fraction(1, 3), False)):
        assert accepts("levels", {"leak": leak}, {}, {"alphabet": 2}, tolerance=tolerance, inputs="bf16") is fine
    for off_target, fine in ((Fraction(1, 3) - LEAST, True), (Fraction(1, 3), False)):
        leak = Leak(2, Row(off_target, Fraction(9)), Fraction(0))
        gives = {"alphabet": 2}
        assert accepts("separation", {"leak": leak}, {}, gives, tolerance=None, relative=Fraction(1, 2)) is fine


def test_a_decay_may_be_all_that_the_series_gives() -> None:
    def decays(exponent: Fraction, z: Fraction) -> bool:
        return accepts("exp-bound", {}, {"exponent": exponent}, {"exp_minus_at_most": z})

    for exponent in (Fraction(1), Fraction(1, 10**6), Fraction(40)):
        least = 1 / exp_lower(exponent)
        assert decays(exponent, least)
        assert not decays(exponent, least - LEAST)
        assert decays(exponent, Fraction(1))
        assert not decays(exponent, 1 + LEAST)
    for exponent, z in ((Fraction(0), Fraction(1)), (Fraction(1), Fraction(0)), (Fraction(-1), Fraction(1))):
        assert not decays(exponent, z)


def budget(payload: int = 2, logit: Fraction = Fraction(2), tilt: Tilt | None = None, **changes: Any) -> bool:
    """Two units of logit for the keys."""
    premises: dict[str, Any] = {"keys": KEYS, "decay": Decay(Fraction(2), Fraction(1, 7))}
    premises |= {"tilt": tilt} if tilt else {}
    changes = {"key_dim": 2, "tokens": 4, "max_logit": 2, **changes}
    return accepts("budget", premises, {"payload": payload}, {"logit_at_most": logit}, **changes)


def test_budgets_at_their_ends() -> None:
    for payload, fine in ((0, False), (1, True), (4, True), (5, False)):
        assert budget(payload, tokens=5) is fine
    assert budget(4, tokens=4)
    assert not budget(4, tokens=3)
    assert not budget(key_dim=1)
    assert not budget(logit=2 - LEAST)
    assert not budget(logit=2 + LEAST)
    assert not budget(max_logit=2 - LEAST)


def test_a_tilt_adds_to_the_budget_as_the_body_says() -> None:
    lean = Tilt(Fraction(3, 2), Fraction(2), Fraction(0))
    for body, least in (("cube", Fraction(7, 2)), ("ball", Fraction(5, 2))):
        assert budget(logit=least, tilt=lean, body=body, max_logit=9)
        for logit in (least - LEAST, -least, -least - 9):
            assert not budget(logit=logit, tilt=lean, body=body, max_logit=9)


def test_a_negative_logit_is_none_though_its_square_is_large_enough() -> None:
    lean = Tilt(Fraction(1, 10), Fraction(2), Fraction(0))
    premises: dict[str, Any] = {"keys": KEYS, "decay": Decay(Fraction(1, 10), Fraction(1)), "tilt": lean}
    for logit, fine in ((Fraction(1, 2), True), (Fraction(-1, 2), False), (Fraction(-99), False)):
        gives, changes = {"logit_at_most": logit}, {"body": "ball", "key_dim": 2, "max_logit": Fraction(1, 2)}
        assert accepts("budget", premises, {"payload": 1}, gives, **changes) is fine


def shrinks(share: Fraction, beside: Fraction, inputs: str = "real", keys: Keys = KEYS, body: str = "ball") -> bool:
    given, gives = {"code_radius": share}, {"payload_radius": beside}
    return accepts("shrunk-keys", {"keys": keys}, given, gives, body=body, inputs=inputs)


def test_shrunk_keys_at_their_ends() -> None:
    assert Fraction(1, 1 << 64) == LEAST_RADIUS
    three, four = Fraction(3, 5), Fraction(4, 5)
    assert shrinks(three, four)
    assert shrinks(three, four / (1 + Fraction(1, 256)), "bf16")
    assert not shrinks(three, four / (1 + Fraction(1, 256)) + LEAST, "bf16")
    assert not shrinks(three, four, body="cube")
    for share, beside in ((three + LEAST, four), (three, four + LEAST), (-three, four), (three, -four)):
        assert not shrinks(share, beside)
    assert shrinks(LEAST_RADIUS, LEAST_RADIUS)
    assert not shrinks(LEAST_RADIUS - LEAST, four)
    assert not shrinks(four, LEAST_RADIUS - LEAST)
    plain = Keys(4, 2, ((1, 2), (2, 1)), Fraction(1), 2, 2, bf16=True)
    assert shrinks(three, four, keys=plain)
    assert not shrinks(three, Fraction(1, 2), "bf16", keys=plain)
    found = apply("shrunk-keys", {"keys": KEYS}, {"code_radius": three}, {"payload_radius": "1/2"}, body="ball")
    assert (found.unit, found.beside) == (KEYS.unit / three, Fraction(1, 2))
    with pytest.raises(OverLimit):
        shrinks(three, Fraction(1, 2), keys=found)
    found = apply(
        "shrunk-keys", {"keys": KEYS}, {"code_radius": three}, {"payload_radius": "1/2"}, body="ball", inputs="bf16"
    )
    assert found.unit == Fraction(128, 127) / three


def test_a_tilt_may_be_all_that_the_series_gives() -> None:
    def tilts(strength: Fraction, bound: Fraction) -> bool:
        return accepts("tilt", {}, {"strength": strength}, {"tanh_half_at_least": bound})

    for strength in (Fraction(1), Fraction(1, 1000), Fraction(30)):
        power = exp_lower(strength)
        assert tilts(strength, (power - 1) / (power + 1))
        assert not tilts(strength, (power - 1) / (power + 1) + LEAST)
        for bound in (Fraction(0), Fraction(-1), Fraction(1), Fraction(2)):
            assert not tilts(strength, bound)
    assert not tilts(Fraction(0), TINY)
    assert not tilts(Fraction(-1), TINY)


def test_a_tilted_ball_at_its_ends() -> None:
    def tilts(radius: Fraction, mean: Fraction = Fraction(2), strength: Fraction = Fraction(1)) -> Any:
        given = {"strength": strength, "radius": radius, "key_coordinates": 3}
        return accepts("ball-tilt", {}, given, {"mean_at_most": mean, "entropy_at_least": -1000})

    half = Fraction(1, 2)
    least = exp_upper(half**2 / 5 / 2)
    assert tilts(half, least)
    assert not tilts(half, least - LEAST)
    for radius, fine in ((LEAST_RADIUS, True), (LEAST_RADIUS - LEAST, False), (Fraction(1), False), (1 - LEAST, True)):
        assert tilts(radius) is fine
    assert not tilts(half, strength=Fraction(0))
    for radius in (half, half - LEAST, half + LEAST, Fraction(1, 3), Fraction(2, 3), LEAST_RADIUS, 1 - LEAST):
        given = {"strength": 1, "radius": radius, "key_coordinates": 3}
        reach = apply("ball-tilt", {}, given, {"mean_at_most": 2, "entropy_at_least": -1000}).reach
        assert 1 / reach <= 1 / radius < 2 / reach
