"""From a candidate to a certificate: the steps, with short rationals rounded to the safe side.

Arb (python-flint) computes the logarithms, integers the sums. The kernel shares none of this code and has the last
word.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import Any

from flint import arb, ctx, fmpq

from kvverify.bounds.estimate import BF16_ROUNDING, Candidate, scaling
from kvverify.kernel import document
from kvverify.problem import Problem

_PRECISION = 320
_DECAY_BITS = 48
_SLACK = Fraction(1, 1 << 56)  # bits a token: more than the kernel's own rounding of logarithms
Node = dict[str, Any]


def build(candidate: Candidate, problem: Problem, *, scale_bits: int | None = None) -> Node:
    """The certificate's JSON tree.

    With ``scale_bits`` the queries' scale is rounded down to that many significant bits, so that an emitted instance's
    queries are exact in a short format.
    """
    place = scaling(candidate.family, problem)
    exponent = problem.max_logit / place.unit
    if scale_bits is not None:
        exponent = _round_scale(exponent, scale_bits)
    steps: list[Node] = [{"id": "keys", "uses": {}, **candidate.family.step()}]
    chain, leak = _leak_steps(candidate, problem, exponent)
    steps += chain
    if candidate.method == "joint":
        steps += _joint_steps(candidate, problem, leak)
    elif candidate.method == "volume":
        steps += _volume_steps(candidate, problem, leak)
    else:
        steps += _code_steps(candidate, problem)
    bits = Fraction(steps[-1]["gives"]["bits_at_least"])
    return document.build(problem.statement(max(0, floor(bits))), steps)


def _leak_steps(
    candidate: Candidate, problem: Problem, exponent: Fraction, name: str = "", strength: Fraction | None = None
) -> tuple[list[Node], list[Fraction]]:
    """Scale, budget and leak at one scale; and the leak's three stated bounds (off-target, squares, rest)."""
    payload, place = candidate.payload, scaling(candidate.family, problem)
    z = _up(_ball_up(lambda: arb(_fmpq(-exponent)).exp()), _DECAY_BITS)
    terms: list[tuple[int, int]] = []
    left = payload - 1
    for e, number in sorted(candidate.family.exponents().items()):
        terms.append((e, max(0, min(number, left))))
        left -= number
    pads = problem.tokens - payload
    sums = [
        _up(total, 64)
        for total in (
            _weigh(terms, z),
            _weigh([(2 * e, n) for e, n in terms], z),
            _weigh([(place.own, 1)], z) + pads * _half_power(z, place.pad_twice),
        )
    ]
    names = ("off_target_at_most", "off_target_squares_at_most", "rest_at_most")
    uses = {"keys": "keys", "decay": f"decay{name}"} | ({} if strength is None else {"tilt": "tilt"})
    cost = exponent * place.unit + (strength or 0)
    steps = [
        _step(f"decay{name}", "exp-bound", {}, {"exponent": exponent}, {"exp_minus_at_most": z}),
        _step(f"budget{name}", "budget", uses, {"payload": payload}, {"logit_at_most": cost}),
        _step(f"leak{name}", "leak", {"budget": f"budget{name}"}, {}, dict(zip(names, sums, strict=True))),
    ]
    return steps, sums


def _joint_steps(candidate: Candidate, problem: Problem, values: list[Fraction]) -> list[Node]:
    """The key reads at their own scale, and both secrets added up."""
    strength, payload = candidate.strength, candidate.payload
    exponent = (problem.max_logit - strength) / scaling(candidate.family, problem).unit
    lean = 1 - _up(_ball_up(lambda: 1 - (arb(_fmpq(strength)) / 2).tanh()), _DECAY_BITS)
    chain, keys = _leak_steps(candidate, problem, exponent, "-keys", strength)
    value_part = payload * (_gain(problem) - _SLACK) + _determinant(payload, values)
    sigma, _, rest = keys
    crowd = 1 + (sigma * (strength / lean - 1) + rest) / 2
    read = _gain(problem, strength / 2) - log2_up(1 / lean) - 2 * log2_up(crowd) - _distortion(keys)
    coordinates = problem.key_dim - candidate.family.dim
    zero = Fraction(0)
    total = (problem.value_dim - 1) * max(value_part, zero) + coordinates * max(payload * (read - _SLACK), zero)
    bits = _down(problem.streams * total, 20)
    return [
        _step("tilt", "tilt", {}, {"strength": strength}, {"tanh_half_at_least": lean}),
        *chain,
        _step(
            "bits", "joint", {"values": "leak", "keys": "leak-keys"}, {"key_coordinates": coordinates},
            {"bits_at_least": bits},
        ),
    ]  # fmt: skip


