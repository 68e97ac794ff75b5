"""Covering numbers a second time: caps by the recursion of the powers of the sine, angles as angles, and the truth.

Exact ties are taken as such: a number within 2^-300 of an integer is that integer.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb, fmpz

from tests.kernel.families import TooLarge, require
from tests.kernel.real import ball, precision

Node = dict[str, Any]
BITS = 1600  # the recursion of a power of the sine loses as many as the cap is small


@dataclass(frozen=True)
class Question:
    """``ratio`` of the ball's ``radius`` to that of the balls that cover it; ``angle`` of caps."""

    dim: int
    ratio: Fraction | None = None
    angle: Fraction | None = None
    at_least: int = 1
    at_most: int | None = None
    radius: Fraction = Fraction(0)

    def cap(self) -> arb:
        """The angle of a cap; on a ball's surface of the largest that a ball takes."""
        return ball(self.angle) if self.ratio is None else ball(1 / self.ratio).asin()

    @property
    def acute(self) -> bool:
        return bool(2 * ball(self.angle) < arb.pi()) if self.ratio is None else self.ratio > 1


@dataclass(frozen=True)
class Covering:
    at_least: int = 1
    at_most: int | None = None


def statement(node: Node) -> Question:
    words = ("radius", "ball_radius") if node["body"] == "ball" else ("angle",)
    size = [Fraction(node[word]) for word in words]
    dim, least, most = int(node["dim"]), int(node.get("at_least", 1)), int(node.get("at_most", 1))
    require(dim >= (1 if node["body"] == "ball" else 2) and min(size) > 0 and min(least, most) >= 1, "range")
    require(node["body"] == "ball" or bool(ball(size[0]) < arb.pi()), "angle")
    top = most if "at_most" in node else None
    if node["body"] == "ball":
        return Question(dim, size[0] / size[1], None, least, top, size[0])
    return Question(dim, None, size[0], least, top)


def claimed(question: Question, last: Any) -> bool:
    if not isinstance(last, Covering) or question.at_least > last.at_least:
        return False
    return question.at_most is None or (last.at_most is not None and last.at_most <= question.at_most)


def at_least(question: Question, step: Node, facts: Node, folder: object) -> Covering:
    stated = int(step["gives"]["at_least"])
    require(stated <= below(question, step["given"]["form"]), "at_least")
    return Covering(at_least=max(1, stated))


def at_most(question: Question, step: Node, facts: Node, folder: object) -> Covering:
    given = step["given"]
    shrink = Fraction(given["shrink"]) if "shrink" in given else None
    require(shrink is None or (shrink > 0 and shrink < 1 <= 2 * shrink**2), "shrink")
    stated = int(step["gives"]["at_most"])
    require(stated >= above(question, given["form"], shrink), "at_most")
    return Covering(at_most=stated)


def both(question: Question, step: Node, facts: Node, folder: object) -> Covering:
    lower, upper = facts[step["uses"]["lower"]], facts[step["uses"]["upper"]]
    stated = [int(step["gives"][name]) for name in ("at_least", "at_most")]
    require(isinstance(lower, Covering) and isinstance(upper, Covering) and upper.at_most is not None, "premises")
    require(stated[0] <= lower.at_least and stated[1] >= upper.at_most, "bounds")
    return Covering(max(1, stated[0]), stated[1])


