"""The lemmas of covering numbers by brute force, caps against numerical integration, and each form to its threshold."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import acos, asin, ceil, cos, isclose, pi, sin, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import acb, arb

from kvverify.kernel.check import Verdict, check
from kvverify.kernel.context import Context
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import caps, covering
from tests.kernel import covered
from tests.kernel.controls import rebuild
from tests.kernel.covering_controls import claim, control, controls, lower, upper
from tests.kernel.mutants import stronger
from tests.kernel.real import ball, precision

Node = dict[str, Any]
HALF = Fraction(1, 2)


def bound(form: str, dim: int, size: Fraction | int | str, *, sphere: bool = False, shrink: str | None = None) -> int:
    """What the kernel proves by that form: at_least for the forms from below, at_most for the others."""
    goal = covering.parse(claim(dim, size, sphere=sphere, at_least=1))
    side = "at_least" if form in ("volume", "caps", "ball-through-sphere", "below") else "at_most"
    node = {"form": "few" if form == "below" else form} | ({"shrink": shrink} if shrink else {})

    def holds(count: int) -> bool:
        rule = covering.cover_at_least if side == "at_least" else covering.cover_at_most
        try:
            rule(Context(goal, Path()), {}, node, {side: str(count)})
        except Rejected as error:
            if "what the form proves" in str(error):
                return False
            raise
        return True

    count = 1
    while holds(count) is (side == "at_least"):
        count *= 2
    low, high = count // 2, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) is (side == "at_least") else (low, middle)
    return low if side == "at_least" else high


# --- numbers ---


def test_pi_lies_between_and_close() -> None:
    for bits in (0, 1, 17, 160, 3000):
        low, high = caps.pi_between(bits)
        with precision(4000):
            assert ball(low) < arb.pi() < ball(high)
        assert high - low < Fraction(1, 1 << bits)


@pytest.mark.parametrize("angle", ["1/1000000007", "1/100", "1/2", "1", "3/2", "157/100", "157079632679/100000000000"])
def test_the_squared_sine_lies_between_and_close(angle: str) -> None:
    low, high = caps.sine_squared(Fraction(angle))
    with precision(2000):
        assert ball(low) < ball(Fraction(angle)).sin() ** 2 < ball(high)
    assert high - low < low / (1 << 140)


def test_no_angle_has_a_squared_sine_beyond_0_and_1() -> None:
    assert caps.sine_squared(Fraction(1, 10**40))[0] > 0
    assert caps.sine_squared(caps.pi_between(300)[0] / 2)[1] == 1


@pytest.mark.parametrize("v", [Fraction(2), Fraction(1, 10**50), Fraction(10**9, 7), Fraction(9, 4), Fraction(1)])
def test_roots_are_rounded_to_their_side(v: Fraction) -> None:
    low, high = (caps.root(*v.as_integer_ratio(), up=up) for up in (False, True))
    assert low**2 <= v <= high**2
    assert high**2 - low**2 <= v / (1 << caps.BITS - 3)
    assert (low == high) == (low**2 == v)


def integrated(dim: int, x: Fraction) -> arb:
    """The cap's measure by numerical integration of sin^(dim-2)."""

    def density(t: acb, _: bool) -> acb:
        return t.sin() ** (dim - 2)

    end = ball(x).sqrt().asin()
    parts = [acb.integral(density, 0, acb(top), rel_tol=arb(2) ** -160, abs_tol=arb(0)) for top in (end, arb.pi())]
    return (parts[0] / parts[1]).real


@pytest.mark.parametrize("dim", [2, 3, 4, 5, 9, 16])
def test_caps_are_measured_as_numerical_integration_says(dim: int) -> None:
    below_half, above_half = Fraction(499999, 10**6), Fraction(500001, 10**6)
    for x in (Fraction(1, 1000), Fraction(1, 7), below_half, HALF, above_half, Fraction(9, 10), Fraction(999, 1000)):
        low, high = (caps.measure(dim, x, up=up) for up in (False, True))
        with precision(220):
            assert not integrated(dim, x) < ball(low)
            assert not integrated(dim, x) > ball(high)
            assert ball(high) - ball(low) < ball(low) * arb(2) ** -140
            assert covered.cap(dim, ball(x).sqrt().asin()).overlaps(integrated(dim, x))


