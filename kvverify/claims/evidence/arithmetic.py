"""The arithmetic of the claims about lower bounds: what each certificate says is proved in docs/proofs/arithmetic.md.

A threshold's certificate says that the number meets the condition and that the next one does not. Sizes are of tokens
and scalars; state is in bits. Sources: as in the claims; constants ours.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from math import gcd
from operator import mul

from kvverify.claims.evidence.program import (
    Node,
    Relation,
    Term,
    binomial_tail,
    comparison,
    exp,
    ln,
    log2,
    sqrt,
    term,
    threshold,
    total,
    within,
)

TENTH, HALF = Fraction(1, 10), Fraction(1, 2)
_THETA_TERMS = 8


# Reading one of N bits: C1, C2


def fano_constant(failure: Fraction = TENTH, step: Fraction = Fraction(1, 100)) -> Node:
    """C1: 1 - H(failure) >= c for the largest multiple c of ``step``, in integers; the next multiple fails.

    With failure = a/b and c = u/v: b^(bv) <= 2^((v - u) b) a^(av) (b - a)^((b - a)v), all exponents over their gcd.
    """
    within(0 < failure < HALF, "0 < failure < 1/2", failure)
    within(0 < step < 1, "0 < step < 1", step)
    return comparison(*_largest(lambda k: _fano_at_least(failure, k * step), 0))


def _fano_at_least(failure: Fraction, constant: Fraction) -> Relation:
    a, b, u, v = failure.numerator, failure.denominator, constant.numerator, constant.denominator
    exponents = [b * v, (v - u) * b, a * v, (b - a) * v]
    whole, two, first, second = (e // gcd(*exponents) for e in exponents)
    factors = [term(base) ** power for base, power in ((2, two), (a, first), (b - a, second)) if base > 1]
    return term(b) ** whole <= reduce(mul, factors)


def fano(failure: Fraction, alphabet: int = 2) -> Term:
    """F(L, failure) = log2 L - H(failure) - failure log2(L - 1): bits a symbol."""
    bits = log2(alphabet)
    if failure:
        bits = bits + (1 - failure) * log2(1 - failure) + failure * log2(failure / (alphabet - 1))
    return bits


def index_bits(tokens: int = 256, value_dim: int = 16, failure: Fraction = TENTH) -> Node:
    """C1, C2: the least whole number of bits that INDEX on tokens * value_dim bits needs by Fano's inequality."""
    within(0 <= failure < HALF, "0 <= failure < 1/2", failure)
    within(min(tokens, value_dim) >= 1, "at least one token and one coordinate", (tokens, value_dim))
    return comparison(*threshold(lambda bits: tokens * value_dim * fano(failure) <= term(bits), 1)[1])


