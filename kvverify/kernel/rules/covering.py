"""Covering numbers of balls and spheres, from below and from above. Proofs: docs/proofs/covering.md.

The claim ``cover``: N(B) is the least number of closed balls of radius ``ball_radius``, centres anywhere in R^dim, that
cover the closed ball of radius ``radius``; N(S) the least number of closed caps of ``angle`` radians that cover the
unit sphere of R^dim. A cap is named by x = sin^2 of its angle (caps.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, factorial, isqrt

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integer, rational, short, text
from kvverify.kernel.facts import Fact, Goal, need, of_kind, premise, present, reject
from kvverify.kernel.numbers import LOG2_E_UPPER, log2_upper
from kvverify.kernel.rules.caps import BITS, measure, pi_between, root, rounded, sine_squared

MAX_DIM = 4096
_EXACT_BITS = 1 << 20  # of a power that is taken exactly
_COUNT_BITS = 1 << 16  # of a covering number; a certificate's integers have 13,288 at most
_LN2_UPPER = 1 / LOG2_E_UPPER + Fraction(1, 1 << 84)  # a partial sum, and the rest of its series
_PI = pi_between(BITS)


@dataclass(frozen=True)
class Covering(Fact):
    """``at_least`` <= N <= ``at_most`` for the goal's covering number N."""

    at_least: int = 1
    at_most: int | None = None


@dataclass(frozen=True)
class Cover(Goal):
    """Bounds of a covering number, one of them or both. ``body`` is ball or sphere.

    ``radius`` and ``ball_radius`` are of a ball's cover, ``angle`` (radians, below pi) is of a sphere's; 0 otherwise.
    """

    body: str
    dim: int
    radius: Fraction
    ball_radius: Fraction
    angle: Fraction
    at_least: int | None
    at_most: int | None

    def said(self) -> str:
        """The claim in one line."""
        if self.body == "ball":
            what = f"the ball of radius {self.radius} in dimension {self.dim} by balls of radius {self.ball_radius}"
        else:
            what = f"the unit sphere of dimension {self.dim} by caps of {self.angle} radians"
        ends = (("at least", self.at_least), ("at most", self.at_most))
        bounds = " and ".join(f"{word} {short(str(number))}" for word, number in ends if number is not None)
        return f"covering {what} takes {bounds}"

    def met_by(self, last: Fact) -> None:
        """Rejects where the last step proves less."""
        found = of_kind(last, Covering, "the last step's fact")
        if self.at_least is not None:
            need(self.at_least <= found.at_least, "at_least <= what the steps prove", self.at_least, found.at_least)
        if self.at_most is not None:
            most = present(found.at_most, "the last step gives a bound from above")
            need(self.at_most >= most, "at_most >= what the steps prove", self.at_most, most)


def parse(node: Node) -> Cover:
    """Read a statement. Raises Malformed where a field is missing, unknown or out of range."""
    body = text(node.get("body"), "statement.body")
    if body not in ("ball", "sphere"):
        raise Malformed(f"statement.body: expected ball or sphere, found {short(body)!r}")
    sizes = {"radius", "ball_radius"} if body == "ball" else {"angle"}
    fields(node, "statement", {"claim", "body", "dim"} | sizes, {"at_least", "at_most"})
    dim = integer(node["dim"], "statement.dim")
    size = {name: rational(node[name], f"statement.{name}") for name in sorted(sizes)}
    bounds = {name: integer(node[name], f"statement.{name}") for name in ("at_least", "at_most") if name in node}
    if dim < (1 if body == "ball" else 2):
        raise Malformed("statement.dim: expected at least 1 for a ball, at least 2 for a sphere")
    if dim > MAX_DIM:
        raise OverLimit(f"limit: a covering number in more than {MAX_DIM} dimensions")
    if min(size.values()) <= 0 or size.get("angle", Fraction(0)) > _PI[0]:
        raise Malformed("statement: expected radii above 0, an angle above 0 and at most pi")
    if not bounds or min(bounds.values()) < 1:
        raise Malformed("statement: expected at_least or at_most, or both, from 1 on")
    zero = Fraction(0)
    return Cover(
        body, dim, size.get("radius", zero), size.get("ball_radius", zero), size.get("angle", zero),
        bounds.get("at_least"), bounds.get("at_most"),
    )  # fmt: skip


