"""Every one-sided bound of the kernel lies on its side of the truth and close to it; the truth is Arb's at 400 bits."""

from __future__ import annotations

from fractions import Fraction

import pytest
from flint import arb
from hypothesis import example, given
from hypothesis import strategies as st

from kvverify.kernel import numbers
from kvverify.kernel.document import OverLimit
from tests.kernel.oracle import least_errors
from tests.kernel.real import at_most, ball, divergence, exp, fano, log2, log_ratio, precision
from tests.strategies import positive_rationals, probabilities

EXP = Fraction(1, 1 << 160)  # relative width of the exponential's enclosure
LOG = Fraction(1, 1 << 60)  # absolute width of a logarithm's, in bits


def encloses(low: Fraction, truth: arb, high: Fraction, width: Fraction) -> None:
    """low <= truth <= high, and both within ``width`` of the truth."""
    slack = arb(2) ** -300 * abs(truth)
    assert ball(low) <= truth + slack
    assert truth - slack <= ball(high)
    assert at_most(high - low, width)


exponents = positive_rationals(high=12)


@given(exponents)
@example(Fraction(1))
@example(Fraction(1, 2))
@example(Fraction(4096))
@example(Fraction((4096 << 400) - 1, 1 << 400))
@example(Fraction(1, 1 << 300))
@example(Fraction(3**900, 2**1420))
def test_exp(x: Fraction) -> None:
    for y in (x, -x):
        low, high = numbers.exp_lower(y), numbers.exp_upper(y)
        encloses(low, exp(y), high, EXP * high)


def test_exp_at_zero_and_beyond_the_limit() -> None:
    assert numbers.exp_lower(Fraction(0)) == 1 <= numbers.exp_upper(Fraction(0)) <= 1 + EXP
    for x in (Fraction(4097), -Fraction(4097), Fraction(10**4000)):
        with pytest.raises(OverLimit):
            numbers.exp_lower(x)
        with pytest.raises(OverLimit):
            numbers.exp_upper(x)


@given(probabilities(), st.integers(0, 1 << 40))
@example(Fraction(1), 1 << 62)
@example(Fraction(0), 5)
@example(Fraction((1 << 48) - 1, 1 << 48), 1 << 40)
def test_powers(z: Fraction, exponent: int) -> None:
    high = numbers.power_upper(z, exponent)
    with precision(4000):
        truth = ball(z) ** exponent if z else arb(exponent == 0)
        assert ball(high) >= truth - truth * arb(2) ** -3000
        assert ball(high) - truth <= arb(2) ** -1900


@given(probabilities())
@example(Fraction(0))
@example(Fraction(1))
@example(Fraction(9, 16))
@example(Fraction(1, 3))
def test_root(z: Fraction) -> None:
    high = numbers.root_upper(z)
    assert high**2 >= z
    assert z == 0 == high or (high - Fraction(1, 1 << 2047)) ** 2 < z


@given(positive_rationals())
@example(Fraction(1))
@example(Fraction(2))
@example(Fraction(1, 1024))
@example(Fraction((1 << 300) - 1, 1 << 300))
@example(Fraction((1 << 300) + 1, 1 << 300))
@example(Fraction(10**3999, 3**5000))
def test_log2(x: Fraction) -> None:
    encloses(numbers.log2_lower(x), log2(x), numbers.log2_upper(x), LOG)


@given(st.integers(-500, 500))
def test_log2_of_a_power_of_two_is_exact_from_below(k: int) -> None:
    assert numbers.log2_lower(Fraction(2) ** k) == k


@pytest.mark.parametrize("x", [Fraction(0), Fraction(-1)])
def test_log2_of_no_positive_number(x: Fraction) -> None:
    with pytest.raises(ValueError, match="positive"):
        numbers.log2_lower(x)


def test_log2_e() -> None:
    assert ball(0) < ball(numbers.LOG2_E_UPPER) - 1 / arb.const_log2() < arb(2) ** -80


@given(probabilities(least=Fraction(1, 1 << 200), most=1 - Fraction(1, 1 << 200)), probabilities())
@example(Fraction(1, 100), Fraction(1))
@example(Fraction(1, 100), Fraction(0))
def test_divergence(eps: Fraction, share: Fraction) -> None:
    delta = share * (1 - eps)
    low, truth = numbers.divergence_lower(eps, delta), divergence(eps, delta)
    assert ball(low) <= truth + arb(2) ** -150
    assert truth - ball(low) <= ball(2 * LOG)


@given(st.integers(2, 1 << 70), probabilities())
@example(2, Fraction(1))
@example(3, Fraction(1))
@example(1 << 64, Fraction(0))
def test_fano(alphabet: int, share: Fraction) -> None:
    delta = share * (1 - Fraction(1, alphabet))
    low, truth = numbers.fano_lower(alphabet, delta), fano(alphabet, delta)
    assert ball(low) <= truth + arb(2) ** -150
    assert truth - ball(low) <= ball(3 * LOG)


@given(probabilities(most=Fraction(99, 100)))
@example(Fraction(0))
@example(Fraction(1, 1 << 128))
def test_log_ratio(sigma: Fraction) -> None:
    high, truth = numbers.log_ratio_upper(sigma), log_ratio(sigma)
    assert ball(high) >= truth - arb(2) ** -150
    # the tail's closed form exceeds the tail by sigma^30 / (32 (1 - sigma)) at most
    assert ball(high) - truth <= ball(sigma**30 / (32 * (1 - sigma))) + arb(2) ** -150


@given(positive_rationals(), st.integers(1, 300))
def test_round_up(x: Fraction, bits: int) -> None:
    assert 0 <= numbers.round_up(x, bits) - x < Fraction(1, 1 << bits)


def test_first_test_vectors() -> None:
    assert 10**100 <= 2**47 * 9**90
    assert not 10**100 <= 2**46 * 9**90
    assert Fraction(53, 100) < numbers.fano_lower(2, Fraction(1, 10)) < Fraction(54, 100)
    assert 3**300 <= 2**476
    assert Fraction(8, 100) < numbers.fano_lower(2, Fraction(1, 3)) < Fraction(9, 100)
    for denominator, decimals in ((9, "0.4967"), (8, "0.4564"), (4, "0.1887")):
        found = numbers.fano_lower(2, Fraction(1, denominator))
        assert abs(found - Fraction(decimals)) < Fraction(1, 20_000)


@pytest.mark.parametrize(
    ("symbols", "excluded"), [(16, 5), (32, 8), (64, 15), (100, 22), (256, 52), (300, 60), (1024, 198)]
)
def test_states_excluded_by_good_strings(symbols: int, excluded: int) -> None:
    """Largest S with 2^S sum over k < N/4 of C(N, k) < 2^(N-1): then the mean error is at least 1/8 (claims C1)."""
    from math import comb

    good = sum(comb(symbols, k) for k in range(-(-symbols // 4)))
    assert 2**excluded * good < 2 ** (symbols - 1) <= 2 ** (excluded + 1) * good
    assert least_errors(2, symbols, 2**excluded) >= Fraction(1, 8)
