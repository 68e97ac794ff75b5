"""Real numbers for the tests: Arb balls of 400 bits, and decisions that are asserted to be decisions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from math import ceil, floor

from flint import arb, ctx, fmpq


@contextmanager
def precision(bits: int = 400) -> Iterator[None]:
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before


def ball(x: Fraction | int | arb) -> arb:
    return x if isinstance(x, arb) else arb(fmpq(int(x.numerator), int(x.denominator)))


def at_most(left: Fraction | int | arb, right: Fraction | int | arb) -> bool:
    """left <= right, decided; equality only between rationals."""
    if not isinstance(left, arb) and not isinstance(right, arb):
        return Fraction(left) <= Fraction(right)
    left, right = ball(left), ball(right)
    assert left < right or right < left, f"not decided: {left} against {right}"
    return bool(left < right)


def log2(x: Fraction | int | arb) -> arb:
    """In bits; exact for powers of two."""
    if not isinstance(x, arb):
        p, q = Fraction(x).numerator, Fraction(x).denominator
        if p > 0 and p & (p - 1) == q & (q - 1) == 0:
            return arb(p.bit_length() - q.bit_length())
    with precision():
        return ball(x).log() / arb(2).log()


def exp(x: Fraction | int) -> arb:
    with precision():
        return ball(x).exp()


def entropy(p: Fraction) -> arb:
    """H(p) in bits."""
    with precision():
        return sum((-ball(q) * log2(q) for q in (p, 1 - p) if q), arb(0))


def divergence(eps: Fraction | arb, delta: Fraction) -> arb:
    """g(eps, delta) = (1 - delta) log2 1/eps - H(delta) + delta log2 1/(1 - eps), as bounds 2 writes it."""
    with precision():
        return ball(1 - delta) * log2(1 / eps) - entropy(delta) + ball(delta) * log2(1 / (1 - eps))


def fano(alphabet: int, delta: Fraction) -> arb:
    """F(L, delta) = log2 L - H(delta) - delta log2(L - 1), as bounds 1 writes it."""
    with precision():
        loss = ball(delta) * log2(alphabet - 1) if delta else arb(0)
        return log2(alphabet) - entropy(delta) - loss


def log_ratio(sigma: Fraction) -> arb:
    """c(s) = (-s - ln(1 - s)) / s^2, and 1/2 at 0."""
    with precision(640):
        s = ball(sigma)
        return (-s - (1 - s).log()) / s**2 if sigma else arb(1) / 2


def down(x: Fraction | int | arb, bits: int) -> Fraction:
    """The largest multiple of 2^-bits that is at most x."""
    return Fraction(_rounded(x, bits, floor), 1 << bits)


def up(x: Fraction | int | arb, bits: int) -> Fraction:
    """The least multiple of 2^-bits that is at least x."""
    return Fraction(_rounded(x, bits, ceil), 1 << bits)


def _rounded(x: Fraction | int | arb, bits: int, way: type[int] | object) -> int:
    if not isinstance(x, arb):
        return way(Fraction(x) * (1 << bits))  # type: ignore[operator]
    with precision():
        ends = {way(_exact(end) * (1 << bits)) for end in (x.lower(), x.upper())}  # type: ignore[operator]
    assert len(ends) == 1, f"not decided: {x} in units of 2^-{bits}"
    return int(ends.pop())


def _exact(x: arb) -> Fraction:
    mantissa, power = x.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(power)
