"""Covering numbers decided anew: caps by Arb's incomplete beta function, angles as angles, counts without rounding.

A whole number N is at most floor(x) where N <= x, at least floor(x) where x < N + 1: so nothing is rounded here but the
counts of single shells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flint import arb, ctx, fmpq, fmpz

from kvverify.crosscheck.facts import Rule, premise
from kvverify.crosscheck.goal import Fact, Goal, must
from kvverify.crosscheck.settle import Case, within
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integer, rational

_DIMENSIONS, _SHELLS, _POWER_BITS = 4096, 1 << 13, 1 << 20
_PRECISION = 1 << 15  # a covering number has as many bits at most


@dataclass(frozen=True)
class Covering(Fact):
    """At least and at most so many balls or caps; 1 and None where nothing is said."""

    at_least: int = 1
    at_most: int | None = None


@dataclass(frozen=True)
class Cover(Goal):
    """``ratio`` of the ball's ``radius`` to the covering balls', or the caps' ``angle``; the others are None."""

    dim: int
    ratio: fmpq | None
    angle: fmpq | None
    at_least: int
    at_most: int | None
    radius: fmpq | None = None

    def met_by(self, last: Fact) -> None:
        """The two bounds against the last step's."""
        must(isinstance(last, Covering), "the last step bounds a covering number")
        assert isinstance(last, Covering)
        must(self.at_least <= last.at_least, "at_least exceeds what the last step states")
        if self.at_most is not None:
            must(last.at_most is not None and self.at_most >= last.at_most, "at_most is below the last step's")

    def sine(self) -> arb:
        """Of the caps' angle; on the surface of a ball the largest cap that one of the covering balls takes."""
        return 1 / arb(self.ratio) if self.angle is None else arb(self.angle).sin()


def read(node: Node) -> Cover:
    """The claim. Raises Malformed."""
    sphere = node.get("body") == "sphere"
    sizes = {"angle"} if sphere else {"radius", "ball_radius"}
    fields(node, "statement", {"claim", "body", "dim"} | sizes, {"at_least", "at_most"})
    size = {name: _number(node[name], name) for name in sizes}
    dim = integer(node["dim"], "dim")
    bounds = {name: integer(node[name], name) for name in ("at_least", "at_most") if name in node}
    if node["body"] not in ("ball", "sphere") or dim < 1 + sphere or min(size.values()) <= 0:
        raise Malformed("statement: a ball of dimension 1 or a sphere of dimension 2, and sizes above 0")
    if not bounds or min(bounds.values()) < 1 or (sphere and size["angle"] > arb.pi()):
        raise Malformed("statement: bounds from 1 on, at least one of them, and an angle of at most pi")
    if dim > _DIMENSIONS:
        raise OverLimit(f"limit: {dim} dimensions")
    ratio = None if sphere else size["radius"] / size["ball_radius"]
    ends = bounds.get("at_least", 1), bounds.get("at_most")
    return Cover(dim, ratio, size.get("angle"), *ends, size.get("radius"))


