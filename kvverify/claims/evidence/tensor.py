"""Certificates about the caches of tensor attention: words, multiplications, patterns of values, product cells.

What each of them proves of a claim: docs/proofs/ledger.md. Tensor attention itself: ``kvverify.attention.tensor``.
Source: Chen, Li, Liang, Shi, Song and Tian (arXiv 2503.11108) as recorded; counts ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations, permutations, product
from math import factorial, prod
from random import Random

from kvverify.attention.tensor import ORDERS
from kvverify.attention.tensor import multiplications as products
from kvverify.bounds.tensor_search import tensor_bound
from kvverify.claims.evidence.program import Node, Relation, Term, comparison, equal, term, threshold, total, within
from kvverify.claims.evidence.sampling import Stream, norm_sampler
from kvverify.errors import UsageError
from kvverify.kernel import document

_MOST_TOKENS = 1 << 12
_MOST_LISTED = 4  # tokens whose patterns are enumerated
_MOST_DRAWN = 8
Rows = list[list[int]]


def state(
    tokens: int = 16, head_dim: int = 8, value_dim: int | None = None, scale: Fraction | None = None,
    max_logit: Fraction = Fraction(16), relative: Fraction = Fraction(1, 2), failure: Fraction = Fraction(1, 10),
    form: str = "halves",
) -> Node:  # fmt: skip
    """TA-3: bits of state of tensor attention within (1 +- relative), score <q, k1 o k2>/``scale``, here head_dim.

    ``form`` halves: secrets in both value factors, 2 (n - 1) rows at a large enough ``max_logit``; skeleton: in the
    first alone, second factors all ones. Raises UsageError where no bound holds.
    """
    within(form in ("halves", "skeleton"), "a form of halves or skeleton", form)
    within(0 <= failure <= Fraction(1, 2), "0 <= failure <= 1/2", failure)
    found = tensor_bound(
        tokens, head_dim, head_dim if value_dim is None else value_dim, scale or Fraction(head_dim), max_logit,
        relative=relative, failure=failure, form=form,
    )  # fmt: skip
    if found.certificate is None:
        raise UsageError(
            f"max-logit: {max_logit} given, more is needed for {tokens} tokens in {head_dim}: {found.reason}"
        )
    return found.certificate


def caches(head_dim: int = 64) -> Node:
    """TA-2: the least n at which 4 n d words of factors are fewer than 2 n^2 d of product rows. Raises UsageError."""
    within(head_dim >= 1, "head_dim >= 1", head_dim)
    return comparison(*threshold(lambda n: term(4 * n * head_dim) < 2 * n * n * head_dim, 1)[1])


def multiplications(tokens: int = 512, head_dim: int = 64) -> Node:
    """TA-5: products of entries for one new token, n tokens with it: those of the naive four-cache order exceed the
    two-cache ones by 2 (n - 1)^2 d, those of the re-associated order are 2 (n - 1) d fewer. Raises UsageError.

    Counted from the steps: product rows formed, scores, weighted values; exponentials, scaling and divisions are not.
    """
    within(2 <= tokens <= _MOST_TOKENS, f"2 <= tokens <= {_MOST_TOKENS}", tokens)
    within(head_dim >= 1, "head_dim >= 1", head_dim)
    four, two, again = operations(tokens, head_dim)
    difference = 2 * term(tokens - 1) ** 2 * head_dim
    return comparison(*equal(four - two, difference), *equal(two - again, 2 * (tokens - 1) * head_dim), again < two)


def operations(tokens: int, head_dim: int) -> tuple[Term, Term, Term]:
    """The counts as sums over the steps of each order: four-cache, two-cache, re-associated."""
    pairs = term(tokens) ** 2 * head_dim
    row = term(tokens) * head_dim
    new = term(2 * tokens - 1) * head_dim
    four = total([pairs, pairs, pairs, pairs])  # keys, values, scores, weighted values
    two = total([new, new, pairs, pairs])
    again = total([row, pairs, pairs, row])  # q o k1, times k2, weights v2, then v1
    return four, two, again


def identity(
    tokens: int = 121, head_dim: int = 2, word_bits: int = 16, base: Fraction = Fraction(2), seed: int = 0
) -> Node:
    """TA-4, TA-5: 4 n d words give the exact answer of tensor attention in all three orders of evaluation, counted.

    Keys and the query are drawn from -1, 0, 1, values from all words of so many bits in two's complement; a pair weighs
    base^score. Raises UsageError.
    """
    within(2 <= tokens <= 128, "2 <= tokens <= 128", tokens)
    within(1 <= head_dim <= 64, "1 <= head_dim <= 64", head_dim)
    within(2 <= word_bits <= 64, "2 <= word_bits <= 64: a sign and one more", word_bits)
    within(base > 0, "a base above 0", base)
    draw, least = Random(seed), -(1 << word_bits - 1)
    query = [draw.randint(-1, 1) for _ in range(head_dim)]
    keys = [[[draw.randint(-1, 1) for _ in range(head_dim)] for _ in range(tokens)] for _ in range(2)]
    values = [[[draw.randint(least, -least - 1) for _ in range(head_dim)] for _ in range(tokens)] for _ in range(2)]
    counts = {order.replace("-", "_"): str(products(order, tokens, head_dim, head_dim)) for order in ORDERS}
    gives = {**counts, "state_bits_at_most": str(4 * tokens * head_dim * word_bits)}
    caches = {
        name: [" ".join(map(str, row)) for row in rows]
        for name, rows in zip(("k1", "k2", "v1", "v2"), (*keys, *values), strict=True)
    }
    statement = {
        "claim": "tensor-identity", "base": str(base), "query": " ".join(map(str, query)), **caches,
        "word_bits": str(word_bits), "word_from": str(least), **gives,
    }  # fmt: skip
    return _built(statement, "tensor-orders", gives)


def patterns(tokens: int = 3, form: str = "threshold") -> Node:
    """TA-4: how many of the 2^(n^2) patterns of 0 and 1 a column of V1 * V2 shows, enumerated by the kernel: ``form``
    binary, entries of V1 and V2 are 0 or 1; threshold, they are real and the pattern says which products reach it.

    Raises UsageError.
    """
    within(form in ("binary", "threshold"), "a form of binary or threshold", form)
    found = str(reachable(tokens, compared=form == "threshold"))
    statement = {"claim": "tensor-patterns", "tokens": str(tokens), "form": form, "reachable": found}
    return _built(statement, "tensor-patterns", {"reachable": found})


def fewer_patterns(tokens: int = 5) -> Node:
    """TA-4: such patterns are fewer than 2^(n^2): at most (2^n - 1)^2 + 1, or 2^n n! (n + 1)^n with a threshold.

    Raises UsageError below 5 tokens: there the second count is no smaller (``patterns`` enumerates up to 4 tokens).
    """
    within(5 <= tokens <= 128, "5 <= tokens <= 128", tokens)
    free = term(2) ** (tokens * tokens)
    compared = term(2) ** tokens * factorial(tokens) * term(tokens + 1) ** tokens
    return comparison((term(2) ** tokens - 1) ** 2 + 1 < free, compared < free)


def reachable(tokens: int, *, compared: bool = False) -> int:
    """How many n x n patterns of 0 and 1 a column of V1 * V2 takes, by listing: values 0 or 1, or, ``compared``, real
    values whose products are compared with a threshold above 0. Raises UsageError beyond 4 tokens.
    """
    within(1 <= tokens <= _MOST_LISTED, f"1 <= tokens <= {_MOST_LISTED}", tokens)
    if compared:
        return len({columns for chains in _chains(tokens) for columns in product(chains, repeat=tokens)})
    bits = list(product((0, 1), repeat=tokens))
    return len({tuple(x * y for x in one for y in other) for one in bits for other in bits})


def _chains(tokens: int) -> Iterator[set[frozenset[int]]]:
    """What one column may show, given signs and order of the other factor.

    A factor b > 0 passes the a_i >= t/b, a prefix of the positive ones in falling order; b < 0 one of the negative.
    """
    for order in permutations(range(tokens)):
        for positive in range(tokens + 1):
            yield {frozenset(part[:k]) for part in (order[:positive], order[positive:]) for k in range(len(part) + 1)}


def product_sampler(tokens: int = 2, head_dim: int = 2, slots: int = 2, base: int = 2, seed: int = 0) -> Node:
    """TA-6: SubGen's norm sampler over the product rows v1_i o v2_l in the order in which they appear, 2 i + 1 at token
    i from 0: mean and variance over all coins. Raises UsageError.
    """
    first, second, scores = _factors(tokens, head_dim, seed)
    pairs = sorted(product(range(tokens), range(tokens)), key=max)
    values = tuple(tuple(x * y for x, y in zip(first[i], second[k], strict=True)) for i, k in pairs)
    within(base >= 2, "a base of at least 2", base)
    return norm_sampler(Stream(tuple(base ** scores[pair] for pair in pairs), (), values), slots)


def coordinate_reservoirs(tokens: int = 3, head_dim: int = 2, seed: int = 0) -> Node:
    """TA-6: the law of the norm sampler on pairs, |v1_i o v2_l|^2 over their sum, is no product of a law of i and
    one of l; it is the mixture over coordinates j, with weight A_j B_j, of the products of v1_ij^2/A_j and v2_lj^2/B_j.

    A_j and B_j sum the squares of column j, so a reservoir a coordinate draws it exactly. Raises UsageError.
    """
    within(2 <= tokens <= _MOST_DRAWN, f"2 <= tokens <= {_MOST_DRAWN}", tokens)
    within(head_dim >= 2, "head_dim >= 2: with one coordinate the law is a product", head_dim)
    first, second, _ = _factors(tokens, head_dim, seed)
    squares = [[[term(x) ** 2 for x in row] for row in rows] for rows in (first, second)]
    columns = [[total(row[j] for row in rows) for j in range(head_dim)] for rows in squares]
    norm = total(a * b for a, b in zip(*columns, strict=True))
    relations: list[Relation] = []
    for one, other in product(*squares):
        parts = list(zip(one, other, *columns, strict=True))
        mixed = total((a * b / norm) * (x / a) * (y / b) for x, y, a, b in parts)
        relations += equal(mixed, total(x * y for x, y, _, _ in parts) / norm)
    return comparison(*relations, _no_product(first, second))


def _built(statement: Node, rule: str, gives: Node) -> Node:
    return document.build(statement, [{"id": "found", "rule": rule, "uses": {}, "given": {}, "gives": gives}])


def _no_product(first: Rows, second: Rows) -> Relation:
    """Some rectangle of pairs whose opposite corners have different products, the smaller one left."""
    squares = [[sum((x * y) ** 2 for x, y in zip(a, b, strict=True)) for b in second] for a in first]
    for (i, k), (j, m) in product(combinations(range(len(first)), 2), repeat=2):
        sides = sorted(((squares[i][j], squares[k][m]), (squares[i][m], squares[k][j])), key=prod)
        if prod(sides[0]) < prod(sides[1]):
            return term(sides[0][0]) * sides[0][1] < term(sides[1][0]) * sides[1][1]
    raise UsageError("values whose squared norms are no product of one of i and one of l are needed: another seed")


def _factors(tokens: int, head_dim: int, seed: int) -> tuple[Rows, Rows, dict[tuple[int, int], int]]:
    """V1 and V2 without zeros, and a score 0 to 2 of each pair, from the seed. Raises UsageError."""
    within(min(tokens, head_dim) >= 1, "sizes of at least 1", (tokens, head_dim))
    draw = Random(seed)
    first, second = ([[draw.choice((-2, -1, 1, 2)) for _ in range(head_dim)] for _ in range(tokens)] for _ in range(2))
    return first, second, {pair: draw.randint(0, 2) for pair in product(range(tokens), range(tokens))}
