"""SubGen's sizes with explicit constants: what each certificate says is proved in docs/proofs/arithmetic.md.

Sizes are words: a slot of the matrix product holds a key and a value (2 d words), a cluster a representative and t keys
(d (t + 1) words), the cache 2 n d words. So it saves when 2 s + m (t + 1) < 2 n. Source: Zandieh, Han, Mirrokni and
Karbasi; the constants are ours, by Chebyshev's inequality with failure 1/100 in all.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, sinh, sqrt

from kvverify.claims.evidence import program
from kvverify.claims.evidence.program import Node, Relation, Term, comparison, exp, term, threshold, within

FAILURE = Fraction(1, 100)  # of one step, both estimators together
_GRID = 10**6


def variance(reach: Fraction = Fraction(1, 4), samples: int = 1, digits: int = 4) -> Node:
    """SG-2: relative variance of the normaliser <= sinh^2(delta r)/t; to so many digits, rounded up."""
    within(reach > 0 and samples >= 1, "delta r > 0 and at least one sample", (reach, samples))
    unit = Fraction(1, 10**digits)
    return comparison(*threshold(lambda k: _spread(reach) / samples <= term(k * unit), 1)[1])


def variance_of_ratio(ratio: Fraction = Fraction(7, 2)) -> Node:
    """SG-2: (kappa - 1)^2/(4 kappa), kappa the largest weight of a cell over its smallest: the value itself."""
    within(ratio >= 1, "a ratio of at least 1", ratio)
    value = (ratio - 1) ** 2 / (4 * ratio)
    bound = (term(ratio) - 1) ** 2 / (4 * term(ratio))
    return comparison(bound <= value, bound >= value)


def sizes(
    error: Fraction = Fraction(1), reach: Fraction = Fraction(1, 4), head_dim: int = 64, clusters: int = 1
) -> Node:
    """SG-4, equal split: eps' = eps/(2 + eps), the least t >= 200 e^(2 delta r)/eps'^2 (the paper's form), the least
    t >= 200 sinh^2(delta r)/eps'^2, the least s >= 200 d/eps'^2, and with the latter two the least n that saves.
    """
    _asked(error, reach, head_dim, clusters)
    inner = 2 / FAILURE / (error / (2 + error)) ** 2
    _, papers = threshold(lambda t: inner * exp(2 * reach) <= term(t), 1)
    samples, sharp = threshold(lambda t: inner * _spread(reach) <= term(t), 1)
    slots, products = threshold(lambda s: term(inner * head_dim) <= term(s), 1)
    _, tokens = threshold(lambda n: _saves(slots, samples, clusters, n), 1)
    return comparison(*papers, *sharp, *products, *tokens)


def best_split(
    error: Fraction = Fraction(1), reach: Fraction = Fraction(1, 4), head_dim: int = 64, clusters: int = 1
) -> Node:
    """SG-4, the best split of the same proof between the two estimators, of error and of failure.

    Errors x and y = eps - (1 + eps) x, failures f and 1/100 - f; t f x^2 >= sinh^2(delta r) and s (1/100 - f) y^2 >= d;
    then the least n that saves. The last relation: by no split does a number of tokens save that is at most
    (d^(1/4) + ((1 + eps)^2 m sinh^2(delta r)/2)^(1/4))^4/(eps^2/100) + m/2, shown from below.
    """
    _asked(error, reach, head_dim, clusters)
    samples, slots, first, failing = _search(error, reach, head_dim, clusters)
    second = error - (1 + error) * first
    tokens, saved = threshold(lambda n: _saves(slots, samples, clusters, n), 1)
    roots = term(head_dim), (1 + error) ** 2 * clusters * _spread(reach) / 2
    fourth = [program.sqrt(program.sqrt(root)) for root in roots]
    floor_of_all = (fourth[0] + fourth[1]) ** 4 / (error**2 * FAILURE) + Fraction(clusters, 2)
    beyond, _ = threshold(lambda n: floor_of_all < term(n), 1)
    within(tokens >= beyond, "a split that is no better than the best one", tokens)
    return comparison(
        term(0) < first, term(0) < second, term(0) < failing, term(failing) < FAILURE,
        _spread(reach) <= samples * failing * first**2,
        term(head_dim) <= slots * (FAILURE - failing) * second**2,
        *saved, term(beyond - 1) <= floor_of_all,
    )  # fmt: skip


def corollary(
    tokens: int = 131072, clusters: int = 362, error: Fraction = Fraction(1), reach: Fraction = Fraction(1),
    head_dim: int = 64, saves: bool = False,
) -> Node:  # fmt: skip
    """SG-5 with numbers: m clusters of these t and s (equal split) take fewer words than the cache of n tokens.

    With ``saves`` it certifies 2 s + m (t + 1) < 2 n, without it the contrary. Raises UsageError where that is not so.
    """
    _asked(error, reach, head_dim, clusters)
    within(clusters <= tokens, "at most as many clusters as tokens", clusters)
    inner = 2 / FAILURE / (error / (2 + error)) ** 2
    samples, sharp = threshold(lambda t: inner * _spread(reach) <= term(t), 1)
    slots, products = threshold(lambda s: term(inner * head_dim) <= term(s), 1)
    fewer = _saves(slots, samples, clusters, tokens)
    words, cache = 2 * slots + clusters * (samples + 1), 2 * tokens
    within((words < cache) == saves, f"words {'<' if saves else '>='} the cache's {cache}", words)
    return comparison(*sharp, *products, fewer if saves else ~fewer)


def _asked(error: Fraction, reach: Fraction, head_dim: int, clusters: int) -> None:
    within(0 < error <= 1, "0 < eps <= 1", error)
    within(0 < reach <= 64, "0 < delta r <= 64", reach)
    within(min(head_dim, clusters) >= 1, "at least one coordinate and one cluster", (head_dim, clusters))


def _spread(reach: Fraction) -> Term:
    """sinh^2(delta r)."""
    return (exp(reach) - exp(-reach)) ** 2 / 4


def _saves(slots: int, samples: int, clusters: int, tokens: int) -> Relation:
    return 2 * term(slots) + clusters * (term(samples) + 1) < 2 * term(tokens)


def _search(error: Fraction, reach: Fraction, head_dim: int, clusters: int) -> tuple[int, int, Fraction, Fraction]:
    """(t, s, x, f) near the best split, by floats and then exactly on a grid: nothing here is trusted."""
    variance, limit, eps = sinh(reach) ** 2, float(FAILURE), float(error)
    weight = sqrt(clusters * variance / 2)
    best = eps / (1 + eps + sqrt(sqrt(head_dim) * (1 + eps) / weight))  # of x, and of t with it, as real numbers
    spent = limit * (weight / best) / (weight / best + sqrt(head_dim) / (eps - (1 + eps) * best))
    middle = variance / (spent * best**2)
    found: list[tuple[int, int, int, Fraction, Fraction]] = []
    for samples in range(max(1, floor(middle) - 8), ceil(middle) + 9):
        for shift in range(-8, 9):
            first = Fraction(round(best * (1 + shift / 2048) * _GRID), _GRID)
            second = error - (1 + error) * first
            if first <= 0 or second <= 0:
                continue
            failing = Fraction(ceil(variance / (samples * float(first) ** 2) * _GRID**2) + 1, _GRID**2)
            if failing < FAILURE:
                slots = ceil(head_dim / ((FAILURE - failing) * second**2))
                found.append(((2 * slots + clusters * (samples + 1)), samples, slots, first, failing))
    within(bool(found), "an error and a reach for which a split is found", (error, reach))
    return min(found)[1:]
