"""Limits, charges and equalities of nets and of polynomials that a broken kernel once got past the other tests with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import gcd
from pathlib import Path
from typing import Any

import pytest
from flint import arb

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.context import Context
from kvverify.kernel.document import OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import nets, polynomials
from kvverify.kernel.rules.caps import BITS, pi_between
from kvverify.kernel.rules.covering import parse
from tests.kernel import nets_controls as shapes
from tests.kernel.nets_controls import Shape
from tests.kernel.polynomials_controls import positive
from tests.kernel.real import precision

TINY = Fraction(1, 10**300)
Node = dict[str, Any]


def charged(work: Callable[[Context], object], about: Any = None) -> int:
    context = Context(about, Path())
    before = context.work
    work(context)
    return before - context.work


def said(shape: Shape, **given: list[str]) -> str:
    (step,) = shape.steps()
    return check(document.build(shape.claim(), [{**step, "given": {**step["given"], **given}}])).reason


# nets


def test_dimensions_and_coordinates_to_their_limits() -> None:
    (step,) = shapes.cross(2).steps()
    for dim, reason in ((1, "(1 against 2)"), (32, "at least one facet"), (33, "limit: dimension 33 above 32")):
        about = replace(parse({**shapes.solid(2).claim()}), dim=dim)
        given = {"points": [" ".join(["1"] * (dim + 1))], "simplices": []}
        with pytest.raises((Rejected, OverLimit), match=reason.replace("(", r"\(").replace(")", r"\)")):
            nets.net(Context(about, Path()), {}, given, step["gives"])
    long = f"{(1 << 256) - 1} 1"
    assert nets._points(Context(None, Path()), [long], 1)  # type: ignore[arg-type]
    with pytest.raises(OverLimit, match="256 bits"):
        nets._points(Context(None, Path()), [f"{1 << 256} 1"], 1)  # type: ignore[arg-type]
    for denominator in ("0", "-1"):
        reason = said(
            shapes.cross(2), points=[f"0 0 {denominator}", *shapes.cross(2).steps()[0]["given"]["points"][1:]]
        )
        assert "point 0 has a denominator above 0" in reason


def square(angle: Fraction) -> str:
    """Four points of the circle: |a|^2 = 2, so that they are near from pi/4 on."""
    return check(replace(shapes.cross(2), angle=angle).tree()).reason


def test_angles_to_a_right_one_and_to_the_last_digit_of_the_cosine() -> None:
    right = pi_between(BITS)[0] / 2
    assert square(right) == ""
    assert "angle <= pi/2" in square(right + TINY)
    with precision(1200):
        quarter = Fraction((arb.pi() / 4).str(290, radius=False))
    # Nearer than enclosures tell: cos^2 may be above 1/2. A little further on it is 1/2 to the digits that are kept.
    assert "near enough" in square(quarter)
    assert square(quarter + Fraction(1, 1 << 140)) == ""


def test_opposite_vertices_of_other_denominators_have_one_midpoint() -> None:
    shape = shapes.pyramid(4)
    (step,) = shape.steps()
    points = list(step["given"]["points"])
    for i, factor in ((0, 2), (2, 3), (4, 7)):
        points[i] = " ".join(str(factor * int(x)) for x in points[i].split())
    assert said(shape, points=points) == ""


def test_nets_charge_for_facets_and_for_the_length_of_coordinates() -> None:
    for shape, bits in ((shapes.pyramid(4), 3), (shapes.box(), 2)):
        (step,) = shape.steps()
        points = [tuple(map(int, text.split())) for text in step["given"]["points"]]
        size, longest = shape.dim, max(x.bit_length() for p in points for x in p)
        assert longest == bits

        def walked(context: Context, shape: Shape = shape, points: Any = points) -> None:
            nets.fan(context, points, list(shape.simplices), list(shape.pairs), lambda *_: True)

        each = size**3 // 4
        expected = len(shape.simplices) * (each + 64 * size) + len(shape.pairs) * (2 * each + (64 << size - 1))
        assert charged(walked) == expected
    assert [nets._lanes([(1 << 31, 1)], factors) for factors in (1, 2, 4, 6)] == [1, 2, 3, 4]
    assert nets._lanes([(1, (1 << 64) - 1)], 3) == 4
    about = shapes.solid(2)
    (step,) = about.steps()
    points = [tuple(map(int, text.split())) for text in step["given"]["points"]]
    for factor in (1, 1 << 40):
        longer = [tuple(factor * x for x in p) for p in points]

        def filled(context: Context, points: Any = longer) -> None:
            nets._solid(context, points, list(about.simplices), about.radius, about.ball_radius)

        lanes = 1 + (6 * (factor.bit_length()) >> 6)
        border = len(about.simplices) * (2**3 * nets._lanes(longer, 2) // 4 + 64 * 2)
        assert charged(filled) == len(about.simplices) * (27 * lanes // 4 + 64 * 3) + border


def test_what_is_flat_is_oriented_in_no_way() -> None:
    flat = replace(shapes.solid(2), simplices=((0, 1, 4),))
    assert "is positively oriented (0 against 0)" in said(flat)
    assert nets.solve([(0, 5)]) == (0, [0])
    assert nets.solve([(0, 0, 1), (0, 0, 2)]) == (0, [0, 0])
    assert nets.solve([(2, 0, 3), (0, 5, 7)]) == (10, [15, 14])


@pytest.mark.parametrize("factor", [Fraction(1), Fraction(3, 2), Fraction(2, 3), Fraction(7)])
def test_a_border_that_touches_a_ball_of_any_radius(factor: Fraction) -> None:
    shape = shapes.off_centre()
    points = tuple(tuple(factor * x for x in p) for p in shape.points)
    larger = replace(shape, points=points, radius=factor, ball_radius=factor * shape.ball_radius)
    assert check(larger.tree()).verdict is Verdict.VALID
    assert "near enough" in said(replace(larger, radius=factor + Fraction(1, shapes.UNIT)))


def test_points_at_the_very_end_of_the_reach_count() -> None:
    """A_3* has six points of length 1 and more nearer; the class of (1, 1, -1, -1) is at 2 exactly."""
    claim = {"claim": "cover", "body": "ball", "dim": "3", "radius": "7/5", "ball_radius": "3/5", "at_most": "999"}
    near = set()
    for x in product(range(-4, 5), repeat=4):
        norm = sum(a * a for a in x) - Fraction(sum(x) ** 2, 4)
        if norm <= 4:
            near.add(tuple(a - Fraction(sum(x), 4) for a in x))
    assert any(sum(a * a for a in x) == 4 for x in near)
    for radius, least in (("7/5", len(near)), (str(Fraction(7, 5) - TINY), 0)):
        least = least or sum(sum(a * a for a in x) < 4 for x in near)
        about = parse({**claim, "radius": radius})
        given = {"lattice": "A*", "scale": "1", "shift": ["0"] * 4}
        assert nets.lattice_points(Context(about, Path()), {}, given, {"at_most": str(least)}).at_most == least
        with pytest.raises(Rejected, match="points of the lattice"):
            nets.lattice_points(Context(about, Path()), {}, given, {"at_most": str(least - 1)})
    with pytest.raises(Rejected, match=r"covering radius <= ball_radius \(5/4 against 9/25\)"):
        nets.lattice_points(Context(parse(claim), Path()), {}, {**given, "scale": "2"}, {"at_most": "999"})


def test_sums_of_squares_to_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert nets.MAX_STATES == 1 << 19
    context = Context(None, Path())  # type: ignore[arg-type]
    assert nets._tally(context, [0], 1 << 18, nets.MAX_STATES, sums=False) == Counter({(0, 0): 1})
    with pytest.raises(OverLimit, match="squares of more than"):
        nets._tally(context, [0], 1 << 18, nets.MAX_STATES + 1, sums=False)
    tally = nets._tally(context, [1, 1], 3, 20, sums=True)
    assert tally == Counter({
        (x + y, x * x + y * y): (1 if x == y else 2)
        for x in (-2, 1, 4) for y in (-2, 1, 4) if x <= y and x * x + y * y <= 20
    })  # fmt: skip
    reached = len(nets._tally(context, [0, 0], 1, 4, sums=True))
    monkeypatch.setattr(nets, "MAX_STATES", reached)
    assert reached >= 4
    assert nets._tally(context, [0, 0], 1, 4, sums=True)
    monkeypatch.setattr(nets, "MAX_STATES", reached - 1)
    with pytest.raises(OverLimit, match="sums of squares"):
        nets._tally(context, [0, 0], 1, 4, sums=True)


# polynomials


def test_degrees_elevations_and_pieces_to_their_limits() -> None:
    assert check(positive("", " ".join(["1"] * 129), low=0).tree).verdict is Verdict.VALID
    assert "a degree above 128" in check(positive("", " ".join(["1"] * 130), low=0).tree).reason

    def bernstein(elevation: int, pieces: int) -> str:
        cuts = " ".join(str(Fraction(i, pieces)) for i in range(1, pieces))
        return check(positive("", "1", low=0, high=1, form="bernstein", elevation=elevation, cuts=cuts).tree).reason

    assert bernstein(512, 1) == bernstein(0, 1024) == ""
    for elevation, pieces in ((513, 1), (0, 1025)):
        assert "an elevation above 512, or more than 1024 pieces" in bernstein(elevation, pieces)


def test_polynomials_charge_by_the_length_of_numbers() -> None:
    long = [3 << 700, 1, -(5 << 1000)]
    assert polynomials._cost([1], [1]) == 4
    assert polynomials._cost(long, [1, 1 << 300]) == 6 * (4 + (16 * 5 >> 4))
    assert polynomials._cost([1 << 62], [1 << 63]) == 4
    assert polynomials._cost([1 << 1000], [1 << 63]) == 4 + (16 * 2 >> 4)
    assert charged(lambda c: polynomials._whole(c, (Fraction(1), Fraction(1, 3)))) == 1
    assert charged(lambda c: polynomials._whole(c, (Fraction(1, 1 << 99), Fraction(1, 3 << 99)))) == 1 + 6**2
    point = Fraction((1 << 500) + 1, 3)
    bits = 1003 + 3 * (501 + 2)
    assert charged(lambda c: polynomials._horner(c, long, point)) == 3 * (8 + (bits >> 7) ** 2)
    assert charged(lambda c: polynomials._horner(c, [7], Fraction(1))) == 8
    for low, high, elevation in ((Fraction(0), None, 0), (Fraction(1, 3), Fraction(9, 2), 17)):
        width = Fraction(1) if high is None else high - low
        sizes = sum(x.numerator.bit_length() + x.denominator.bit_length() for x in (low, width))
        bits = 1003 + 3 * sizes + 2 + elevation
        expected = 3 * (2 + elevation + 1) * (8 + (bits >> 4))
        assert charged(lambda c, a=low, b=high, e=elevation: polynomials._piece(c, long, a, b, e)) == expected


@pytest.mark.parametrize("coefficients", [[1, -3, 5 << 300, 1, -7], [-5, 0, 1 << 700, 0, 1 << 400, 3], [1, 2, 1]])
def test_a_sturm_chain_is_short_and_charged(coefficients: list[int]) -> None:
    """Against remainders over the rationals: the same signs, contents taken out; and each division's work."""
    spent = 0

    def weigh(rest: list[int], divisor: list[int]) -> int:
        return polynomials._cost(rest, [divisor[-1]]) + polynomials._cost(divisor, [rest[-1]])

    rows = [coefficients, [i * c for i, c in enumerate(coefficients)][1:]]
    while rows[-1]:
        rest, divisor = list(rows[-2]), rows[-1]
        while len(rest) >= len(divisor):
            spent += weigh(rest, divisor)
            top, shift = rest[-1], len(rest) - len(divisor)
            sign = 1 if divisor[-1] > 0 else -1
            rest = [sign * divisor[-1] * c for c in rest]
            for i, c in enumerate(divisor):
                rest[shift + i] -= sign * top * c
            while rest and not rest[-1]:
                rest.pop()
        if rest:
            spent += len(rest) * (1 + (max(c.bit_length() for c in rest) >> 7)) ** 2
        content = gcd(*rest)
        rows.append([-c // content for c in rest])
    context = Context(None, Path())  # type: ignore[arg-type]
    before = context.work
    assert polynomials._chain(context, coefficients) == rows[:-1]
    assert before - context.work == spent


def test_constants_far_signs_and_ends() -> None:
    assert [polynomials._far(f, up=up) for f in ([3], [-3], [0, 2], [0, -2]) for up in (False, True)] == [
        1, 1, -1, -1, -1, 1, 1, -1,
    ]  # fmt: skip
    for coefficients, relation, low, high, fine in (
        ("1", ">", None, None, True), ("-1", ">", None, None, False), ("1 0 1", ">", None, None, True),
        ("-1 0 -1", ">", None, None, False), ("0 1", ">", 0, None, False), ("0 1", ">=", 0, None, True),
        ("0 -1", ">=", None, 0, True), ("0 1", ">=", None, 0, False),
    ):  # fmt: skip
        found = check(positive("", coefficients, relation, low, high).tree)
        assert (found.verdict is Verdict.VALID) is fine, (coefficients, found.reason)
    assert "the leading coefficient is positive (-1 against 0)" in check(positive("", "-1 0 -1").tree).reason
