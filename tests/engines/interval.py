"""Intervals of MPFR numbers: of every operation the lower end rounded down, the upper end up; how tests are settled.

Each MPFR function is correctly rounded in both directions, so an interval contains the true value at any precision. A
question is asked again with twice the bits until the intervals part; equalities stay open unless both ends meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import gmpy2
from gmpy2 import mpfr, mpq

FIRST, LAST = 128, 1024
_DOWN, _UP = gmpy2.context(round=gmpy2.RoundDown), gmpy2.context(round=gmpy2.RoundUp)
Number = Union["Interval", int, Any]


class Wide(Exception):
    """An operation is not defined on the whole of an interval: more bits may help."""


class Contrary(Exception):
    """Proved: the inequality that the rule needs does not hold."""


class Undecided(Exception):
    """This engine does not cover it, or would take too long."""


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """So many bits in both directions."""
    before = _DOWN.precision
    _DOWN.precision = _UP.precision = bits
    try:
        yield
    finally:
        _DOWN.precision = _UP.precision = before


def interval(x: Number) -> Interval:
    """The least interval around an integer or a rational; intervals as they are."""
    return x if isinstance(x, Interval) else Interval(mpfr(mpq(x), 0, _DOWN), mpfr(mpq(x), 0, _UP))


class Interval:
    """low <= value <= high."""

    __slots__ = ("high", "low")

    def __init__(self, low: Any, high: Any) -> None:
        if not low <= high:  # a NaN is in no order
            raise Wide("no number")
        self.low, self.high = low, high

    def __repr__(self) -> str:
        return f"[{self.low:.12g}, {self.high:.12g}]"

    def __add__(self, other: Number) -> Interval:
        y = interval(other)
        return Interval(_DOWN.add(self.low, y.low), _UP.add(self.high, y.high))

    def __neg__(self) -> Interval:
        return Interval(_DOWN.minus(self.high), _UP.minus(self.low))

    def __sub__(self, other: Number) -> Interval:
        y = interval(other)
        return Interval(_DOWN.sub(self.low, y.high), _UP.sub(self.high, y.low))

    def __mul__(self, other: Number) -> Interval:
        y = interval(other)
        if self.low >= 0 and y.low >= 0:
            return Interval(_DOWN.mul(self.low, y.low), _UP.mul(self.high, y.high))
        pairs = [(a, b) for a in (self.low, self.high) for b in (y.low, y.high)]
        lows, highs = [_DOWN.mul(a, b) for a, b in pairs], [_UP.mul(a, b) for a, b in pairs]
        if any(map(gmpy2.is_nan, lows)):
            raise Wide("0 times infinity")
        return Interval(min(lows), max(highs))

    def __truediv__(self, other: Number) -> Interval:
        y = interval(other)
        if y.low <= 0 <= y.high:
            raise Wide("division by what may be 0")
        return self * Interval(_DOWN.div(1, y.high), _UP.div(1, y.low))

    def __radd__(self, other: Number) -> Interval:
        return self + other

    def __rsub__(self, other: Number) -> Interval:
        return interval(other) - self

    def __rmul__(self, other: Number) -> Interval:
        return self * other

    def __rtruediv__(self, other: Number) -> Interval:
        return interval(other) / self

    def __abs__(self) -> Interval:
        if self.low >= 0:
            return self
        return -self if self.high <= 0 else Interval(mpfr(0), max(_UP.minus(self.low), self.high))

    def __pow__(self, exponent: int) -> Interval:
        """Of an interval without negative numbers."""
        if self.low < 0:
            raise Wide("a power of what may be negative")
        return Interval(_DOWN.pow(self.low, exponent), _UP.pow(self.high, exponent))

    def max(self, other: Number) -> Interval:
        y = interval(other)
        return Interval(max(self.low, y.low), max(self.high, y.high))


def _growing(name: str, least: int | None = None) -> Callable[[Number], Interval]:
    """An MPFR function that grows, defined above ``least``."""
    down, up = getattr(_DOWN, name), getattr(_UP, name)

    def function(x: Number) -> Interval:
        y = interval(x)
        if least is not None and y.low <= least:
            raise Wide(f"{name} of what may be {least}")
        return Interval(down(y.low), up(y.high))

    return function


exp, expm1, tanh = _growing("exp"), _growing("expm1"), _growing("tanh")
sin = _growing("sin")  # of acute angles
log, log1p, log2 = _growing("log", 0), _growing("log1p", -1), _growing("log2", 0)


def sqrt(x: Number) -> Interval:
    """Of an interval without negative numbers."""
    y = interval(x)
    if y.low < 0:
        raise Wide("a root of what may be negative")
    return Interval(_DOWN.sqrt(y.low), _UP.sqrt(y.high))


def log2_e() -> Interval:
    """1 / ln 2."""
    return 1 / Interval(_DOWN.const_log2(), _UP.const_log2())


def pi() -> Interval:
    return Interval(_DOWN.const_pi(), _UP.const_pi())


def bits_now() -> int:
    """The present precision."""
    return int(_DOWN.precision)


@dataclass
class Case:
    """The claim that steps are judged under, as fields, and as a facts.Problem where it is of that class; what the
    present step leaves open, or has taken."""

    node: dict[str, Any]
    problem: Any
    folder: Path
    open: list[str] = field(default_factory=list)
    taken: bool = False

    def at_most(self, test: str, sides: Callable[[], tuple[Number, Number]], *, strict: bool = False) -> None:
        """Settle left <= right (strict: left < right), both sides anew at each precision. Raises Contrary."""
        bits = FIRST
        while bits <= LAST:
            with precision(bits):
                try:
                    left, right = map(interval, sides())
                except Wide:
                    left = right = Interval(mpfr("-inf"), mpfr("inf"))
                if left.high < right.low or (not strict and left.high <= right.low):
                    return
                if left.low > right.high or (strict and left.low >= right.high):
                    raise Contrary(f"{test} ({left} against {right})")
            bits *= 2
        self.open.append(f"{test}: open at {LAST} bits")


def must(condition: bool, test: str) -> None:
    """Raise Contrary unless the condition, decided exactly, holds."""
    if not condition:
        raise Contrary(test)


def within(condition: bool, limit: str) -> None:
    """Raise Undecided where this engine would take too long."""
    if not condition:
        raise Undecided(f"limit: {limit}")