def cover_at_least(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Covering:
    """A bound from below, by the form that is given: few, volume, caps or ball-through-sphere."""
    goal = context.about(Cover)
    fields(uses, "uses", set())
    form = text(fields(given, "given", {"form"})["form"], "form")
    stated = integer(fields(gives, "gives", {"at_least"})["at_least"], "at_least")
    if form not in _BELOW:
        reject(f"the form is one of {', '.join(_BELOW)}", form)
    bound = _BELOW[form](context, goal)
    need(stated <= bound, "at_least <= what the form proves", stated, bound)
    return Covering(at_least=max(stated, 1))


def cover_at_most(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Covering:
    """A bound from above, by the form that is given: few, arcs, packing, lattice, lovasz-stein or shells.

    ``shrink``, in the last two: the share of the angle's sine, or of the radius, that the random caps or balls keep.
    """
    goal = context.about(Cover)
    fields(uses, "uses", set())
    form = text(fields(given, "given", {"form"}, {"shrink"})["form"], "form")
    stated = integer(fields(gives, "gives", {"at_most"})["at_most"], "at_most")
    if form in _SHRINKING:
        fields(given, "given", {"form", "shrink"})
        bound = _SHRINKING[form](context, goal, _shrink(given))
    elif form in _ABOVE:
        fields(given, "given", {"form"})
        bound = _ABOVE[form](context, goal)
    else:
        reject(f"the form is one of {', '.join(_ABOVE | _SHRINKING)}", form)
    need(stated >= bound, "at_most >= what the form proves", stated, bound)
    return Covering(at_most=stated)


def cover(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Covering:
    """Both sides in one: what ``lower`` proves from below and ``upper`` from above."""
    context.about(Cover)
    fields(uses, "uses", {"lower", "upper"})
    fields(given, "given", set())
    stated = {name: integer(value, name) for name, value in fields(gives, "gives", {"at_least", "at_most"}).items()}
    lower, upper = premise(uses, "lower", Covering), premise(uses, "upper", Covering)
    most = present(upper.at_most, "the premise 'upper' is a bound from above")
    need(stated["at_least"] <= lower.at_least, "at_least <= the lower bound", stated["at_least"], lower.at_least)
    need(stated["at_most"] >= most, "at_most >= the upper bound", stated["at_most"], most)
    return Covering(max(stated["at_least"], 1), stated["at_most"])


def _few_below(context: Context, goal: Cover) -> int:
    """dim balls or caps leave a direction out that all of them are too small for."""
    if goal.body == "ball":
        return goal.dim + 1 if goal.ball_radius < goal.radius else 1
    return goal.dim + 1 if 2 * goal.angle <= _PI[0] else 2


def _volume(context: Context, goal: Cover) -> int:
    ratio = _ratio(context, goal, Fraction(0))
    return ceil(ratio**goal.dim)


def _caps(context: Context, goal: Cover) -> int:
    """The whole sphere's measure over a cap's."""
    need(goal.body == "sphere", "the form caps is about a sphere", goal.body, "sphere")
    return _covering_caps(context, goal)


def _through_sphere(context: Context, goal: Cover) -> int:
    """A ball meets the surface of the ball that is covered in a cap of sine ball_radius / radius at most."""
    need(goal.body == "ball", "the form ball-through-sphere is about a ball", goal.body, "ball")
    return _covering_caps(context, goal)


def _covering_caps(context: Context, goal: Cover) -> int:
    x = _sine_squared(context, goal)[1]
    _charge_caps(context, goal.dim, 1)
    return ceil(1 / measure(goal.dim, x, up=True))


def _few_above(context: Context, goal: Cover) -> int:
    """One ball, two caps, a simplex or a cross-polytope."""
    if goal.body == "ball" and goal.ball_radius >= goal.radius:
        return 1
    if goal.body == "sphere" and 2 * goal.angle >= _PI[1]:
        return 2
    return present(_vertices(goal.dim, _sine_squared(context, goal)[0]), "sin^2 of the angle >= 1 - 1/dim")


def _vertices(dim: int, x: Fraction) -> int | None:
    """How many vertices of a simplex or of a cross-polytope have caps that cover: cos <= 1/dim, or cos^2 <= 1/dim."""
    if x >= 1 - Fraction(1, dim**2):
        return dim + 1
    return 2 * dim if x >= 1 - Fraction(1, dim) else None


def _arcs(context: Context, goal: Cover) -> int:
    """Equal parts of an interval or of a circle."""
    if goal.body == "ball":
        need(goal.dim == 1, "the ball is an interval", goal.dim, 1)
        return ceil(goal.radius / goal.ball_radius)
    need(goal.dim == 2, "the sphere is a circle", goal.dim, 2)
    return ceil(_PI[1] / goal.angle)


def _packing(context: Context, goal: Cover) -> int:
    """As many as there may be disjoint balls or caps of half the size."""
    if goal.body == "ball":
        ratio = 2 * _ratio(context, goal, Fraction(1, 2))
        return int(ratio**goal.dim)
    x = _sine_squared(context, goal)[0]
    _charge_caps(context, goal.dim, 1)
    return _disjoint_caps(goal.dim, x)


def _disjoint_caps(dim: int, x: Fraction) -> int:
    """1 / measure of a cap of half the angle: its sin^2 is x / (2 (1 + cos))."""
    return int(1 / measure(dim, x / (2 + 2 * root(*(1 - x).as_integer_ratio(), up=True)), up=False))


def _lattice(context: Context, goal: Cover) -> int:
    """Some shift of the lattice A_dim*, of density Theta, has at most Theta (1 + r/delta)^dim points in reach."""
    dim = goal.dim
    ratio = _ratio(context, goal, Fraction(1))
    half, odd = divmod(dim, 2)
    # The unit ball's volume is ``unit`` times pi^half; all is squared.
    unit = Fraction(2 * factorial(half) << 2 * half, factorial(dim)) if odd else Fraction(1, factorial(half))
    deep = Fraction(dim * (dim + 2), 12 * (dim + 1))
    pi = _PI[1] ** (2 * half)
    above = unit.numerator**2 * (dim + 1) * (deep.numerator * ratio.numerator**2) ** dim * pi.numerator
    below = unit.denominator**2 * (deep.denominator * ratio.denominator**2) ** dim * pi.denominator
    return isqrt(above // below)


def _lovasz_stein(context: Context, goal: Cover, shrink: Fraction) -> int:
    """Balls or caps that are drawn at random until few gaps are left, and one for each gap."""
    dim = goal.dim
    if goal.body == "sphere":
        x = _sine_squared(context, goal)[0]
        _charge_caps(context, dim, 2)
        return _random_caps(dim, x, shrink)
    ratio = _ratio(context, goal, Fraction(0))
    need(ratio >= 1, "ball_radius <= radius", goal.ball_radius, goal.radius)
    base = rounded(shrink / (ratio + shrink), up=False)
    return _random(base**dim, dim, 2 * ratio / (1 - shrink) * base)


def _random_caps(dim: int, x: Fraction, shrink: Fraction) -> int:
    """The random caps keep the share ``shrink`` of the sine; what they lose of the angle is a gap's size."""
    part = (1 - shrink**2) / (
        root(*(1 - shrink**2 * x).as_integer_ratio(), up=True) + shrink * root(*(1 - x).as_integer_ratio(), up=True)
    )
    share = measure(dim, shrink**2 * x, up=False)
    return _random(share, 1, share / measure(dim, part**2 * x, up=False))


def _random(share: Fraction, times: int, gaps: Fraction) -> int:
    """floor(1 + (1 + ln(gaps^times)) / share): each covers ``share`` of the rest, and share * gaps stay at most."""
    need(gaps >= 1, "more gaps than one are left to the last", gaps, 1)
    return int(1 + (1 + times * log2_upper(gaps) * _LN2_UPPER) / share)


def _shells(context: Context, goal: Cover, shrink: Fraction) -> int:
    """Shell by shell: the one from q down to q - 2/q (in units of ball_radius) takes as many balls as its outer sphere
    takes caps of sine 1/q.
    """
    need(goal.body == "ball" and goal.dim >= 2, "shells are those of a ball of dimension 2 or more", goal.dim)
    square = _ratio(context, goal, Fraction(0)) ** 2
    need(square > 1, "ball_radius < radius", goal.ball_radius, goal.radius)
    total = 0
    while square > 1:
        square = rounded(square, up=True)
        x = 1 / square
        _charge_caps(context, goal.dim, 3)
        counts = (_vertices(goal.dim, x), _disjoint_caps(goal.dim, x), _random_caps(goal.dim, x, shrink))
        total += min(count for count in counts if count is not None)
        if square <= 2:
            return total
        square += 4 / square - 4
    return total + 1


def _ratio(context: Context, goal: Cover, more: Fraction) -> Fraction:
    """radius / ball_radius + ``more``, where its powers are not too long."""
    need(goal.body == "ball", "this form is about a ball", goal.body, "ball")
    ratio = goal.radius / goal.ball_radius + more
    _limit(goal.dim, ratio)
    if goal.dim * (ratio.numerator.bit_length() + ratio.denominator.bit_length()) > _EXACT_BITS:
        raise OverLimit("limit: the radii have too many digits for this dimension")
    context.charge(_EXACT_BITS)
    return ratio


def _sine_squared(context: Context, goal: Cover) -> tuple[Fraction, Fraction]:
    """Two rationals around sin^2 of the cap's angle, below pi/2; on a ball's surface (ball_radius / radius)^2."""
    need(goal.dim >= 2, "caps are of spheres in dimension 2 or more", goal.dim, 2)
    if goal.body == "ball":
        need(goal.ball_radius < goal.radius, "ball_radius < radius", goal.ball_radius, goal.radius)
        square = (goal.ball_radius / goal.radius) ** 2
        low, high = rounded(square, up=False), rounded(square, up=True)
    else:
        need(2 * goal.angle <= _PI[0], "angle <= pi/2", goal.angle, _PI[0] / 2)
        _limit(goal.dim, 1 / goal.angle)
        low, high = sine_squared(goal.angle)
    _limit(goal.dim, 1 / high)
    return low, high


def _limit(dim: int, ratio: Fraction) -> None:
    if dim * (ratio.numerator // ratio.denominator).bit_length() > _COUNT_BITS:
        raise OverLimit("limit: a covering number of far more than 4,000 digits")


def _charge_caps(context: Context, dim: int, count: int) -> None:
    context.charge(8 * count * (dim + BITS) * (1 + dim // 1024))


def _shrink(given: Node) -> Fraction:
    shrink = rational(given["shrink"], "shrink")
    need(2 * shrink**2 >= 1 > shrink, "1/2 <= shrink^2 < 1", shrink)
    need(shrink.denominator.bit_length() <= 64, "a shrink of 64 bits at most", shrink.denominator.bit_length(), 64)
    return shrink


_BELOW: dict[str, Callable[[Context, Cover], int]] = {
    "few": _few_below, "volume": _volume, "caps": _caps, "ball-through-sphere": _through_sphere,
}  # fmt: skip
_ABOVE: dict[str, Callable[[Context, Cover], int]] = {
    "few": _few_above, "arcs": _arcs, "packing": _packing, "lattice": _lattice,
}  # fmt: skip
_SHRINKING: dict[str, Callable[[Context, Cover, Fraction], int]] = {"lovasz-stein": _lovasz_stein, "shells": _shells}

RULES: dict[str, Rule] = {"cover-at-least": cover_at_least, "cover-at-most": cover_at_most, "cover": cover}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"cover": parse}
