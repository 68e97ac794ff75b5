"""The dearest certificates of covering numbers: for scripts/worst_case.py."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from worst_certificates import HUGE, case, near, step, tree

from kvverify.kernel.document import Node

MAX_DIM = 4096
_SHRINK = Fraction((1 << 63) - 25, 1 << 63)


def _ball(dim: int, radius: str, ball_radius: str) -> Node:
    return {
        "claim": "cover", "body": "ball", "dim": str(dim), "radius": radius, "ball_radius": ball_radius, "at_most": "1"
    }  # fmt: skip


def _sphere(dim: int, angle: str) -> Node:
    return {"claim": "cover", "body": "sphere", "dim": str(dim), "angle": angle, "at_most": "1"}


def _above(form: str, **given: object) -> Node:
    return step("upper", "cover-at-most", given={"form": form, **given}, at_most=HUGE)


def _below(form: str) -> Node:
    return step("lower", "cover-at-least", given={"form": form}, at_least=1)


@case("cover-at-least: caps")
def _caps(folder: Path) -> Node:
    return tree(_sphere(MAX_DIM, near("4/5")), [], [_below("caps")])


@case("cover-at-least: volume")
def _volume(folder: Path) -> Node:
    return tree(_ball(MAX_DIM, str(3**78), str(2**121 - 1)), [], [_below("volume")])


@case("cover-at-most: lattice")
def _lattice(folder: Path) -> Node:
    return tree(_ball(MAX_DIM, str(3**78), str(2**121 - 1)), [], [_above("lattice")])


@case("cover-at-most: lovasz-stein, a sphere")
def _random_caps(folder: Path) -> Node:
    return tree(_sphere(MAX_DIM, near("6/5")), [], [_above("lovasz-stein", shrink=Fraction(29, 32))])


@case("cover-at-most: lovasz-stein, a ball")
def _random_balls(folder: Path) -> Node:
    return tree(_ball(MAX_DIM, str(3**78), str(2**121 - 1)), [], [_above("lovasz-stein", shrink=_SHRINK)])


@case("cover-at-most: shells in 4,096 dimensions")
def _shells(folder: Path) -> Node:
    return tree(_ball(MAX_DIM, "12", "1"), [], [_above("shells", shrink=_SHRINK)])


@case("cover-at-most: shells in 2 dimensions")
def _many_shells(folder: Path) -> Node:
    return tree(_ball(2, str(10**6), "1"), [], [_above("shells", shrink=_SHRINK)])


@case("cover: both sides joined")
def _joined(folder: Path) -> Node:
    joined = step("both", "cover", uses={"lower": "lower", "upper": "upper"}, at_least=1, at_most=HUGE)
    return tree(_sphere(MAX_DIM, near("4/5")), [_below("caps"), _above("packing")], [joined])
