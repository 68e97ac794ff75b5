"""Controls with a second secret in the ball, every number the strongest that is true in a short rational."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import isqrt

from tests.kernel import oracle
from tests.kernel.ball import BallTilt, Shrunk, by_moments, shrunk
from tests.kernel.controls import (
    LEAK,
    LOOSE,
    UNIT,
    Control,
    Node,
    explicit,
    finish,
    keys,
    statement,
    step,
    union,
    with_parity,
)
from tests.kernel.families import family
from tests.kernel.oracle import Leak, Scaled, leak_sums
from tests.kernel.payload_controls import AXES
from tests.kernel.real import down, exp, precision, up


def root(x: Fraction) -> Fraction:
    """Rounded down to 2^-UNIT."""
    return Fraction(isqrt(int(x * 4**UNIT)), 1 << UNIT)


@precision()
def joint(
    name: str, code: Node, share: Fraction, strength: Fraction | int, coordinates: int = 2, *,
    payload: int | None = None, **changes: object,
) -> Control:  # fmt: skip
    """A code of radius ``share``, key reads at what a tilt of that strength leaves."""
    strength = Fraction(strength)
    growth = Fraction(257, 256) if changes.get("inputs") == "bf16" else Fraction(1)
    beside = root((1 - share**2) / growth**2)
    found = family(code, "ball", str(changes.get("inputs", "real")))
    node = statement(**{"key_dim": found.dim + coordinates, "body": "ball"} | changes)
    problem = oracle.statement(node)
    room = step("shrunk", "shrunk-keys", {"keys": "keys"}, {"code_radius": share}, {"payload_radius": beside})
    small = shrunk(found, problem, room)
    most, least = by_moments(strength, beside, coordinates)
    tilt = BallTilt(strength, up(most, UNIT), down(least, UNIT), beside, coordinates)
    given = {"strength": strength, "radius": beside, "key_coordinates": coordinates}
    gives = {"mean_at_most": tilt.mean, "entropy_at_least": tilt.entropy}
    values, value_leak = _pool("", small, node, payload, Fraction(0))
    pool, key_leak = _pool("-keys", small, node, payload, strength)
    scaled = Scaled(small, Fraction(0), key_leak.payload, "shrunk", tilt)
    bound = oracle.joint_bound(problem, value_leak, replace(key_leak, scaled=scaled), tilt, coordinates)
    steps = [
        {**code, "id": "keys", "uses": {}}, room, *values, step("tilt", "ball-tilt", {}, given, gives), *pool,
        step(
            "bits", "joint", {"values": "leak", "keys": "leak-keys"}, {"key_coordinates": coordinates},
            {"bits_at_least": down(bound, UNIT)},
        ),
    ]  # fmt: skip
    return finish(name, node, steps)


def _pool(name: str, small: Shrunk, node: Node, payload: int | None, strength: Fraction) -> tuple[list[Node], Leak]:
    """Decay, budget and leak of one pool of reads."""
    tokens = int(node["tokens"])
    payload = payload or min(small.size, tokens)
    exponent = root(Fraction(node["max_logit"]) ** 2 - strength**2) / small.unit
    z = up(exp(-exponent), 48)
    sums = [up(x, UNIT) for x in leak_sums(small, z, payload, tokens)]
    uses = {"keys": "shrunk", "decay": f"decay{name}"} | ({"tilt": "tilt"} if strength else {})
    steps = [
        step(f"decay{name}", "exp-bound", {}, {"exponent": exponent}, {"exp_minus_at_most": z}),
        step(f"budget{name}", "budget", uses, {"payload": payload}, {"logit_at_most": node["max_logit"]}),
        step(f"leak{name}", "leak", {"budget": f"budget{name}"}, {}, dict(zip(LEAK, sums, strict=True))),
    ]
    return steps, Leak(payload, sums[0], sums[1], sums[2])


@cache
def controls() -> tuple[Control, ...]:
    """All of them."""
    rm, half, most = keys("reed-muller(1,3)"), Fraction(1, 2), Fraction(7, 8)
    return (
        joint("ball, rm", rm, most, 6, 3, tokens=16, max_logit=16),
        joint(
            "ball, golay, pads", keys("golay(24) subcode 4"), half, 4, 6, tokens=23, payload=11, max_logit=30, layers=3
        ),
        joint("ball, rm, bf16", rm, most, 5, 4, tokens=16, max_logit=18, inputs="bf16", kv_heads=2),
        joint(
            "ball, hypercube, bf16",
            keys("hypercube(4)"),
            Fraction(31, 32),
            3,
            1,
            tokens=16,
            max_logit=40,
            inputs="bf16",
        ),
        joint("ball, parity, sure", with_parity("reed-muller(1,3)"), most, 5, tokens=16, max_logit=18, failure=0),
        joint("ball, union", union([], LOOSE), Fraction(3, 5), Fraction(5, 2), 1, max_logit=20, value_dim=1),
        joint("ball, axes", explicit(AXES), Fraction(2, 3), 3, 3, max_logit=14),
        joint("ball, paraboloid", keys("paraboloid(3,2)"), half, 2, tokens=3, max_logit=120),
        joint("ball, one token", keys("hypercube(2)"), half, 2, tokens=1, payload=1, max_logit=3),
    )