def below(question: Question, form: str) -> int:
    """What the form proves from below."""
    dim, ratio = question.dim, question.ratio
    if form == "few":
        return dim + 1 if question.acute else 1 if ratio is not None else 2
    require(form in ("volume", "caps", "ball-through-sphere"), "form")
    require((form == "caps") == (ratio is None), "body")
    if form == "volume":
        assert ratio is not None
        return -int(-(ratio**dim) // 1)
    require(dim >= 2 and question.acute, "caps below a right angle")
    with precision(BITS):
        return -whole(-1 / cap(dim, question.cap()))


def above(question: Question, form: str, shrink: Fraction | None) -> int:
    """What the form proves from above."""
    dim, ratio = question.dim, question.ratio
    require((shrink is not None) == (form in ("lovasz-stein", "shells")), "shrink")
    require(form in _ABOVE, "form")
    with precision(BITS):
        if form == "few" and not question.acute:
            return 1 if ratio is not None else 2
        if form == "arcs":
            require(dim == (1 if ratio is not None else 2), "arcs")
            return -whole(-ball(ratio) if ratio is not None else -arb.pi() / ball(question.angle))
        if form == "packing" and ratio is not None:
            return int((1 + 2 * ratio) ** dim)
        if form == "lattice":
            require(ratio is not None, "body")
            return whole(lattice_density(dim) * ball(1 + ratio) ** dim)
        if form == "lovasz-stein" and ratio is not None:
            require(ratio >= 1, "ratio")
            share = (ball(shrink) / ball(ratio + shrink)) ** dim
            gaps = share * (ball(2 * ratio) / ball(1 - shrink)) ** dim
            require(bool(gaps >= 1), "gaps")
            return whole(1 + (1 + gaps.log()) / share)
        require(dim >= 2 and question.acute, "caps below a right angle")
        if form == "shells":
            require(ratio is not None, "body")
            return shells(dim, ratio, shrink)
        options = {"few": vertices, "packing": packed, "lovasz-stein": lambda d, t: greedy(d, t, shrink)}
        return options[form](dim, question.cap())


_ABOVE = ("few", "arcs", "packing", "lattice", "lovasz-stein", "shells")


def whole(x: arb) -> int:
    """The floor, a number that cannot be told from an integer taken for it."""
    near = (x + arb(0.5)).mid().floor().unique_fmpz()
    assert isinstance(near, fmpz)
    if abs(x - arb(near)) < arb(2) ** -300:
        return int(near)
    found = x.floor().unique_fmpz()
    if found is None and abs(x) > arb(2) ** 512:
        raise TooLarge  # more digits than the precision
    assert found is not None, f"not decided: {x}"
    return int(found)


def cap(dim: int, angle: arb) -> arb:
    """The integral of sin^(dim-2) up to the angle, over that up to pi, by parts."""

    def integral(power: int, end: arb) -> arb:
        value = end if power % 2 == 0 else 1 - end.cos()
        for n in range(2 + power % 2, power + 1, 2):
            value = (n - 1) * value / n - end.sin() ** (n - 1) * end.cos() / n
        return value

    return integral(dim - 2, angle) / integral(dim - 2, arb.pi())


def lattice_density(dim: int) -> arb:
    """A_d*'s: the unit ball's volume times the covering radius^d over the volume of a cell, the permutohedron's."""
    ball_volume = arb(2) if dim % 2 else arb(1)
    for n in range(2 + dim % 2, dim + 1, 2):
        ball_volume *= 2 * arb.pi() / n
    vertex = sum((Fraction(dim - 2 * k, 2 * (dim + 1)) ** 2 for k in range(dim + 1)), Fraction(0))
    return ball_volume * ball(vertex).sqrt() ** dim * ball(dim + 1).sqrt()


def vertices(dim: int, angle: arb) -> int:
    """Vertices of a simplex, or of a cross-polytope, whose caps cover."""
    cosine = angle.cos()
    if cosine <= arb(1) / dim:
        return dim + 1
    require(bool(cosine <= 1 / arb(dim).sqrt()), "vertices")
    return 2 * dim


def packed(dim: int, angle: arb) -> int:
    return whole(1 / cap(dim, angle / 2))


def greedy(dim: int, angle: arb, shrink: Fraction | None) -> int:
    assert shrink is not None
    kept = (ball(shrink) * angle.sin()).asin()
    share, gap = cap(dim, kept), cap(dim, angle - kept)
    require(bool(share >= gap), "gaps")
    return whole(1 + (1 + (share / gap).log()) / share)


def shells(dim: int, ratio: Fraction, shrink: Fraction | None) -> int:
    """Spheres of radius q, each with what lies down to q - 2/q, until one ball covers the rest."""
    radius, total = ball(ratio), 0
    while True:
        angle = (1 / radius).asin()
        counts = [packed(dim, angle), greedy(dim, angle, shrink)]
        if angle.cos() <= 1 / arb(dim).sqrt():
            counts.append(vertices(dim, angle))
        total += min(counts)
        if radius**2 <= 2:
            return total
        radius -= 2 / radius
        if radius <= 1:
            return total + 1


def claim_holds(node: Node) -> bool:
    """Whether no other bound contradicts the claim: each side against every form of the other side."""
    question = statement(node)
    dim, ratio = question.dim, question.ratio
    lower = [below(question, "few")]
    upper = [above(question, "few", None)] if not question.acute else []
    if ratio is not None:
        lower.append(below(question, "volume"))
        upper += [above(question, form, None) for form in ("packing", "lattice")]
    if dim >= 2 and question.acute:
        lower.append(below(question, "caps" if ratio is None else "ball-through-sphere"))
        upper.append(above(question, "packing", None))
    if dim == (1 if ratio is not None else 2):
        upper.append(above(question, "arcs", None))
    return question.at_least <= min(upper) and (question.at_most is None or max(lower) <= question.at_most)


RULES = {"cover-at-least": at_least, "cover-at-most": at_most, "cover": both}
