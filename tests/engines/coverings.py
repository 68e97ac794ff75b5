"""Covering numbers: caps by the binomial series of 1 / sqrt(1 - u), sines and roots by MPFR. Inequalities of format.md.

What a net's simplices prove is no question for real numbers: its count is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gmpy2 import mpfr, mpq, mpz

from tests.engines.facts import premise
from tests.engines.interval import (
    Case,
    Interval,
    Wide,
    bits_now,
    interval,
    log,
    must,
    pi,
    precision,
    sin,
    sqrt,
    within,
)

Node = dict[str, Any]
_TERMS = 1 << 14


@dataclass(frozen=True)
class Covering:
    at_least: int = 1
    at_most: int | None = None


@dataclass(frozen=True)
class Question:
    """``ratio`` of the radii of a ball, or the ``angle`` of caps."""

    dim: int
    ratio: Any
    angle: Any

    def sine(self) -> Interval:
        return interval(1 / self.ratio) if self.ratio is not None else sin(self.angle)


def at_least(case: Case, uses: Node, given: Node, gives: Node) -> Covering:
    question, stated = _question(case), int(gives["at_least"])
    dim, form = question.dim, given["form"]
    if form == "few":
        large = question.ratio is not None and question.ratio <= 1
        must(stated <= (1 if large else dim + 1 if _acute(question) else 2), "at_least of few")
    elif form == "volume":
        must(stated - 1 < question.ratio**dim, "at_least - 1 < (r / delta)^d")
    else:
        must((question.ratio is None) == (form == "caps") and dim >= 2 and _acute(question), "caps of acute angles")
        case.at_most("(at_least - 1) cap < 1", lambda: (_cap(dim, question.sine()) * (stated - 1), 1), strict=True)
    return Covering(at_least=stated)


def at_most(case: Case, uses: Node, given: Node, gives: Node) -> Covering:
    question, stated, form = _question(case), int(gives["at_most"]), given["form"]
    dim, ratio = question.dim, question.ratio
    shrink = mpq(given["shrink"]) if "shrink" in given else None
    must(shrink is None or (0 < shrink < 1 <= 2 * shrink**2), "1/2 <= shrink^2 < 1")
    if form == "few" and not _acute(question):
        must(stated >= (2 if ratio is None else 1), "at_most of large balls and caps")
        return Covering(at_most=stated)
    if form == "arcs":
        must(dim == (2 if ratio is None else 1), "an interval or a circle")
        right = stated if ratio is not None else interval(stated) * question.angle
        case.at_most("equal parts", lambda: (ratio if ratio is not None else pi(), right))
        return Covering(at_most=stated)
    if form == "few":
        must(dim >= 2 and stated > dim, "d + 1 at least")
        narrow = 1 - mpq(1, dim if stated >= 2 * dim else dim**2)
        case.at_most("1 - 1/d^2 or 1 - 1/d <= sin^2", lambda: (narrow, question.sine() ** 2))
        return Covering(at_most=stated)
    must(form != "lattice" or ratio is not None, "a ball")
    must(dim >= 2 or ratio is not None, "caps")

    def bound() -> Interval:
        if ratio is None:
            return _packed(dim, question.sine()) if form == "packing" else _random(dim, question.sine(), shrink)
        if form == "shells":
            return _shells(dim, ratio, shrink)
        if form == "lattice":
            return _lattice(dim) * interval(1 + ratio) ** dim
        if form == "packing":
            return interval((1 + 2 * ratio) ** dim)
        share = interval(shrink / (ratio + shrink)) ** dim
        return 1 + (1 + log(share) + dim * log(2 * ratio / (1 - shrink))) / share

    case.at_most(f"{form} < at_most + 1", lambda: (bound(), stated + 1), strict=True)
    return Covering(at_most=stated)


def both(case: Case, uses: Node, given: Node, gives: Node) -> Covering:
    stated = Covering(int(gives["at_least"]), int(gives["at_most"]))
    most = premise(uses, "upper", Covering).at_most
    must(stated.at_least <= premise(uses, "lower", Covering).at_least, "the lower bound")
    must(most is not None and most <= int(gives["at_most"]), "the upper bound")
    return stated


def taken(case: Case, uses: Node, given: Node, gives: Node) -> Covering:
    """A count by simplices, or of a lattice's points."""
    case.taken = True
    return Covering(at_most=int(gives["at_most"]))


