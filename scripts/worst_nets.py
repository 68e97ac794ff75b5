"""The dearest nets and lattices: for scripts/worst_case.py."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from flint import fmpz_mat
from worst_certificates import _RANDOM, case

from kvverify.covering.nets_points import unit_vector
from kvverify.kernel import document
from kvverify.kernel.document import Node
from kvverify.kernel.rules.nets import MAX_BITS, MAX_DIMENSION

_WIDE = "157/100"  # an angle at which flat facets are near enough


def _cluster(dim: int, count: int, bits: int) -> list[tuple[int, ...]]:
    """Unit vectors round the first axis, of so many bits."""
    below = (1 << bits // 2 - 1) - 1
    return [
        unit_vector([_RANDOM.randrange(-below // (2 * dim), below // (2 * dim)) for _ in range(dim - 1)], below, 0, 1)
        for _ in range(count)
    ]


def _tree(points: list[tuple[int, ...]], dim: int, ball: bool, **facets: list[tuple[int, ...]]) -> Node:
    size = {"body": "ball", "radius": "1", "ball_radius": "99"} if ball else {"body": "sphere", "angle": _WIDE}
    claimed = {"claim": "cover", "dim": str(dim), "at_most": str(len(points)), **size}
    lists = {name: [" ".join(map(str, row)) for row in rows] for name, rows in facets.items()}
    given = {"points": [" ".join(map(str, row)) for row in points], "simplices": [], **lists}
    step = {"id": "net", "rule": "net", "uses": {}, "given": given, "gives": {"at_most": str(len(points))}}
    return document.build(claimed, [step])


def _simplices(dim: int, count: int, points: int, bits: int, *, ball: bool = False) -> Node:
    """Positive simplices at random: whether they close is seen at the end."""
    rows = _cluster(dim, points, bits)
    found = []
    for _ in range(count):
        facet = _RANDOM.sample(range(points), dim + ball)
        table = [[rows[i][-1], *rows[i][:-1]] if ball else rows[i][:-1] for i in facet]
        if fmpz_mat(table).det() < 0:
            facet[:2] = facet[1], facet[0]
        found.append(tuple(facet))
    return _tree(rows, dim, ball, simplices=found)


@case("net: long coordinates, dimension 8")
def _long(folder: Path) -> Node:
    return _simplices(8, 26_000, 3000, MAX_BITS)


@case("net: dimension 32")
def _high(folder: Path) -> Node:
    return _simplices(MAX_DIMENSION, 125, 120, MAX_BITS)


@case("net: as many triangles as a document holds")
def _triangles(folder: Path) -> Node:
    return _simplices(3, 420_000, 9000, 24)


@case("net: a ball, dimension 8")
def _ball(folder: Path) -> Node:
    return _simplices(8, 9_000, 3000, MAX_BITS, ball=True)


def _pairs(dim: int, count: int) -> Node:
    """Cross-polytopes about the first axis, in planes of their own."""
    points: list[tuple[int, ...]] = []
    rows = []
    for k in range(count):
        row = []
        for j, sign in product(range(dim - 1), (1, -1)):
            images = [sign * (2 * count + k) * (i == j) for i in range(dim - 1)]
            row.append(len(points))
            points.append(unit_vector(images, 5 * count, 0, 1))
        rows.append(tuple(row))
    return _tree(points, dim, False, orthoplexes=rows)


@case("net: cross-polytopes of dimension 8")
def _orthoplexes(folder: Path) -> Node:
    return _pairs(8, 6_000)


@case("net: cross-polytopes of dimension 18")
def _large(folder: Path) -> Node:
    return _pairs(18, 15)


def _lattice(dim: int, word: str, radius: str, scale: str, shift: list[str]) -> Node:
    claimed = {"claim": "cover", "body": "ball", "dim": str(dim), "radius": radius, "ball_radius": "1"}
    given = {"lattice": word, "scale": scale, "shift": shift}
    step = {"id": "points", "rule": "lattice-points", "uses": {}, "given": given, "gives": {"at_most": "1"}}
    return document.build({**claimed, "at_most": "1"}, [step])


@case("lattice-points: a long table")
def _table(folder: Path) -> Node:
    return _lattice(700, "Z", "6", "1/14", ["1/2"] * 700)


@case("lattice-points: sums and squares")
def _sums(folder: Path) -> Node:
    return _lattice(170, "A*", "2", "1/4", ["0"] * 171)


@case("lattice-points: many different sums")
def _many(folder: Path) -> Node:
    return _lattice(12, "A*", "4", "19/20", [f"{k}/13" if k else "0" for k in range(13)])
