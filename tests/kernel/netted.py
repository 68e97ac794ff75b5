"""Nets a second time: facets by Fractions, boundaries by cycles of permutations, cones by directions that hit them.

``truly_covers`` knows nothing of facets: it samples the sphere or the ball.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from flint import arb

from tests.kernel.covered import Covering, Question
from tests.kernel.families import require, small
from tests.kernel.real import at_most, ball

Node = dict[str, Any]
Vector = list[Fraction]
Facet = tuple[int, ...]
_LISTED = 1 << 13


def net(question: Question, step: Node, facts: Node, folder: object) -> Covering:
    """A chain of positive facets that is closed, or bounded by one that is, each near enough."""
    given, stated = step["given"], int(step["gives"]["at_most"])
    points = _points(given["points"], question.dim)
    sphere = question.ratio is None
    simplices = _facets(given["simplices"], len(points), question.dim + (not sphere))
    pairs = _facets(given.get("orthoplexes", []), len(points), 2 * question.dim - 2)
    require(question.dim >= 2 and bool(simplices or pairs) and (sphere or not pairs), "form")
    if sphere:
        require(all(_dot(p, p) == 1 for p in points), "sphere")
        _sphere(question, points, simplices, pairs)
    else:
        _ball(question, points, simplices)
    require(stated >= len({i for facet in (*simplices, *pairs) for i in facet}), "count")
    return Covering(at_most=stated)


def _sphere(question: Question, points: list[Vector], simplices: list[Facet], pairs: list[Facet]) -> None:
    chain: Counter[Facet] = Counter()
    planes = []
    for facet in simplices:
        planes.append(plane([points[i] for i in facet]))
        _add_boundary(chain, facet)
    for facet in pairs:
        centre = [(x + y) / 2 for x, y in zip(points[facet[0]], points[facet[1]], strict=True)]
        for a, b in zip(facet[::2], facet[1::2], strict=True):
            require([x + y for x, y in zip(points[a], points[b], strict=True)] == [2 * x for x in centre], "midpoint")
        for sides in product((0, 1), repeat=len(facet) // 2):
            corner = tuple(facet[2 * j + side] for j, side in enumerate(sides))
            rows = [centre, *(points[i] for i in corner)]
            if sum(sides) % 2:
                rows[0], rows[1] = rows[1], rows[0]
            planes.append(plane(rows))
            _add_face(chain, corner, 1 - 2 * (sum(sides) % 2))
    require(not any(chain.values()), "closed")
    require(bool(2 * ball(question.angle) <= arb.pi()), "angle")
    require(at_most(ball(max(_dot(a, a) for a in planes)) * ball(question.angle).cos() ** 2, 1), "far planes")


def _ball(question: Question, points: list[Vector], simplices: list[Facet]) -> None:
    assert question.ratio is not None
    radius, reach = question.radius, (question.radius / question.ratio) ** 2
    border: Counter[Facet] = Counter()
    for simplex in simplices:
        rows = [[Fraction(1), *points[i]] for i in simplex]
        require(determinant(rows) > 0, "positive")
        centre = _centre([points[i] for i in simplex])
        require(all(_distance(centre, points[i]) <= reach for i in simplex), "circumradius")
        _add_boundary(border, simplex)
    chain: Counter[Facet] = Counter()
    for face, many in border.items():
        require(abs(many) <= 1, "faces of two")
        if many:
            vertices = face if many > 0 else (face[1], face[0], *face[2:])
            a = plane([points[i] for i in vertices])
            _add_boundary(chain, vertices)
            far = radius**2 + max(_dot(points[i], points[i]) for i in vertices) - reach
            square = _dot(a, a)
            require(square * radius**2 <= 1 or far <= 0 or far**2 * square <= 4 * radius**2, "shell")
    require(not any(chain.values()), "closed")


def plane(rows: list[Vector]) -> Vector:
    """a with a.p = 1 for the rows p, which must be positively oriented."""
    require(determinant(rows) > 0, "positive")
    return _solve(rows, [Fraction(1)] * len(rows))


def determinant(rows: list[Vector]) -> Fraction:
    """The product of the pivots of Gauss' elimination."""
    rows, found = [list(row) for row in rows], Fraction(1)
    while rows:
        place = next((i for i, row in enumerate(rows) if row[0]), None)
        if place is None:
            return Fraction(0)
        pivot = rows.pop(place)
        found *= pivot[0] * (-1) ** place
        rows = [[x - row[0] / pivot[0] * y for x, y in zip(row[1:], pivot[1:], strict=True)] for row in rows]
    return found


def _solve(rows: list[Vector], right: Vector) -> Vector:
    """Gauss and Jordan."""
    table = [[*row, x] for row, x in zip(rows, right, strict=True)]
    for k in range(len(table)):
        table[k:] = sorted(table[k:], key=lambda row: row[k] == 0)
        table[k] = [x / table[k][k] for x in table[k]]
        table = [
            row if i == k else [x - row[k] * y for x, y in zip(row, table[k], strict=True)]
            for i, row in enumerate(table)
        ]
    return [row[-1] for row in table]


