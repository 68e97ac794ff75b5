"""Controls with a second secret in the keys, every number of both pools of reads the strongest that is true."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache

from tests.kernel import oracle
from tests.kernel.controls import (
    LOOSE,
    UNIT,
    Control,
    Node,
    chain,
    explicit,
    finish,
    keys,
    statement,
    step,
    union,
    with_parity,
)
from tests.kernel.families import family
from tests.kernel.oracle import Scaled, Tilt
from tests.kernel.real import ball, down, precision


@precision()
def joint(
    name: str, code: Node, strength: Fraction | int, coordinates: int = 2, *, payload: int | None = None,
    **changes: object,
) -> Control:  # fmt: skip
    """Value reads at the largest scale, key reads at what a tilt of that strength leaves."""
    strength = Fraction(strength)
    found = family(code, "cube", str(changes.get("inputs", "real")))
    problem = statement(**{"key_dim": found.dim + coordinates} | changes)
    values, value_leak = chain(code, problem, payload)
    pool, key_leak = chain(code, problem, payload, pool="-keys", strength=strength)
    tilt = Tilt(strength, down(ball(strength / 2).tanh(), UNIT))
    scaled = Scaled(found, Fraction(0), key_leak.payload, "keys", tilt)
    bound = oracle.joint_bound(
        oracle.statement(problem), value_leak, replace(key_leak, scaled=scaled), tilt, coordinates
    )
    steps = [
        {**code, "id": "keys", "uses": {}}, *values,
        step("tilt", "tilt", {}, {"strength": strength}, {"tanh_half_at_least": tilt.tanh_half}), *pool,
        step(
            "bits", "joint", {"values": "leak", "keys": "leak-keys"}, {"key_coordinates": coordinates},
            {"bits_at_least": down(bound, UNIT)},
        ),
    ]  # fmt: skip
    return finish(name, problem, steps)


AXES = [[2, 0], [0, 2], [-2, 0], [0, -2]]


@cache
def controls() -> tuple[Control, ...]:
    """All of them."""
    rm = keys("reed-muller(1,3)")
    return (
        joint("joint, rm", rm, Fraction(5, 2), tokens=16, max_logit=16),
        joint("joint, golay, pads", keys("golay(24) subcode 4"), 3, 6, tokens=23, payload=11, max_logit=20, layers=3),
        joint("joint, rm, bf16", rm, 3, tokens=16, max_logit=15, inputs="bf16", kv_heads=2),
        joint("joint, parity, sure", with_parity("reed-muller(1,3)"), 2, tokens=16, max_logit=18, failure=0),
        joint("joint, hypercube, one value", keys("hypercube(3)"), Fraction(7, 3), value_dim=1, tokens=8, max_logit=14),
        joint("joint, union", union([], LOOSE), Fraction(3, 2), 1, max_logit=20),
        joint("joint, axes, bf16", explicit(AXES), 2, 3, max_logit=14, inputs="bf16"),
        joint("joint, paraboloid", keys("paraboloid(3,2)"), 2, 1, tokens=3, max_logit=60),
        joint("joint, one token", keys("hypercube(2)"), Fraction(1, 2), tokens=1, payload=1, max_logit=3),
        joint("joint, values alone", rm, Fraction(1, 128), tokens=16, max_logit=16),
    )
