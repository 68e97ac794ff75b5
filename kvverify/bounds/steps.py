"""What all methods write: steps of a certificate with short rationals, rounded to the safe side.

Arb (python-flint) computes the logarithms, integers the sums. The kernel shares none of this code and has the last
word.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, isqrt
from typing import Any

from flint import arb, ctx, fmpq

from kvverify.bounds.candidate import BF16_ROUNDING, Candidate, scaling, unit
from kvverify.problem import Problem

_PRECISION = 320
DECAY_BITS = 48
SLACK = Fraction(1, 1 << 56)  # bits a token: more than the kernel's own rounding of logarithms
Node = dict[str, Any]


def keys_steps(candidate: Candidate, problem: Problem) -> list[Node]:
    """The family's keys; in a ball also what they are shrunk to, with the room beside them."""
    keys: Node = {"id": "keys", "uses": {}, **candidate.family.step()}
    if candidate.code_radius == 1:
        return [keys]
    radius = payload_radius(candidate.code_radius, problem)
    given, gives = {"code_radius": candidate.code_radius}, {"payload_radius": radius}
    return [keys, step("shrunk", "shrunk-keys", {"keys": "keys"}, given, gives)]


def payload_radius(code_radius: Fraction, problem: Problem) -> Fraction:
    """What a ball of radius 1 has left beside a code of that radius, rounded down; with room for rounding to bf16."""
    growth = 1 + 2 * BF16_ROUNDING if problem.inputs == "bf16" else 1
    return down(root_down(1 - code_radius**2, 64) / growth, 32)


def leak_steps(
    candidate: Candidate, problem: Problem, exponent: Fraction, name: str = "", *, tilted: bool = False
) -> tuple[list[Node], list[Fraction]]:
    """Scale, budget and leak at one scale; and the leak's three stated bounds (off-target, squares, rest).

    Of the keys as the candidate's ``keys_steps`` leave them; ``tilted`` queries take the whole logit budget.
    """
    payload, place = candidate.payload, scaling(candidate.family, problem)
    z = up(ball_up(lambda: arb(exact(-exponent)).exp()), DECAY_BITS)
    terms: list[tuple[int, int]] = []
    left = payload - 1
    for e, number in sorted(candidate.family.exponents().items()):
        terms.append((e, max(0, min(number, left))))
        left -= number
    pads = problem.tokens - payload
    sums = [
        up(total, 64)
        for total in (
            _weigh(terms, z),
            _weigh([(2 * e, n) for e, n in terms], z),
            _weigh([(place.own, 1)], z) + pads * _half_power(z, place.pad_twice),
        )
    ]
    names = ("off_target_at_most", "off_target_squares_at_most", "rest_at_most")
    keys = "keys" if candidate.code_radius == 1 else "shrunk"
    uses = {"keys": keys, "decay": f"decay{name}"} | ({"tilt": "tilt"} if tilted else {})
    cost = problem.max_logit if tilted else exponent * unit(candidate.family, problem, candidate.code_radius)
    steps = [
        step(f"decay{name}", "exp-bound", {}, {"exponent": exponent}, {"exp_minus_at_most": z}),
        step(f"budget{name}", "budget", uses, {"payload": payload}, {"logit_at_most": cost}),
        step(f"leak{name}", "leak", {"budget": f"budget{name}"}, {}, dict(zip(names, sums, strict=True))),
    ]
    return steps, sums


def determinant(payload: int, leak: list[Fraction]) -> Fraction:
    """log2 |det W| by the near-identity form, rounded down."""
    sigma, _, rest = leak
    return -payload * (log2_up(1 + sigma + rest) + distortion(leak) + SLACK)


def distortion(leak: list[Fraction]) -> Fraction:
    """log2 e * c(sigma) * F a row, with the kernel's series for c: 30 terms and a geometric tail."""
    sigma, squares, _ = leak
    ratio = sum((sigma ** (k - 2) / k for k in range(2, 32)), Fraction(0)) + sigma**30 / (32 * (1 - sigma))
    return up(ball_up(lambda: 1 / arb.const_log2()), 96) * ratio * squares


def gain_down(problem: Problem, reach: Fraction = Fraction(1)) -> Fraction:
    """g at the tolerance plus ``reach`` roundings of the inputs, rounded down."""
    assert problem.tolerance is not None
    eps = problem.tolerance + (reach * BF16_ROUNDING if problem.inputs == "bf16" else 0)
    delta = problem.failure
    return -(1 - delta) * log2_up(eps / (1 - delta)) - (delta * log2_up((1 - eps) / delta) if delta else 0)


def step(name: str, rule: str, uses: dict[str, str], given: Node, gives: Node) -> Node:
    """One step of a certificate, its numbers as strings."""
    text = {k: v if isinstance(v, str) else str(v) for k, v in given.items()}
    return {"id": name, "rule": rule, "uses": uses, "given": text, "gives": {k: str(v) for k, v in gives.items()}}


def _weigh(terms: list[tuple[int, int]], z: Fraction) -> Fraction:
    return sum((n * z**e for e, n in terms if n), Fraction(0))


def _half_power(z: Fraction, twice: int) -> Fraction:
    """z^(twice/2), its root rounded up."""
    return z ** (twice // 2) * (up(ball_up(lambda: arb(exact(z)).sqrt()), 200) if twice % 2 else 1)


def log2_up(x: Fraction) -> Fraction:
    """log2 x, rounded up to 2^-96."""
    return up(ball_up(lambda: arb(exact(x)).log() / arb.const_log2()), 96)


def root_down(x: Fraction, bits: int) -> Fraction:
    """The square root of x >= 0, rounded down to a multiple of 2^-bits."""
    return Fraction(isqrt(floor(x * (1 << 2 * bits))), 1 << bits)


def ball_up(compute: Any) -> Fraction:
    """The upper end of a ball, as a rational."""
    before = ctx.prec
    ctx.prec = _PRECISION
    try:
        mantissa, power = compute().upper().man_exp()
    finally:
        ctx.prec = before
    return Fraction(int(mantissa)) * Fraction(2) ** int(power)


def exact(x: Fraction) -> fmpq:
    """The same number in python-flint."""
    return fmpq(x.numerator, x.denominator)


def up(x: Fraction, bits: int) -> Fraction:
    """Rounded up to a multiple of 2^-bits."""
    return Fraction(ceil(x * (1 << bits)), 1 << bits)


def down(x: Fraction, bits: int) -> Fraction:
    """Rounded down to a multiple of 2^-bits."""
    return Fraction(floor(x * (1 << bits)), 1 << bits)
