"""Nets decided anew: facets by FLINT's matrices, boundaries as integer chains, a lattice's points as coefficients.

A chain of positively oriented facets whose boundary is 0 covers every direction equally often (docs/proofs/nets.md), so
no ridge is asked to be in two facets exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, product
from math import isqrt, lcm
from typing import Any

import numpy as np
from flint import arb, fmpq, fmpz, fmpz_mat, fmpz_poly

from kvverify.crosscheck.covering import Cover, Covering
from kvverify.crosscheck.facts import Rule
from kvverify.crosscheck.goal import Fact, must
from kvverify.crosscheck.settle import Case, within
from kvverify.kernel.document import Malformed, Node, fields, integer, integers, rational, strings

_BITS, _RIDGES, _LENGTH = 1024, 1 << 22, 1 << 24
_Point = tuple[list[int], int]


def net(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Covering:
    """A fan of the sphere, or simplices that fill a ball up to a shell."""
    goal = case.about(Cover)
    must(not uses, "no premises")
    sphere = goal.angle is not None
    fields(given, "given", {"points", "simplices"}, {"orthoplexes"} if sphere else set())
    stated = integer(fields(gives, "gives", {"at_most"})["at_most"], "at_most")
    dim = goal.dim
    must(dim >= 2, "dimension 2 or more")
    points: list[_Point] = [(row[:-1], row[-1]) for row in _rows(given["points"], "points", dim + 1)]
    must(all(below > 0 for _, below in points), "denominators above 0")
    within(max(x.bit_length() for row, below in points for x in (*row, below)) <= _BITS, "coordinates of many bits")
    simplices = _rows(given["simplices"], "simplices", dim + (not sphere), len(points))
    orthoplexes = _rows(given.get("orthoplexes", []), "orthoplexes", 2 * dim - 2, len(points))
    within(dim * len(simplices) + (len(orthoplexes) << dim) <= _RIDGES, "many ridges")
    must(bool(simplices or orthoplexes), "at least one facet")
    if sphere:
        must(all(sum(x * x for x in row) == below * below for row, below in points), "points on the sphere")
        _whole_sphere(case, goal, points, simplices, orthoplexes)
    else:
        _whole_ball(goal, points, simplices)
    must(stated >= len({i for row in (*simplices, *orthoplexes) for i in row}), "at_most counts the points")
    return Covering(at_most=stated)


def _whole_sphere(
    case: Case, goal: Cover, points: list[_Point], simplices: list[list[int]], orthoplexes: list[list[int]]
) -> None:
    """Facets that look outwards, the chain of them closed, and the farthest plane's |a| cos(angle) <= 1."""
    planes = [_plane([points[i] for i in facet]) for facet in simplices]
    for facet in orthoplexes:
        pairs = [(points[a], points[b]) for a, b in zip(facet[::2], facet[1::2], strict=True)]
        centres = {tuple((fmpq(x, p) + fmpq(y, q)) / 2 for x, y in zip(a, b, strict=True)) for (a, p), (b, q) in pairs}
        must(len(centres) == 1, "opposite vertices of an orthoplex have one midpoint")
        (centre,) = centres
        below = lcm(*(int(x.q) for x in centre))
        planes.append(_plane([([int(x * below) for x in centre], below), *(a for a, _ in pairs)]))
    must(not len(_chain([*_boundaries(simplices), *_orthoplex_faces(orthoplexes)])[0]), "the chain of facets is closed")
    angle, stretch = goal.angle, max(planes)
    must(angle <= arb.pi() / 2, "angle <= pi/2")
    case.at_most("|a|^2 cos^2(angle) <= 1", lambda: (arb(stretch) * arb(angle).cos() ** 2, arb(1)))


def _whole_ball(goal: Cover, points: list[_Point], simplices: list[list[int]]) -> None:
    """Simplices of one orientation, small, whose boundary looks outwards and is far out, or near its vertices."""
    radius, reach = _sizes(goal)
    reach = reach * reach
    for simplex in simplices:
        lifted = [([below * below, *(2 * below * x for x in row)], sum(x * x for x in row)) for row, below in
                  (points[i] for i in simplex)]  # fmt: skip
        below, (t, *centre) = _solved(lifted)
        square = fmpq(t * below + sum((x * x for x in centre), fmpz(0)), below * below)
        must(square <= reach, "circumradius <= ball_radius")
    for face, many in zip(*_chain([*_boundaries(simplices)]), strict=True):
        vertices = [points[i] for i in ((face[1], face[0], *face[2:]) if many < 0 else face)]
        stretch = _plane(vertices)
        if stretch * radius * radius > 1:
            far = max(fmpq(sum(x * x for x in row), below * below) for row, below in vertices)
            rest = radius * radius + far - reach
            must(rest <= 0 or rest * rest * stretch <= 4 * radius * radius, "the shell is near its vertices")


def _sizes(goal: Cover) -> tuple[fmpq, fmpq]:
    """radius and ball_radius."""
    must(goal.radius is not None and goal.ratio is not None, "the claim is about a ball")
    assert goal.radius is not None
    return goal.radius, goal.radius / goal.ratio