@pytest.mark.parametrize("dim", [2, 3, 7, 64, 1024, 4096])
def test_caps_in_high_dimensions_and_whole_half_spheres(dim: int) -> None:
    for x in (Fraction(1, 10**6), Fraction(1, 3), Fraction(50001, 10**5), Fraction(99, 100)):
        low, high = (caps.measure(dim, x, up=up) for up in (False, True))
        with precision(400):
            truth = ball(x).beta_lower(ball(Fraction(dim - 1, 2)), ball(HALF), regularized=True) / 2
            assert ball(low) <= truth <= ball(high)
        assert high - low < low / (1 << 140)
    assert caps.measure(dim, Fraction(1), up=True) == HALF
    assert 0 < HALF - caps.measure(dim, 1 - Fraction(1, 1 << 300), up=False) < Fraction(1, 1 << 60)


# --- bounds that are known to be exact, or known ---


@pytest.mark.parametrize("size", ["1/7", "1/2", "1", "3/2", "9/4", "31/10"])
def test_an_interval_and_a_circle_are_covered_by_equal_parts(size: str) -> None:
    ratio = 1 / Fraction(size) + 1
    assert bound("volume", 1, ratio) == bound("arcs", 1, ratio) == ceil(ratio)
    angle, exactly = float(Fraction(size)), ceil(pi / float(Fraction(size)))
    assert bound("arcs", 2, size, sphere=True) == exactly
    assert bound("below" if angle > pi / 2 else "caps", 2, size, sphere=True) == (2 if angle > pi / 2 else exactly)


COVERED = {  # n discs, balls or caps of these sizes cover: Fejes Toth 1943 for caps; Bezdek 1984, Fodor 1999 for discs
    "discs": [(3, sqrt(3) / 2), (4, sqrt(1 / 2)), (5, 0.609382865), (6, 0.555905425), (7, 0.5)],
    "caps": [(4, acos(1 / 3)), (6, acos(1 / sqrt(3))), (12, 0.652358139784368)],
}


@pytest.mark.parametrize(("kind", "count", "size"), [(kind, *pair) for kind in COVERED for pair in COVERED[kind]])
def test_known_optima_lie_between_the_bounds(kind: str, count: int, size: float) -> None:
    """A little above the size of the best cover so many are enough; a little below it one more is needed."""
    for factor, truth in ((1.000001, count), (0.999999, count + 1)):
        length = Fraction(size * factor)
        length = Fraction(round(length * 10**9), 10**9)
        if kind == "caps":
            below, above = (("below", "caps"), ("packing", "few" if count < 7 and factor > 1 else "packing"))
            low = max(bound(form, 3, length, sphere=True) for form in below)
            high = min(bound(form, 3, length, sphere=True) for form in above)
        else:
            forms = ("packing", "lattice") + (("few",) if count < 5 and factor > 1 else ())
            low = max(bound(form, 2, 1 / length) for form in ("below", "volume", "ball-through-sphere"))
            high = min(bound(form, 2, 1 / length) for form in forms)
        assert low <= truth
        assert high >= count
        if factor > 1 and count in (3, 4, 6) and (kind, count) != ("discs", 6):
            assert high == count


def test_few_is_exact_from_the_simplex_to_the_right_angle() -> None:
    for dim in (2, 3, 8, 50):
        wide = Fraction(round(acos(1 / dim) * 10**6) + 1, 10**6)
        assert bound("few", dim, wide, sphere=True) == bound("below", dim, wide, sphere=True) == dim + 1
        assert bound("few", dim, "8/5", sphere=True) == bound("below", dim, "8/5", sphere=True) == 2
        assert bound("few", dim, wide - Fraction(2, 10**6), sphere=True) == (2 * dim)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_ball_that_is_no_larger_takes_one(dim: int) -> None:
    assert bound("few", dim, 1) == bound("few", dim, "1/3") == bound("below", dim, 1) == 1
    assert bound("below", dim, "1000001/1000000") == dim + 1


# --- lemmas by brute force ---


