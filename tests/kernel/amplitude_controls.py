"""Controls with secret amplitudes, every number of every pool of reads the strongest that is true."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

from tests.kernel import amplitude, oracle
from tests.kernel.controls import LEAK, UNIT, Control, Node, finish, keys, statement, step, union, with_parity
from tests.kernel.families import Keys, family
from tests.kernel.oracle import Leak, Scaled, Tilt, leak_sums
from tests.kernel.real import ball, down, exp, precision, up


@dataclass(frozen=True)
class Numbers:
    """What a certificate chooses; ``tilt`` 0 where there are no key coordinates."""

    width: Fraction
    strength: Fraction
    reference: Fraction
    slack: Fraction
    tilt: Fraction = Fraction(0)
    coordinates: int = 0

    @property
    def given(self) -> Node:
        names = (*amplitude.NUMBERS, "key_coordinates")
        return dict(zip(names, (self.width, self.strength, self.reference, self.slack, self.coordinates), strict=True))


def amplitudes(name: str, code: Node, numbers: Numbers, payload: int | None = None, **changes: object) -> Control:
    """A control of at least one bit."""
    return finish(name, *proof(code, numbers, payload, **changes))


@precision()
def proof(
    code: Node, numbers: Numbers, payload: int | None = None, **changes: object
) -> tuple[Node, list[Node]]:  # fmt: skip
    """Statement and steps, each pool at the largest scale that its queries leave of the logit.

    Value and key reads have a pool of the worst case too. Raises Wrong where the numbers give no bound.
    """
    found = family(code, "cube", "real")
    problem = statement(**{"key_dim": found.dim + numbers.coordinates} | changes)
    payload = payload or min(found.size, int(problem["tokens"]))
    steps, leaks, uses = [{**code, "id": "keys", "uses": {}}], {}, {}
    tilt = None
    if numbers.coordinates:
        tilt = Tilt(numbers.tilt, down(ball(numbers.tilt / 2).tanh(), UNIT))
        steps.append(step("tilt", "tilt", {}, {"strength": tilt.strength}, {"tanh_half_at_least": tilt.tanh_half}))
    pools = {"values": Fraction(0), "amplitudes": numbers.strength}
    for pool, beside in (pools | {"keys": numbers.tilt} if tilt else pools).items():
        scale = (Fraction(problem["max_logit"]) - beside) / found.dim
        lean = tilt if pool == "keys" else None
        for end, share in (("", 1 - numbers.width / 2), ("-worst", 1 - numbers.width)):
            if pool != "amplitudes" or not end:
                leaned = lean if not end else None
                chain, leak = _pool(f"{pool}{end}", found, problem, payload, 2 * scale * share, leaned)
                steps, leaks[f"{pool}{end}"], uses[f"{pool}{end}"] = [*steps, *chain], leak, f"leak-{pool}{end}"
    bits = down(amplitude.bound(oracle.statement(problem), leaks, numbers.given), UNIT)
    steps.append(step("bits", "amplitude", uses, numbers.given, {"bits_at_least": bits}))
    return problem, steps


def _pool(
    name: str, found: Keys, problem: Node, payload: int, exponent: Fraction, tilt: Tilt | None
) -> tuple[list[Node], Leak]:
    """Decay, budget and leak of one pool of reads."""
    z = up(exp(-exponent), 48)
    logit = exponent * found.unit + (tilt.strength if tilt else 0)
    sums = [up(x, UNIT) for x in leak_sums(found, z, payload, int(problem["tokens"]))]
    uses = {"keys": "keys", "decay": f"decay-{name}"} | ({"tilt": "tilt"} if tilt else {})
    steps = [
        step(f"decay-{name}", "exp-bound", {}, {"exponent": exponent}, {"exp_minus_at_most": z}),
        step(f"budget-{name}", "budget", uses, {"payload": payload}, {"logit_at_most": logit}),
        step(f"leak-{name}", "leak", {"budget": f"budget-{name}"}, {}, dict(zip(LEAK, sums, strict=True))),
    ]
    scaled = Scaled(found, z, payload, "keys", tilt, exponent)
    return steps, Leak(payload, sums[0], sums[1], sums[2], scaled=scaled)


QUARTER, EIGHTH = Fraction(1, 4), Fraction(1, 8)
BARE = Numbers(QUARTER, Fraction(8), Fraction(7, 5), Fraction(1, 8192))
TILTED = replace(BARE, tilt=Fraction(5, 2), coordinates=2)
CUBE = Numbers(EIGHTH, Fraction(2), Fraction(2), Fraction(1, 512))
ONE = Numbers(QUARTER, Fraction(1), Fraction(8, 5), Fraction(1, 40))
UNION = Numbers(QUARTER, Fraction(6), Fraction(5, 4), Fraction(1, 4096))
WORDS = ["0000000", "1111000", "1100110"]


@cache
def controls() -> tuple[Control, ...]:
    """Those that are mutated number by number."""
    fine: dict[str, Any] = {"tolerance": Fraction(1, 1000)}
    return (
        amplitudes("amplitude, pads", keys("hypercube(3)"), CUBE, 5, tokens=9, max_logit=16, kv_heads=3, **fine),
        amplitudes("amplitude, one token", keys("hypercube(1)"), ONE, 1, tokens=1, max_logit=4, value_dim=1, failure=0),
        amplitudes("amplitude, union", union([], WORDS), UNION, tokens=3, max_logit=20, value_dim=1, **fine),
        amplitudes(
            "amplitude, keys and values", keys("hypercube(2)"), replace(CUBE, tilt=Fraction(3), coordinates=1),
            tokens=4, max_logit=14, value_dim=4, **fine,
        ),
    )  # fmt: skip


@cache
def larger() -> tuple[Control, ...]:
    """More of them, of codes with more words."""
    fine: dict[str, Any] = {"tolerance": Fraction(1, 1000)}
    return (
        amplitudes("amplitude, rm", keys("reed-muller(1,3)"), TILTED, tokens=16, max_logit=24, **fine),
        amplitudes(
            "amplitude, parity, sure", with_parity("reed-muller(1,3)"), replace(TILTED, coordinates=3), 9, tokens=11,
            max_logit=24, failure=0, layers=2, **fine,
        ),
    )  # fmt: skip
