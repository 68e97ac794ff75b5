"""Exact numbers: rationals, and proved one-sided bounds on exp, log2 and the two entropies that the rules need.

Everything is ``int`` and ``fractions.Fraction``. A function named ``*_lower`` returns a rational that is at most the
true value, ``*_upper`` one that is at least it; both are within about 2^-60 (log2) or 2^-190 relative (exp) of it.
"""

from __future__ import annotations

from fractions import Fraction

from kvverify.kernel.document import OverLimit

MAX_EXPONENT = 4096  # of exp; a logit budget beyond this is no attention that anybody runs
_EXP_BITS = 192
_LOG_BITS = 64
_WORK_BITS = 192
_ONE = 1 << _EXP_BITS


def exp_lower(x: Fraction) -> Fraction:
    """A lower bound on e^x for any x."""
    if x < 0:
        return 1 / exp_upper(-x)
    return Fraction(_taylor(x)[0], _ONE)


def exp_upper(x: Fraction) -> Fraction:
    """An upper bound on e^x for any x. For x > 0: e^(x / 2^h) with x / 2^h <= 1, squared h times, rounded up."""
    if x < 0:
        return 1 / exp_lower(-x)
    halvings = (x.numerator // x.denominator).bit_length()
    total, terms = _taylor(x / (1 << halvings), limit=x)
    # At x <= 1 a term loses less than two units (its own rounding and half of its forerunner's loss, summed up),
    # and the dropped terms together are below the last kept one, which is 0 units as computed.
    bound = total + 2 * terms + 2
    for _ in range(halvings):
        bound = -(-bound * bound >> _EXP_BITS)
    return Fraction(bound, _ONE)


def _taylor(x: Fraction, limit: Fraction | None = None) -> tuple[int, int]:
    """(partial sum of e^x, x >= 0, in units of 2^-_EXP_BITS with each term rounded down; its number of terms).

    It stops at a term that is 0 in these units and whose index exceeds 2x: from there on, terms more than halve.
    """
    if max(x, limit or x) > MAX_EXPONENT:
        raise OverLimit(f"exp of a number above {MAX_EXPONENT}")
    above, below = x.numerator, x.denominator
    term = total = _ONE
    index = 0
    while term or index * below <= 2 * above:
        index += 1
        term = term * above // (below * index)
        total += term
    return total, index


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
