"""The matrix that every family enters: what it says of its keys against a count over all pairs in plain integers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from operator import mul
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvverify.codes import by_name, families
from kvverify.codes.base import KeyFamily
from kvverify.codes.catalogue import CatalogueCode, catalogue
from kvverify.codes.explicit import ExplicitKeys
from kvverify.codes.hypercube import Hypercube
from kvverify.codes.kerdock import kerdock
from kvverify.codes.paraboloid import Paraboloid
from kvverify.errors import UsageError
from kvverify.kernel.context import Context
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import RULES
from kvverify.kernel.rules.attention import Keys
from kvverify.kernel.statement import Statement

NAMES = [
    "counted-reed-muller(1,4,1,1)",
    "counted-reed-muller(2,3,0,1)",
    "counted-reed-muller(2,4,3,0)",
    "cyclic(7,29)",
    "cyclic(15,19)",
    "cyclic(7,29) punctured 2",
    "extended-bch(3,4)",
    "extended-bch(4,7)",
    "extended-bch(5,16) shortened 8",
    "extended-bch(6,7)",
    "extended-bch(8,9) subcode 6",
    "golay(23) shortened 6",
    "golay(24) subcode 6",
    "hypercube(1)",
    "hypercube(7)",
    "kerdock(16)",
    "paraboloid(2,6)",
    "paraboloid(3,5)",
    "paraboloid(5,3)",
    "paraboloid(100,2)",
    "quadratic-residue(18) shortened at 0,3 punctured at 2",
    "quadratic-residue(32) subcode 7",
    "random-signs(50,24,1)",
    "random-signs(3,130,0)",
    "reed-muller(1,6)",
    "reed-muller(2,4) punctured 3 subcode 7",
]
TABLES = {
    "hadamard": [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]],
    "points": [[3, 0, 1], [0, 3, -1], [-3, 1, 0], [1, 1, 3]],
    "wide": [[257, 0], [0, 257]],
    "alone": [[5, -2]],
}


def members() -> list[KeyFamily]:
    """One small member of every kind."""
    tables = [(name, np.array(table, np.int64)) for name, table in TABLES.items()]
    return [
        *(by_name(name) for name in NAMES),
        next(entry for entry in catalogue() if entry.dimension == 7),
        *(ExplicitKeys(table, name) for name, table in tables),
        *(ExplicitKeys(table, f"{name} over a power of two", power_of_two=True) for name, table in tables),
    ]


@pytest.fixture(params=members(), ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> KeyFamily:
    member: KeyFamily = request.param
    return member


def tables(family: KeyFamily, tokens: int) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """Keys, queries and own keys as plain integers."""
    arrays = (family.keys(tokens), family.queries(tokens), family.own_keys(tokens))
    assert all(array.shape == (tokens, family.dim) for array in arrays)
    keys, queries, own = (array.tolist() for array in arrays)
    return keys, queries, own


def dot(a: list[int], b: list[int]) -> int:
    return sum(map(mul, a, b))


def test_histogram_dominates_every_row(family: KeyFamily) -> None:
    keys, queries, _ = tables(family, family.size)
    assert len(set(map(tuple, keys))) == family.size
    stated = family.exponents()
    assert all(exponent >= 1 and count >= 1 for exponent, count in stated.items())
    for i, query in enumerate(queries):
        scores = [family.query_unit * dot(query, key) for key in keys]
        row = Counter(scores[i] - score for j, score in enumerate(scores) if j != i)
        seen = allowed = 0
        for exponent in sorted(row | stated):
            seen += row.get(exponent, 0)
            allowed += stated.get(exponent, 0)
            assert exponent == int(exponent)
            assert seen <= allowed


def test_fewer_tokens_are_the_first_keys(family: KeyFamily) -> None:
    tokens = max(1, family.size - 3)
    assert np.array_equal(family.keys(tokens), family.keys(family.size)[:tokens])
    assert np.array_equal(family.queries(tokens), family.queries(family.size)[:tokens])
    with pytest.raises(UsageError, match=r"has \d+ keys"):
        family.keys(family.size + 1)


def test_unit_is_attained_and_own_key_lies_in_the_body(family: KeyFamily) -> None:
    keys, queries, own = tables(family, family.size)
    divisor = family.divisor if isinstance(family, ExplicitKeys) else max(abs(x) for key in keys for x in key)
    assert family.unit == family.query_unit * max(sum(map(abs, query)) for query in queries) * divisor
    assert all(abs(x) <= divisor for key in keys + own for x in key)
    gaps = [
        family.query_unit * (dot(query, key) - dot(query, mine))
        for query, key, mine in zip(queries, keys, own, strict=True)
    ]
    assert min(gaps) == family.own_exponent >= 1
    if family.bf16_exact:
        assert all(fits_bf16(Fraction(x, divisor)) for key in keys for x in key)


def fits_bf16(x: Fraction) -> bool:
    """A dyadic rational with at most 8 significant bits."""
    top, bottom = abs(x.numerator), x.denominator
    return bottom & (bottom - 1) == 0 and (top == 0 or (top // (top & -top)).bit_length() <= 8)


def test_step_is_strings_all_through(family: KeyFamily) -> None:
    def leaves(node: Any) -> list[Any]:
        if isinstance(node, dict):
            return [leaf for key, value in node.items() for leaf in [key, *leaves(value)]]
        return [leaf for value in node for leaf in leaves(value)] if isinstance(node, list) else [node]

    step = family.step()
    assert step.keys() == {"rule", "given", "gives"}
    assert all(isinstance(leaf, str) for leaf in leaves(step))
    assert json.loads(json.dumps(step)) == step


def test_kernel_proves_the_same(family: KeyFamily) -> None:
    for inputs in inputs_of(family):
        fact = proved(family.step(), inputs)
        assert (fact.size, fact.dim, fact.unit) == (family.size, family.dim, family.unit)
        assert fact.own == family.own_exponent
        assert cumulative(dict(fact.exponents), family.size) == cumulative(family.exponents(), family.size)
        assert fact.bf16 or not family.bf16_exact


def inputs_of(family: KeyFamily) -> list[str]:
    """The kernel chooses the divisor of explicit keys by the inputs."""
    if isinstance(family, ExplicitKeys):
        return ["bf16" if family.power_of_two else "real"]
    return ["real", "bf16"]


@pytest.mark.parametrize("family", [member for member in members() if member.size > 1], ids=lambda f: f.name)
def test_kernel_refuses_one_word_too_few(family: KeyFamily) -> None:
    gives = family.step()["gives"]
    (table,) = gives.values()
    if isinstance(table, str):
        gives["size"] = str(family.size + 1)
    else:
        first = next(iter(table))
        table[first] = str(int(table[first]) - 1)
        gives[next(iter(gives))] = {exponent: count for exponent, count in table.items() if count != "0"}
    step = {**family.step(), "gives": gives}
    with pytest.raises(Rejected):
        proved(step, inputs_of(family)[0])


def proved(step: dict[str, Any], inputs: str) -> Keys:
    """What the kernel's rule makes of a step."""
    statement = Statement(
        tokens=1, key_dim=256, value_dim=1, kv_heads=1, layers=1, body="cube", budget="class", max_logit=Fraction(1),
        tolerance=Fraction(1, 2), relative=None, failure=Fraction(0), inputs=inputs, keys=None, state_bits_at_least=0,
    )  # fmt: skip
    fact = RULES[step["rule"]](Context(statement, Path()), {}, step["given"], step["gives"])
    assert isinstance(fact, Keys)
    return fact


