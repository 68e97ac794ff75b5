"""The second opinion on nets: it agrees with all that is true, and is contrary to what is not, in every dimension."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel import document
from tests.kernel import nets_controls as nets
from tests.kernel.controls import Control
from tests.kernel.nets_controls import Shape, controls, finer
from tests.kernel.test_rules_nets import BALLS, SPHERES, beside, turned, turned_about

of_every_dimension = pytest.mark.parametrize("dim", range(2, 8))


def opinion(shape: Shape) -> str:
    found = second_opinion(shape.tree())
    return found.verdict if found.verdict == "agrees" else f"{found.verdict}: {found.reason}"


@pytest.mark.parametrize("control", controls(), ids=str)
def test_it_agrees_with_the_controls(control: Control) -> None:
    assert second_opinion(control.tree).verdict == "agrees"


@of_every_dimension
def test_it_agrees_with_nets_and_no_finer_ones(dim: int) -> None:
    for build in (*SPHERES, *BALLS):
        shape = build(dim)
        assert opinion(shape) == "agrees"
        assert opinion(finer(shape)).startswith("contrary")
        assert opinion(replace(shape, simplices=shape.simplices[1:])).startswith("contrary")
        assert "positively oriented" in opinion(
            replace(shape, simplices=(turned(shape.simplices[0]), *shape.simplices[1:]))
        )


@of_every_dimension
def test_orthoplexes_holes_and_points_off_the_sphere(dim: int) -> None:
    shape = nets.pyramid(dim)
    assert "closed" in opinion(replace(shape, pairs=()))
    assert "closed" in opinion(replace(shape, pairs=shape.pairs * 2))
    if dim > 2:
        (pairs,) = shape.pairs
        assert "one midpoint" in opinion(replace(shape, pairs=((pairs[0], pairs[2], pairs[1], *pairs[3:]),)))
    assert "positively oriented" in opinion(nets.annulus(dim))
    off = tuple(2 * x for x in shape.points[-1])
    assert "on the sphere" in opinion(replace(shape, points=(*shape.points[:-1], off)))
    assert opinion(beside(nets.cross(dim), turned_about(nets.cross(dim)))) == "agrees"


def test_counts_and_indices() -> None:
    shape = nets.cross(3)
    (step,) = shape.steps()
    fewer = document.build(shape.claim(), [{**step, "gives": {"at_most": "5"}}])
    assert "counts the points" in second_opinion(fewer).reason
    assert "points of the list" in opinion(replace(shape, simplices=((0, 2, 9), *shape.simplices[1:])))
    assert opinion(replace(shape, angle=Fraction(8, 5))).startswith("contrary")


@pytest.mark.parametrize("control", [c for c in controls() if "lattice-points" in c.rules], ids=str)
def test_points_of_a_lattice_are_counted_exactly(control: Control) -> None:
    tree = control.tree
    (step,) = tree["steps"]
    fewer = {**step, "gives": {"at_most": str(int(step["gives"]["at_most"]) - 1)}}
    assert "counts the points" in second_opinion(document.build(tree["statement"], [fewer])).reason
    for field, value in (("scale", "5/2"), ("scale", "-1"), ("lattice", "D"), ("shift", [])):
        changed = {**step, "given": {**step["given"], field: value}}
        assert second_opinion(document.build(tree["statement"], [changed])).verdict == "contrary"