def unit_vectors(dim: int, count: int, seed: int) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(count, dim))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("dim", [2, 3, 4, 7])
def test_dim_caps_below_a_right_angle_leave_a_point_out(dim: int) -> None:
    """The direction that the proof gives has no positive product with any centre."""
    for seed in range(20):
        centres = unit_vectors(dim, dim, seed)
        if seed % 3 == 0:
            centres[-1] = centres[0]
        out = np.linalg.lstsq(centres, -np.ones(dim), rcond=None)[0] if seed % 3 else np.linalg.svd(centres)[2][-1]
        assert (centres @ out <= 1e-9).all() or (centres @ -out <= 1e-9).all()


@pytest.mark.parametrize("dim", [2, 3, 4, 7])
def test_vertices_of_a_simplex_and_of_a_cross_polytope_are_near_every_point(dim: int) -> None:
    simplex = np.eye(dim + 1) - 1 / (dim + 1)
    simplex /= np.linalg.norm(simplex, axis=1, keepdims=True)
    points = np.random.default_rng(1).normal(size=(4000, dim + 1))
    points -= points.mean(axis=1, keepdims=True)
    points = np.concatenate([points / np.linalg.norm(points, axis=1, keepdims=True), -simplex])
    assert (points @ simplex.T).max(axis=1).min() == pytest.approx(1 / dim, abs=1e-12)
    axes = np.concatenate([unit_vectors(dim, 4000, 2), np.array([*product((-1, 1), repeat=dim)]) / sqrt(dim)])
    assert abs(axes).max(axis=1).min() == pytest.approx(1 / sqrt(dim), abs=1e-12)


def test_a_ball_meets_a_sphere_in_no_larger_cap() -> None:
    for radius, distance in product((0.2, 0.5, 0.9, 0.999), np.linspace(0.001, 2, 400)):
        cosine = (1 + distance**2 - radius**2) / (2 * distance)
        if cosine <= 1:
            assert acos(cosine) <= asin(radius) + 1e-12


def test_balls_of_a_shell_reach_down_to_its_inner_sphere() -> None:
    """Centre at sqrt(q^2 - 1): the cone of sine 1/q is within 1 of it from q down to q - 2/q, and no further."""
    for outer in (1.05, 1.3, sqrt(2), 1.5, 2, 3, 10):
        angle, centre = asin(1 / outer), sqrt(outer**2 - 1)
        inner = max(0.0, outer - 2 / outer)
        for q, share in product(np.linspace(inner, outer, 50), np.linspace(0, 1, 20)):
            assert q**2 - 2 * q * centre * cos(share * angle) + centre**2 <= 1 + 1e-9
        for q in (outer * 1.001, inner * 0.999):
            assert q == 0 or q**2 - 2 * q * centre * cos(angle) + centre**2 > 1


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8])
def test_one_of_the_cuts_of_the_circle_of_remainders_is_near(dim: int) -> None:
    """The lemma on A_dim*: of the dim + 1 points with z = floor(x) + 1 on the largest remainders one is near enough."""
    size = dim + 1
    generator = np.random.default_rng(dim)
    vertex = np.arange(size) / size
    for x in [*generator.uniform(-2, 2, (300, size)), vertex, generator.permutation(vertex) + 3]:
        remainders = np.sort(x - np.floor(x))
        cuts = [np.concatenate([remainders[: size - j], remainders[size - j :] - 1]) for j in range(size)]
        least = min(((cut - cut.mean()) ** 2).sum() for cut in cuts)
        assert least <= dim * (dim + 2) / (12 * size) + 1e-12
    assert isclose(((vertex - vertex.mean()) ** 2).sum(), dim * (dim + 2) / (12 * size))
    basis = (np.eye(size) - 1 / size)[:dim]
    assert isclose(np.linalg.det(basis @ basis.T), 1 / size)  # the square of a cell's volume


def test_the_lattice_form_is_the_density_of_a_dim_star() -> None:
    hexagons = 2 * pi / sqrt(27)
    for ratio in (2, 5, 30):
        assert bound("lattice", 2, ratio) == int(hexagons * (1 + ratio) ** 2)
        assert bound("lattice", 3, ratio) == int(sqrt(125) * pi / 24 * (1 + ratio) ** 3)