def _centre(points: list[Vector]) -> Vector:
    first, *others = points
    rows = [[2 * (x - y) for x, y in zip(p, first, strict=True)] for p in others]
    return _solve(rows, [_dot(p, p) - _dot(first, first) for p in others])


def _distance(p: Vector, q: Vector) -> Fraction:
    return sum(((x - y) ** 2 for x, y in zip(p, q, strict=True)), Fraction(0))


def _dot(p: Vector, q: Vector) -> Fraction:
    return sum((x * y for x, y in zip(p, q, strict=True)), Fraction(0))


def _add_boundary(chain: Counter[Facet], simplex: Facet) -> None:
    for k in range(len(simplex)):
        _add_face(chain, (*simplex[:k], *simplex[k + 1 :]), (-1) ** k)


def _add_face(chain: Counter[Facet], face: Facet, sign: int) -> None:
    """The sign of a permutation is that of its length less its number of cycles."""
    order = sorted(face)
    place = {vertex: i for i, vertex in enumerate(order)}
    rest, cycles = set(range(len(face))), 0
    while rest:
        i, cycles = rest.pop(), cycles + 1
        while (i := place[face[i]]) in rest:
            rest.remove(i)
    chain[tuple(order)] += sign * (-1) ** (len(face) - cycles)


def _points(texts: Sequence[str], dim: int) -> list[Vector]:
    rows = [[int(word) for word in text.split(" ")] for text in texts]
    require(all(len(row) == dim + 1 and row[-1] > 0 for row in rows), "points")
    return [[Fraction(x, row[-1]) for x in row[:-1]] for row in rows]


def _facets(texts: Sequence[str], points: int, width: int) -> list[Facet]:
    rows = [tuple(int(word) for word in text.split(" ")) for text in texts]
    require(all(len(row) == width and min(row) >= 0 and max(row) < points for row in rows), "facets")
    require(all(len(set(row)) == width for row in rows), "distinct vertices")
    return rows


def lattice_points(question: Question, step: Node, facts: Node, folder: object) -> Covering:
    """Points of the lattice in reach, listed; the covering radius from the vertex of its cell."""
    given, stated = step["given"], int(step["gives"]["at_most"])
    require(question.ratio is not None, "body")
    assert question.ratio is not None
    scale, shift = Fraction(given["scale"]), [Fraction(x) for x in given["shift"]]
    dim, reach = question.dim, question.radius / question.ratio
    size = {"Z": dim, "A*": dim + 1}.get(given["lattice"], 0)
    require(scale > 0 and len(shift) == size > 0 and all(0 <= x < 1 for x in shift), "shift")
    vertex = [Fraction(1, 2)] * dim if size == dim else [Fraction(2 * i - dim, 2 * size) for i in range(size)]
    require(scale**2 * _dot(vertex, vertex) <= reach**2, "covering radius")
    require(stated >= len(listed(shift, (question.radius + reach) / scale, projected=size > dim)), "count")
    return Covering(at_most=stated)


def listed(shift: Vector, reach: Fraction, *, projected: bool) -> set[tuple[Fraction, ...]]:
    """Points of Z^n + shift of norm at most ``reach``; or of its projection along (1, .., 1), whose last z is 0."""
    size = len(shift)
    most = int(reach * (2 if projected else 1)) + 2  # |Pz|^2 >= (z_i - z_j)^2 / 2
    small((2 * most + 1) ** size <= _LISTED)
    ranges = [range(-most, most + 1)] * (size - projected)
    found = set()
    for z in product(*ranges, *([(0,)] if projected else [])):
        point = [x + t for x, t in zip(z, shift, strict=True)]
        mean = sum(point, Fraction(0)) / size if projected else Fraction(0)
        centred = tuple(x - mean for x in point)
        if sum(x * x for x in centred) <= reach**2:
            found.add(centred)
    return found


def truly_covers(node: Node, step: Node, samples: int = 4000) -> bool:
    """Whether random points of the sphere or the ball are near one of the points that the step counts."""
    dim = int(node["dim"])
    rng = np.random.default_rng(dim)
    used = {int(i) for name in ("simplices", "orthoplexes") for row in step["given"].get(name, []) for i in row.split()}
    points = np.array([[float(x) for x in p] for p in _points(step["given"]["points"], dim)])[sorted(used)]
    x = rng.normal(size=(samples, dim))
    x /= np.linalg.norm(x, axis=1)[:, None]
    if node["body"] == "sphere":
        return bool(((x @ points.T).max(axis=1) >= np.cos(float(Fraction(node["angle"]))) - 1e-12).all())
    x[samples // 2 :] *= rng.random((samples - samples // 2, 1)) ** (1 / dim)  # half of them on the surface
    x *= float(Fraction(node["radius"]))
    nearest = np.min(((x[:, None, :] - points[None, :, :]) ** 2).sum(axis=2), axis=1)
    return bool((nearest <= float(Fraction(node["ball_radius"])) ** 2 + 1e-12).all())


RULES = {"net": net, "lattice-points": lattice_points}
