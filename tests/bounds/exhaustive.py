"""The best bound of every named family at small sizes, in plain Python: each family, payload size and method in turn.

Written from the statements of the rules, without the catalogue and without the search that it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

from kvverify.codes import by_name
from kvverify.codes.base import KeyFamily
from kvverify.problem import Problem

NAMES = [
    *(f"hypercube({d})" for d in range(1, 13)),
    *(f"reed-muller({r},{m})" for m in range(1, 6) for r in range(m + 1) if r <= 2 or m <= 4),
    *(f"extended-bch({m},{k})" for m, ks in ((3, (1, 4, 7)), (4, (1, 5, 7, 11)), (5, (1, 6, 11, 16))) for k in ks),
    *(f"quadratic-residue({n})" for n in (8, 18, 24, 32)), "golay(23)", "golay(24)", "kerdock(16)",
    *(f"random-signs({n},{d},1)" for n in (16, 64) for d in (12, 24)),
    *(f"paraboloid({b},{d})" for d in (2, 3, 4) for b in (2, 3, 4, 5, 7, 9, 12, 17, 33, 65) if b ** (d - 1) <= 4096),
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    sigma: float
    squares: float
    rest: float


@cache
def _family(name: str) -> tuple[KeyFamily, tuple[tuple[int, int], ...]]:
    family = by_name(name)
    return family, tuple(sorted(family.exponents().items()))


def best(problem: Problem) -> tuple[float, str]:
    """(bits of all streams, how)."""
    found = [
        (payload * problem.value_dim * problem.streams * gain, f"{name}, {payload} tokens")
        for name in NAMES
        for payload, row in _rows(name, problem)
        for gain in _gains(problem, row)
    ]
    return max(found, default=(0.0, "nothing"))


def best_joint(problem: Problem, strengths: list[Fraction]) -> tuple[float, str]:
    """The same for secrets in values and keys at once, by any of these strengths of a tilt, on the cube."""
    assert problem.tolerance is not None
    delta, h = float(problem.failure), 1 / 512 if problem.inputs == "bf16" else 0.0
    found = [(0.0, "nothing")]
    for t in map(float, strengths):
        half, gains = math.tanh(t / 2), [_gain(float(problem.tolerance) + x, delta) for x in (h, t * h / 2)]
        for name in NAMES if t < problem.max_logit else ():
            left = replace(problem, max_logit=problem.max_logit - Fraction(t))
            beside = problem.key_dim - _family(name)[0].dim
            pairs = zip(_rows(name, problem), _rows(name, left), strict=True) if beside > 0 else ()
            for (payload, value), (_, key) in pairs:
                if max(value.sigma, key.sigma) > 0.9:
                    break
                crowd = 1 + (key.sigma * (t / half - 1) + key.rest) / 2
                of_value = gains[0] - math.log2(1 + value.sigma + value.rest) - _distortion(value)
                of_key = gains[1] + math.log2(half) - 2 * math.log2(crowd) - _distortion(key)
                token = (problem.value_dim - 1) * max(0.0, of_value) + beside * max(0.0, of_key)
                found.append((payload * problem.streams * token, f"{name}, {payload} tokens, tilt {t}"))
    return max(found)


def _gain(eps: float, delta: float) -> float:
    """g(eps, delta); 0 out of its range."""
    if eps >= 1 or delta > 1 - eps:
        return 0.0
    return (1 - delta) * math.log2((1 - delta) / eps) + (delta * math.log2(delta / (1 - eps)) if delta else 0)


def _distortion(row: Row) -> float:
    """c(sigma) F log2 e, by the series of c."""
    return row.squares * sum(row.sigma ** (k - 2) / k for k in range(2, 40)) / math.log(2)


def _rows(name: str, problem: Problem) -> Iterator[tuple[int, Row]]:
    """Every payload size with its row of attention weights relative to the target."""
    family, histogram = _family(name)
    paraboloid = name.startswith("paraboloid")
    if family.dim > problem.key_dim or (problem.inputs == "bf16" and paraboloid):
        return
    unit, pad, own = family.unit, family.dim / 2, family.dim
    if paraboloid:
        pad = own = family.own_exponent
    if problem.body == "ball" and paraboloid:
        top = family.own_exponent
        pad = own = math.isqrt(top + top * top)
        unit = Fraction(math.isqrt((4 * top + 1) * (top + top * top)) + 1)
    elif problem.body == "ball" and problem.inputs == "bf16" and family.dim not in (1, 4, 16, 64):
        unit *= Fraction(128, 127)
    z = math.exp(-problem.max_logit / unit)
    sigma = squares = 0.0
    nearest = iter([e for e, n in histogram for _ in range(min(n, problem.tokens))])
    for payload in range(1, min(problem.tokens, family.size) + 1):
        yield payload, Row(sigma, squares, z**own + (problem.tokens - payload) * z**pad)
        e = next(nearest, None)
        if e is not None:
            sigma, squares = sigma + z**e, squares + z ** (2 * e)


def _gains(problem: Problem, row: Row) -> Iterator[float]:
    """Bits of one value coordinate and token, by every method."""
    delta = float(problem.failure)
    if problem.relative is not None:
        if (1 - problem.relative) > (1 + problem.relative) * row.sigma:
            yield _fano(2, delta)
        return
    assert problem.tolerance is not None
    rounding = 1 / 512 if problem.inputs == "bf16" else 0.0
    eps = float(problem.tolerance) + rounding
    total = 1 + row.sigma + row.rest
    if row.sigma < 1 and eps < 1 and delta <= 1 - eps:
        gain = _gain(eps, delta)
        series = sum(row.sigma ** (k - 2) / k for k in range(2, 400)) if row.sigma < 0.99 else math.inf
        yield gain - math.log2(total) - row.squares * series / math.log(2)
    for gaps in range(1, 1100):
        exact = gaps & (gaps - 1) == 0 and gaps <= 512
        error = float(problem.tolerance) if exact else eps
        if 1 / gaps > error * total + row.sigma and delta <= 1 - 1 / (gaps + 1):
            yield _fano(gaps + 1, delta)
        elif not exact and gaps > 512:
            break


def _fano(alphabet: int, delta: float) -> float:
    if not delta:
        return math.log2(alphabet)
    return math.log2(alphabet) + (1 - delta) * math.log2(1 - delta) + delta * math.log2(delta / (alphabet - 1))
