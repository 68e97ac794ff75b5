"""The second opinion's own tools against plain counting and against numbers known otherwise."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from flint import arb, ctx, fmpq
from hypothesis import given
from hypothesis import strategies as st

from kvverify.crosscheck import tensor, weights
from kvverify.crosscheck.bits import log_ratio
from kvverify.crosscheck.goal import Contrary
from kvverify.crosscheck.settle import Case, Undecided, log2
from kvverify.crosscheck.statement import Statement, TensorFile
from kvverify.crosscheck.statement import read as read_statement
from kvverify.kernel.document import Malformed
from tests.crosscheck.controls import control, write_keys

Bits = np.ndarray


def generators(most: int = 9) -> st.SearchStrategy[Bits]:
    sizes = st.tuples(st.integers(1, 7), st.integers(1, most))
    return sizes.flatmap(
        lambda shape: st.lists(st.integers(0, 1), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
            lambda bits: np.array(bits, np.uint8).reshape(shape)
        )
    )


def combinations(generator: Bits) -> Bits:
    messages = np.array(list(product((0, 1), repeat=len(generator))), np.uint8)
    return messages @ generator % 2


@given(generators())
def test_weights_of_a_code(generator: Bits) -> None:
    assert weights.code_weights(generator) == Counter(combinations(generator).sum(axis=1).tolist())


@given(generators())
def test_weights_through_the_dual(generator: Bits) -> None:
    words = {tuple(word) for word in combinations(generator).tolist()}
    length = generator.shape[1]
    dual = [w for w in product((0, 1), repeat=length) if not (generator.astype(int) @ np.array(w) % 2).any()]
    assert weights.macwilliams(length, Counter(map(sum, dual))) == Counter(map(sum, words))
    assert 1 << weights.rank(generator) == len(words)
    assert weights.orthogonal(generator, np.array(dual))


@given(generators(), st.integers(0, 4))
def test_distances_in_a_union(representatives: Bits, rows: int) -> None:
    length = representatives.shape[1]
    generator = np.eye(rows, length, dtype=np.uint8)
    words = weights.union(generator, representatives)
    plain = [(r ^ w) for r in representatives for w in combinations(generator)] if rows else list(representatives)
    counted = weights.distances(words, weights.pack(representatives), length)
    for origin, row in zip(representatives, counted, strict=True):
        assert row.tolist() == [sum(int((origin ^ w).sum()) == d for w in plain) for d in range(length + 1)]


def test_words_longer_than_a_limb() -> None:
    rng = np.random.default_rng(1)
    words = rng.integers(0, 2, (5, 200), np.uint8)
    packed = weights.pack(words)
    assert packed.shape == (5, 4)
    for origin, row in zip(words, weights.distances(packed, packed, 200), strict=True):
        assert {d: int(n) for d, n in enumerate(row) if n} == Counter((origin ^ words).sum(axis=1).tolist())


@pytest.mark.parametrize("sigma", [Fraction(9, 10), Fraction(1, 3), Fraction(1, 10**9), Fraction(1, 2**300)])
def testlog_ratio_is_its_series(sigma: Fraction) -> None:
    # sum of sigma^(k-2) / k, with 2,000 terms and the rest of a geometric series
    terms, power = Fraction(0), Fraction(1)
    for k in range(2, 400):
        terms += Fraction(int(power * (1 << 400) / k), 1 << 400)
        power = Fraction(int(power * sigma * (1 << 400)), 1 << 400)
    with ctx.workprec(200):
        found = log_ratio(fmpq(sigma.numerator, sigma.denominator))
        assert found.rel_accuracy_bits() > 150
        assert abs(found - arb(fmpq(terms.numerator, terms.denominator))) < 1e-18


def testlog_ratio_of_next_to_nothing() -> None:
    for sigma in (fmpq(0), fmpq(1, 1 << 600), fmpq(3, 10**1000)):
        with ctx.workprec(128):
            found = log_ratio(sigma)
            assert found.overlaps(arb(0.5))
            assert found.rel_accuracy_bits() > 100


def test_log2() -> None:
    with ctx.workprec(128):
        assert log2(fmpq(1, 1 << 700)).is_exact()
        assert log2(fmpq(1, 1 << 700)) == -700
        assert log2(fmpq(3)).overlaps(arb(3).log() / arb(2).log())
        near = log2(1 + fmpq(1, 1 << 900)) * arb(2) ** 900
        assert near.overlaps(1 / arb.const_log2())
        assert near.rel_accuracy_bits() > 100


def a_case() -> Case:
    return Case(read_statement(control("volume")["statement"]), Path())


def test_settled_by_more_precision() -> None:
    case, seen = a_case(), []

    def sides() -> tuple[arb, arb]:
        seen.append(ctx.prec)
        return arb(2).sqrt() ** 2, 2 + arb(2) ** -1000

    case.at_most("root 2 squared <= 2 + 2^-1000", sides)
    assert seen == [128, 256, 512, 1024]
    assert case.open == []
    with pytest.raises(Contrary, match="the other way"):
        case.at_most("the other way", lambda: sides()[::-1])


def test_equalities_stay_open() -> None:
    case = a_case()
    case.at_most("root 2 squared <= 2", lambda: (arb(2).sqrt() ** 2, arb(2)))
    assert case.open == ["root 2 squared <= 2: not decided at 4096 bits"]
    case = a_case()
    case.at_most("1 <= 1", lambda: (arb(1), arb(1)))
    assert case.open == []
    with pytest.raises(Contrary):
        case.at_most("1 < 1", lambda: (arb(1), arb(1)), strict=True)


@pytest.mark.parametrize("stored", ["F64", "F32", "F16", "BF16"])
def test_floats_are_read_exactly(stored: str, tmp_path: Path) -> None:
    smallest = {"F64": 2.0**-200, "F32": 2.0**-149, "F16": 2.0**-24, "BF16": 2.0**-133}[stored]
    floats = np.array([[smallest, -1.5], [0.0, 3 * smallest]], np.float64 if stored == "F64" else np.float32)
    file = TensorFile(head=None, **write_keys(tmp_path, floats, stored))
    matrix, power, dtype = tensor.read(tmp_path, file)
    assert dtype == stored
    assert [[Fraction(x) * Fraction(2) ** power for x in row] for row in matrix.tolist()] == [
        [Fraction(x) for x in row] for row in floats.tolist()
    ]


def test_heads_of_a_tensor(tmp_path: Path) -> None:
    floats = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    node = write_keys(tmp_path, floats, "F32")
    matrix, power, _ = tensor.read(tmp_path, TensorFile(head=2, **node))
    assert (matrix * 2.0**power == floats[2]).all()
    for head in (None, 3):
        with pytest.raises(Contrary, match="head"):
            tensor.read(tmp_path, TensorFile(head=head, **node))


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_keys_are_finite(value: float, tmp_path: Path) -> None:
    file = TensorFile(head=None, **write_keys(tmp_path, np.array([[1.0, value]], np.float32)))
    with pytest.raises(Contrary, match="finite"):
        tensor.read(tmp_path, file)


def test_a_wide_spread_is_over_the_limit(tmp_path: Path) -> None:
    file = TensorFile(head=None, **write_keys(tmp_path, np.array([[1.0, 1e-300]]), "F64"))
    with pytest.raises(Undecided, match="powers of two"):
        tensor.read(tmp_path, file)


@pytest.mark.parametrize(
    ("field", "value"),
    [("tokens", "0"), ("failure", "1"), ("tolerance", "0"), ("tolerance", "1"), ("relative", "1/2"), ("body", "given"),
     ("budget", "own-keys"), ("attention", "linear"), ("max_logit", "0"), ("state_bits_at_least", "-1")],
)  # fmt: skip
def test_statements_out_of_the_class(field: str, value: str) -> None:
    node = control("volume")["statement"]
    assert isinstance(read_statement(node), Statement)
    with pytest.raises(Malformed):
        read_statement(node | {field: value})
