"""Explicit nets of spheres and balls, proved by the simplices between their points, and counted points of a lattice.

A net of the sphere is proved by a fan: facets with vertices on the sphere, whose cones fill the space. A net of the
ball is proved by simplices that fill the ball, the last of them up to a shell. Nothing is asked of how the simplices
were found, and none has to be empty of other points. Proofs: docs/proofs/nets.md. Source: ours; the covering radius of
A_d* is classical (Conway and Sloane, Sphere Packings, Lattices and Groups, ch. 4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations, product
from math import floor, isqrt, lcm
from operator import mul

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integer, integers, rational, strings, text
from kvverify.kernel.facts import Fact, need, reject
from kvverify.kernel.numbers import round_up
from kvverify.kernel.rules.caps import BITS, pi_between, sine_squared
from kvverify.kernel.rules.covering import Cover, Covering

MAX_DIMENSION = 32
MAX_BITS = 256  # of a coordinate's numerator or denominator
MAX_STATES = 1 << 19  # different sums of squares at a time, of a lattice
RIDGE = 64  # work for a face that is kept, which bounds the memory as well

Row = tuple[int, ...]
Near = Callable[[Row, int, int], bool]
Ridges = dict[Row, int]  # +1, -1: in one facet so far, its orientation; 0: in two, with opposite orientations


def net(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Covering:
    """N(S^(d-1), angle), or N(B_radius, ball_radius) in R^d, d >= 2, is at most the number of points that are used.

    Sphere: |v_i| = 1 for all points; all facets are positively oriented, every ridge is in exactly two of them, with
    opposite orientations; and every facet's plane a.x = 1 has |a| cos(angle) <= 1. Ball: all simplices are positively
    oriented and have circumradius at most ball_radius; their oriented boundary is a fan as above, each of whose planes
    has |a| radius <= 1, or radius^2 + P - 2 radius / |a| <= ball_radius^2 with P the largest |p|^2 of its vertices.
    """
    goal = context.about(Cover)
    sphere = goal.body == "sphere"
    fields(uses, "uses", set())
    fields(given, "given", {"points", "simplices"}, {"orthoplexes"} if sphere else set())
    stated = integer(fields(gives, "gives", {"at_most"})["at_most"], "at_most")
    dim = goal.dim
    need(dim >= 2, "a net is of a sphere or ball in dimension 2 or more", dim, 2)
    if dim > MAX_DIMENSION:
        raise OverLimit(f"limit: dimension {dim} above {MAX_DIMENSION}")
    points = _points(context, given["points"], dim)
    simplices = _facets(context, given["simplices"], "simplices", dim + (not sphere), len(points))
    pairs = _facets(context, given.get("orthoplexes", []), "orthoplexes", 2 * dim - 2, len(points))
    need(len(simplices) + len(pairs) >= 1, "at least one facet")
    used = len({i for facet in (*simplices, *pairs) for i in facet})
    if sphere:
        for i, point in enumerate(points):
            need(_square(point) == point[-1] ** 2, f"point {i} is on the sphere")
        need(2 * goal.angle <= pi_between(BITS)[0], "angle <= pi/2", goal.angle)
        p, q = round_up(1 - sine_squared(goal.angle)[0]).as_integer_ratio()  # at least cos^2(angle)
        fan(context, points, simplices, pairs, lambda _, above, below: above * p <= below * q)
    else:
        _solid(context, points, simplices, goal.radius, goal.ball_radius)
    need(used <= stated, "at_most >= points of the net", stated, used)
    return Covering(at_most=stated)


def _points(context: Context, value: object, dim: int) -> list[Row]:
    """Rows n_1 .. n_d D for the points n / D, D > 0."""
    points = _table(context, value, "points", dim + 1)
    for i, point in enumerate(points):
        need(point[-1] > 0, f"point {i} has a denominator above 0", point[-1], 0)
        if max(map(int.bit_length, point)) > MAX_BITS:
            raise OverLimit(f"limit: coordinates of more than {MAX_BITS} bits")
    return points


def _facets(context: Context, value: object, where: str, width: int, points: int) -> list[Row]:
    rows = _table(context, value, where, width)
    for i, row in enumerate(rows):
        need(min(row) >= 0 and max(row) < points, f"{where}[{i}] names points that are listed", max(row), points - 1)
    return rows


def _table(context: Context, value: object, where: str, width: int) -> list[Row]:
    texts = strings(value, where)
    context.charge(4 * sum(map(len, texts)))
    rows = [tuple(integers(row, f"{where}[{i}]")) for i, row in enumerate(texts)]
    for i, row in enumerate(rows):
        need(len(row) == width, f"{where}[{i}] has as many numbers as it should", len(row), width)
    return rows


def fan(context: Context, points: list[Row], simplices: list[Row], pairs: list[Row], near: Near) -> None:
    """Reject unless the facets are a fan, and each near: ``near(vertices, p, q)`` with |a|^2 = p / q.

    ``pairs``: cross-polytopes, a row of opposite vertices a_1 b_1 a_2 b_2 ..; they are oriented by (centre, a_1, a_2,
    ..), and each is the union of the simplices from its centre to its own facets.
    """
    size = len(points[0]) - 1
    each = size**3 * _lanes(points, size) // 4
    context.charge(len(simplices) * (each + RIDGE * size) + len(pairs) * (2 * each + (RIDGE << size - 1)))
    ridges: Ridges = {}
    for facet in simplices:
        _plane(facet, [points[i] for i in facet], near)
        _add_boundary(ridges, facet)
    for facet in pairs:
        sums = [_add(points[a], points[b]) for a, b in zip(facet[::2], facet[1::2], strict=True)]
        for other in sums[1:]:
            same = all(x * other[-1] == y * sums[0][-1] for x, y in zip(sums[0], other, strict=True))
            need(same, f"opposite vertices of the orthoplex {_named(facet)} have one midpoint")
        centre = (*sums[0][:-1], 2 * sums[0][-1])
        _plane(facet, [centre, *(points[a] for a in facet[::2])], near)
        for choice in product((0, 1), repeat=size - 1):
            ridge, sign = _sorted([facet[2 * j + side] for j, side in enumerate(choice)])
            _add_face(ridges, ridge, -sign if sum(choice) % 2 else sign)
    alone = next((ridge for ridge, sign in ridges.items() if sign), None)
    if alone is not None:
        reject(f"face {_named(alone)} is in two facets, not in one")


def _plane(facet: Row, rows: list[Row], near: Near) -> None:
    """The plane a.x = 1 through the points ``rows`` of a facet, which must be positively oriented and near."""
    det, scaled = solve(rows)
    if det <= 0:
        reject(f"facet {_named(facet)} is positively oriented", det, 0)
    if not near(facet, sum(map(mul, scaled, scaled)), det * det):
        reject(f"facet {_named(facet)} is near enough to what it covers")


def _add_boundary(ridges: Ridges, simplex: Row) -> None:
    """The oriented boundary: the face without the vertex of place k has the sign (-1)^k."""
    order, sign = _sorted(simplex)
    for k in range(len(order)):
        _add_face(ridges, order[:k] + order[k + 1 :], sign)
        sign = -sign


def _add_face(ridges: Ridges, face: Row, sign: int) -> None:
    before = ridges.get(face)
    if before is not None and before != -sign:
        reject(f"face {_named(face)} is in two facets at most, with opposite orientations")
    ridges[face] = sign if before is None else 0


def _solid(context: Context, points: list[Row], simplices: list[Row], radius: Fraction, ball_radius: Fraction) -> None:
    """Simplices that fill the ball of that radius up to a shell, every point of it near a vertex."""
    size = len(points[0])
    context.charge(len(simplices) * (size**3 * _lanes(points, 2 * size) // 4 + RIDGE * size))
    squares = [(_square(point), point[-1] ** 2) for point in points]
    p, q = (ball_radius**2).as_integer_ratio()
    ridges: Ridges = {}
    for simplex in simplices:
        # t + 2 <v, c> = |v|^2 at all vertices v: c is the centre of the sphere through them, t = R^2 - |c|^2.
        rows = [
            (below, *(2 * point[-1] * x for x in point[:-1]), above)
            for point, (above, below) in ((points[i], squares[i]) for i in simplex)
        ]
        det, (t, *centre) = solve(rows)
        if det <= 0:
            reject(f"simplex {_named(simplex)} is positively oriented", det, 0)
        square = t * det + sum(map(mul, centre, centre))
        if square * q > p * det * det:
            reject(
                f"circumradius of simplex {_named(simplex)} <= ball_radius", Fraction(square, det * det), ball_radius**2
            )
        _add_boundary(ridges, simplex)
    outside = [face if sign > 0 else (face[1], face[0], *face[2:]) for face, sign in ridges.items() if sign]

    def near(face: Row, above: int, below: int) -> bool:
        """|a| r <= 1, or r^2 + P - 2 r / |a| <= ball_radius^2."""
        if above * radius.numerator**2 <= below * radius.denominator**2:
            return True
        rest = radius**2 + max(Fraction(*squares[i]) for i in face) - ball_radius**2
        return rest <= 0 or rest**2 * above <= 4 * radius**2 * below

    fan(context, points, outside, [], near)


def solve(rows: list[Row]) -> tuple[int, list[int]]:
    """(det, x) for square integer rows [A | b]: A x = det A * b. Fraction-free elimination (Bareiss 1968).

    For det A = 0 x is all 0.
    """
    size, sign, before = len(rows), 1, 1
    pivots = []
    below = list(rows)
    while below:
        place = next((i for i, row in enumerate(below) if row[0]), None)
        if place is None:
            return 0, [0] * size
        if place:
            below[0], below[place], sign = below[place], below[0], -sign
        pivots.append(below[0])
        lead, *tail = below[0]
        below = [
            tuple([(lead * x - row[0] * y) // before for x, y in zip(row[1:], tail, strict=True)]) for row in below[1:]
        ]
        before = lead
    solved: list[int] = []
    for lead, *known, right in reversed(pivots):
        solved.insert(0, (before * right - sum(map(mul, known, solved))) // lead)
    return sign * before, [sign * x for x in solved]


def _sorted(face: Sequence[int]) -> tuple[Row, int]:
    """The vertices in order, and the sign of the permutation that brings them there."""
    return tuple(sorted(face)), -1 if sum(a > b for a, b in combinations(face, 2)) % 2 else 1


def _add(a: Row, b: Row) -> Row:
    return (*(x * b[-1] + y * a[-1] for x, y in zip(a[:-1], b[:-1], strict=True)), a[-1] * b[-1])


def _square(point: Row) -> int:
    return sum(x * x for x in point[:-1])


def _lanes(points: list[Row], factors: int) -> int:
    """Machine work of one operation on products of so many coordinates."""
    return 1 + (factors * max(x.bit_length() for point in points for x in point) >> 6)


def _named(face: Row) -> str:
    return "(" + " ".join(map(str, face)) + ")"


def lattice_points(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Covering:
    """N(B_radius, ball_radius) <= number of points within radius + ball_radius of the origin, of scale (L + shift).

    L is Z^d, covering radius sqrt(d) / 2, or A_d*, the projection of Z^(d+1) along (1, .., 1), covering radius
    sqrt(d (d+2) / (12 (d+1))). ``shift``: as many coordinates as Z^d or Z^(d+1) has, 0 <= each < 1.
    """
    goal = context.about(Cover)
    need(goal.body == "ball", "points of a lattice cover a ball", goal.body, "ball")
    fields(uses, "uses", set())
    fields(given, "given", {"lattice", "scale", "shift"})
    stated = integer(fields(gives, "gives", {"at_most"})["at_most"], "at_most")
    words = {"Z": goal.dim, "A*": goal.dim + 1}
    if (lattice := text(given["lattice"], "lattice")) not in words:
        raise Malformed(f"lattice: expected one of {', '.join(words)}")
    size = words[lattice]
    scale = rational(given["scale"], "scale")
    shift = [rational(t, f"shift[{i}]") for i, t in enumerate(strings(given["shift"], "shift"))]
    need(scale > 0, "scale above 0", scale, 0)
    need(len(shift) == size and all(0 <= t < 1 for t in shift), "a shift has its coordinates, from 0 on, below 1")
    hole = Fraction(size, 4) if lattice == "Z" else Fraction(size * size - 1, 12 * size)
    need(scale**2 * hole <= goal.ball_radius**2, "covering radius <= ball_radius", scale**2 * hole, goal.ball_radius**2)
    unit = lcm(*(t.denominator for t in shift))
    most = ((goal.radius + goal.ball_radius) * unit / scale) ** 2
    places = [int(t * unit) for t in shift]
    if lattice == "Z":
        found = sum(_tally(context, places, unit, floor(most), sums=False).values())
    else:
        # A point of A_d* is a class of Z^(d+1) modulo (1, .., 1): one of each has -unit size < 2 sum <= unit size.
        tally = _tally(context, places, unit, floor(most + Fraction(unit * unit * size, 4)), sums=True)
        found = sum(
            many
            for (total, square), many in tally.items()
            if -unit * size < 2 * total <= unit * size and size * square - total * total <= size * most
        )
    need(found <= stated, "at_most >= points of the lattice", stated, found)
    return Covering(at_most=stated)


def _tally(context: Context, places: list[int], unit: int, most: int, *, sums: bool) -> Counter[tuple[int, int]]:
    """How many integer vectors x, x_i = places_i mod unit, have which sum (0 unless ``sums``) and |x|^2 <= most."""
    if most > MAX_STATES:
        raise OverLimit(f"limit: squares of more than {MAX_STATES} units of the shift")
    reach = isqrt(most)
    tally = Counter({(0, 0): 1})
    for place in places:
        steps = [(x if sums else 0, x * x) for x in range(-reach + (place + reach) % unit, reach + 1, unit)]
        context.charge(len(tally) * (1 + len(steps)))
        found: Counter[tuple[int, int]] = Counter()
        for (total, square), many in tally.items():
            for x, y in steps:
                if square + y <= most:
                    found[total + x, square + y] += many
            if len(found) > MAX_STATES:
                raise OverLimit(f"limit: more than {MAX_STATES} sums of squares")
        tally = found
    return tally


RULES: dict[str, Rule] = {"net": net, "lattice-points": lattice_points}
