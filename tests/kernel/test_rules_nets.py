"""Rules net and lattice-points: accepted where points really cover, refused with the reason in every dimension."""

from __future__ import annotations

from cmath import phase
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, pairwise, product
from math import pi
from typing import Any

import numpy as np
import pytest

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.rules.nets import solve
from tests.kernel import nets_controls as nets
from tests.kernel.nets_controls import Shape, controls, finer
from tests.kernel.netted import determinant, listed, truly_covers

Node = dict[str, Any]
DIMENSIONS = range(2, 9)
SPHERES: tuple[Callable[[int], Shape], ...] = (nets.cross, nets.pyramid)
BALLS: tuple[Callable[[int], Shape], ...] = (nets.solid, nets.shelled)
of_every_dimension = pytest.mark.parametrize("dim", DIMENSIONS)


def rejected(shape: Shape) -> str:
    """Why the kernel refuses the certificate."""
    result = check(shape.tree())
    assert result.verdict is Verdict.INVALID
    return result.reason


def turned(facet: tuple[int, ...]) -> tuple[int, ...]:
    return (facet[1], facet[0], *facet[2:])


def beside(first: Shape, second: Shape) -> Shape:
    """Both complexes as one, on points of their own."""
    shift = len(first.points)
    moved = [tuple(tuple(i + shift for i in facet) for facet in facets) for facets in (second.simplices, second.pairs)]
    return replace(
        first,
        points=first.points + second.points,
        simplices=first.simplices + moved[0],
        pairs=first.pairs + moved[1],
    )


