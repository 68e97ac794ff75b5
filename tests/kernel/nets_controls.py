"""Nets by hand in every dimension, and the controls among them: angles and radii to the last 2^-32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import product
from math import acos, ceil, floor, lcm, sqrt
from typing import Any

from kvverify.kernel import document
from tests.kernel.controls import Control
from tests.kernel.covered import statement
from tests.kernel.families import Wrong
from tests.kernel.netted import Facet, Vector, determinant, lattice_points

Node = dict[str, Any]
UNIT = 1 << 32


@dataclass(frozen=True)
class Shape:
    """Points, facets and what they cover with: the caps' angle, or radius and ball_radius."""

    points: tuple[tuple[Fraction, ...], ...]
    simplices: tuple[Facet, ...]
    pairs: tuple[Facet, ...] = ()
    angle: Fraction | None = None
    radius: Fraction = Fraction(1)
    ball_radius: Fraction = Fraction(1)

    @property
    def dim(self) -> int:
        return len(self.points[0])

    @property
    def used(self) -> int:
        return len({i for facet in (*self.simplices, *self.pairs) for i in facet})

    def claim(self) -> Node:
        """The statement, with as many points as are used."""
        body = {"body": "ball", "radius": str(self.radius), "ball_radius": str(self.ball_radius)}
        size = body if self.angle is None else {"body": "sphere", "angle": str(self.angle)}
        return {"claim": "cover", "dim": str(self.dim), **size, "at_most": str(self.used)}

    def steps(self) -> list[Node]:
        given: Node = {"points": [written(p) for p in self.points], "simplices": [_words(s) for s in self.simplices]}
        if self.pairs:
            given["orthoplexes"] = [_words(s) for s in self.pairs]
        return [{"id": "net", "rule": "net", "uses": {}, "given": given, "gives": {"at_most": str(self.used)}}]

    def tree(self) -> Node:
        """The certificate."""
        return document.build(self.claim(), self.steps())


def written(point: Sequence[Fraction]) -> str:
    """Numerators and the denominator."""
    below = lcm(*(x.denominator for x in point))
    return _words([*(int(x * below) for x in point), below])


