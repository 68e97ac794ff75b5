"""Write the committed nets: ``python scripts/make_nets.py [NAME ...]``, all of them without a name, bit for bit.

instances/nets/NAME.csv has the points, exact rationals on the unit sphere (or in the ball, NAME ball-..) within 2^-30
of those that are meant; certificates/covering/nets-NAME.json certifies the angle or radius that they cover with.
Prints a line for each. Exit code 1 when one of the certificates is not VALID.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import permutations, product
from math import prod, sqrt
from pathlib import Path

from kvverify.covering import nets_hull
from kvverify.covering.nets import Net, ball_net, sphere_net
from kvverify.covering.nets_points import Row, on_a_grid, on_the_sphere, unit_vector
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import write, write_bytes

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = (1 + sqrt(5)) / 2
COARSE = 64  # denominators of the images of greedy points
Points = list[list[Fraction]]


def exact(rows: list[list[float]]) -> Points:
    """Directions as points of the sphere."""
    norms = [sqrt(sum(x * x for x in row)) for row in rows]
    scaled = [[Fraction(x / norm) for x in row] for row, norm in zip(rows, norms, strict=True)]
    return vectors(on_the_sphere(scaled))


def vectors(rows: list[Row]) -> Points:
    """Rows of integers as vectors."""
    return [[Fraction(x, row[-1]) for x in row[:-1]] for row in rows]


def signed(size: float, count: int) -> Iterator[tuple[float, ...]]:
    """All vectors with entries +-size."""
    return product((size, -size), repeat=count)


def axes(dim: int) -> list[list[float]]:
    """The cross-polytope."""
    return [[sign * float(i == j) for i in range(dim)] for j in range(dim) for sign in (1, -1)]


def icosahedron() -> Points:
    """The cyclic permutations of (0, 1, golden) with all signs."""
    first = list(product((0.0,), (1.0, -1.0), (GOLDEN, -GOLDEN)))
    return exact([[row[(i - k) % 3] for i in range(3)] for k in range(3) for row in first])


def cell_24() -> Points:
    """The units of Hurwitz' quaternions."""
    return exact([*axes(4), *map(list, signed(0.5, 4))])


def cell_600() -> Points:
    """The icosians: the 24-cell, and the even permutations of (golden, 1, 1/golden, 0) / 2 with all signs."""
    rows = [*axes(4), *map(list, signed(0.5, 4))]
    for order in permutations(range(4)):
        if sum(a > b for i, a in enumerate(order) for b in order[i + 1 :]) % 2 == 0:
            for a, b, c in product((1, -1), repeat=3):
                row = (a * GOLDEN / 2, b * 0.5, c / (2 * GOLDEN), 0.0)
                rows.append([row[i] for i in order])
    return exact(rows)


def e8() -> Points:
    """The 240 shortest vectors of E8 by the Hamming code: all of them rational when their norm is 1."""
    checks = ((1, 0, 0, 0, 0, 1, 1, 1), (0, 1, 0, 0, 1, 0, 1, 1), (0, 0, 1, 0, 1, 1, 0, 1), (0, 0, 0, 1, 1, 1, 1, 0))
    words = {tuple(sum(a * b for a, b in zip(c, column, strict=True)) % 2 for column in zip(*checks, strict=True))
             for c in product((0, 1), repeat=4)}  # fmt: skip
    rows = axes(8)
    for word in sorted(words):
        if sum(word) == 4:
            for signs in signed(0.5, 4):
                found = iter(signs)
                rows.append([next(found) if bit else 0.0 for bit in word])
    return exact(rows)


def half_cube(dim: int) -> Points:
    """Every other corner of the cube, and the cross-polytope."""
    return exact([*axes(dim), *(list(x) for x in signed(1.0, dim) if prod(x) > 0)])


def greedy(dim: int, count: int) -> Points:
    """From the cross-polytope on, always the direction that is farthest from all points so far."""
    rows = on_the_sphere(exact(axes(dim)))
    while len(rows) < count:
        hole = nets_hull.fan(rows).hole
        norm = sqrt(sum(float(x) ** 2 for x in hole))
        axis = max(range(dim), key=lambda i: (abs(hole[i]), -i))
        images = [round(float(x) / (norm + abs(float(hole[axis]))) * COARSE) for i, x in enumerate(hole) if i != axis]
        rows.append(unit_vector(images, COARSE, axis, 1 if hole[axis] > 0 else -1))
    return vectors(rows)


def disc() -> Points:
    """Seven points for the unit disc: its centre and a regular hexagon at a distance of sqrt(3)/2."""
    tip, half, side = Fraction(sqrt(3) / 2), Fraction(sqrt(3) / 4), Fraction(3, 4)
    hexagon = [[tip, Fraction(0)], [half, side], [-half, side]]
    return vectors(on_a_grid([[Fraction(0)] * 2, *hexagon, *([-x for x in point] for point in hexagon)]))


def ball_13() -> Points:
    """The centre and an icosahedron, at the distance where its faces' inner and outer sides need the same."""
    distance = Fraction(3973, 5000)
    return vectors(on_a_grid([[Fraction(0)] * 3, *([distance * x for x in point] for point in icosahedron())]))


NETS: dict[str, Callable[[], Points]] = {
    "icosahedron": icosahedron, "24-cell": cell_24, "600-cell": cell_600, "e8": e8,
    "greedy-5": lambda: greedy(5, 48), "greedy-6": lambda: greedy(6, 48), "greedy-7": lambda: greedy(7, 40),
    "half-cube-7": lambda: half_cube(7), "ball-2": disc, "ball-3": ball_13,
}  # fmt: skip


def certified(name: str, points: Points) -> Net:
    """The net, of the unit sphere or of the unit ball."""
    return ball_net(points, Fraction(1)) if name.startswith("ball-") else sphere_net(points)


def table(points: Points) -> bytes:
    """The file of points."""
    return "".join(",".join(map(str, point)) + "\n" for point in points).encode()


def main(names: list[str]) -> int:
    """Write them; the exit code."""
    worst = 0
    for name in names or NETS:
        points = NETS[name]()
        net = certified(name, points)
        write_bytes(ROOT / "instances" / "nets" / f"{name}.csv", table(points))
        target = ROOT / "certificates" / "covering" / f"nets-{name}.json"
        write(target, net.certificate)
        result = check(target)
        worst |= result.verdict is not Verdict.VALID
        print(f"{result.verdict.value} {target.name}: {result.claim}", flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