def counting_excluded(bits: int = 256) -> Node:
    """C1, by counting: the largest S with 2^S sum_{k < N/4} C(N, k) < 2^(N-1), so that no S bits do for N = ``bits``
    at an average error below 1/8; S + 1 is not excluded.
    """
    within(bits >= 16, "at least 16 bits", bits)
    tail = binomial_tail(bits, -(-bits // 4) - 1)
    return comparison(*_largest(lambda s: term(2) ** s * tail < term(2) ** (bits - 1), 0))


def cache_ratio(key_bits: int = 16, value_bits: int = 16, failure: Fraction = TENTH) -> Node:
    """C5: a cache of so many bits a scalar over (1 - H(failure)) n d bits: the ratio to a tenth, rounded down.

    Compression by a larger factor is excluded by the bound, by a smaller one it is not. For d_k = d_v.
    """
    within(min(key_bits, value_bits) >= 1, "at least one bit a scalar", (key_bits, value_bits))
    cost = fano(failure)
    return comparison(*threshold(lambda k: (key_bits + value_bits) < Fraction(k, 10) * cost, 1)[1])


def outgrown(words: int = 2, grows: int = 1, word_bits: int = 16, failure: Fraction = TENTH) -> Node:
    """VAR-3, TA-4: the least n at which (1 - H(failure)) n^2 d bits exceed ``words`` n^``grows`` d words of p bits.

    ``grows`` 0 is a store that does not grow, 1 a linear one; d cancels. Raises UsageError.
    """
    return comparison(*outgrown_from(words, grows, word_bits, failure)[1])


def outgrown_from(
    words: int, grows: int, word_bits: int, failure: Fraction = TENTH
) -> tuple[int, tuple[Relation, ...]]:
    """That n, and the relations that show it. Raises UsageError."""
    within(0 <= failure < HALF, "0 <= failure < 1/2", failure)
    within(min(words, word_bits) >= 1, "at least one word of one bit", (words, word_bits))
    within(grows in (0, 1), "grows of 0 or 1", grows)
    return threshold(lambda n: term(words * word_bits * n**grows) < n * n * fano(failure), 1)


# Key families: C4


def hypercube_base(dim: int = 4, relative: Fraction = HALF) -> Node:
    """C4: the least integer B with ((B + 1)^d - B^d)(1 + eta) < (1 - eta) B^d: keys {-1, 1}^d, B = e^(2c)."""
    within(dim >= 1, "dimension >= 1", dim)
    eta = _relative(relative)

    def separates(base: int) -> Relation:
        own = term(base) ** dim
        return (term(base + 1) ** dim - own) * (1 + eta) < (1 - eta) * own

    return comparison(*threshold(separates, 1)[1])


def paraboloid_base(dim: int = 2, relative: Fraction = HALF) -> Node:
    """C4: the least integer B with (theta^(d-1) - 1)(1 + eta) < 1 - eta, theta = 1 + 2 sum_{t >= 1} B^(-t^2).

    Passing is shown of T terms plus 2 B^(-T^2) B/(B - 1) >= the rest, failing of T terms alone.
    """
    within(dim >= 2, "dimension >= 2", dim)
    eta = _relative(relative)

    def separates(base: int, *, rest: bool = True) -> Relation:
        terms = [Fraction(2, base ** (t * t)) for t in range(1, _THETA_TERMS)]
        tail = [Fraction(2 * base, base ** (_THETA_TERMS**2) * (base - 1))] if rest else []
        return (total([1, *terms, *tail]) ** (dim - 1) - 1) * (1 + eta) < 1 - eta

    base, _ = threshold(separates, 2)
    return comparison(separates(base), ~separates(base - 1, rest=False))


def _relative(relative: Fraction) -> Fraction:
    within(0 <= relative < 1, "0 <= relative < 1", relative)
    return Fraction(relative)


def _odds(relative: Fraction) -> Fraction:
    """(1 + eta)/(1 - eta)."""
    return (1 + _relative(relative)) / (1 - relative)


def most_keys_by_scores(budget: Fraction = Fraction(8), relative: Fraction = HALF) -> Node:
    """C4d: separation forces n - 1 < e^(2 rho) (1 - eta)/(1 + eta), |<q, k>| <= rho scale; the largest such n."""
    within(budget > 0, "budget > 0", budget)
    odds = _odds(relative)
    return comparison(*_largest(lambda n: (n - 1) * odds < exp(2 * Fraction(budget)), 2))


def most_keys_by_norms(head_dim: int = 128, relative: Fraction = HALF) -> Node:
    """C4e: ln((n - 1)(1 + eta)/(1 - eta)) < R n/(n - 1), R = |q||k|/scale at most, here sqrt(d): the largest such n.

    Necessary for separation by any keys and queries of such norms (Jensen), as in models that normalise both to
    sqrt(d) and divide scores by sqrt(d).
    """
    within(head_dim >= 1, "head_dim >= 1", head_dim)
    odds, budget = _odds(relative), sqrt(head_dim)
    return comparison(*_largest(lambda n: ln((n - 1) * odds) < budget * Fraction(n, n - 1), 2))


def gap_test(head_dim: int = 128, coherence: Fraction = Fraction(0), relative: Fraction = HALF) -> Node:
    """C4e: sqrt(d)(1 - eps) > ln((n - 1)(1 + eta)/(1 - eta)) is enough for keys of coherence eps: the largest n."""
    within(0 <= coherence < 1, "0 <= coherence < 1", coherence)
    odds, gap = _odds(relative), sqrt(head_dim) * (1 - Fraction(coherence))
    return comparison(*_largest(lambda n: ln((n - 1) * odds) < gap, 2))


def _largest(condition: Callable[[int], Relation], start: int) -> tuple[Relation, ...]:
    """The condition at the largest integer where it holds, and not at the next; it must hold at ``start``."""
    beyond, relations = threshold(lambda n: ~condition(n), start)
    within(beyond > start, f"what allows at least {start}", "less")
    return tuple(reversed(relations))


# Haris and Onak


def displayed_bound(relative: Fraction = Fraction(9, 10), power: int = 1) -> Node:
    """HO-2: (m - 1)/m^2 < (1 - eta)/(1 + eta) for m = n^``power`` tokens, what C = 2 ln m/(1 - 2 eps) leaves to show:
    the least n >= 2. VAR-4 has n^2 tokens.
    """
    odds = _odds(relative)
    within(1 <= power <= 8, "1 <= power <= 8", power)
    return comparison(*threshold(lambda n: term(Fraction(n**power - 1, n ** (2 * power))) < 1 / odds, 2)[1])


def projection_exponents() -> Node:
    """HO-4: eps -> 1/2 in 4 ln n/(eps^2/2 - eps^3/3) is 48 ln n, in ln(n^2)/(eps^2/2) it is 16 ln n; a greedy code of
    distance d/4 has e^(0.13 d) words and not e^(0.14 d) by that count; unit keys with e^d words need eps > 0.929.
    """
    half, gilbert, packed = term(HALF), term(Fraction(27, 16)), sqrt(1 - exp(-2))
    gaussian = 4 / (half**2 / 2 - half**3 / 3)
    return comparison(
        gaussian <= 48, gaussian >= 48, 2 / (half**2 / 2) <= 16, 2 / (half**2 / 2) >= 16,
        exp(Fraction(52, 100)) <= gilbert, gilbert < exp(Fraction(56, 100)),
        term(Fraction(9298, 10000)) < packed, packed < Fraction(9299, 10000),
        Fraction(142, 10) * (1 - packed) < 1, Fraction(143, 10) * (1 - packed) > 1,
    )  # fmt: skip


def covering_constants() -> Node:
    """HO-5: 1 + 2R/delta <= e iff delta >= 2R/(e - 1), between 1.1639 R and 1.1640 R; by diameters delta >= 4R/(e - 1),
    which is more than 2R, the ball's own diameter: vacuous.
    """
    packing = 2 / (exp(1) - 1)
    return comparison(term(Fraction(11639, 10000)) < packing, packing < Fraction(11640, 10000), 4 / (exp(1) - 1) > 2)


def unread_entry_weight(tokens: int = 3, relative: Fraction = HALF) -> Node:
    """HO-9: the least integer E > n (1 + eta)/(1 - eta) - n + 1: 1/n and 1/(E + n - 1) are then told apart."""
    within(tokens >= 1, "tokens >= 1", tokens)
    odds = _odds(relative)
    return comparison(*threshold(lambda e: tokens * odds - tokens + 1 < term(e), 1)[1])


def accesses(tokens: int = 1000, head_dim: int = 64, failure: Fraction = TENTH) -> Node:
    """HO-9: the least whole number of accesses to entries that is at least (1 - 2 failure)(n - 1) d."""
    within(tokens >= 2 and 0 <= failure < HALF, "tokens >= 2 and failure below 1/2", (tokens, failure))
    least = (1 - 2 * Fraction(failure)) * (tokens - 1) * head_dim
    return comparison(*threshold(lambda count: term(least) <= term(count), 0)[1])


def cells(
    tokens: int = 1000, head_dim: int = 64, word_bits: int = 16, failure: Fraction = TENTH, alphabet: int = 2
) -> Node:
    """HO-9, repaired: the least T with T w >= F(L, failure) n d: cells of w bits that a fixed set of probes needs."""
    within(alphabet >= 2 and 0 <= failure <= 1 - Fraction(1, alphabet), "failure <= 1 - 1/alphabet", failure)
    within(min(tokens, head_dim, word_bits) >= 1, "sizes of at least 1", (tokens, head_dim, word_bits))
    bits = tokens * head_dim * fano(failure, alphabet)
    return comparison(*threshold(lambda count: bits <= term(count * word_bits), 1)[1])
