"""Random projections as the papers use them: how large d must be for keys to exist, and keys from a seed.

Keys are columns of a d x n matrix of independent entries over sqrt(d). Existence is a union bound over all keys and
pairs, certified as comparisons; what each says is proved in docs/proofs/projections.md. A seed's keys are integers, the
same on every platform, and go through the kernel's rules for explicit keys: nothing of their randomness is used there.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from hashlib import shake_256
from math import ceil, comb, exp, floor, log

import numpy as np
from flint import arb, ctx, fmpq

from kvverify.bounds.steps import DECAY_BITS, SLACK, ball_up, down, exact, log2_up, step, up
from kvverify.claims.evidence import program
from kvverify.claims.evidence.program import (
    Node,
    Relation,
    Term,
    binomial,
    binomial_tail,
    comparison,
    ln,
    sqrt,
    term,
    threshold,
    within,
)
from kvverify.codes.explicit import ExplicitKeys
from kvverify.codes.random_signs import random_signs as sign_words
from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.problem import Problem

COHERENCE = Fraction(49, 100)
ODDS = Fraction(3)  # (1 + eta)/(1 - eta) at a relative error of 1/2
UNIT = 64  # one standard deviation of a Gaussian key's entries
_QUANTILE_BITS = 13


# Existence: union bounds


def signs(tokens: int = 256, coherence: Fraction = COHERENCE) -> Node:
    """Random signs: the least d with C(n, 2) sum_{k < (1 - eps) d/2} C(d, k) < 2^d; no smaller d has it.

    Then some n sign vectors have <k, k'> <= eps d for all pairs. The sum is not monotone in d, so every smaller d is
    in the certificate.
    """
    _asked(tokens, coherence)
    dim = _sign_dimension(tokens, coherence)
    return comparison(_sign_bound(tokens, dim, coherence), *(~_sign_bound(tokens, d, coherence) for d in range(1, dim)))


def _sign_bound(tokens: int, dim: int, coherence: Fraction) -> Relation:
    return binomial(tokens, 2) * binomial_tail(dim, _disagreeing(dim, coherence)) < term(2) ** dim


def _disagreeing(dim: int, coherence: Fraction) -> int:
    """The largest integer below (1 - eps) d/2: two signs vectors that differ in no more places are too close."""
    return ceil((1 - coherence) * dim / 2) - 1


def _sign_dimension(tokens: int, coherence: Fraction) -> int:
    dim, pairs = 1, comb(tokens, 2)
    while pairs * sum(comb(dim, k) for k in range(_disagreeing(dim, coherence) + 1)) >= 1 << dim:
        dim += 1
    return dim


def gaussian_as_in_the_papers(tokens: int = 256, coherence: Fraction = COHERENCE) -> Node:
    """Gaussian keys: the least d >= 4 ln n/(eps^2/2 - eps^3/3), by which norms are >= 1 - eps and scores <= eps."""
    _asked(tokens, coherence)
    return comparison(*threshold(lambda d: _papers_bound(tokens, d, coherence), 1)[1])


def _papers_bound(tokens: int, dim: int, coherence: Fraction) -> Relation:
    return 4 * ln(tokens) <= term(dim) * (coherence**2 / 2 - coherence**3 / 3)


def gaussian(tokens: int = 256, coherence: Fraction = COHERENCE) -> Node:
    """Gaussian keys: the least d with n L^d + C(n, 2) A^d < 1, the same promise by Chernoff's bounds themselves.

    L = sqrt((1 - eps) e^eps) for a norm, A = sqrt(e^(-2 a eps)/(1 - a^2)) with a = (sqrt(1 + 4 eps^2) - 1)/(2 eps) for
    a score; both are below 1, so the sum falls as d grows.
    """
    _asked(tokens, coherence)
    return comparison(*threshold(lambda d: _chernoff_bound(tokens, d, coherence), 1)[1])


def _chernoff_bound(tokens: int, dim: int, coherence: Fraction) -> Relation:
    norm: Term = sqrt((1 - coherence) * program.exp(coherence))
    tilt = (sqrt(1 + 4 * coherence**2) - 1) / (2 * coherence)
    score = sqrt(program.exp(-2 * coherence * tilt) / (1 - tilt**2))
    return tokens * norm**dim + binomial(tokens, 2) * score**dim < term(1)


def pays_from(rate: int = 48, share: int = 1) -> Node:
    """C4b: the least n >= rate * share from which rate ln n, the dimension, is below n/share.

    48 is the papers' Gaussian form at eps -> 1/2, 16 that of signs by Hoeffding's inequality.
    """
    within(rate >= 3 and share >= 1, "a rate of at least 3 and a share of at least 1", (rate, share))
    return comparison(*threshold(lambda n: rate * share * ln(n) < term(n), rate * share)[1])


@dataclass(frozen=True)
class Dimensions:
    """What n keys need: random ones at one coherence, and explicit families (docs/proofs/codes.md)."""

    tokens: int
    coherence: Fraction
    papers: int
    gaussian: int
    signs: int
    kerdock: int
    hypercube: int
    paraboloid: int = 2


def dimensions(tokens: int, coherence: Fraction = COHERENCE) -> Dimensions:
    """The row of the table "random keys need d = .., codes need d = ..", by the searches behind the certificates."""
    _asked(tokens, coherence)
    kerdock = 4
    while kerdock**2 < tokens:
        kerdock *= 4
    return Dimensions(
        tokens, coherence, threshold(lambda d: _papers_bound(tokens, d, coherence), 1)[0],
        threshold(lambda d: _chernoff_bound(tokens, d, coherence), 1)[0], _sign_dimension(tokens, coherence), kerdock,
        (tokens - 1).bit_length(),
    )  # fmt: skip


def _asked(tokens: int, coherence: Fraction) -> None:
    within(2 <= tokens <= 1 << 20, "2 to 2^20 keys", tokens)
    within(Fraction(1, 8) <= coherence < 1, "a coherence from 1/8 to below 1", coherence)


# Instances: keys from a seed


def gaussian_keys(tokens: int, dim: int, seed: int) -> np.ndarray:
    """(tokens, dim) integers, 64 to a standard deviation: quantiles at (2u + 1)/2^14, u of 13 bits of SHAKE-256.

    Each is the integer nearest to 64 times a quantile of the normal law, so that every platform makes the same keys.
    """
    stream = np.frombuffer(shake_256(f"gaussian keys {dim} {seed}".encode()).digest(2 * tokens * dim), dtype="<u2")
    half = 1 << (_QUANTILE_BITS - 1)
    index = (stream & (2 * half - 1)).astype(np.int64).reshape(tokens, dim)
    table = np.array(_quantiles(), dtype=np.int64)
    return np.where(index < half, -table[index % half], table[index % half])


@lru_cache(maxsize=1)
def _quantiles() -> tuple[int, ...]:
    """The upper half: 64 times the quantile at 1/2 + (2u + 1)/2^14, rounded to the nearest integer."""
    found = []
    with ctx.workprec(128):
        for u in range(1 << (_QUANTILE_BITS - 1)):
            share = fmpq(2 * u + 1, 1 << _QUANTILE_BITS)
            quantile = UNIT * arb(2).sqrt() * arb(share).erfinv()
            found.append(int((quantile + arb(fmpq(1, 2))).floor().unique_fmpz()))
    return tuple(found)


def sign_keys(tokens: int, dim: int, seed: int) -> np.ndarray:
    """(tokens, dim) of -1 and 1: the words of ``random_signs(tokens,dim,seed)``."""
    words = sign_words(tokens, dim, seed).representatives
    return np.array([[1 - 2 * (word >> j & 1) for j in range(dim)] for word in words], dtype=np.int64)


def coherence_of(table: np.ndarray, square: int) -> tuple[Fraction, Fraction]:
    """(least <k, k>, largest <k, k'> of two keys) over ``square``, exactly, for an int64 table below 2^60."""
    gram = table @ table.T
    norms = gram.diagonal().copy()
    np.fill_diagonal(gram, np.iinfo(np.int64).min)
    return Fraction(int(norms.min()), square), Fraction(int(gram.max()), square)


def gaussian_instance(
    tokens: int = 300, dim: int = 76, seed: int = 2, coherence: Fraction = COHERENCE, value_dim: int | None = None
) -> Node:
    """State bits from Gaussian keys of a seed, <k, k> >= 1 - eps and <k, k'> <= eps: read with relative error 1/2.

    Raises UsageError where the seed's keys are not so far apart.
    """
    table = gaussian_keys(tokens, dim, seed)
    return _instance(table, UNIT**2 * dim, f"gaussian keys of seed {seed}", coherence, value_dim)


def sign_instance(
    tokens: int = 300, dim: int = 56, seed: int = 2, coherence: Fraction = COHERENCE, value_dim: int | None = None
) -> Node:
    """The same from random signs."""
    return _instance(sign_keys(tokens, dim, seed), dim, f"sign keys of seed {seed}", coherence, value_dim)


def _instance(table: np.ndarray, square: int, label: str, coherence: Fraction, value_dim: int | None) -> Node:
    tokens, dim = table.shape
    within(dim < tokens, "a dimension below the number of keys", (dim, tokens))
    norm, score = coherence_of(table, square)
    if norm < 1 - coherence or score > coherence:
        raise UsageError(
            f"{label}: <k, k> >= {float(norm):.4f} and <k, k'> <= {float(score):.4f}, where {1 - coherence} and "
            f"{coherence} are needed"
        )
    family, cost = ExplicitKeys(table, label), Fraction(int((table**2).sum(axis=1).max()))
    budget = ceil(_scale(family.exponents(), ODDS) * float(cost) * (1 + 1e-6))
    problem = Problem(
        tokens=tokens, key_dim=dim, value_dim=value_dim or dim, max_logit=Fraction(budget), failure=Fraction(1, 10),
        relative=Fraction(1, 2), body="ball",
    )  # fmt: skip
    steps = [{"id": "keys", "uses": {}, **family.step()}, *_reads(family, budget / cost, Fraction(budget))]
    bits = down(tokens * problem.value_dim * _fano_down(problem.failure), 20)
    steps.append(step("bits", "random-access-code", {"reading": "reading"}, {}, {"bits_at_least": bits}))
    return document.build(problem.statement(floor(bits)), steps)


def _reads(family: ExplicitKeys, exponent: Fraction, budget: Fraction) -> list[Node]:
    """Scale, budget, leak and separation of all keys in a ball, sums rounded up.

    The sums of bounds/steps.py are of exact powers, which are too long for exponents of many digits.
    """
    z = up(ball_up(lambda: arb(exact(-exponent)).exp()), DECAY_BITS)

    def total(times: int) -> Fraction:
        terms = family.exponents().items()
        return up(ball_up(lambda: sum((n * arb(exact(z)) ** (times * e) for e, n in terms), arb(0))), 64)

    rest = up(ball_up(lambda: arb(exact(z)) ** family.own_exponent), 64)
    leak = {"off_target_at_most": total(1), "off_target_squares_at_most": total(2), "rest_at_most": rest}
    return [
        step("decay", "exp-bound", {}, {"exponent": exponent}, {"exp_minus_at_most": z}),
        step("budget", "budget", {"keys": "keys", "decay": "decay"}, {"payload": family.size},
             {"logit_at_most": budget}),
        step("leak", "leak", {"budget": "budget"}, {}, leak),
        step("reading", "separation", {"leak": "leak"}, {}, {"alphabet": 2}),
    ]  # fmt: skip


def _fano_down(failure: Fraction) -> Fraction:
    """1 - H(failure), from below."""
    return 1 - SLACK - failure * log2_up(1 / failure) - (1 - failure) * log2_up(1 / (1 - failure))


def _scale(exponents: dict[int, int], odds: Fraction) -> float:
    """The least c with odds * sum of n_e e^(-c e) < 1, in floats."""
    low, high = 0.0, log(sum(exponents.values()) * odds) / min(exponents)
    for _ in range(100):
        middle = (low + high) / 2
        small = odds * sum(n * exp(-middle * e) for e, n in exponents.items()) < 1
        low, high = (low, middle) if small else (middle, high)
    return high
