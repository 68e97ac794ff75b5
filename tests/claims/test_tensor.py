"""Recipes of the tensor rows: recorded numbers, every certificate by both engines, hypotheses named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import log2
from random import Random
from typing import Any

import pytest

from kvverify.claims import tables
from kvverify.claims.evidence import arithmetic, tensor
from kvverify.errors import UsageError
from kvverify.kernel.check import check
from tests.claims.accepted import Node, assert_accepted

FANO = 1 + 0.1 * log2(0.1) + 0.9 * log2(0.9)
BUILT: list[tuple[Callable[..., Node], dict[str, Any]]] = [
    (tensor.state, {"tokens": 4, "head_dim": 4}), (tensor.state, {"form": "skeleton"}), (tensor.caches, {}),
    (tensor.multiplications, {}), (tensor.multiplications, {"tokens": 2, "head_dim": 1}),
    (tensor.identity, {"tokens": 5, "head_dim": 3}), (tensor.identity, {"tokens": 2, "base": Fraction(2, 3)}),
    (tensor.patterns, {}), (tensor.patterns, {"tokens": 3, "form": "binary"}), (tensor.fewer_patterns, {}),
    (tensor.fewer_patterns, {"tokens": 40}), (tensor.product_sampler, {}),
    (tensor.product_sampler, {"slots": 1, "seed": 4}),
    (tensor.coordinate_reservoirs, {}), (tensor.coordinate_reservoirs, {"tokens": 4, "head_dim": 3, "seed": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("build", "given"), BUILT)
def test_every_certificate_is_valid_and_the_second_opinion_agrees(build: Callable[..., Node], given: Node) -> None:
    assert_accepted(build, given)


@pytest.mark.parametrize(("bits", "least"), [(1, 8), (4, 31), (8, 61), (16, 121), (32, 242)])
def test_where_four_caches_are_less(bits: int, least: int) -> None:
    """The recorded thresholds, and the formula n > 4 p/F."""
    assert arithmetic.outgrown_from(4, 1, bits)[0] == least == int(4 * bits / FANO) + 1


def test_the_strengthened_bound() -> None:
    """2 (n - 1) rows of d symbols, also at the budget that separates all pairs at base 14, 2 ln 14."""
    for tokens, dim, logit in ((16, 8, Fraction(16)), (4, 4, Fraction(528, 100))):
        bits = check(tensor.state(tokens, dim, max_logit=logit)).bits
        assert bits is not None
        assert 0 <= 2 * (tokens - 1) * dim * FANO - float(bits) < 0.01


def test_counts_by_hand() -> None:
    """Each product of the three orders, one at a time."""
    n, d = 4, 3
    four, two, again = Counter[str](), Counter[str](), Counter[str]()
    for i, k, _ in product(range(n), range(n), range(d)):
        for name in ("key", "value", "score", "weighted"):
            four[name] += 1
        for name in ("key", "value"):
            two[name] += n - 1 in (i, k)
        for name in ("score", "weighted"):
            two[name] += 1
            again[name] += 1
    for _ in product(range(n), range(d)):
        again["turned"] += 1
        again["last"] += 1
    counted = [sum(each.values()) for each in (four, two, again)]
    assert [four - two for four, two in (counted[:2], counted[1:])] == [2 * (n - 1) ** 2 * d, 2 * (n - 1) * d]
    statement = tensor.identity(n, d)["statement"]
    assert [int(statement[name]) for name in ("four_cache", "two_cache", "re_associated")] == counted


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_patterns_by_many_draws(tokens: int) -> None:
    """What random real columns show is among the patterns, and nearly all of them are drawn."""
    draw, shown = Random(1), set()
    for _ in range(20_000):
        one, other = ([draw.choice((-1, 1)) * 2 ** draw.uniform(-3, 3) for _ in range(tokens)] for _ in range(2))
        shown.add(tuple(x * y >= 1 for x in one for y in other))
    reached = tensor.reachable(tokens, compared=True)
    assert 0.8 * reached <= len(shown) <= reached <= 2 ** (tokens * tokens)
    assert tensor.reachable(tokens) == (2**tokens - 1) ** 2 + 1
    assert reached == [2, 16, 338][tokens - 1]


def test_the_table_of_patterns() -> None:
    assert tables.patterns().rows[3] == ("4", "226", "12,616", "65,536")


def test_rows_arrive_as_tokens_do() -> None:
    """Pairs by their later token; values are products."""
    statement = tensor.product_sampler(3)["statement"]
    first, second, _ = tensor._factors(3, 2, 0)
    order = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2), (2, 0), (2, 1), (2, 2)]
    wanted = [" ".join(str(x * y) for x, y in zip(first[i], second[k], strict=True)) for i, k in order]
    assert statement["values"] == wanted


@pytest.mark.parametrize(("build", "given", "named"), [
    (tensor.state, {"form": "x"}, "a form of halves or skeleton"), (tensor.state, {"tokens": 0}, "tokens: 0"),
    (tensor.state, {"max_logit": Fraction(1, 10)}, "max-logit: 1/10 given"),
    (tensor.caches, {"head_dim": 0}, "head_dim"), (tensor.state, {"failure": Fraction(3, 4)}, "failure <= 1/2"),
    (tensor.multiplications, {"tokens": 1}, "2 <= tokens"), (tensor.multiplications, {"head_dim": 0}, "head_dim >= 1"),
    (tensor.identity, {"tokens": 129}, "2 <= tokens <= 128"),
    (tensor.identity, {"head_dim": 65}, "head_dim <= 64"), (tensor.identity, {"word_bits": 1}, "2 <= word_bits"),
    (tensor.identity, {"base": Fraction(0)}, "a base above 0"), (tensor.patterns, {"tokens": 5}, "tokens <= 4"),
    (tensor.patterns, {"form": "x"}, "a form of binary"), (tensor.fewer_patterns, {"tokens": 4}, "5 <= tokens"),
    (tensor.product_sampler, {"base": 1}, "a base of at least 2"), (tensor.product_sampler, {"slots": 0}, "slots = 0"),
    (tensor.coordinate_reservoirs, {"head_dim": 1}, "head_dim >= 2"),
    (tensor.product_sampler, {"tokens": 0}, "sizes of"),
    (tensor.coordinate_reservoirs, {"tokens": 9}, "2 <= tokens <= 8"),
])  # fmt: skip
def test_a_hypothesis_is_named(build: Callable[..., Node], given: Node, named: str) -> None:
    with pytest.raises(UsageError, match=named) as raised:
        build(**given)
    assert "\n" not in str(raised.value)


def test_a_law_that_is_a_product_is_refused() -> None:
    with pytest.raises(UsageError, match="another seed"):
        tensor._no_product([[1, 1], [2, 2]], [[1, 1], [1, 1]])
