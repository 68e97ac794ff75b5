"""The question: which ball or sphere is covered, and by what."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb, ctx, fmpq

from kvverify.errors import UsageError
from kvverify.problem import SIZES

MAX_DIM = 4096


@dataclass(frozen=True)
class Question:
    """N(B): closed balls of radius ``ball_radius``, centres anywhere in R^dim, that cover the ball of ``radius``; or,
    with ``angle`` (radians) in their place, N(S): closed caps of that angle that cover the unit sphere of R^dim.

    Raises UsageError where that is no question, or one beyond the limits.
    """

    dim: int
    radius: Fraction | None = None
    ball_radius: Fraction | None = None
    angle: Fraction | None = None

    def __post_init__(self) -> None:
        least = 1 if self.angle is None else 2
        if not least <= self.dim <= MAX_DIM:
            body = "ball" if self.angle is None else "sphere"
            raise UsageError(f"dim: {_shown(self.dim)} given, {least} to {MAX_DIM} is needed for a {body}")
        sizes = {"radius": self.radius, "ball-radius": self.ball_radius, "angle": self.angle}
        given = {name: value for name, value in sizes.items() if value is not None}
        if set(given) not in ({"radius", "ball-radius"}, {"angle"}):
            raise UsageError("give radius and ball-radius for a ball, or angle for a sphere")
        for name, value in given.items():
            if value <= 0:
                raise UsageError(f"{name}: {value} given, a number above 0 is needed")
            if not SIZES[0] <= value <= SIZES[1]:
                raise UsageError(f"{name}: a size from 2^-500 to 2^500 is needed")
        if self.angle is not None and _above_pi(self.angle):
            raise UsageError(f"angle: {float(self.angle):.9g} given, radians above 0 and at most pi are needed")

    @property
    def body(self) -> str:
        """Ball or sphere."""
        return "ball" if self.angle is None else "sphere"

    def statement(self, at_least: int | None, at_most: int | None) -> dict[str, Any]:
        """The claim of a certificate with these bounds."""
        sizes = {"radius": self.radius, "ball_radius": self.ball_radius, "angle": self.angle}
        numbers = {**sizes, "at_least": at_least, "at_most": at_most}
        known = {name: str(value) for name, value in numbers.items() if value is not None}
        return {"claim": "cover", "body": self.body, "dim": str(self.dim), **known}


def exact(value: Fraction) -> fmpq:
    """The number for Arb."""
    return fmpq(value.numerator, value.denominator)


def _above_pi(angle: Fraction) -> bool:
    with ctx.workprec(1024):
        return not arb(exact(angle)) < arb.pi()


def _shown(value: int) -> str:
    return str(value) if value.bit_length() < 100 else f"about 2^{value.bit_length() - 1}"
