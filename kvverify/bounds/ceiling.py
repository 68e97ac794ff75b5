"""Upper bounds: the best quantiser that provably keeps a problem's promise, as a certificate that the kernel accepted.

Two methods (docs/proofs/quantiser.md): midpoints, which never err by more than the tolerance, and subtractive dither,
whose public coins turn most of the worst case into noise. Levels are searched with floats and settled by the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem

METHODS = ("quantiser", "dithered")
_TOKEN_BITS = 1 << 20
_NEAR = 24  # integers tried on either side of a real optimum
_MARGINS = (1e-4, 1e-2)  # below the floats' variance: the narrower, the more cells the kernel has to settle


@dataclass(frozen=True)
class Ceiling:
    """The best upper bound found: ``bits`` of state, total over streams, are enough; the kernel proved it.

    ``bits`` and ``certificate`` are None where nothing was proved, and ``reason`` says why. ``method`` is quantiser or
    dithered, ``key_levels`` and ``value_levels`` are its levels a coordinate (0 where there is none).
    """

    problem: Problem
    bits: int | None
    certificate: dict[str, Any] | None
    method: str
    reason: str | None
    key_levels: int = 0
    value_levels: int = 0

    @property
    def bits_per_token(self) -> Fraction | None:
        """Total over heads and layers."""
        return None if self.bits is None else Fraction(self.bits, self.problem.tokens)


@dataclass(frozen=True)
class _Levels:
    """A quantiser: its method and numbers of levels, and how the kernel shall see its tail."""

    method: str
    key: int
    value: int
    tail: str | None = None


def ceiling(problem: Problem, method: str | None = None) -> Ceiling:
    """The upper bound of fewest bits that the kernel accepts ("method": quantiser or dithered only).

    Raises UsageError for a method that does not exist.
    """
    if method not in (None, *METHODS):
        raise UsageError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    if problem.tolerance is None:
        reason = "no upper bound is known under a relative tolerance: an exact answer of 0 would have to stay 0"
        return Ceiling(problem, None, None, method or "", reason)
    found = [levels for name, search in _SEARCH.items() if method in (None, name) for levels in search(problem)]
    refusal = "without coins that may fail there is no dithered quantiser" if not found else "a token of too many bits"
    for levels in sorted(found, key=lambda one: _float_bits(problem, one)):
        if _float_bits(problem, levels) > _TOKEN_BITS // 2:
            break
        tree = _certificate(problem, levels)
        result = check(tree)
        if result.verdict is Verdict.VALID and result.bits is not None:
            return Ceiling(problem, int(result.bits), tree, levels.method, None, levels.key, levels.value)
        refusal = f"the kernel refused {levels.method}: {result.reason}"
    return Ceiling(problem, None, None, method or "", refusal)


def _certificate(problem: Problem, levels: _Levels) -> dict[str, Any]:
    words = levels.key**problem.key_dim * levels.value**problem.value_dim
    each = (words - 1).bit_length()
    given = {"key_levels": str(levels.key), "value_levels": str(levels.value)}
    if levels.tail is not None:
        given["tail"] = levels.tail
    step = {"id": "bits", "rule": levels.method, "uses": {}, "given": given, "gives": {"bits_per_token": str(each)}}
    statement = problem.statement(0)
    del statement["state_bits_at_least"]
    enough = str(each * problem.tokens * problem.streams)
    return document.build({**statement, "claim": "state-bits-enough", "state_bits_enough": enough}, [step])


def _float_bits(problem: Problem, levels: _Levels) -> float:
    return problem.key_dim * math.log2(levels.key) + problem.value_dim * math.log2(levels.value)


def _spread(problem: Problem) -> int:
    """(|q|_1 / max_logit)^2 at most."""
    return 1 if problem.body == "cube" else problem.key_dim


def _midpoints(problem: Problem) -> Iterator[_Levels]:
    """The best levels; all in exact numbers, so that the kernel agrees."""
    tolerance = problem.tolerance or Fraction(0)
    score = problem.max_logit**2 * _spread(problem)  # square of a score's error at one level
    share = Fraction(problem.value_dim, problem.key_dim + problem.value_dim)
    optimum = math.ceil(1 / (tolerance * share))
    most = math.isqrt(math.ceil(score)) + 1
    keys = math.ceil(most / (tolerance * (1 - share)))
    wanted = {optimum + i for i in range(-_NEAR, _NEAR + 1)} | {math.ceil(1 / tolerance) + i for i in range(_NEAR)}
    wanted |= {optimum * k // 64 for k in range(40, 100)}
    for key in range(max(1, keys - _NEAR), keys + _NEAR + 1):
        left = tolerance - Fraction(math.isqrt(math.ceil(score * 2**40 / key**2)) + 1, 2**20)
        wanted |= {math.ceil(1 / left)} if left > 0 else set()
    found = []
    for value in wanted:
        slack = tolerance - Fraction(1, value) if value >= 1 else Fraction(0)
        if slack > 0:
            found.append(_Levels("quantiser", math.isqrt(math.ceil(score / slack**2) - 1) + 1, value))
    yield min(found, key=lambda one: _float_bits(problem, one))


def _dithers(problem: Problem) -> Iterator[_Levels]:
    """For each margin the best levels by floats; none where nothing may fail."""
    if problem.failure == 0:
        return
    gaussian = 1 / (2 * math.log(2 / problem.failure))
    concave = _least_variance(problem.failure)
    most = 130 + min(1000, math.isqrt(10_000 * problem.key_dim // problem.value_dim))  # percent of the least levels
    for margin in _MARGINS:
        tail = "gaussian" if gaussian > concave * (1 - margin) else "log-concave"
        dither = _Dither(problem, gaussian * (1 - 1e-9) if tail == "gaussian" else concave * (1 - margin))
        least = dither.least_value()
        if least is None:
            return
        wanted = sorted({least + i for i in range(_NEAR)} | {least * k // 100 for k in range(100, most, 2)})
        found = [_Levels("dithered", key, value, tail) for value in wanted if (key := dither.least_key(value))]
        if found:
            yield min(found, key=lambda one: _float_bits(problem, one))


class _Dither:
    """The rule's inequality in floats: the variance at most ``share`` of the squared threshold."""

    def __init__(self, problem: Problem, share: float) -> None:
        self.tolerance, self.logit = float(problem.tolerance or 0), float(problem.max_logit)
        self.spread, self.share = math.sqrt(_spread(problem)), share

    def holds(self, key: int | None, value: int) -> bool:
        """Whether so many levels do; None stands for keys that are exact."""
        key_noise = 2 * self.logit / (key - 1) if key else 0.0
        value_noise, square = 2 / (value - 1), self.tolerance**2
        reach = key_noise * self.spread / 2
        if reach > 1:
            return False
        growth = math.expm1(reach)
        bend = growth - reach if reach > 1e-3 else reach**2 / 2 + reach**3 / 5
        threshold = self.tolerance - bend / 2 - value_noise / 2 * growth
        variance = value_noise**2 * (1 + square)
        variance += max(0.0, key_noise**2 - value_noise**2) * (1 + 3 * square) / 2
        return threshold > 0 and variance / 12 <= self.share * threshold**2

    def least_value(self) -> int | None:
        """The fewest value levels beside exact keys."""
        return _least(lambda value: self.holds(None, value))

    def least_key(self, value: int) -> int | None:
        """The fewest key levels beside so many value levels."""
        return _least(lambda key: self.holds(key, value))


def _least(holds: Callable[[int], bool]) -> int | None:
    """The least integer from 2 on that holds, of a property that all larger ones have; None beyond 2^900."""
    high = 2
    while not holds(high):
        high *= 2
        if high.bit_length() > 900:
            return None
    low = high // 2  # does not hold, or is 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@lru_cache(maxsize=256)
def _least_variance(failure: Fraction) -> float:
    """The least variance, in units of t^2, of a truncated exponential law with P(|X| > t) = failure.

    Cut off at L mean lives it has E y^2 = 2 - (L^2 + 2 L) / (e^L - 1), and t is ln(1 / (failure + (1 - failure) e^-L)).
    L = 0 is the uniform law, L infinite Laplace's.
    """
    delta = float(failure)
    least = min(1 / (3 * (1 - delta) ** 2), 2 / math.log(delta) ** 2)
    for k in range(1100):
        end = 0.01 * 1.01**k
        second = 2 - (end**2 + 2 * end) / math.expm1(end)
        least = min(least, second / math.log1p((1 - delta) * math.expm1(-end)) ** 2)
    return least


_SEARCH: dict[str, Callable[[Problem], Iterator[_Levels]]] = {"quantiser": _midpoints, "dithered": _dithers}
