"""Ends of ranges of covering numbers that a broken kernel once got past the other tests with."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from math import isqrt
from pathlib import Path
from typing import Any

import pytest
from flint import arb

from kvverify.kernel.context import Context
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import caps, covering
from kvverify.kernel.rules.comparison import Comparison
from kvverify.kernel.rules.covering import _PI, Covering
from tests.kernel.covering_controls import claim
from tests.kernel.real import ball, precision

TINY = Fraction(1, 10**300)
SHRINK = Fraction(4, 5)
DEEP = 1 - TINY


def goal(dim: int, size: Fraction | int | str, *, sphere: bool = False) -> covering.Cover:
    return covering.parse(claim(dim, str(size), sphere=sphere, at_least=1))


def found(form: str, dim: int, size: Fraction | int | str, *, sphere: bool = False) -> Any:
    """What a form proves, and the work that it charges; the refusal where it refuses."""
    about = goal(dim, size, sphere=sphere)
    context = Context(about, Path())
    try:
        if form in covering._SHRINKING:
            bound = covering._SHRINKING[form](context, about, SHRINK)
        else:
            bound = {**covering._BELOW, **covering._ABOVE, "few-below": covering._few_below}[form](context, about)
    except Rejected as error:
        return str(error)
    return bound, Context(about, Path()).work - context.work


FROZEN = {
    "volume": "ccd944c72541", "caps": "8837bae63b9c", "ball-through-sphere": "f638253d4d43",
    "packing": "a7142a9c0d8d", "lattice": "6b98d0766929", "lovasz-stein": "6fc67789f8d4",
    "shells": "65da8fd70226", "arcs": "7dc12f98a74a", "few": "548490753800", "few-below": "755eaf1d792d",
}  # fmt: skip


def digests(form: str) -> str:
    """Of bounds with many more digits than a rounded number has, so that one in its last place shows."""
    balls = [(2, "7/3"), (3, 30), (64, "9/2"), (512, "17/5"), (1024, "5/3")]
    spheres = [(2, "1/7"), (3, "1/50"), (64, "2/5"), (512, "3/7"), (1024, "4/5")]
    said = [found(form, dim, size) for dim, size in balls]
    said += [found(form, dim, size, sphere=True) for dim, size in spheres]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:12]


@pytest.mark.parametrize("form", FROZEN)
def test_a_form_proves_what_it_proved(form: str) -> None:
    assert digests(form) == FROZEN[form]


MEASURED = {
    "pi_between": "a3721cf4dfd4",
    "root": "f76555d7cd94",
    "rounded": "d4654af6f29a",
    "sine_squared": "0666cf03482e",
    "measure": "5c99d36e0944",
}


def numbers(name: str) -> str:
    """A digest of rationals to their last digit, of arguments near the ends of their ranges, too."""
    function: Any = getattr(caps, name)
    sizes = [Fraction(1), Fraction(1, 2), Fraction(1, 10**60), Fraction(2, 7), Fraction(99, 100), DEEP]
    angles = [*sizes, Fraction(3, 2), _PI[0] / 2, caps.pi_between(60)[0] / 2, caps.pi_between(400)[0] / 2]
    both = (False, True)
    said = {
        "pi_between": lambda: [function(bits) for bits in (0, 1, 64, 160, 1000)],
        "root": lambda: [function(*x.as_integer_ratio(), up=up) for x in (*sizes, 5 / sizes[2]) for up in both],
        "rounded": lambda: [function(x, up=up) for x in (*sizes, 5 / sizes[2]) for up in both],
        "sine_squared": lambda: [function(angle) for angle in angles],
        "measure": lambda: [function(dim, x, up=up) for dim in (2, 3, 9, 70, 301) for x in sizes for up in both],
    }[name]()
    ends = [end for one in said for end in (one if isinstance(one, tuple) else (one,))]
    return hashlib.sha256(repr([(hex(x.numerator), hex(x.denominator)) for x in ends]).encode()).hexdigest()[:12]


@pytest.mark.parametrize("name", MEASURED)
def test_caps_are_measured_as_they_were(name: str) -> None:
    assert numbers(name) == MEASURED[name]


def test_the_logarithm_of_two_is_below_its_bound_and_near() -> None:
    with precision(400):
        assert arb.const_log2() < ball(covering._LN2_UPPER) < arb.const_log2() + arb(2) ** -83


def test_dimensions_and_angles_to_their_ends() -> None:
    assert goal(4096, 2).dim == goal(4096, 1, sphere=True).dim == 4096
    for sphere in (False, True):
        with pytest.raises(OverLimit, match="4096"):
            goal(4097, 1, sphere=sphere)
    for node in (claim(3, 0, sphere=True, at_least=1), {**claim(3, 2, at_least=1), "radius": "0"}):
        with pytest.raises(Malformed, match="above 0"):
            covering.parse(node)
    assert goal(3, _PI[0], sphere=True).angle == _PI[0]
    with pytest.raises(Malformed, match="at most pi"):
        goal(3, _PI[0] + TINY, sphere=True)
    assert goal(3, 2).angle == 0
    assert goal(3, 2, sphere=True).radius == goal(3, 2, sphere=True).ball_radius == 0


def test_a_bound_is_at_least_one_cap() -> None:
    about = goal(3, 2)
    for stated in ("0", "-5", "1"):
        fact = covering.cover_at_least(Context(about, Path()), {}, {"form": "few"}, {"at_least": stated})
        assert fact == Covering(1)
        uses = {"lower": fact, "upper": Covering(at_most=9)}
        gives = {"at_least": stated, "at_most": "9"}
        assert covering.cover(Context(about, Path()), uses, {}, gives) == Covering(1, 9)
        with pytest.raises(Rejected, match="the claim is of the kind"):
            covering.cover(Context(Comparison((), ()), Path()), uses, {}, gives)


def test_a_form_without_a_share_takes_none() -> None:
    about = goal(3, 2)
    for given in ({"form": "packing", "shrink": "4/5"}, {"form": "shells"}):
        with pytest.raises(Malformed):
            covering.cover_at_most(Context(about, Path()), {}, given, {"at_most": "1000"})


def test_right_angles() -> None:
    below, above = _PI[0] / 2, _PI[1] / 2
    assert found("few-below", 5, below, sphere=True)[0] == 6
    assert found("few-below", 5, below + TINY, sphere=True)[0] == 2
    assert found("few", 5, above, sphere=True)[0] == 2
    assert found("few", 5, below, sphere=True)[0] == 6
    assert "angle <= pi/2" in found("few", 5, above - TINY, sphere=True)
    assert "angle <= pi/2" in found("caps", 5, below + TINY, sphere=True)
    assert found("arcs", 2, _PI[0] / 7, sphere=True)[0] == 8
    assert found("arcs", 2, _PI[1] / 7, sphere=True)[0] == 7


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_vertices_cover_from_their_angles_on(dim: int) -> None:
    simplex, cross = 1 - Fraction(1, dim**2), 1 - Fraction(1, dim)
    assert covering._vertices(dim, simplex) == dim + 1
    assert covering._vertices(dim, simplex - TINY) == covering._vertices(dim, cross) == 2 * dim
    assert covering._vertices(dim, cross - TINY) is None
    with precision(1200):  # nearer to the simplex's angle than enclosures of its sine tell
        text = (arb(1) / dim).acos().str(290, radius=False)
    assert found("few", dim, Fraction(text), sphere=True)[0] == 2 * dim


def test_the_sine_of_a_ball_is_rounded_down_where_it_must_be_large() -> None:
    """sin^2 is 8/9 less 10^-60, where a simplex's caps do not quite cover."""
    root = Fraction(isqrt(8 * 10**120 // 9), 10**60)
    assert Fraction(8, 9) - Fraction(2, 10**60) < root**2 < Fraction(8, 9)
    assert found("few", 3, 1 / root)[0] == 6
    assert found("few", 3, 1 / (root + Fraction(1, 10**40)))[0] == 4


def test_a_share_has_64_bits() -> None:
    for below, fine in (((1 << 64) - 1, True), ((1 << 64) + 1, False)):
        share = {"shrink": str(Fraction(below * 3 // 4, below))}
        if fine:
            assert covering._shrink(share).denominator.bit_length() == 64
        else:
            with pytest.raises(Rejected, match="64 bits at most"):
                covering._shrink(share)


def test_random_balls_from_equal_radii_on() -> None:
    assert found("lovasz-stein", 3, 1)[0] > 1
    assert found("lovasz-stein", 3, "3/2")[0] > 1
    assert "ball_radius <= radius" in found("lovasz-stein", 3, DEEP)
    assert covering._random(Fraction(1, 2), 1, Fraction(1)) == 3
    assert covering._random(Fraction(1, 2), 1, Fraction(3, 2)) == 3
    with pytest.raises(Rejected, match="more gaps"):
        covering._random(Fraction(1, 2), 1, DEEP)
    assert found("shells", 2, "3/2")[0] > 1


def test_radii_have_digits_up_to_a_limit() -> None:
    longest = Fraction((1 << 127) + 1, (1 << 127) - 1)  # 128 and 127 bits: 4,096 times 255
    assert found("volume", 4096, longest)[0] > 0
    assert found("volume", 4096, Fraction((1 << 128) - 1, 1 << 127))[0] > 0
    with pytest.raises(OverLimit, match="digits"):
        found("volume", 4096, Fraction((1 << 129) - 1, 1 << 127))


def test_counts_have_digits_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    covering._limit(4096, Fraction(65535 * 7 + 6, 7))
    with pytest.raises(OverLimit, match="digits"):
        covering._limit(4096, Fraction(65536))
    for size, fine in ((255, True), (256, False)):
        about = goal(4096, size)
        if fine:
            assert covering._sine_squared(Context(about, Path()), about)[0] < Fraction(1, size**2 - 1)
        else:
            with pytest.raises(OverLimit, match="digits"):
                covering._sine_squared(Context(about, Path()), about)
    monkeypatch.setattr(covering, "sine_squared", lambda angle: (DEEP, DEEP))
    about = goal(4096, Fraction(1, 65535), sphere=True)
    assert covering._sine_squared(Context(about, Path()), about) == (DEEP, DEEP)
    about = goal(4096, Fraction(1, 65536), sphere=True)
    with pytest.raises(OverLimit, match="digits"):
        covering._sine_squared(Context(about, Path()), about)
