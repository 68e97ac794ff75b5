"""Every form of the covering rules, evaluated by Arb: what the kernel will be asked to prove.

Counts beyond 2^60 are stated to 60 bits, rounded to the safe side, as the kernel's own numbers are rounded too. The
share that random caps or balls keep is searched here and written into the certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any

from flint import arb, ctx

from kvverify.covering import lattices
from kvverify.covering.question import Question, exact
from kvverify.errors import UsageError
from kvverify.kernel import document

_MOST_BITS = 13_280  # of a number that a certificate can state
_KEPT_BITS = 60
_EXACT_BITS = 1 << 20
_SHELL_WORK = 1 << 25  # of the kernel, which has 2^27 for a certificate
_FINEST = 40  # shares are 1 - 2^-40 at most


@dataclass(frozen=True)
class Form:
    """One bound: the rule's form, its parameter where it has one, and the count that it proves.

    ``points``: of a counted lattice, which has a rule of its own, of the form's name.
    """

    name: str
    count: int
    shrink: Fraction | None = None
    points: Mapping[str, Any] | None = None

    def step(self, side: str) -> dict[str, Any]:
        """The certificate's step; ``side`` is at-least or at-most."""
        rule = f"cover-{side}"
        given: dict[str, Any] = {"form": self.name}
        if self.points is not None:
            rule, given = self.name, dict(self.points)
        elif self.shrink is not None:
            given["shrink"] = str(self.shrink)
        gives = {side.replace("-", "_"): str(self.count)}
        name = "lower" if side == "at-least" else "upper"
        return {"id": name, "rule": rule, "uses": {}, "given": given, "gives": gives}


def lower(question: Question) -> Iterator[Form]:
    """All bounds from below. Raises UsageError where one has more digits than a certificate can hold."""
    dim = question.dim
    if question.angle is not None:
        yield Form("few", dim + 1 if _acute(question) else 2)
    else:
        ratio = _ratio(question)
        yield Form("few", dim + 1 if ratio > 1 else 1)
        if ratio > 1 and _exactly(dim, ratio):
            yield Form("volume", ceil(ratio**dim))
    if dim >= 2 and _acute(question):
        name = "caps" if question.angle is not None else "ball-through-sphere"
        yield Form(name, _count(lambda: 1 / _cap(dim, _sine(question)), up=False))


def upper(question: Question) -> Iterator[Form]:
    """All bounds from above that apply."""
    dim = question.dim
    if question.angle is not None and not _acute(question):
        yield Form("few", 2)
    elif question.angle is not None:
        yield from _vertices(question)
        if dim == 2:
            yield Form("arcs", _count(lambda: arb.pi() / exact(question.angle or Fraction(1)), ceiling=True))
        yield Form("packing", _count(lambda: _disjoint(dim, _sine(question))))
        shrink = _best_shrink(lambda share: _random_caps(dim, _sine(question), share))
        yield Form("lovasz-stein", _count(lambda: _random_caps(dim, _sine(question), shrink)), shrink)
    elif _ratio(question) <= 1:
        yield Form("few", 1)
    else:
        yield from _of_ball(question)


