"""What a broken kernel once got past the other tests with (scripts/mutate_kernel.py): limits, constants, shapes."""

from __future__ import annotations

from fractions import Fraction

import pytest
from flint import arb

from kvverify.kernel.document import OverLimit
from kvverify.kernel.facts import Reading
from kvverify.kernel.rules import payload
from tests.kernel.apply import accepts, apply
from tests.kernel.oracle import least_errors
from tests.kernel.real import ball


def test_pi_is_a_lower_bound_and_close() -> None:
    assert bool(ball(payload.PI_LOWER) < arb.pi())
    assert bool(ball(payload.PI_LOWER + Fraction(1, 10**20)) > arb.pi())


def ball_tilt(coordinates: int) -> bool:
    given = {"strength": 1, "radius": Fraction(1, 2), "key_coordinates": coordinates}
    return accepts("ball-tilt", {}, given, {"mean_at_most": 2, "entropy_at_least": -100})


def test_a_ball_has_at_least_one_dimension_and_at_most_4096() -> None:
    assert not ball_tilt(0)
    assert ball_tilt(1)
    assert ball_tilt(4096)
    with pytest.raises(OverLimit):
        ball_tilt(4097)


@pytest.mark.parametrize(("alphabet", "symbols"), [(2, 9), (2, 12), (3, 7), (4, 5)])
@pytest.mark.parametrize("failure", [Fraction(0), Fraction(1, 100), Fraction(1, 10), Fraction(1, 4), Fraction(2, 5)])
def test_counting_gives_all_that_the_spheres_give(alphabet: int, symbols: int, failure: Fraction) -> None:
    for bits in range(1, alphabet ** symbols.bit_length()):
        if 1 << bits > alphabet**symbols:
            break
        true = least_errors(alphabet, symbols, (1 << bits) - 1) > failure
        gives = {"bits_at_least": bits}
        premises = {"reading": Reading(alphabet, 1)}
        assert accepts("counting", premises, {}, gives, value_dim=symbols, failure=failure) is true


def test_counting_takes_alphabets_of_16_bits_and_at_least_one_bit() -> None:
    for alphabet in (1 << 15, (1 << 16) - 1):
        apply("counting", {"reading": Reading(alphabet, 1)}, {}, {"bits_at_least": 1}, value_dim=1)
    with pytest.raises(OverLimit):
        apply("counting", {"reading": Reading(1 << 16, 1)}, {}, {"bits_at_least": 1}, value_dim=1)
    assert not accepts("counting", {"reading": Reading(2, 1)}, {}, {"bits_at_least": 0}, value_dim=1)
