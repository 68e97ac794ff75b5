"""The measure of a spherical cap, between rationals. Proofs: docs/proofs/covering.md. Source: textbook series; ours.

Caps lie on the unit sphere of R^dim, dim >= 2; the whole sphere has measure 1. A cap of angle t <= pi/2 is named by
x = sin^2 t, so that no arc is computed.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb, isqrt

BITS = 160  # of precision, relative
_STEPS = 48  # of the sine's series, as many as an angle of 1.6 needs: the rest is below one unit


def pi_between(bits: int) -> tuple[Fraction, Fraction]:
    """Two rationals around pi, less than 2^-bits apart, by Machin's formula; bits <= 2^20."""
    grid = bits + 32
    slack = 20 * grid  # 16 arctan + 4 arctan, each off by less than one unit a term and one for the rest
    middle = 16 * _arctan(5, grid) - 4 * _arctan(239, grid)
    return Fraction(middle - slack, 1 << grid), Fraction(middle + slack, 1 << grid)


def _arctan(k: int, grid: int) -> int:
    """arctan(1/k) in units of 2^-grid, every term rounded down."""
    power, total, odd = (1 << grid) // k, 0, 1
    while power:
        total += power // odd if odd & 2 == 0 else -(power // odd)
        power, odd = power // (k * k), odd + 2
    return total


def root(above: int, below: int, *, up: bool, bits: int = BITS) -> Fraction:
    """The square root of above / below > 0, rounded down or up, to a relative 2^(1-bits)."""
    half = bits + max(0, below.bit_length() - above.bit_length()) // 2 + 1
    scaled = above << 2 * half
    return Fraction(isqrt(-(-scaled // below) - 1) + 1 if up else isqrt(scaled // below), 1 << half)


def rounded(x: Fraction, *, up: bool) -> Fraction:
    """x > 0, rounded down or up to a relative 2^-BITS, its denominator a power of two."""
    fine = BITS + (x.denominator // x.numerator).bit_length()
    scaled = x.numerator << fine
    return Fraction(-(-scaled // x.denominator) if up else scaled // x.denominator, 1 << fine)


def sine_squared(angle: Fraction) -> tuple[Fraction, Fraction]:
    """Two rationals around sin^2 of an angle of at most pi/2: the series of (1 - cos 2t) / 2.

    The angle is rounded to a grid first, as sin^2 grows on [0, pi/2]; 1 is above it in any case.
    """
    fine = BITS + (angle.denominator // angle.numerator).bit_length()
    low = (angle.numerator << fine) // angle.denominator
    grows = Fraction(2 * (low + 1), 1 << fine) <= pi_between(BITS)[0]
    high = _series(low + 1, fine)[1] if grows else Fraction(1)
    return max(Fraction(0), _series(low, fine)[0]), min(Fraction(1), high)


def _series(angle: int, fine: int) -> tuple[Fraction, Fraction]:
    """sin^2 of t = angle / 2^fine <= 1.6, from terms (2t)^(2k) / (2 (2k)!), each off by less than 2 units."""
    grid = 2 * fine
    square, term, total = 4 * angle * angle, 1 << (grid - 1), 0
    for k in range(1, _STEPS):
        term = (term * square >> grid) // (2 * k * (2 * k - 1))
        total += term if k & 1 else -term
    slack = 2 * _STEPS
    return Fraction(total - slack, 1 << grid), Fraction(total + slack, 1 << grid)


def measure(dim: int, x: Fraction, *, up: bool) -> Fraction:
    """The measure of a closed cap of angle arcsin sqrt(x), 0 < x <= 1, rounded down or up.

    With g = sqrt(x^(dim-1) (1-x)) / W, W the integral of sin^(dim-2) over [0, pi], it is g S / (dim - 1) for
    x <= 1/2, and 1/2 - g S' beyond, S and S' series of positive terms in x and in 1 - x.
    """
    x = rounded(x, up=up)
    if x >= 1:
        return Fraction(1, 2)
    near = 2 * x > 1
    bits, above = (BITS + dim, not up) if near else (BITS, up)
    product = x.numerator ** (dim - 1) * (x.denominator - x.numerator)
    part = root(product, x.denominator**dim, up=above, bits=bits) / _sphere(dim, bits, up=not above)
    if near:
        return Fraction(1, 2) - part * _sum(dim, 1, 1 - x, bits, up=above)
    return part * _sum(dim, dim - 1, x, bits, up=above) / (dim - 1)


def _sphere(dim: int, bits: int, *, up: bool) -> Fraction:
    """W = integral of sin^(dim-2) over [0, pi]."""
    half, odd = divmod(dim - 2, 2)
    if odd:
        return Fraction(2 << 2 * half, (2 * half + 1) * comb(2 * half, half))
    return pi_between(bits)[up] * Fraction(comb(2 * half, half), 1 << 2 * half)


def _sum(dim: int, base: int, y: Fraction, bits: int, *, up: bool) -> Fraction:
    """Sum over k >= 0 of y^k prod_{j=1..k} (dim + 2j - 2) / (base + 2j), y <= 1/2.

    Once two neighbours' ratio is at most 3/4 it stays so, and the rest is at most three times the last term.
    """
    term = total = 1 << bits
    k = 0
    while term > 4 or 4 * (dim + 2 * k) * y.numerator > 3 * (base + 2 * k + 2) * y.denominator:
        k += 1
        above, below = term * y.numerator * (dim + 2 * k - 2), (base + 2 * k) * y.denominator
        term = -(-above // below) if up else above // below
        total += term
    return Fraction(total + 3 * term if up else total, 1 << bits)