def _volume_steps(candidate: Candidate, problem: Problem, leak: list[Fraction]) -> list[Node]:
    """Near-identity determinant, then the volume rule."""
    bound = _down(_determinant(candidate.payload, leak), 32)
    return [
        _step("determinant", "determinant", {"leak": "leak"}, {"form": "near-identity"}, {"log2_det_at_least": bound}),
        volume_step(problem, candidate.payload, bound),
    ]


def _determinant(payload: int, leak: list[Fraction]) -> Fraction:
    """log2 |det W| by the near-identity form, rounded down."""
    sigma, _, rest = leak
    return -payload * (log2_up(1 + sigma + rest) + _distortion(leak) + _SLACK)


def _distortion(leak: list[Fraction]) -> Fraction:
    """log2 e * c(sigma) * F a row, with the kernel's series for c: 30 terms and a geometric tail."""
    sigma, squares, _ = leak
    ratio = sum((sigma ** (k - 2) / k for k in range(2, 32)), Fraction(0)) + sigma**30 / (32 * (1 - sigma))
    return _up(_ball_up(lambda: 1 / arb.const_log2()), 96) * ratio * squares


def volume_step(problem: Problem, payload: int, determinant: Fraction) -> Node:
    """The volume rule on a determinant step's stated bound."""
    coordinates = problem.streams * problem.value_dim
    bits = _down(coordinates * (determinant + payload * (_gain(problem) - _SLACK)), 20)
    return _step("bits", "volume", {"determinant": "determinant"}, {}, {"bits_at_least": bits})


def _gain(problem: Problem, reach: Fraction = Fraction(1)) -> Fraction:
    """g at the tolerance plus ``reach`` roundings of the inputs, rounded down."""
    assert problem.tolerance is not None
    eps = problem.tolerance + (reach * BF16_ROUNDING if problem.inputs == "bf16" else 0)
    delta = problem.failure
    return -(1 - delta) * log2_up(eps / (1 - delta)) - (delta * log2_up((1 - eps) / delta) if delta else 0)


def _code_steps(candidate: Candidate, problem: Problem) -> list[Node]:
    """Separated levels, then the random access code."""
    alphabet, delta = candidate.alphabet, problem.failure
    symbols = candidate.payload * problem.value_dim * problem.streams
    if not delta and not alphabet & alphabet - 1:
        bound = Fraction(symbols * (alphabet.bit_length() - 1))
    else:
        bits = -log2_up(Fraction(1, alphabet)) - _SLACK
        if delta:
            bits -= (1 - delta) * log2_up(1 / (1 - delta)) + delta * log2_up((alphabet - 1) / delta)
        bound = _down(symbols * bits, 20)
    return [
        _step("reading", candidate.method, {"leak": "leak"}, {}, {"alphabet": alphabet}),
        _step("bits", "random-access-code", {"reading": "reading"}, {}, {"bits_at_least": bound}),
    ]


def _step(name: str, rule: str, uses: dict[str, str], given: Node, gives: Node) -> Node:
    text = {k: v if isinstance(v, str) else str(v) for k, v in given.items()}
    return {"id": name, "rule": rule, "uses": uses, "given": text, "gives": {k: str(v) for k, v in gives.items()}}


def _round_scale(exponent: Fraction, bits: int) -> Fraction:
    """The exponent rounded down so that half of it, the size of a query's entries, has ``bits`` significant bits."""
    shift = bits - 1 - (exponent.numerator.bit_length() - exponent.denominator.bit_length())
    step = Fraction(2) ** shift
    return Fraction(floor(exponent * step)) / step


def _weigh(terms: list[tuple[int, int]], z: Fraction) -> Fraction:
    return sum((n * z**e for e, n in terms if n), Fraction(0))


def _half_power(z: Fraction, twice: int) -> Fraction:
    """z^(twice/2), its root rounded up."""
    return z ** (twice // 2) * (_up(_ball_up(lambda: arb(_fmpq(z)).sqrt()), 200) if twice % 2 else 1)


def log2_up(x: Fraction) -> Fraction:
    """log2 x, rounded up to 2^-96."""
    return _up(_ball_up(lambda: arb(_fmpq(x)).log() / arb.const_log2()), 96)


def _ball_up(compute: Any) -> Fraction:
    """The upper end of a ball, as a rational."""
    before = ctx.prec
    ctx.prec = _PRECISION
    try:
        mantissa, power = compute().upper().man_exp()
    finally:
        ctx.prec = before
    return Fraction(int(mantissa)) * Fraction(2) ** int(power)


def _fmpq(x: Fraction) -> fmpq:
    return fmpq(x.numerator, x.denominator)


def _up(x: Fraction, bits: int) -> Fraction:
    return Fraction(ceil(x * (1 << bits)), 1 << bits)


def _down(x: Fraction, bits: int) -> Fraction:
    return Fraction(floor(x * (1 << bits)), 1 << bits)