def _of_ball(question: Question) -> Iterator[Form]:
    dim, ratio = question.dim, _ratio(question)
    radius, small = question.radius or ratio, question.ball_radius or Fraction(1)
    if dim == 1:
        yield Form("arcs", ceil(ratio))
        return
    yield from _vertices(question)
    if _exactly(dim, 2 * ratio + 1):
        yield Form("packing", floor((2 * ratio + 1) ** dim))
    yield Form("lattice", _count(lambda: _lattice(dim, ratio)))
    if dim <= lattices.MAX_DIM and (points := lattices.counted(dim, radius, small)) is not None:
        yield Form("lattice-points", points.count, points=points.given)
    shrink = _best_shrink(lambda share: _random_balls(dim, ratio, share))
    yield Form("lovasz-stein", _count(lambda: _random_balls(dim, ratio, shrink)), shrink)
    if ratio**2 / 4 * 24 * (dim + 160) * (1 + dim // 1024) <= _SHELL_WORK:
        shrink = _best_shrink(lambda share: _random_caps(dim, _sine(question), share))
        yield Form("shells", _count(lambda: _shells(dim, ratio, shrink)), shrink)


def _vertices(question: Question) -> Iterator[Form]:
    """A simplex's or a cross-polytope's vertices: cos <= 1/d or cos^2 <= 1/d."""
    dim = question.dim
    for count, narrow in ((dim + 1, Fraction(1, dim**2)), (2 * dim, Fraction(1, dim))):
        if _sine(question) ** 2 > exact(1 - narrow):
            yield Form("few", count)


def _lattice(dim: int, ratio: Fraction) -> arb:
    half = arb(dim) / 2
    ball = arb.pi() ** half / (half + 1).gamma()
    deep = arb(exact(Fraction(dim * (dim + 2), 12 * (dim + 1))))
    return ball * arb(dim + 1).sqrt() * deep**half * arb(exact(1 + ratio)) ** dim


def _random_balls(dim: int, ratio: Fraction, shrink: Fraction) -> arb:
    share = arb(exact(shrink / (ratio + shrink))) ** dim
    gaps = arb(exact(2 * ratio / (1 - shrink) * shrink / (ratio + shrink)))
    return 1 + (1 + dim * gaps.log()) / share


def _random_caps(dim: int, sine: arb, shrink: Fraction) -> arb:
    kept = exact(shrink) * sine
    gap = sine * (1 - kept**2).sqrt() - kept * (1 - sine**2).sqrt()
    share = _cap(dim, kept)
    return 1 + (1 + (share / _cap(dim, gap)).log()) / share


def _disjoint(dim: int, sine: arb) -> arb:
    return 1 / _cap(dim, (sine.asin() / 2).sin())


def _shells(dim: int, ratio: Fraction, shrink: Fraction) -> arb:
    radius, total = arb(exact(ratio)), arb(0)
    while not radius <= 1:
        sine = 1 / radius
        count = _random_caps(dim, sine, shrink).min(_disjoint(dim, sine))
        for many, narrow in ((2 * dim, Fraction(1, dim)), (dim + 1, Fraction(1, dim**2))):
            if sine**2 > exact(1 - narrow):
                count = count.min(arb(many))
        total += count.floor()
        if radius**2 <= 2:
            return total
        radius -= 2 / radius
    return total + 1


def _cap(dim: int, sine: arb) -> arb:
    """The measure of a cap, the sphere's being 1."""
    return (sine**2).beta_lower(arb(dim - 1) / 2, arb(1) / 2, regularized=True) / 2


def _sine(question: Question) -> arb:
    """Of the cap's angle; on a ball's surface ball_radius / radius."""
    return arb(exact(question.angle)).sin() if question.angle is not None else arb(exact(1 / _ratio(question)))


def _ratio(question: Question) -> Fraction:
    assert question.radius is not None
    assert question.ball_radius is not None
    return question.radius / question.ball_radius


def _acute(question: Question) -> bool:
    """Caps below a right angle; a ball that is larger than those that cover it."""
    if question.angle is None:
        return _ratio(question) > 1
    with ctx.workprec(1024):
        return bool(2 * arb(exact(question.angle)) < arb.pi())


def _exactly(dim: int, ratio: Fraction) -> bool:
    """Whether the power is short enough to be taken exactly, and to be stated."""
    _stated(dim * (arb(exact(ratio)).log() / arb.const_log2()))
    return dim * (ratio.numerator.bit_length() + ratio.denominator.bit_length()) < _EXACT_BITS


def _stated(bits: arb) -> int:
    """The length of a count, in bits. Raises UsageError where a certificate cannot state it."""
    if not bits < _MOST_BITS:
        raise UsageError(f"such a covering number has more than the {document.MAX_DIGITS} digits of a certificate")
    return max(1, ceil(float(bits.upper())))


def _count(bound: Callable[[], arb], *, up: bool = True, ceiling: bool = False) -> int:
    """The floor of a bound from above, the ceiling of one from below or of ``ceiling``, to 60 bits."""
    with ctx.workprec(256):
        size = _stated(bound().log() / arb.const_log2())
    precision = 512 + 2 * size
    with ctx.workprec(precision):
        value = bound().upper() if up else bound().lower()  # a whole number is not told from its neighbours
        whole = (value.floor() if up and not ceiling else value.ceil()).unique_fmpz()
    count, shift = int(whole), max(0, size - _KEPT_BITS)
    return -(-count >> shift) << shift if up else count >> shift << shift


def _best_shrink(bound: Callable[[Fraction], arb]) -> Fraction:
    """The share 1 - m 2^-k, 4 <= m < 8, that gives the least bound: along 1 - share it falls, then grows."""
    with ctx.workprec(256):
        shares = [1 - Fraction(m, 1 << k) for k in range(5, _FINEST) for m in (7, 6, 5, 4)]
        first, last = 0, len(shares) - 1
        while last > first:
            middle = (first + last) // 2
            if bound(shares[middle]) < bound(shares[middle + 1]):
                last = middle
            else:
                first = middle + 1
        return shares[first]
