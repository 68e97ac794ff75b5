"""Exact numbers: rationals, and proved one-sided bounds on exp, log2 and the two entropies that the rules need.

Everything is ``int`` and ``fractions.Fraction``. A function named ``*_lower`` returns a rational that is at most the
true value, ``*_upper`` one that is at least it. docs/proofs/numbers.md says how close they are.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

from kvverify.kernel.document import OverLimit

MAX_EXPONENT = 4096  # of exp; a logit budget beyond this is no attention that anybody runs
_EXP_BITS = 192
_LOG_BITS = 64
_WORK_BITS = 192
_POWER_BITS = 2048


def exp_lower(x: Fraction) -> Fraction:
    """A lower bound on e^x for any x."""
    return _exp(x, up=False) if x >= 0 else 1 / _exp(-x, up=True)


def exp_upper(x: Fraction) -> Fraction:
    """An upper bound on e^x for any x."""
    return _exp(x, up=True) if x >= 0 else 1 / _exp(-x, up=False)


def _exp(x: Fraction, *, up: bool) -> Fraction:
    """e^x, x >= 0, rounded up or down: a Taylor sum at y = x / 2^h <= 1, on the grid, then squared h times.

    Each term is rounded down, so a term loses less than two units in all (its own rounding and at most half of what its
    forerunner lost), and when a term is 0 units the dropped rest is below two units as well.
    """
    if x > MAX_EXPONENT:
        raise OverLimit(f"limit: exp of a number above {MAX_EXPONENT}")
    halvings = (x.numerator // x.denominator).bit_length()
    y = (x.numerator << _EXP_BITS) // (x.denominator << halvings) + up  # a floor, and one unit more is above
    term = total = 1 << _EXP_BITS
    index = 0
    while term:
        index += 1
        term = (term * y >> _EXP_BITS) // index
        total += term
    if up:
        total += 2 * index + 2
    for _ in range(halvings):
        total = -(-total * total >> _EXP_BITS) if up else total * total >> _EXP_BITS
    return Fraction(total, 1 << _EXP_BITS)


def power_upper(z: Fraction, exponent: int) -> Fraction:
    """An upper bound on z^exponent, 0 <= z <= 1, on the grid of 2^-2048: by squaring, every product rounded up."""
    base = -(-(z.numerator << _POWER_BITS) // z.denominator)
    result = 1 << _POWER_BITS
    while exponent:
        if exponent & 1:
            result = -(-result * base >> _POWER_BITS)
        base = -(-base * base >> _POWER_BITS)
        exponent >>= 1
    return Fraction(result, 1 << _POWER_BITS)


def root_upper(z: Fraction) -> Fraction:
    """An upper bound on the square root of z >= 0, on the grid of 2^-2048."""
    square = -(-(z.numerator << 2 * _POWER_BITS) // z.denominator)
    return Fraction(isqrt(square) + (isqrt(square) ** 2 < square), 1 << _POWER_BITS)


def log2_lower(x: Fraction | int) -> Fraction:
    """A lower bound on log2 x, x > 0, by repeated squaring with every step rounded down."""
    exponent, mantissa = _normalise(Fraction(x), up=False)
    for _ in range(_LOG_BITS):
        mantissa = mantissa * mantissa >> _WORK_BITS
        exponent *= 2
        if mantissa >> (_WORK_BITS + 1):
            exponent, mantissa = exponent + 1, mantissa >> 1
    return Fraction(exponent, 1 << _LOG_BITS)


def log2_upper(x: Fraction | int) -> Fraction:
    """An upper bound on log2 x, x > 0, by repeated squaring with every step rounded up."""
    exponent, mantissa = _normalise(Fraction(x), up=True)
    for _ in range(_LOG_BITS):
        mantissa = -(-mantissa * mantissa >> _WORK_BITS)
        exponent *= 2
        if mantissa >> (_WORK_BITS + 1):
            exponent, mantissa = exponent + 1, -(-mantissa >> 1)
    return Fraction(exponent + 1, 1 << _LOG_BITS)


def _normalise(x: Fraction, *, up: bool) -> tuple[int, int]:
    """x = 2^exponent * m with 1 <= m < 2; m in units of 2^-_WORK_BITS, rounded down or up."""
    if x <= 0:
        raise ValueError("log2 is taken of positive numbers only")
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    above, below = x.numerator << max(0, -exponent), x.denominator << max(0, exponent)
    if above < below:
        exponent, above = exponent - 1, above << 1
    return exponent, -((-above << _WORK_BITS) // below) if up else (above << _WORK_BITS) // below


# log2 e = 1 / ln 2, and ln 2 = sum of 1 / (k 2^k): a partial sum is a lower bound of ln 2.
LOG2_E_UPPER = 1 / sum((Fraction(1, k << k) for k in range(1, 80)), Fraction(0))


def divergence_lower(tolerance: Fraction, failure: Fraction) -> Fraction:
    """A lower bound on g(eps, delta) = D(Bern(delta) || Bern(1 - eps)) bits, 0 < eps < 1, 0 <= delta <= 1 - eps."""
    bits = (1 - failure) * log2_lower((1 - failure) / tolerance)
    return bits + failure * log2_lower(failure / (1 - tolerance)) if failure else bits


def fano_lower(alphabet: int, failure: Fraction) -> Fraction:
    """A lower bound on F(L, delta) = log2 L - H(delta) - delta log2(L - 1) bits, L >= 2, 0 <= delta <= 1 - 1/L."""
    bits = log2_lower(alphabet)
    if failure:
        bits += (1 - failure) * log2_lower(1 - failure) + failure * log2_lower(failure / (alphabet - 1))
    return bits


def log_ratio_upper(sigma: Fraction) -> Fraction:
    """An upper bound on c(s) = (-s - ln(1 - s)) / s^2 = sum of s^(k-2)/k over k >= 2, for 0 <= s < 1."""
    last = 32
    terms = sum((sigma ** (k - 2) / k for k in range(2, last)), Fraction(0))
    return terms + sigma ** (last - 2) / (last * (1 - sigma))


def round_up(x: Fraction, bits: int = 128) -> Fraction:
    """The least multiple of 2^-bits that is at least x."""
    return Fraction(-(-(x.numerator << bits) // x.denominator), 1 << bits)