def turned_about(shape: Shape) -> Shape:
    """Another copy: the first two coordinates turned by an angle with sine 3/5."""

    def moved(p: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
        return ((4 * p[0] - 3 * p[1]) / 5, (3 * p[0] + 4 * p[1]) / 5, *p[2:])

    return replace(shape, points=tuple(moved(p) for p in shape.points))


def merged(shape: Shape, old: int, new: int) -> Shape:
    """The facets at ``old`` moved to ``new``."""
    simplices = tuple(tuple(new if i == old else i for i in facet) for facet in shape.simplices)
    return replace(shape, simplices=simplices)


@of_every_dimension
@pytest.mark.parametrize("build", [*SPHERES, *BALLS], ids=lambda build: build.__name__)
def test_accepted_with_what_it_covers_and_no_step_finer(build: Callable[[int], Shape], dim: int) -> None:
    shape = build(dim)
    assert check(shape.tree()).verdict is Verdict.VALID
    assert truly_covers(shape.claim(), shape.steps()[0])
    assert "near enough" in rejected(finer(shape)) or "circumradius" in rejected(finer(shape))


@of_every_dimension
@pytest.mark.parametrize("build", [*SPHERES, *BALLS], ids=lambda build: build.__name__)
def test_a_simplex_dropped_repeated_or_flipped(build: Callable[[int], Shape], dim: int) -> None:
    shape = build(dim)
    for k in range(0, len(shape.simplices), max(1, len(shape.simplices) // 4)):
        before, this, after = shape.simplices[:k], shape.simplices[k], shape.simplices[k + 1 :]
        dropped = rejected(replace(shape, simplices=before + after))
        assert "in two facets, not in one" in dropped or "positively oriented" in dropped  # a ball's is a notch
        assert "at most, with opposite" in rejected(replace(shape, simplices=(*shape.simplices, this)))
        assert "positively oriented" in rejected(replace(shape, simplices=(*before, turned(this), *after)))


@of_every_dimension
def test_an_orthoplex_dropped_repeated_flipped_or_crooked(dim: int) -> None:
    shape = nets.pyramid(dim)
    (pairs,) = shape.pairs
    assert "in two facets, not in one" in rejected(replace(shape, pairs=()))
    assert "at most, with opposite" in rejected(replace(shape, pairs=(pairs, pairs)))
    assert "positively oriented" in rejected(replace(shape, pairs=(turned(pairs),)))
    if dim > 2:
        crooked = (pairs[0], pairs[2], pairs[1], *pairs[3:])
        assert "one midpoint" in rejected(replace(shape, pairs=(crooked,)))


@of_every_dimension
@pytest.mark.parametrize("build", [*SPHERES, *BALLS], ids=lambda build: build.__name__)
def test_vertices_come_in_any_order_of_one_orientation(build: Callable[[int], Shape], dim: int) -> None:
    """Shuffled, and turned back where the shuffle was odd; vertices are named anew, at random."""
    shape, rng = build(dim), np.random.default_rng(dim)
    names = rng.permutation(len(shape.points)).tolist()
    points = tuple(shape.points[names.index(i)] for i in range(len(names)))
    shuffled = []
    for facet in shape.simplices:
        order = rng.permutation(len(facet)).tolist()
        odd = round(np.linalg.det(np.eye(len(order))[order])) < 0
        mixed = tuple(names[facet[k]] for k in order)
        shuffled.append(turned(mixed) if odd else mixed)
    pairs = tuple(tuple(names[i] for i in facet) for facet in shape.pairs)
    mixed_up = replace(shape, points=points, simplices=tuple(shuffled), pairs=pairs)
    assert check(mixed_up.tree()).verdict is Verdict.VALID
    assert "positively oriented" in rejected(replace(mixed_up, simplices=(turned(shuffled[0]), *shuffled[1:])))


@of_every_dimension
@pytest.mark.parametrize("build", [*SPHERES, *BALLS], ids=lambda build: build.__name__)
def test_a_wrong_index_is_refused(build: Callable[[int], Shape], dim: int) -> None:
    shape = build(dim)
    first, *others = shape.simplices
    for index in range(-1, len(shape.points) + 1):
        if index != first[0]:
            assert rejected(replace(shape, simplices=((index, *first[1:]), *others)))
    assert "points that are listed" in rejected(replace(shape, simplices=((-1, *first[1:]), *others)))
    assert "points that are listed" in rejected(replace(shape, simplices=((len(shape.points), *first[1:]), *others)))
    assert "as many numbers" in rejected(replace(shape, simplices=(first[1:], *others)))
    assert "as many numbers" in rejected(replace(shape, simplices=((*first, first[0]), *others)))


@of_every_dimension
def test_a_point_off_the_sphere(dim: int) -> None:
    shape = nets.cross(dim)
    for factor in (1 + Fraction(1, 1 << 64), 1 - Fraction(1, 1 << 64), Fraction(2)):
        off = tuple(x * factor for x in shape.points[-1])
        assert "is on the sphere" in rejected(replace(shape, points=(*shape.points[:-1], off)))


@of_every_dimension
def test_a_hole_is_refused(dim: int) -> None:
    if dim < 8:
        assert "positively oriented" in rejected(nets.annulus(dim))
    filled = nets.solid(dim)
    without = tuple(s for s in filled.simplices if 0 not in s)
    assert "positively oriented" in rejected(replace(filled, simplices=without))


@of_every_dimension
def test_a_hole_beside_the_origin_is_refused(dim: int) -> None:
    """One simplex of a solid, cut from an inner point, less its inner part."""
    shape = replace(nets.solid(dim), ball_radius=Fraction(99))
    facet = shape.simplices[0]
    corners = [shape.points[i] for i in facet]
    centre = tuple(sum(column, Fraction(0)) / len(corners) for column in zip(*corners, strict=True))
    inner = [tuple((x + y) / 2 for x, y in zip(centre, p, strict=True)) for p in corners]
    points = (*shape.points, *inner)
    at = {i: len(shape.points) + k for k, i in enumerate(facet)}
    prisms = []
    for k in range(len(facet)):
        face = [i for i in facet if i != facet[k]]
        prisms += [nets.positive(points, [*(at[i] for i in face[: j + 1]), *face[j:]]) for j in range(len(face))]
    assert "positively oriented" in rejected(replace(shape, points=points, simplices=(*shape.simplices[1:], *prisms)))


def test_a_border_that_touches_the_ball_may_have_corners_far_out() -> None:
    shape = nets.off_centre()
    assert check(shape.tree()).verdict is Verdict.VALID
    assert "near enough" in rejected(replace(shape, radius=1 + Fraction(1, nets.UNIT)))
    assert "circumradius" in rejected(finer(shape))


@of_every_dimension
def test_two_spheres_side_by_side_cover_twice_unless_one_is_turned_inside_out(dim: int) -> None:
    shape = nets.cross(dim)
    double = beside(shape, turned_about(shape))
    assert check(double.tree()).verdict is Verdict.VALID
    inside_out = replace(shape, simplices=tuple(turned(s) for s in shape.simplices))
    assert "positively oriented" in rejected(beside(shape, inside_out))
    assert "positively oriented" in rejected(beside(inside_out, shape))


@of_every_dimension
def test_two_spheres_glued(dim: int) -> None:
    """At a vertex they are still without border; along a ridge it has four facets, along a facet it has its own."""
    first = nets.cross(dim)
    double = beside(first, turned_about(first))
    points, shift = list(double.points), len(first.points)
    touching = merged(replace(double, points=tuple(points)), shift + 1, 0)
    reason = check(touching.tree()).reason  # a vertex elsewhere is another complex, true only where all stays positive
    assert reason == "" or "positively" in reason or "near enough" in reason
    same = beside(first, first)
    assert check(same.tree()).verdict is Verdict.VALID  # every point counted twice
    glued = same
    for vertex in first.simplices[0][1:]:
        glued = merged(glued, shift + vertex, vertex)
    if dim > 2:
        assert "at most, with opposite" in rejected(glued)
    else:
        assert "at most" in rejected(glued)
    joined = merged(glued, shift + first.simplices[0][0], first.simplices[0][0])
    less = tuple(s for s in joined.simplices if set(s) != set(first.simplices[0]))
    assert "at most, with opposite" in rejected(replace(joined, simplices=less))


@of_every_dimension
def test_a_part_covered_twice(dim: int) -> None:
    """A few more facets over others, on points of their own: they have a border, or turn back."""
    shape = nets.cross(dim)
    double = beside(shape, turned_about(shape))
    more = double.simplices[len(shape.simplices) :]
    for count in (1, 2, len(more) - 1):
        assert "in two facets, not in one" in rejected(replace(double, simplices=(*shape.simplices, *more[:count])))
    back = (*shape.simplices, more[0], turned(more[0]))
    assert "positively oriented" in rejected(replace(double, simplices=back))


@of_every_dimension
def test_the_count_is_of_points_that_are_used(dim: int) -> None:
    shape = nets.cross(dim)
    idle = replace(shape, points=(*shape.points, tuple(-x for x in shape.points[0])))
    assert check(idle.tree()).verdict is Verdict.VALID
    assert idle.used == len(shape.points)
    (step,) = shape.steps()
    fewer = document.build(shape.claim(), [{**step, "gives": {"at_most": str(shape.used - 1)}}])
    assert "points of the net" in check(fewer).reason
    claim = {**shape.claim(), "at_most": str(shape.used - 1)}
    assert "at_most >= what the steps prove" in check(document.build(claim, [step])).reason


def test_every_set_of_edges_of_five_points_on_the_circle() -> None:
    """All of them: what is accepted goes round once or twice and has no gap; one way round is always found."""
    shape = nets.rounded_polygon()
    points = [complex(x, y) for x, y in shape.points]
    edges = [nets.positive(shape.points, pair) for pair in combinations(range(5), 2)]
    accepted = 0
    for chosen in product((False, True), repeat=len(edges)):
        facets = tuple(edge for edge, taken in zip(edges, chosen, strict=True) if taken)
        if not facets:
            continue
        candidate = replace(shape, simplices=facets, angle=Fraction(3, 2))
        if check(candidate.tree()).verdict is Verdict.VALID:
            accepted += 1
            used = sorted(phase(points[i]) for i in {i for facet in facets for i in facet})
            gaps = [b - a for a, b in pairwise([*used, used[0] + 2 * pi])]
            assert max(gaps) / 2 <= 1.5
            turns = sum(phase(points[j] / points[i]) for i, j in facets)
            assert round(turns / (2 * pi), 9) in (1, 2)
    assert accepted >= 3


@of_every_dimension
def test_every_direction_is_in_as_many_cones(dim: int) -> None:
    """Lemma 1, by directions drawn at random: once round, and twice."""
    shape = nets.cross(dim)
    rng = np.random.default_rng(dim)
    for complex_, times in ((shape, 1), (beside(shape, turned_about(shape)), 2)):
        points = np.array([[float(x) for x in p] for p in complex_.points])
        for x in rng.normal(size=(20, dim)):
            inside = [(np.linalg.solve(points[list(s)].T, x) > 0).all() for s in complex_.simplices]
            assert sum(inside) == times


def test_a_fan_or_a_solid_is_no_other_body() -> None:
    sphere, ball = nets.cross(3), nets.solid(3)
    assert check(document.build(ball.claim(), sphere.steps())).verdict is Verdict.INVALID
    assert check(document.build(sphere.claim(), ball.steps())).verdict is Verdict.INVALID
    empty = document.build(sphere.claim(), replace(sphere, simplices=()).steps())
    assert "at least one facet" in check(empty).reason
    wide = replace(sphere, angle=Fraction(8, 5))
    assert "angle <= pi/2" in rejected(wide)
    assert check(replace(sphere, angle=Fraction(3, 2)).tree()).verdict is Verdict.VALID


def test_limits_are_incomplete() -> None:
    shape = nets.cross(3)
    (step,) = shape.steps()
    long = [*step["given"]["points"], " ".join(["0", "0", str(1 << 256), str(1 << 256)])]
    tree = document.build(shape.claim(), [{**step, "given": {**step["given"], "points": long}}])
    assert check(tree).verdict is Verdict.INCOMPLETE
    claim = {**shape.claim(), "dim": "33"}
    assert check(document.build(claim, [step])).verdict is Verdict.INCOMPLETE


def test_work_and_memory_are_bounded_before_they_are_spent() -> None:
    shape = nets.cross(3)
    (step,) = shape.steps()
    claim = {**shape.claim(), "dim": "30"}
    point = " ".join([str(1 << 255), *["0"] * 29, str(1 << 255)])
    many = {"points": [point], "simplices": [" ".join(["0"] * 30)] * 700}
    pairs = {"points": [point], "simplices": [], "orthoplexes": [" ".join(["0"] * 58)]}
    for given in (many, pairs):
        assert "units of work" in check(document.build(claim, [{**step, "given": given}])).reason
    half = [Fraction(1, 2)] * 3
    for word, scale, shift in (("Z", Fraction(1, 1 << 9), half), ("A*", Fraction(1, 128), [*half, Fraction(1, 3)])):
        given = {"lattice": word, "scale": str(scale), "shift": [str(x) for x in shift]}
        lattice = {"id": "a", "rule": "lattice-points", "uses": {}, "given": given, "gives": {"at_most": "9"}}
        result = check(document.build(nets.solid(3).claim(), [lattice]))
        assert (result.verdict, result.reason[:5]) == (Verdict.INCOMPLETE, "limit")


def test_linear_systems_against_fractions() -> None:
    rng = np.random.default_rng(0)
    for size, trial in product(range(1, 7), range(30)):
        table = rng.integers(-3, 4, size=(size, size + 1)).tolist()
        if trial % 3 == 0 and size > 1:
            table[-1] = [2 * x for x in table[0]]
        det, scaled = solve([tuple(row) for row in table])
        assert det == determinant([[Fraction(x) for x in row[:-1]] for row in table])
        if det:
            for *row, right in table:
                assert sum(x * y for x, y in zip(row, scaled, strict=True)) == det * right


SHIFTS: dict[int, list[list[Fraction | int]]] = {
    1: [[0], [Fraction(1, 2)], [Fraction(1, 3)]],
    2: [[0, 0], [Fraction(1, 2)] * 2, [Fraction(1, 3), Fraction(3, 4)]],
    3: [[0, 0, 0], [0, Fraction(1, 3), Fraction(2, 3)], [Fraction(1, 2), 0, Fraction(1, 4)]],
    4: [[0, 0, 0, 0], [Fraction(k, 4) for k in range(4)]],
}


@pytest.mark.parametrize(("dim", "word"), [(1, "Z"), (2, "Z"), (3, "Z"), (1, "A*"), (2, "A*"), (3, "A*")])
def test_points_of_a_lattice_are_counted_and_cover(dim: int, word: str) -> None:
    """Points that are listed one by one; and points drawn from the ball have one of them near."""
    size = dim + (word == "A*")
    hole = Fraction(size, 4) if word == "Z" else Fraction(size * size - 1, 12 * size)
    scale = Fraction(int(float(1 / hole) ** 0.5 * 1000), 1000)
    rng = np.random.default_rng(dim)
    for shift, radius in product(SHIFTS[size], (Fraction(1, 2), Fraction(4, 5), Fraction(1), Fraction(17, 10))):
        if dim == 3 and radius > 1:
            continue
        vector = [Fraction(x) for x in shift]
        found = listed(vector, (radius + 1) / scale, projected=size > dim)
        assert accepts(dim, word, radius, scale, vector, len(found))
        assert not accepts(dim, word, radius, scale, vector, len(found) - 1)
        assert not accepts(dim, word, radius, scale + Fraction(1, 500), vector, 10**6)
        x = rng.normal(size=(300, size))
        x -= x.mean(axis=1, keepdims=True) * (size > dim)
        x *= float(radius) * rng.random((300, 1)) ** (1 / dim) / np.linalg.norm(x, axis=1, keepdims=True)
        centres = float(scale) * np.array([[float(c) for c in p] for p in sorted(found)])
        assert (np.linalg.norm(x[:, None] - centres[None], axis=2).min(axis=1) <= 1).all()


def accepts(dim: int, word: str, radius: Fraction, scale: Fraction, shift: list[Fraction], count: int) -> bool:
    given = {"lattice": word, "scale": str(scale), "shift": [str(x) for x in shift]}
    step = {"id": "a", "rule": "lattice-points", "uses": {}, "given": given, "gives": {"at_most": str(count)}}
    claim = {"claim": "cover", "body": "ball", "dim": str(dim), "radius": str(radius), "ball_radius": "1"}
    return check(document.build({**claim, "at_most": str(max(count, 1))}, [step])).verdict is Verdict.VALID


def test_a_lattice_step_out_of_its_range() -> None:
    half, one = Fraction(1, 2), Fraction(1)
    assert accepts(2, "Z", one, one, [half, half], 100)
    assert not accepts(2, "Z", one, one, [half, one], 100)
    assert not accepts(2, "Z", one, one, [half, -half], 100)
    assert not accepts(2, "Z", one, one, [half], 100)
    assert not accepts(2, "A*", one, one, [half, half], 100)
    assert not accepts(2, "D", one, one, [half, half], 100)
    assert not accepts(2, "Z", one, -one, [half, half], 100)
    assert not accepts(2, "Z", one, Fraction(0), [half, half], 100)


@pytest.mark.parametrize("control", [c for c in controls() if "net" in c.rules], ids=str)
def test_controls_cover(control: Any) -> None:
    assert truly_covers(control.tree["statement"], control.tree["steps"][0])
