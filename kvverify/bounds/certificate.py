"""From a candidate to a certificate. Each method writes its own steps; the kernel has the last word."""

from __future__ import annotations

from fractions import Fraction
from math import floor

from kvverify.bounds import amplitude, joint
from kvverify.bounds.candidate import Candidate, unit
from kvverify.bounds.steps import SLACK, Node, determinant, down, gain_down, keys_steps, leak_steps, log2_up, step
from kvverify.kernel import document
from kvverify.problem import Problem


def build(candidate: Candidate, problem: Problem, *, scale_bits: int | None = None) -> Node:
    """The certificate's JSON tree.

    With ``scale_bits`` the queries' scale is rounded down to that many significant bits, so that an emitted instance's
    queries are exact in a short format.
    """
    if candidate.method == "amplitude":
        steps = keys_steps(candidate, problem) + amplitude.steps(candidate, problem)
        return _document(problem, steps)
    exponent = problem.max_logit / unit(candidate.family, problem, candidate.code_radius)
    if scale_bits is not None:
        exponent = _round_scale(exponent, scale_bits)
    chain, leak = leak_steps(candidate, problem, exponent)
    steps = keys_steps(candidate, problem) + chain
    if candidate.method == "joint":
        steps += joint.steps(candidate, problem, leak)
    elif candidate.method == "volume":
        steps += _volume_steps(candidate, problem, leak)
    else:
        steps += _code_steps(candidate, problem)
    return _document(problem, steps)


def _document(problem: Problem, steps: list[Node]) -> Node:
    """The steps with the statement that their last one proves."""
    bits = Fraction(steps[-1]["gives"]["bits_at_least"])
    return document.build(problem.statement(max(0, floor(bits))), steps)


def _volume_steps(candidate: Candidate, problem: Problem, leak: list[Fraction]) -> list[Node]:
    """Near-identity determinant, then the volume rule."""
    bound = down(determinant(candidate.payload, leak), 32)
    return [
        step("determinant", "determinant", {"leak": "leak"}, {"form": "near-identity"}, {"log2_det_at_least": bound}),
        volume_step(problem, candidate.payload, bound),
    ]


def volume_step(problem: Problem, payload: int, determinant: Fraction) -> Node:
    """The volume rule on a determinant step's stated bound."""
    coordinates = problem.streams * problem.value_dim
    bits = down(coordinates * (determinant + payload * (gain_down(problem) - SLACK)), 20)
    return step("bits", "volume", {"determinant": "determinant"}, {}, {"bits_at_least": bits})


def _code_steps(candidate: Candidate, problem: Problem) -> list[Node]:
    """Separated levels, then the random access code."""
    alphabet, delta = candidate.alphabet, problem.failure
    symbols = candidate.payload * problem.value_dim * problem.streams
    if not delta and not alphabet & alphabet - 1:
        bound = Fraction(symbols * (alphabet.bit_length() - 1))
    else:
        bits = -log2_up(Fraction(1, alphabet)) - SLACK
        if delta:
            bits -= (1 - delta) * log2_up(1 / (1 - delta)) + delta * log2_up((alphabet - 1) / delta)
        bound = down(symbols * bits, 20)
    return [
        step("reading", candidate.method, {"leak": "leak"}, {}, {"alphabet": alphabet}),
        step("bits", "random-access-code", {"reading": "reading"}, {}, {"bits_at_least": bound}),
    ]


def _round_scale(exponent: Fraction, bits: int) -> Fraction:
    """The exponent rounded down so that half of it, the size of a query's entries, has ``bits`` significant bits."""
    shift = bits - 1 - (exponent.numerator.bit_length() - exponent.denominator.bit_length())
    grid = Fraction(2) ** shift
    return Fraction(floor(exponent * grid)) / grid