def _floor(x: fmpq) -> int:
    return int(x.p // x.q)


def _plane(rows: list[_Point]) -> fmpq:
    """|a|^2 for the plane a.x = 1 through positively oriented points."""
    below, scaled = _solved(rows)
    return fmpq(sum((x * x for x in scaled), fmpz(0)), below * below)


def _solved(rows: list[_Point]) -> tuple[fmpz, list[fmpz]]:
    """(below, x) with A x = below * b, for the rows of A, of positive determinant, and b."""
    must(fmpz_mat([row for row, _ in rows]).det() > 0, "facets and simplices are positively oriented")
    reduced, below, _ = fmpz_mat([[*row, right] for row, right in rows]).rref()
    return below, [reduced[i, len(rows)] for i in range(len(rows))]


def _boundaries(simplices: list[list[int]]) -> Iterator[tuple[Any, Any]]:
    """Faces of simplices and their signs, an array for each place that is left out."""
    table = np.array(simplices, dtype=np.int64)
    for k in range(table.shape[1] if simplices else 0):
        yield np.delete(table, k, axis=1), np.full(len(table), (-1) ** k)


def _orthoplex_faces(orthoplexes: list[list[int]]) -> Iterator[tuple[Any, Any]]:
    """One vertex of each pair: a face, its sign the parity of the second ones."""
    table = np.array(orthoplexes, dtype=np.int64)
    for sides in product((0, 1), repeat=table.shape[1] // 2 if orthoplexes else 0):
        if sides:
            yield table[:, [2 * j + side for j, side in enumerate(sides)]], np.full(len(table), (-1) ** sum(sides))


def _chain(parts: list[tuple[Any, Any]]) -> tuple[list[list[int]], list[int]]:
    """The sum of oriented faces: those that are left, vertices in order, and how often."""
    faces, signs = np.concatenate([face for face, _ in parts]), np.concatenate([sign for _, sign in parts])
    for a, b in combinations(range(faces.shape[1]), 2):
        signs = np.where(faces[:, a] > faces[:, b], -signs, signs)
    unique, place = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True)
    total = np.zeros(len(unique), dtype=np.int64)
    np.add.at(total, place.reshape(-1), signs)
    return unique[total != 0].tolist(), total[total != 0].tolist()


def _rows(value: object, where: str, width: int, below: int | None = None) -> list[list[int]]:
    """Rows of integers, from 0 to ``below`` where that is given."""
    rows = [integers(row, where) for row in strings(value, where)]
    must(all(len(row) == width for row in rows), f"{where} have {width} numbers each")
    must(below is None or all(0 <= x < below for row in rows for x in row), f"{where} name points of the list")
    return rows


def lattice_points(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Covering:
    """Coefficients of a product of theta series, the sum of coordinates in a second variable for A_d*."""
    goal = case.about(Cover)
    must(not uses, "no premises")
    fields(given, "given", {"lattice", "scale", "shift"})
    stated = integer(fields(gives, "gives", {"at_most"})["at_most"], "at_most")
    if given["lattice"] not in ("Z", "A*"):
        raise Malformed("lattice: Z or A*")
    plain = given["lattice"] == "Z"
    size = goal.dim + (not plain)
    scale = rational(given["scale"], "scale")
    shift = [rational(x, "shift") for x in strings(given["shift"], "shift")]
    must(scale > 0 and len(shift) == size and all(0 <= x < 1 for x in shift), "a scale and a shift")
    step = fmpq(scale.numerator, scale.denominator)
    radius, reach = _sizes(goal)
    deep = fmpq(size, 4) if plain else fmpq(size * size - 1, 12 * size)
    must(step * step * deep <= reach * reach, "covering radius <= ball_radius")
    unit = lcm(*(x.denominator for x in shift))
    most = ((radius + reach) * unit / step) ** 2
    places = Counter(int(x * unit) for x in shift)
    if plain:
        within(most < _LENGTH, "many squares")
        found = sum(int(x) for x in _theta(places, unit, _floor(most), 0).coeffs())
    else:
        found = _classes(places, unit, size, most)
    must(found <= stated, "at_most counts the points of the lattice")
    return Covering(at_most=stated)


def _theta(places: Counter[int], unit: int, most: int, width: int) -> fmpz_poly:
    """The product of sums of t^(width x^2 + x) over x = place mod unit, up to x^2 = ``most``; width 0: of t^(x^2).

    x stands for x + isqrt(most), so that no exponent is below 0.
    """
    reach = isqrt(most)
    length = (width or 1) * (most + 1)
    total = fmpz_poly([1])
    for place, many in places.items():
        terms = [0] * length
        for x in range(-reach, reach + 1):
            if (x - place) % unit == 0:
                terms[width * x * x + x + reach if width else x * x] += 1
        total = total.mul_low(fmpz_poly(terms).pow_trunc(many, length), length)
    return total


def _classes(places: Counter[int], unit: int, size: int, most: fmpq) -> int:
    """Classes modulo (1, .., 1) with |x|^2 - (sum x)^2 / size <= most, each by its member of -h < sum x <= h."""
    half = fmpq(unit * size, 2)
    bound = _floor(most + half * half / size)
    width = 2 * size * isqrt(bound) + 1
    within(width * (bound + 1) < _LENGTH, "many squares")
    found = 0
    for exponent, many in enumerate(_theta(places, unit, bound, width).coeffs()):
        if many:
            square, total = divmod(exponent, width)
            total -= size * isqrt(bound)
            if -half < total <= half and square - fmpq(total * total, size) <= most:
                found += int(many)
    return found


RULES: dict[str, Rule] = {"net": net, "lattice-points": lattice_points}