def cover_at_least(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Covering:
    """at_least - 1 < the bound, which makes at_least its ceiling at most."""
    goal = case.about(Cover)
    must(not uses, "no premises")
    form = fields(given, "given", {"form"})["form"]
    stated = integer(fields(gives, "gives", {"at_least"})["at_least"], "at_least")
    if form == "few":
        must(stated <= _fewest(goal), "at_least is a bound for large balls and caps")
    elif form == "volume":
        ratio = _ball(goal)
        size = goal.dim * max(ratio.p.bit_length(), ratio.q.bit_length())
        within(size <= _POWER_BITS and stated.bit_length() <= _POWER_BITS, f"a power of {size} bits")
        must((stated - 1) * fmpz(ratio.q) ** goal.dim < fmpz(ratio.p) ** goal.dim, "at_least - 1 < (r / delta)^d")
    elif form in ("caps", "ball-through-sphere"):
        must((goal.angle is not None) == (form == "caps"), "caps for a sphere, ball-through-sphere for a ball")
        _acute(case, goal)
        _settle(case, "(at_least - 1) cap < 1", lambda: ((stated - 1) * _cap(goal.dim, goal.sine()), arb(1)))
    else:
        raise Malformed("form: few, volume, caps or ball-through-sphere")
    return Covering(at_least=stated)


def cover_at_most(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Covering:
    """The bound < at_most + 1, which makes at_most its floor at least."""
    goal = case.about(Cover)
    must(not uses, "no premises")
    form = given.get("form")
    if form not in _ABOVE:
        raise Malformed(f"form: expected one of {', '.join(_ABOVE)}")
    shrinks = form in ("lovasz-stein", "shells")
    fields(given, "given", {"form", "shrink"} if shrinks else {"form"})
    stated = integer(fields(gives, "gives", {"at_most"})["at_most"], "at_most")
    shrink = _number(given["shrink"], "shrink") if shrinks else fmpq(1)
    must(not shrinks or (shrink < 1 <= 2 * shrink**2 and shrink > 0), "1/2 <= shrink^2 < 1")
    _ABOVE[form](case, goal, shrink, stated)
    return Covering(at_most=stated)


def cover(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Covering:
    """Both bounds as the premises state them, or weaker."""
    case.about(Cover)
    must(set(uses) == {"lower", "upper"} and not given, "the premises are lower and upper")
    fields(gives, "gives", {"at_least", "at_most"})
    at_least, at_most = (integer(gives[name], name) for name in ("at_least", "at_most"))
    most = premise(uses, "upper", Covering).at_most
    must(at_least <= premise(uses, "lower", Covering).at_least, "at_least <= the lower bound")
    must(most is not None and at_most >= most, "at_most >= the upper bound")
    return Covering(at_least, at_most)


def _fewest(goal: Cover) -> int:
    """d caps below a right angle leave a direction out, and so do d balls that are smaller than the ball."""
    if goal.ratio is not None:
        return goal.dim + 1 if goal.ratio > 1 else 1
    return goal.dim + 1 if _below_right(goal) else 2


def _few(case: Case, goal: Cover, _: fmpq, stated: int) -> None:
    if (goal.ratio is not None and goal.ratio <= 1) or (goal.ratio is None and not _below_right(goal)):
        must(stated >= (1 if goal.angle is None else 2), "at_most is a bound for the largest balls and caps")
        return
    must(goal.dim >= 2 and stated > goal.dim, "more than d balls or caps")
    narrow = fmpq(1, goal.dim if stated >= 2 * goal.dim else goal.dim**2)
    _settle(case, "the vertices' caps cover: 1 - 1/d <= sin^2", lambda: (arb(1 - narrow), goal.sine() ** 2))


def _arcs(case: Case, goal: Cover, _: fmpq, stated: int) -> None:
    must(goal.dim == (1 if goal.angle is None else 2), "an interval or a circle")
    if goal.ratio is not None:
        must(stated >= goal.ratio, "at_most >= r / delta")
    else:
        _settle(case, "pi <= at_most angle", lambda: (arb.pi(), stated * arb(goal.angle)))


def _packing(case: Case, goal: Cover, _: fmpq, stated: int) -> None:
    if goal.ratio is None:
        _acute(case, goal)
        _floor(case, "1 / measure of half a cap", stated, lambda: 1 / _cap(goal.dim, (goal.sine().asin() / 2).sin()))
    else:
        base = 1 + 2 * goal.ratio
        _floor(case, "(1 + 2 r / delta)^d", stated, lambda: arb(base) ** goal.dim)


def _lattice(case: Case, goal: Cover, _: fmpq, stated: int) -> None:
    ratio, dim = _ball(goal), goal.dim

    def bound() -> arb:
        half = arb(dim) / 2
        ball = arb.pi() ** half / (half + 1).gamma()
        deep = arb(fmpq(dim * (dim + 2), 12 * (dim + 1)))
        return ball * arb(dim + 1).sqrt() * deep**half * arb(1 + ratio) ** dim

    _floor(case, "Theta (1 + r / delta)^d", stated, bound)


def _lovasz_stein(case: Case, goal: Cover, shrink: fmpq, stated: int) -> None:
    dim = goal.dim
    if goal.ratio is None:
        _acute(case, goal)
        _floor(case, "random caps", stated, lambda: _random_caps(dim, goal.sine(), shrink))
        return
    ratio = goal.ratio
    must(ratio >= 1, "delta <= r")

    def bound() -> arb:
        share = (arb(shrink) / (ratio + shrink)) ** dim
        return 1 + (1 + share.log() + dim * (2 * ratio / arb(1 - shrink)).log()) / share

    _floor(case, "random balls", stated, bound)


def _shells(case: Case, goal: Cover, shrink: fmpq, stated: int) -> None:
    ratio, dim = _ball(goal), goal.dim
    must(dim >= 2 and ratio > 1, "a ball of dimension 2 or more, larger than those that cover it")
    within(ratio**2 <= 4 * _SHELLS, "that many shells")

    def bound() -> arb:
        radius, total = arb(ratio), arb(0)
        while not radius <= 1:
            sine = 1 / radius
            total += _least(dim, sine, shrink).floor()
            if not radius**2 > 2:
                return total
            radius -= 2 / radius
        return total + 1

    _floor(case, "shells", stated, bound)


def _least(dim: int, sine: arb, shrink: fmpq) -> arb:
    """The least of what the three ways of covering a sphere need."""
    found = _random_caps(dim, sine, shrink).min(1 / _cap(dim, (sine.asin() / 2).sin()))
    for many, narrow in ((2 * dim, fmpq(1, dim)), (dim + 1, fmpq(1, dim**2))):
        if sine**2 >= 1 - arb(narrow):
            found = found.min(arb(many))
    return found


def _random_caps(dim: int, sine: arb, shrink: fmpq) -> arb:
    angle = sine.asin()
    kept = (shrink * sine).asin()
    share = _cap(dim, kept.sin())
    return 1 + (1 + (share / _cap(dim, (angle - kept).sin())).log()) / share


def _cap(dim: int, sine: arb) -> arb:
    """The measure of a cap of at most a right angle, that of the sphere being 1."""
    return (sine**2).beta_lower(arb(dim - 1) / 2, arb(1) / 2, regularized=True) / 2


def _floor(case: Case, test: str, stated: int, bound: Callable[[], arb]) -> None:
    _settle(case, f"{test} < at_most + 1", lambda: (bound(), arb(stated + 1)), strict=True)


def _settle(case: Case, test: str, sides: Callable[[], tuple[arb, arb]], *, strict: bool = True) -> None:
    case.at_most(test, sides, strict=strict, most=_PRECISION)


def _acute(case: Case, goal: Cover) -> None:
    """An angle of at most pi/2; a ball that is larger than those that cover it."""
    must(goal.dim >= 2 and (_below_right(goal) if goal.ratio is None else goal.ratio > 1), "caps below a right angle")


def _below_right(goal: Cover) -> bool:
    with ctx.workprec(_PRECISION):
        return bool(2 * arb(goal.angle) < arb.pi())


def _ball(goal: Cover) -> fmpq:
    must(goal.ratio is not None, "the form is about a ball")
    assert goal.ratio is not None
    return goal.ratio


def _number(text: object, where: str) -> fmpq:
    value = rational(text, where)
    return fmpq(value.numerator, value.denominator)


_ABOVE: dict[str, Callable[[Case, Cover, fmpq, int], None]] = {
    "few": _few, "arcs": _arcs, "packing": _packing, "lattice": _lattice, "lovasz-stein": _lovasz_stein,
    "shells": _shells,
}  # fmt: skip

RULES: dict[str, Rule] = {"cover-at-least": cover_at_least, "cover-at-most": cover_at_most, "cover": cover}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"cover": read}
