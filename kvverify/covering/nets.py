"""Explicit nets as certificates: what anybody's points cover with. The kernel decides (docs/proofs/nets.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import acos, floor, sqrt
from pathlib import Path
from typing import Any

from flint import arb, ctx, fmpq

from kvverify.covering import nets_hull, nets_points
from kvverify.covering.nets_points import Points, Row
from kvverify.errors import Incomplete, UsageError
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check

Node = dict[str, Any]

GRID = 10**9
"""Angles and radii that are found here are multiples of 1/GRID."""
_PRECISION = 256


@dataclass(frozen=True)
class Net:
    """A net that the kernel accepted: ``count`` points cover with caps of ``angle`` radians (of the unit sphere), or
    with balls of ``ball_radius`` (of the ball of ``radius``); what does not apply is None.
    """

    dim: int
    count: int
    angle: Fraction | None
    radius: Fraction | None
    ball_radius: Fraction | None
    certificate: Node

    @property
    def step(self) -> Node:
        """The certificate's only step, of the rule net."""
        step: Node = self.certificate["steps"][0]
        return step


def net_of_file(
    path: Path,
    *,
    sphere: bool,
    radius: Fraction = Fraction(1),
    angle: Fraction | None = None,
    ball_radius: Fraction | None = None,
) -> Net:
    """The net of a file's points, with the least angle or ball radius found, or the one that is asked for.

    Raises UsageError where the points are no such net, Incomplete where the kernel's limits are reached.
    """
    points = nets_points.read_points(path)
    return sphere_net(points, angle) if sphere else ball_net(points, radius, ball_radius)


def sphere_net(points: Points, angle: Fraction | None = None) -> Net:
    """The points as a net of the unit sphere: they have norm 1 up to 1e-6, and move by at most 2^-30."""
    rows = nets_points.on_the_sphere(points)
    found = nets_hull.fan(rows)
    stretch = fmpq(found.stretch.numerator, found.stretch.denominator)
    if stretch * fmpq(1, 400) > 1:
        raise UsageError("the points leave a gap of nearly half the sphere")

    def covers(candidate: Fraction) -> bool:
        return bool(arb(fmpq(candidate.numerator, candidate.denominator)).cos() ** 2 * stretch <= 1)

    least = _least(acos(1 / sqrt(float(stretch))), covers)
    angle = _asked(angle, least, "caps of angle")
    given = {"points": _lines(rows), "simplices": _lines(found.simplices)}
    if found.orthoplexes:
        given["orthoplexes"] = _lines(found.orthoplexes)
    used = {i for facet in (*found.simplices, *found.orthoplexes) for i in facet}
    dim = len(rows[0]) - 1
    tree = _tree({"body": "sphere", "dim": str(dim), "angle": str(angle)}, given, len(used))
    return Net(dim, len(used), angle, None, None, tree)


def ball_net(points: Points, radius: Fraction, ball_radius: Fraction | None = None) -> Net:
    """The points as a net of the ball of that radius; they move by at most 2^-30."""
    rows = nets_points.on_a_grid(points)
    found = nets_hull.solid(rows, radius)
    reach = fmpq(found.reach.numerator, found.reach.denominator)
    r = fmpq(radius.numerator, radius.denominator)
    shells = [(fmpq(p.numerator, p.denominator), fmpq(a.numerator, a.denominator)) for p, a in found.shells]

    def covers(candidate: Fraction) -> bool:
        square = fmpq(candidate.numerator, candidate.denominator) ** 2
        return reach <= square and all(bool(r * r + p - 2 * r / arb(a).sqrt() <= square) for p, a in shells)

    bounds = [float(r) ** 2 + float(p) - 2 * float(r) / float(a) ** 0.5 for p, a in shells]
    least = _least(sqrt(max([float(reach), *bounds])), covers)
    ball_radius = _asked(ball_radius, least, "balls of radius")
    used = {i for simplex in found.simplices for i in simplex}
    dim = len(rows[0]) - 1
    claim = {"body": "ball", "dim": str(dim), "radius": str(radius), "ball_radius": str(ball_radius)}
    tree = _tree(claim, {"points": _lines(rows), "simplices": _lines(found.simplices)}, len(used))
    return Net(dim, len(used), None, radius, ball_radius, tree)


def _least(near: float, holds: Callable[[Fraction], bool]) -> Fraction:
    """The least multiple of 1/GRID, about ``near``, for which a growing condition holds."""
    with ctx.workprec(_PRECISION):
        step, size = floor(near * GRID) - 2, 1
        while not holds(Fraction(step + size, GRID)):
            step, size = step + size, 2 * size
        while size > 1:
            size //= 2
            if not holds(Fraction(step + size, GRID)):
                step += size
        return Fraction(step + 1, GRID)


def _asked(asked: Fraction | None, least: Fraction, what: str) -> Fraction:
    if asked is not None and asked < least:
        raise UsageError(f"the points cover with {what} {float(least):.9g}, not with {float(asked):.9g}")
    return asked or least


def _lines(rows: tuple[Row, ...] | list[Row]) -> list[str]:
    return [" ".join(map(str, row)) for row in rows]


def _tree(claim: Node, given: Node, count: int) -> Node:
    """The certificate, once the kernel accepted it."""
    step = {"id": "net", "rule": "net", "uses": {}, "given": given, "gives": {"at_most": str(count)}}
    tree = document.build({"claim": "cover", **claim, "at_most": str(count)}, [step])
    result = check(tree)
    if result.verdict is Verdict.INCOMPLETE:
        raise Incomplete(result.reason)
    if result.verdict is Verdict.INVALID:
        raise UsageError(f"the kernel rejects this net: {result.reason}")
    return tree