def cumulative(histogram: dict[int, int], size: int) -> dict[int, int]:
    """Counts up to each exponent, never above the number of other keys; exponents that add nothing left out."""
    total, result = 0, {}
    for exponent, count in sorted(histogram.items()):
        if total < size - 1:
            total = min(total + count, size - 1)
            result[exponent] = total
    return result


@pytest.mark.parametrize("length", [16, 64])
def test_kerdock_inner_products(length: int) -> None:
    code = kerdock(length)
    keys = code.keys(code.size).astype(np.float32)
    gram = keys @ keys.T  # exact: integers far below 2^24
    np.fill_diagonal(gram, 0)
    assert code.size == length**2
    assert gram.max() ** 2 == length


@pytest.mark.parametrize("length", [16, 64, 256])
def test_kerdock_closed_form_is_the_count(length: int) -> None:
    code = kerdock(length)
    counted = replace(code, known=None).exponents()
    assert counted == code.exponents()
    assert (length - 2 * min(counted)) ** 2 == length


def test_paraboloid_lumps_far_keys() -> None:
    family = Paraboloid(100, 2)
    assert family.cutoff == 64
    assert family.exponents() == {t * t: 2 for t in range(1, 9)} | {65: 99 - 16}


def test_explicit_keys_must_point_to_themselves() -> None:
    with pytest.raises(UsageError, match="scores another key"):
        ExplicitKeys(np.array([[1, 0], [2, 0]], np.int64), "nested").exponents()


def test_bf16_needs_short_entries_and_a_power_of_two() -> None:
    assert ExplicitKeys(np.array([[255, 0], [0, 128]], np.int64), "short", power_of_two=True).bf16_exact
    assert not ExplicitKeys(np.array([[255, 0], [0, 128]], np.int64), "short").bf16_exact
    assert not ExplicitKeys(np.array([[257, 0], [0, 128]], np.int64), "wide", power_of_two=True).bf16_exact


def test_random_signs_are_the_same_everywhere() -> None:
    code = by_name("random-signs(2,16,1)")
    assert code.step()["given"]["representatives"] == RANDOM_WORDS
    assert np.array_equal(by_name("random-signs(9,16,1)").keys(2), code.keys(2))


RANDOM_WORDS = ["1110110111000000", "0000111000010111"]  # b7 03 70 e8, the low bit first


@pytest.mark.parametrize("tokens", [1, 2, 3, 1000, 4096, 131072, 1 << 29, 1 << 60])
@pytest.mark.parametrize("key_dim", [2, 16, 64, 128])
def test_families_fit(tokens: int, key_dim: int) -> None:
    found = list(families(tokens, key_dim))
    assert all(family.size >= tokens and family.dim <= key_dim for family in found)
    assert len({family.name for family in found}) == len(found)


def test_more_room_never_loses_a_candidate() -> None:
    def names(tokens: int, key_dim: int) -> set[str]:
        return {f.name for f in families(tokens, key_dim) if isinstance(f, CatalogueCode | Hypercube)}

    for tokens, key_dim in ((4096, 64), (5000, 64), (100000, 96)):
        assert names(tokens, key_dim) <= names(tokens, key_dim + 16)
        assert names(tokens, key_dim) <= names(tokens // 3, key_dim)