def _words(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def sized(shape: Shape, size: Fraction) -> Shape:
    """The shape with another angle, or ball_radius."""
    return replace(shape, ball_radius=size) if shape.angle is None else replace(shape, angle=size)


def tight(shape: Shape, near: float) -> Shape:
    """The shape with the least multiple of 2^-32 from ``near`` on, which is known to far more digits."""
    return sized(shape, Fraction(ceil(near * UNIT - 2.0**-8), UNIT))


def finer(shape: Shape) -> Shape:
    """What it covers with, less by the smallest step."""
    return sized(shape, (shape.angle or shape.ball_radius) - Fraction(1, UNIT))


def positive(points: Sequence[Vector | tuple[Fraction, ...]], facet: Sequence[int]) -> Facet:
    """The vertices in an order that makes the determinant positive; of the ball's simplices with ones before them."""
    rows = [list(points[i]) for i in facet]
    if len(facet) > len(rows[0]):
        rows = [[Fraction(1), *r] for r in rows]
    return tuple(facet) if determinant(rows) > 0 else (facet[1], facet[0], *facet[2:])


def axes(dim: int, size: Fraction | int = 1) -> list[tuple[Fraction, ...]]:
    """The cross-polytope's vertices: e_0, -e_0, e_1, .."""
    return [tuple(Fraction(sign * size * (i == j)) for i in range(dim)) for j in range(dim) for sign in (1, -1)]


def corners(dim: int) -> list[list[int]]:
    """Its facets, as indices of ``axes``."""
    return [[2 * j + side for j, side in enumerate(sides)] for sides in product((0, 1), repeat=dim)]


@cache
def cross(dim: int) -> Shape:
    """2 d points, 2^d simplices."""
    points = axes(dim)
    facets = tuple(positive(points, facet) for facet in corners(dim))
    return tight(Shape(tuple(points), facets, angle=Fraction(1)), acos(1 / sqrt(dim)))


@cache
def pyramid(dim: int) -> Shape:
    """A cross-polytope of dimension d - 1 below, and a point above: one facet of pairs, 2^(d-1) simplices."""
    base = [(*(x * Fraction(4, 5) for x in p), Fraction(-3, 5)) for p in axes(dim - 1)]
    points = [*base, (*[Fraction(0)] * (dim - 1), Fraction(1))]
    facets = tuple(positive(points, [*facet, len(base)]) for facet in corners(dim - 1))
    below = list(range(len(base)))
    centre = [Fraction(0)] * (dim - 1) + [Fraction(-3, 5)]
    if determinant([centre, *(list(points[i]) for i in below[::2])]) < 0:
        below[:2] = below[1], below[0]
    sides = 1 + (Fraction(2) ** 2) * (dim - 1)  # the planes z + 2 (+-x_1 ..) = 1
    return tight(Shape(tuple(points), facets, (tuple(below),), Fraction(1)), acos(min(3 / 5, 1 / sqrt(sides))))


@cache
def solid(dim: int) -> Shape:
    """The cross-polytope with its centre, for the ball that it holds."""
    points = [*axes(dim), tuple([Fraction(0)] * dim)]
    simplices = tuple(positive(points, [*facet, 2 * dim]) for facet in corners(dim))
    radius = Fraction(floor(UNIT / sqrt(dim)), UNIT)
    return tight(Shape(tuple(points), simplices, radius=radius), max(sqrt(dim) / 2, 0.5) if dim > 1 else 0.5)


@cache
def shelled(dim: int) -> Shape:
    """The same for a larger ball, the shell beyond the border's planes being near enough to the vertices."""
    larger = replace(solid(dim), radius=Fraction(11, 10) / dim + Fraction(9, 10))
    r, h = float(larger.radius), 1 / sqrt(dim)
    return tight(larger, sqrt(max(dim / 4, r * r + 1 - 2 * r * h)))


def annulus(dim: int) -> Shape:
    """Between two cross-polytopes: simplices that fill all but a hole round the origin."""
    points = [*axes(dim, 2), *axes(dim, 1)]
    simplices = [
        positive(points, [*(i + 2 * dim for i in facet[: k + 1]), *facet[k:]])
        for facet in corners(dim)
        for k in range(dim)
    ]
    return Shape(tuple(points), tuple(simplices), ball_radius=Fraction(dim))


def rounded_polygon() -> Shape:
    """Five points of the circle."""
    points = [(1, 0, 1), (5, 12, 13), (-4, 3, 5), (-4, -3, 5), (5, -12, 13)]
    vectors = tuple((Fraction(x, z), Fraction(y, z)) for x, y, z in points)
    facets = tuple((i, (i + 1) % 5) for i in range(5))
    return tight(Shape(vectors, facets, angle=Fraction(1)), acos(16 / 65) / 2)


def box() -> Shape:
    """Eight corners; the sides are rectangles, pairs of opposite corners with one midpoint."""
    third = Fraction(1, 3)
    points = [
        tuple(s * x * third for s, x in zip(signs, (2, 2, 1), strict=True)) for signs in product((1, -1), repeat=3)
    ]
    pairs = []
    for axis, sign in product(range(3), (1, -1)):
        side = [i for i, p in enumerate(points) if p[axis] * sign > 0]
        a, b, c, d = side  # d is opposite to a
        order = [a, d, b, c]
        centre = [p / 2 + q / 2 for p, q in zip(points[a], points[d], strict=True)]
        if determinant([centre, list(points[a]), list(points[b])]) < 0:
            order[:2] = d, a
        pairs.append(tuple(order))
    return tight(Shape(tuple(points), (), tuple(pairs), Fraction(1)), acos(1 / 3))


def off_centre() -> Shape:
    """A square that the origin is not in the middle of: two sides touch the disc, and a corner of theirs is far out."""
    half = Fraction(1, 2)
    points = tuple((x, Fraction(y)) for x in (-half, 3 * half) for y in (-1, 1))
    return tight(Shape(points, (positive(points, (0, 1, 2)), positive(points, (1, 2, 3)))), sqrt(2))


def lattice(dim: int, word: str, radius: int, shift: Sequence[Fraction | int], scale: Fraction) -> Control:
    """Balls of radius 1; as many as the oracle lists."""
    claimed = {"claim": "cover", "body": "ball", "dim": str(dim), "radius": str(radius), "ball_radius": "1"}
    given = {"lattice": word, "scale": str(scale), "shift": [str(x) for x in shift]}

    def made(count: int) -> Node:
        return {"id": "points", "rule": "lattice-points", "uses": {}, "given": given, "gives": {"at_most": str(count)}}

    question = statement({**claimed, "at_most": "1"})
    for count in range(1, 1 << 12):
        try:
            lattice_points(question, made(count), {}, None)
        except Wrong:
            continue
        name = "integer points" if word == "Z" else "permutohedral points"
        return Control(f"{name}, {dim}", document.build({**claimed, "at_most": str(count)}, [made(count)]))
    raise AssertionError("no count is enough")


@cache
def controls() -> tuple[Control, ...]:
    """All of them, small."""
    third = Fraction(1, 3)
    return (
        Control("net, circle", rounded_polygon().tree()),
        Control("net, octahedron", cross(3).tree()),
        Control("net, box", box().tree()),
        Control("net, pyramid", pyramid(3).tree()),
        Control("net, disc", solid(2).tree()),
        Control("net, disc with shells", shelled(2).tree()),
        Control("net, disc off its centre", off_centre().tree()),
        lattice(1, "Z", 2, [third], Fraction(2)),
        lattice(2, "Z", 1, [Fraction(1, 2)] * 2, Fraction(7, 5)),
        lattice(2, "A*", 1, [0, third, 2 * third], Fraction(2121, 1000)),
        lattice(3, "A*", 1, [0] * 4, Fraction(7, 4)),
    )
