"""A second secret in the ball, a second time: shrunk keys written out, the uniform law's entropy and moments by Arb."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from math import isqrt
from typing import Any

from flint import acb, arb

from tests.kernel.families import Keys, require
from tests.kernel.real import at_most, ball, exp, log2, precision

Node = dict[str, Any]
TINIEST = Fraction(1, 1 << 64)


@dataclass(frozen=True)
class Shrunk(Keys):
    """Keys that leave a norm of ``beside``."""

    beside: Fraction


@dataclass(frozen=True)
class BallTilt:
    """A tilt of a secret that is uniform in a ball."""

    strength: Fraction
    mean: Fraction
    entropy: Fraction
    radius: Fraction
    coordinates: int

    @property
    def reach(self) -> Fraction:
        """The least power of two, of 1 and below, that holds the radius."""
        power = Fraction(1)
        while power / 2 >= self.radius:
            power /= 2
        return power


def shrunk(keys: Keys, problem: Any, step: Node) -> Shrunk:
    """The keys times the code's radius."""
    share, beside = Fraction(step["given"]["code_radius"]), Fraction(step["gives"]["payload_radius"])
    require(problem.node["body"] == "ball" and min(share, beside) >= TINIEST, "ball, radii")
    bf16 = problem.node["inputs"] == "bf16"
    require(share**2 + (beside * Fraction(257, 256) if bf16 else beside) ** 2 <= 1, "norm")
    known = {f.name: getattr(keys, f.name) for f in fields(Keys)}
    known |= {"scale": None, "scale_squared": keys.scale_squared / share**2, "unit": keys.unit / share}
    if bf16:
        require(keys.half == Fraction(1, 2), "signs")
        entry = eight_bits_below_root(share**2 / keys.dim)
        known |= {"scale": 1 / entry, "scale_squared": 1 / entry**2}
        known["unit"] = Fraction(keys.dim, 2) * Fraction(128, 127) / share
    return Shrunk(**known, beside=beside)


def eight_bits_below_root(x: Fraction) -> Fraction:
    """The largest number of 8 significant bits that is at most the root of x, 0 < x <= 1."""
    power = 0
    while Fraction(1, 4**power) > x:
        power += 1
    grid = Fraction(1, 2 ** (power + 7))
    return grid * isqrt(int(x / grid**2))


def ball_tilt(step: Node) -> BallTilt:
    """The step's numbers, where its two bounds are true by moments."""
    b, radius = Fraction(step["given"]["strength"]), Fraction(step["given"]["radius"])
    d = int(step["given"]["key_coordinates"])
    mean, entropy = (Fraction(step["gives"][name]) for name in ("mean_at_most", "entropy_at_least"))
    require(b > 0 and TINIEST <= radius < 1 and d >= 1, "range")
    most, least = by_moments(b, radius, d)
    require(at_most(most, mean) and at_most(entropy, least), "law")
    return BallTilt(b, mean, entropy, radius, d)


@precision()
def by_moments(b: Fraction, radius: Fraction, d: int) -> tuple[arb, arb]:
    """What the rule proves of E e^(b y) and of the entropy of a coordinate, bits, with the volume by gamma."""
    square = (b * radius) ** 2 / (d + 2)
    spread = log2(b) - 2 - ball(square / 4) / arb(2).log()
    return exp(square / 2), volume(radius, d) / d + spread


@precision()
def exactly(b: Fraction, radius: Fraction, d: int) -> tuple[arb, arb]:
    """The same two numbers exactly: integrals over the angle of one coordinate, whose density is cos^d."""
    scale = ball(b * radius)

    def mean(f: Any) -> arb:
        whole = acb.integral(lambda x, _: x.cos() ** d, -arb.pi() / 2, arb.pi() / 2)
        return (acb.integral(lambda x, _: f(scale * x.sin()) * x.cos() ** d, -arb.pi() / 2, arb.pi() / 2) / whole).real

    return mean(lambda x: x.exp()), volume(radius, d) / d + log2(b) - 2 - 2 * mean(
        lambda x: (x / 2).cosh().log()
    ) / arb(2).log()


def volume(radius: Fraction, d: int) -> arb:
    """log2 of the volume."""
    half = ball(Fraction(d, 2))
    return d * log2(radius) + (half * arb.pi().log() - (half + 1).lgamma()) / arb(2).log()