@pytest.mark.parametrize(("dim", "angle"), [(2, "1/3"), (3, "2/5"), (4, "3/5")])
def test_real_covers_and_packings_lie_between(dim: int, angle: str) -> None:
    """Points of a fine net taken greedily, far from one another: a packing, and a cover of the net."""
    least, most = bound("caps", dim, angle, sphere=True), bound("packing", dim, angle, sphere=True)
    reach, left, taken = cos(float(Fraction(angle))), unit_vectors(dim, 20000, 3), 0
    while len(left):
        left, taken = left[left @ left[0] < reach], taken + 1
    assert least <= taken <= most


@pytest.mark.parametrize(("dim", "angle", "shrink"), [(3, "1/2", "3/4"), (3, "1/2", "15/16"), (5, "4/5", "7/8")])
def test_random_caps_leave_as_little_as_is_said(dim: int, angle: str, shrink: str) -> None:
    """Draw the caps of the proof: what they leave, and one cap for each gap of it, is within the bound."""
    radius, share = float(Fraction(angle)), float(Fraction(shrink))
    kept = asin(share * sin(radius))
    points = unit_vectors(dim, 20000, 4)
    with precision():
        p, gap = (float(covered.cap(dim, arb(t))) for t in (kept, radius - kept))
    drawn = ceil(np.log(p / gap) / p)
    rests, gaps = [], []
    for seed in range(5):
        centres = unit_vectors(dim, drawn, 10 + seed)
        nearest = (points @ centres.T).max(axis=1)
        rests.append((nearest < cos(kept)).mean())
        left, count = points[nearest < cos(radius)], 0
        while len(left):
            left, count = left[left @ left[0] < cos(radius)], count + 1
        gaps.append(count)
    assert np.mean(rests) <= 1.5 * (1 - p) ** drawn
    assert min(gaps) + drawn <= bound("lovasz-stein", dim, angle, sphere=True, shrink=shrink)


