"""Facets for the points of a net: qhull proposes in floats, all that is kept was decided in exact arithmetic.

Sphere: the hull's facets, those of one plane joined to a cross-polytope where they are one. Ball: the Delaunay
simplices, thin ones at the border taken off. Source: textbook (Barber, Dobkin and Huhdanpaa 1996 for qhull).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import heapify, heappop
from importlib.util import find_spec
from itertools import combinations
from typing import Any

import numpy as np
from flint import fmpq, fmpz_mat

from kvverify.covering.nets_points import Row
from kvverify.errors import UsageError

_STIRS = (2.0**-36, 2.0**-30, 2.0**-24)  # how far points are moved where qhull's facets do not fit together
_UPRIGHT = _FLAT = 1e-9

Facet = tuple[int, ...]


@dataclass(frozen=True)
class Fan:
    """Facets of a fan, positively oriented. ``hole``: of their planes a.x = 1 the a of largest |a|^2, ``stretch``."""

    simplices: tuple[Facet, ...]
    orthoplexes: tuple[Facet, ...]
    hole: tuple[Fraction, ...]

    @property
    def stretch(self) -> Fraction:
        """1 / cos^2 of the covering angle."""
        return sum((x * x for x in self.hole), Fraction(0))


@dataclass(frozen=True)
class Solid:
    """Simplices that fill a ball up to a shell: ``reach`` is the largest square of a circumradius, ``shells`` has the
    largest |p|^2 of the vertices and the |a|^2 of the plane a.x = 1 of each border face that cuts the ball.
    """

    simplices: tuple[Facet, ...]
    reach: Fraction
    shells: tuple[tuple[Fraction, Fraction], ...]


def fan(points: Sequence[Row]) -> Fan:
    """The fan of the hull of unit vectors. Raises UsageError where there is none."""
    plain = _floats(points)
    for scale in (np.ones(len(points)), *_stirred(len(points))):
        hull = _qhull("ConvexHull", plain * scale[:, None])
        if hull is None:
            continue
        if (hull.equations[:, -1] >= 0).any():
            raise UsageError("the origin is not inside the hull of the points, as it is for a net of the sphere")
        facets = _oriented(points, hull.simplices.tolist())
        if facets is not None and not _border(facets):
            return _joined(points, facets)
    raise UsageError("qhull found no facets that fit together: are points closer than its precision?")


def _joined(points: Sequence[Row], facets: list[Facet]) -> Fan:
    """The facets by planes, and cross-polytopes made whole."""
    planes: dict[tuple[fmpq, ...], list[Facet]] = defaultdict(list)
    for facet in facets:
        planes[_plane(points, facet)].append(facet)
    simplices: list[Facet] = []
    orthoplexes: list[Facet] = []
    for plane in planes.values():
        whole = _orthoplex(points, sorted({i for facet in plane for i in facet})) if len(plane) > 1 else None
        if whole is None:
            simplices += plane
        else:
            orthoplexes.append(whole)
    _, hole = max((sum((x * x for x in plane), fmpq(0)), plane) for plane in planes)
    return Fan(tuple(sorted(simplices)), tuple(sorted(orthoplexes)), tuple(map(_fraction, hole)))


def _orthoplex(points: Sequence[Row], vertices: list[int]) -> Facet | None:
    """Pairs of opposite vertices, oriented; None where the vertices are no cross-polytope."""
    size = len(points[0]) - 1
    if len(vertices) != 2 * size - 2:
        return None
    vectors = {i: [Fraction(x, points[i][-1]) for x in points[i][:-1]] for i in vertices}
    centre = [sum(column, Fraction(0)) / len(vertices) for column in zip(*vectors.values(), strict=True)]
    place = {tuple(vector): i for i, vector in vectors.items()}
    pairs = []
    for i, vector in vectors.items():
        j = place.get(tuple(2 * c - x for c, x in zip(centre, vector, strict=True)))
        if j is None:
            return None
        if i < j:
            pairs.append((i, j))
    rows = [centre, *(vectors[i] for i, _ in pairs)]
    common = [[int(x * _below(row)) for x in row] for row in rows]
    if fmpz_mat(common).det() < 0:
        pairs[0] = pairs[0][::-1]
    return tuple(i for pair in pairs for i in pair)


def _below(row: list[Fraction]) -> int:
    return int(np.lcm.reduce([x.denominator for x in row], dtype=object))


def solid(points: Sequence[Row], radius: Fraction) -> Solid:
    """Simplices for a net of the ball of that radius. Raises UsageError where the points do not surround the origin."""
    plain = _floats(points)
    for stir in (np.zeros(len(points)), *(scale - 1 for scale in _stirred(len(points)))):
        lifted = np.column_stack([plain, (plain**2).sum(axis=1) + stir])
        hull = _qhull("ConvexHull", lifted) if stir.any() else _qhull("Delaunay", plain)
        if hull is None:
            continue
        lower = hull.simplices[hull.equations[:, -2] < -_UPRIGHT] if stir.any() else hull.simplices
        simplices = _oriented(points, lower.tolist(), solid=True)
        found = None if simplices is None else _peeled(points, simplices, radius)
        if found is not None:
            return found
    raise UsageError("the points do not surround the origin, as those of a net of the ball do")


def _peeled(points: Sequence[Row], simplices: list[Facet], radius: Fraction) -> Solid | None:
    """The simplices less those of large circumradius at the border, as long as the border faces outwards."""
    reach = {simplex: _circumradius_squared(points, simplex) for simplex in simplices}
    border = {_set(face): face for face in _border(simplices)}
    shells: dict[Facet, tuple[fmpq, fmpq]] = {}
    for face in border.values():
        shell = _shell(points, face)
        if shell is None:
            return None
        shells[_set(face)] = shell
    heap = [(-float(reach[simplex]), simplex) for simplex in simplices]
    heapify(heap)
    while heap:
        _, simplex = heappop(heap)
        own = {_set(face): face for face in _faces(simplex)}
        inner = [_turned(face) for key, face in own.items() if key not in border]
        new = [_shell(points, face) for face in inner]
        worst = max((_excess(shell, radius) for shell in new if shell), default=0.0)
        if len(inner) == len(own) or None in new or worst >= float(reach[simplex]) or len(reach) == 1:
            break
        del reach[simplex]
        for key in own.keys() & border.keys():
            del border[key], shells[key]
        for face, shell in zip(inner, new, strict=True):
            assert shell is not None
            border[_set(face)], shells[_set(face)] = face, shell
    far = {shell for shell in shells.values() if shell[1] * fmpq(radius.numerator, radius.denominator) ** 2 > 1}
    return Solid(
        tuple(sorted(reach)),
        _fraction(max(reach.values())),
        tuple(sorted((_fraction(p), _fraction(a)) for p, a in far)),
    )


def _excess(shell: tuple[fmpq, fmpq], radius: Fraction) -> float:
    square, stretch = float(shell[0]), float(shell[1])
    return float(radius) ** 2 + square - 2 * float(radius) / stretch**0.5 if stretch * radius**2 > 1 else 0.0


def _shell(points: Sequence[Row], face: Facet) -> tuple[fmpq, fmpq] | None:
    """(largest |p|^2 of the vertices, |a|^2 of the plane); None where the face looks inwards."""
    rows = [points[i] for i in face]
    if fmpz_mat([row[:-1] for row in rows]).det() <= 0:
        return None
    largest = max(fmpq(sum(x * x for x in row[:-1]), row[-1] ** 2) for row in rows)
    return largest, sum((x * x for x in _plane(points, face)), fmpq(0))


def _plane(points: Sequence[Row], facet: Facet) -> tuple[fmpq, ...]:
    """a with a.v = 1 for the vertices v."""
    rows = [points[i] for i in facet]
    solved = fmpz_mat([row[:-1] for row in rows]).solve(fmpz_mat([[row[-1]] for row in rows]))
    return tuple(solved[i, 0] for i in range(len(facet)))


def _circumradius_squared(points: Sequence[Row], simplex: Facet) -> fmpq:
    rows = [points[i] for i in simplex]
    left = fmpz_mat([[row[-1] ** 2, *(2 * row[-1] * x for x in row[:-1])] for row in rows])
    solved = left.solve(fmpz_mat([[sum(x * x for x in row[:-1])] for row in rows]))
    return solved[0, 0] + sum((solved[i, 0] ** 2 for i in range(1, len(simplex))), fmpq(0))


def _oriented(points: Sequence[Row], facets: list[list[int]], *, solid: bool = False) -> list[Facet] | None:
    """Each with its vertices in order, the first two swapped where this makes the determinant positive; None where one
    is 0.
    """
    found: list[Facet] = []
    for order in map(_set, facets):
        det = fmpz_mat([(points[i][-1], *points[i][:-1]) if solid else points[i][:-1] for i in order]).det()
        if det == 0:
            return None
        found.append(order if det > 0 else _turned(order))
    return found


def _turned(face: Sequence[int]) -> Facet:
    return (face[1], face[0], *face[2:])


def _set(face: Sequence[int]) -> Facet:
    return tuple(sorted(face))


def _faces(simplex: Sequence[int]) -> Iterator[Facet]:
    """The oriented faces."""
    for k in range(len(simplex)):
        face = (*simplex[:k], *simplex[k + 1 :])
        yield _turned(face) if k % 2 and len(face) > 1 else face


def _sign(face: Sequence[int]) -> int:
    return -1 if sum(a > b for a, b in combinations(face, 2)) % 2 else 1


def _border(simplices: Iterable[Facet]) -> list[Facet]:
    """The oriented faces that are left when faces of opposite orientations are taken away."""
    count: dict[Facet, int] = defaultdict(int)
    for simplex in simplices:
        order = _set(simplex)
        sign = _sign(simplex)
        for k in range(len(order)):
            count[order[:k] + order[k + 1 :]] += -sign if k % 2 else sign
    return [face if many > 0 else _turned(face) for face, many in count.items() if many and len(face) > 1] + [
        face for face, many in count.items() if many and len(face) == 1
    ]


def _floats(points: Sequence[Row]) -> Any:
    """The points for qhull. Raises UsageError where two are the same, or all in one plane."""
    places: dict[Row, int] = {}
    for i, point in enumerate(points):
        if (first := places.setdefault(point, i)) != i:
            raise UsageError(f"point {i} repeats point {first}; the points of a net are distinct")
    plain = np.array([[x / point[-1] for x in point[:-1]] for point in points])
    if np.linalg.matrix_rank(plain - plain.mean(axis=0), tol=_FLAT) < plain.shape[1]:
        raise UsageError("the points lie in one plane; those of a net surround the origin")
    return plain


def _stirred(count: int) -> Iterator[Any]:
    for seed, size in enumerate(_STIRS):
        yield 1 + size * np.random.default_rng(seed).random(count)


def _qhull(kind: str, points: Any) -> Any:
    """A hull, or None where qhull lost its way among floats that are too close."""
    if find_spec("scipy") is None:
        raise UsageError("nets need scipy: pip install 'kvverify[audit]'")
    from scipy import spatial

    try:
        return getattr(spatial, kind)(points)
    except spatial.QhullError:
        return None


def _fraction(x: fmpq) -> Fraction:
    return Fraction(int(x.p), int(x.q))