def claim(case: Case, last: Any) -> None:
    must(isinstance(last, Covering), "the last step bounds a covering number")
    must(int(case.node.get("at_least", 1)) <= last.at_least, "at_least")
    if "at_most" in case.node:
        must(last.at_most is not None and last.at_most <= int(case.node["at_most"]), "at_most")


def _question(case: Case) -> Question:
    node, ball = case.node, case.node["body"] == "ball"
    return Question(
        int(node["dim"]), mpq(node["radius"]) / mpq(node["ball_radius"]) if ball else None,
        None if ball else mpq(node["angle"]),
    )  # fmt: skip


def _acute(question: Question) -> bool:
    if question.ratio is not None:
        return bool(question.ratio > 1)
    with precision(512):
        return bool(interval(2 * question.angle).high < pi().low)


def _cap(dim: int, sine: Interval) -> Interval:
    """Half the sum of C(2k, k) / 4^k s^(d-1+2k) / ((d-1)/2 + k), over the integral of sin^(d-2) up to pi."""
    square = sine**2
    must(square.high < 1, "an acute angle")
    term, total, k = interval(1), interval(0), 0
    while True:
        part = term / (mpq(dim - 1, 2) + k)
        total += part
        if part.high < mpfr(2) ** -bits_now():
            break
        k += 1
        within(k < _TERMS, "terms of a wide cap's series")
        term = term * square * mpq(2 * k - 1, 2 * k)
    rest = part * square / (1 - square)
    whole = pi() if dim % 2 == 0 else interval(2)
    for n in range(dim % 2 + 2, dim - 1, 2):
        whole = whole * mpq(n - 1, n)
    return sine ** (dim - 1) * Interval(total.low, (total + rest).high) / (2 * whole)


def _half(sine: Interval) -> Interval:
    return sqrt((1 - sqrt(1 - sine**2)) / 2)


def _packed(dim: int, sine: Interval) -> Interval:
    return 1 / _cap(dim, _half(sine))


def _random(dim: int, sine: Interval, shrink: Any) -> Interval:
    kept = sine * shrink
    gap = sine * sqrt(1 - kept**2) - kept * sqrt(1 - sine**2)
    share = _cap(dim, kept)
    return 1 + (1 + log(share / _cap(dim, gap))) / share


def _lattice(dim: int) -> Interval:
    ball = interval(2 if dim % 2 else 1)
    for n in range(2 + dim % 2, dim + 1, 2):
        ball = ball * pi() * mpq(2, n)
    return ball * sqrt(mpz(dim + 1)) * sqrt(mpq(dim * (dim + 2), 12 * (dim + 1))) ** dim


def _shells(dim: int, ratio: Any, shrink: Any) -> Interval:
    square, total = interval(ratio**2), 0
    while True:
        sine = 1 / sqrt(square)
        counts = [_floor(_packed(dim, sine)), _floor(_random(dim, sine, shrink))]
        for many, narrow in ((2 * dim, mpq(1, dim)), (dim + 1, mpq(1, dim**2))):
            if (sine**2).low >= 1 - narrow:
                counts.append(many)
        total += min(counts)
        if square.high <= 2:
            return interval(total)
        square = square - 4 + 4 / square
        if square.high <= 1:
            return interval(total + 1)
        if square.low <= 1 or square.low <= 2 < square.high:
            raise Wide("which shell is the last")


def _floor(x: Interval) -> int:
    low, high = (int(mpq(end) // 1) for end in (x.low, x.high))  # operations on mpfr round
    if low != high:
        raise Wide("a whole number")
    return low


RULES = {"cover-at-least": at_least, "cover-at-most": at_most, "cover": both, "net": taken, "lattice-points": taken}
CLAIMS = {"cover": claim}