# --- the rules ---


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the forms take for proved is a little weaker."""
    step = Fraction(1, 1 << 20)

    def wider(exact: Callable[..., Fraction], least: Fraction | None = None) -> Callable[..., Fraction]:
        def found(*given: Any, up: bool, **named: Any) -> Fraction:
            value = exact(*given, up=up, **named) * (1 + step if up else 1 - step)
            return value if least is None else min(value, least)

        return found

    sine_squared, log2_upper = covering.sine_squared, covering.log2_upper
    monkeypatch.setattr(covering, "measure", wider(covering.measure, HALF))
    monkeypatch.setattr(covering, "root", wider(covering.root))
    monkeypatch.setattr(covering, "log2_upper", lambda x: log2_upper(x) + step)
    monkeypatch.setattr(covering, "_PI", (covering._PI[0] * (1 - step), covering._PI[1] * (1 + step)))
    monkeypatch.setattr(
        covering, "sine_squared", lambda t: (sine_squared(t)[0] * (1 - step), sine_squared(t)[1] * (1 + step))
    )


@pytest.mark.usefixtures("coarse")
def test_every_bound_errs_on_the_safe_side(tmp_path: Path) -> None:
    """Coarser numbers prove no more: one that is taken in the wrong direction would let a false step pass."""
    wrong = [
        mutant.name
        for found in controls()
        for mutant in stronger(found, tmp_path)
        if check(mutant.content, tmp_path).verdict is Verdict.VALID
    ]
    assert wrong == []


def test_a_claim_needs_the_side_that_it_states() -> None:
    found = control("both", claim(8, HALF, sphere=True), "caps", "packing").tree
    lower_step, upper_step, _ = found["steps"]
    assert check(rebuild({**found, "steps": [lower_step]})).verdict is Verdict.INVALID
    assert check(rebuild({**found, "steps": [upper_step]})).verdict is Verdict.INVALID
    for side, kept in (("at_least", upper_step), ("at_most", lower_step)):
        alone = {key: value for key, value in found["statement"].items() if key != side}
        assert check(rebuild({**found, "statement": alone, "steps": [kept]})).verdict is Verdict.VALID
    result = check(found)
    assert result.claim == "covering the unit sphere of dimension 8 by caps of 1/2 radians takes at least " + (
        f"{found['statement']['at_least']} and at most {found['statement']['at_most']}"
    )


@pytest.mark.parametrize(
    ("form", "dim", "size", "sphere", "shrink"),
    [
        ("caps", 3, "2", False, None), ("ball-through-sphere", 3, "1/2", True, None), ("volume", 3, "1/2", True, None),
        ("caps", 3, "8/5", True, None), ("ball-through-sphere", 1, "2", False, None),
        ("ball-through-sphere", 3, "1", False, None), ("lattice", 3, "1/2", True, None),
        ("shells", 3, "1/2", True, "3/4"), ("shells", 1, "2", False, "3/4"), ("shells", 3, "1", False, "3/4"),
        ("arcs", 2, "3", False, None), ("arcs", 3, "1/2", True, None), ("few", 3, "1/2", True, None),
        ("few", 1, "2", False, None), ("few", 4, "3/2", False, None), ("packing", 3, "8/5", True, None),
        ("lovasz-stein", 3, "1/2", True, "1"), ("lovasz-stein", 3, "1/2", True, "7/10"),
        ("lovasz-stein", 3, "9", False, "2/3"), ("lovasz-stein", 3, "1/2", False, "3/4"),
        ("lovasz-stein", 3, "1/2", True, f"{(1 << 64) - 1}/{1 << 64}"), ("lovasz-stein", 3, "1/2", True, "-3/4"),
    ],
)  # fmt: skip
def test_what_the_forms_refuse(form: str, dim: int, size: str, sphere: bool, shrink: str | None) -> None:
    below = form in ("volume", "caps", "ball-through-sphere")
    found = lower(form, 1) if below else upper(form, 10**6, None if shrink is None else Fraction(shrink))
    side = {"at_least": "1"} if below else {"at_most": str(10**6)}
    tree = rebuild({"format": "kvverify-certificate/1", "statement": {**claim(dim, size, sphere=sphere), **side},
                    "steps": [found]})  # fmt: skip
    assert check(tree).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    "change",
    [
        {"dim": "0"}, {"dim": "1"}, {"dim": "-3"}, {"angle": "0"}, {"angle": "-1"}, {"angle": "22/7"}, {"body": "cube"},
        {"radius": "1"}, {"at_least": "0"}, {"at_most": "0"}, {"at_least": None}, {"angle": None},
    ],
)  # fmt: skip
def test_statements_that_say_nothing(change: dict[str, str | None]) -> None:
    node = claim(3, HALF, sphere=True, at_least=1) | change
    with pytest.raises(Malformed):
        covering.parse({key: value for key, value in node.items() if value is not None})


def test_what_is_over_a_limit_is_not_decided() -> None:
    huge, long = Fraction(10**3000), Fraction(10**999 + 1, 10**999)
    with pytest.raises(OverLimit):
        covering.parse(claim(4097, 2, at_least=1))
    for form, dim, size, sphere in (
        ("volume", 64, huge, False), ("volume", 4096, long, False), ("packing", 4096, long, False),
        ("lattice", 4096, long, False), ("caps", 4096, 1 / huge, True), ("packing", 64, 1 / huge, True),
    ):  # fmt: skip
        goal = covering.parse(claim(dim, size, sphere=sphere, at_least=1))
        with pytest.raises(OverLimit):
            (covering._BELOW | covering._ABOVE)[form](Context(goal, Path()), goal)
    goal = covering.parse(claim(1024, 12, at_least=1))
    with pytest.raises(OverLimit):
        covering._shells(Context(goal, Path(), work=3 * 10**6), goal, Fraction(7, 8))


def test_shells_end_where_one_ball_covers_the_rest() -> None:
    """Up to sqrt 2 one shell; beyond, the middle takes one ball more; from 2 on there is a second shell, and so on."""
    for ratio, layers, middle in (("7/5", 1, 0), ("3/2", 1, 1), ("2", 1, 1), ("9/4", 2, 0), ("5/2", 2, 1), ("3", 3, 1)):
        radius, expected = float(Fraction(ratio)), 0
        for _ in range(layers):
            angle = Fraction(round(asin(1 / radius) * 10**12), 10**12)
            forms = [bound("packing", 9, angle, sphere=True)]
            forms += [bound("lovasz-stein", 9, angle, sphere=True, shrink="15/16")]
            expected += min(forms)
            radius -= 2 / radius
        assert bound("shells", 9, ratio, shrink="15/16") == expected + middle
