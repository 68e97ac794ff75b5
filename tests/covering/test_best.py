"""The best bounds of both sides: how close they are, that nothing better is left out, and that the kernel accepts."""

from __future__ import annotations

import time
from fractions import Fraction
from math import log2

import numpy as np
import pytest

from kvverify.covering import Question, best_cover
from kvverify.covering.forms import lower, upper
from kvverify.covering.lattices import counted
from kvverify.crosscheck.arb import second_opinion
from kvverify.errors import UsageError
from kvverify.kernel.check import Verdict, check

HALF = Fraction(1, 2)


def ball(dim: int, ratio: Fraction | int | str) -> Question:
    return Question(dim, radius=Fraction(ratio), ball_radius=Fraction(1))


def sphere(dim: int, angle: Fraction | str) -> Question:
    return Question(dim, angle=Fraction(angle))


@pytest.mark.parametrize(("dim", "width"), [(8, 4.92), (32, 7.56), (128, 9.94), (1024, 13.34)])
def test_both_sides_at_half_a_radian(dim: int, width: float) -> None:
    """The promise is 6 bits at dimension 8 and 10.5 at 128."""
    begin = time.perf_counter()
    found = best_cover(sphere(dim, HALF))
    assert log2(found.at_most) - log2(found.at_least) <= width
    assert found.methods == ("caps", "lovasz-stein")
    assert time.perf_counter() - begin < 5


def test_the_sphere_of_dimension_128() -> None:
    found = best_cover(sphere(128, HALF))
    assert 139.33 < log2(found.at_least) < 139.34
    assert 149.26 < log2(found.at_most) < 149.27


@pytest.mark.parametrize(
    ("question", "methods"),
    [
        (ball(1, "7/2"), ("volume", "arcs")), (ball(3, 1), ("few", "few")), (ball(3, "11/10"), ("few", "few")),
        (ball(3, 4), ("volume", "lattice-points")),
        (ball(12, 10), ("volume", "lattice")), (ball(8, "3/2"), ("ball-through-sphere", "shells")),
        (ball(128, 4), ("ball-through-sphere", "shells")), (ball(128, 10**6), ("volume", "lovasz-stein")),
        (sphere(2, HALF), ("caps", "arcs")), (sphere(3, HALF), ("caps", "packing")), (sphere(3, "3"), ("few", "few")),
        (sphere(3, "13/10"), ("few", "few")),
    ],
)  # fmt: skip
def test_the_best_of_all_is_taken_and_proved(question: Question, methods: tuple[str, str]) -> None:
    found = best_cover(question)
    assert found.methods == methods
    assert found.at_least == max(form.count for form in lower(question))
    assert found.at_most == min(form.count for form in upper(question))
    assert found.at_least <= found.at_most
    assert check(found.certificate).verdict is Verdict.VALID
    assert second_opinion(found.certificate).verdict == "agrees"


@pytest.mark.parametrize("question", [ball(7, "17/10"), ball(2, 2), ball(9, 3), sphere(5, "7/10"), sphere(2, "1")])
def test_every_form_proves_what_it_is_said_to(question: Question) -> None:
    """Also those that are not the best: each is a certificate of its own, and one better is none."""
    from kvverify.kernel import document

    for side, forms, better in (("at_least", lower(question), 1), ("at_most", upper(question), -1)):
        for form in forms:
            for change, verdict in ((0, Verdict.VALID), (better, Verdict.INVALID)):
                bound = form.count + change
                step = form.step(side.replace("_", "-"))
                step["gives"] = {side: str(bound)}
                sides = (bound, None) if side == "at_least" else (None, bound)
                if bound >= 1:
                    tree = document.build(question.statement(*sides), [step])
                    assert check(tree).verdict is verdict, (form, change)


def test_points_of_a_lattice_are_counted_as_they_lie() -> None:
    """The same points one by one: by distance from the shifted origin, in the plane of the hexagonal lattice."""
    for ratio in (Fraction(3, 2), Fraction(2), Fraction(4)):
        found = counted(2, ratio, Fraction(1))
        assert found is not None
        shift = np.array([float(Fraction(x)) for x in found.given["shift"]])
        scale = float(Fraction(str(found.given["scale"])))
        grid = np.stack(np.meshgrid(np.arange(-9, 10), np.arange(-9, 10)), axis=-1).reshape(-1, 2)
        points = np.concatenate([grid, np.zeros((len(grid), 1))], axis=1) + shift
        points = scale * (points - points.mean(axis=1, keepdims=True))
        distances = np.linalg.norm(points, axis=1)
        assert abs(distances - float(ratio) - 1).min() > 1e-6, "no point on the border"
        assert found.count == (distances < float(ratio) + 1).sum()


def test_counting_stops_where_it_would_take_long() -> None:
    assert counted(8, Fraction(1000), Fraction(1)) is None
    begin = time.perf_counter()
    best_cover(ball(8, 50))
    assert time.perf_counter() - begin < 10


def test_more_is_never_needed_of_smaller_balls_or_larger_bodies() -> None:
    for dim in (3, 9):
        found = [best_cover(ball(dim, Fraction(tenths, 10))) for tenths in (8, 11, 13, 16, 20, 27, 40)]
        assert [bounds.at_least for bounds in found] == sorted(bounds.at_least for bounds in found)
        assert [bounds.at_most for bounds in found] == sorted(bounds.at_most for bounds in found)


def test_the_share_that_is_searched_is_the_best_of_a_grid() -> None:
    from flint import ctx

    from kvverify.covering.forms import _random_caps, _sine

    question = sphere(24, HALF)
    found = next(form for form in upper(question) if form.name == "lovasz-stein")
    with ctx.workprec(256):
        others = [_random_caps(24, _sine(question), 1 - Fraction(m, 256)) for m in range(1, 70)]
    assert min(log2(float(count)) for count in others) > log2(found.count) - 0.01


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"dim": 0, "angle": HALF}, "dim: 0 given, 2 to 4096"), ({"dim": 1, "angle": HALF}, "dim: 1 given, 2 to 4096"),
        ({"dim": 4097, "angle": HALF}, "4096 is needed for a sphere"),
        ({"dim": 10**40, "radius": HALF, "ball_radius": HALF}, "about 2"),
        ({"dim": 3}, "give radius and ball-radius"), ({"dim": 3, "radius": HALF}, "give radius and ball-radius"),
        ({"dim": 3, "angle": HALF, "radius": HALF, "ball_radius": HALF}, "or angle for a sphere"),
        ({"dim": 3, "angle": Fraction(0)}, "angle: 0 given"), ({"dim": 3, "angle": Fraction(22, 7)}, "at most pi"),
        ({"dim": 3, "radius": Fraction(-1), "ball_radius": HALF}, "radius: -1 given"),
        ({"dim": 3, "radius": HALF, "ball_radius": Fraction(0)}, "ball-radius: 0 given"),
        ({"dim": 3, "radius": Fraction(2) ** 501, "ball_radius": HALF}, "from 2"),
    ],
)  # fmt: skip
def test_what_is_no_question(given: dict[str, int | Fraction], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Question(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "question", [ball(4096, 10**4), ball(64, Fraction(10) ** 100), sphere(4096, Fraction(1, 10**6))]
)
def test_a_number_too_long_for_a_certificate_is_refused_at_once(question: Question) -> None:
    with pytest.raises(UsageError, match="more than the 4000 digits"):
        best_cover(question)
