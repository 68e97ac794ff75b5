"""Reed-Muller codes against plain enumeration of polynomials, against walks, and against the second opinion."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvverify.codes.counted_reed_muller import CountedReedMuller
from kvverify.codes.linear import macwilliams, walk
from kvverify.codes.reed_muller import reed_muller
from kvverify.crosscheck.goal import Contrary
from kvverify.crosscheck.reed_muller import _forms
from kvverify.crosscheck.reed_muller import reed_muller as second
from kvverify.crosscheck.settle import Case
from kvverify.crosscheck.statement import read
from kvverify.kernel.document import OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules.attention import Keys
from tests.kernel import controls, families
from tests.kernel.apply import apply
from tests.kernel.test_rules_codes import agrees

REMOVED = [(s, p) for s in range(4) for p in range(4 - s)]
NAMES = ("order", "variables", "shortened", "punctured")


def given(*numbers: int) -> dict[str, Any]:
    return dict(zip(NAMES, map(str, numbers), strict=True))


def texts(histogram: dict[int, int]) -> dict[str, str]:
    return {str(w): str(n) for w, n in histogram.items() if w and n}


def proved(numbers: tuple[int, ...], weights: dict[int, int], **changes: object) -> Keys:
    fact = apply("reed-muller", {}, given(*numbers), {"weights": texts(weights)}, **changes)
    assert isinstance(fact, Keys)
    return fact


def small() -> list[tuple[int, int, int, int]]:
    """Every code of at most 4 variables and at most 2^11 words, with up to three letters removed."""
    orders = [(r, m) for m in range(1, 5) for r in range(m) if (r, m) != (3, 4)]
    return [(r, m, s, p) for r, m in orders for s, p in REMOVED if s + p < 2**m]


@pytest.mark.parametrize("numbers", small(), ids=str)
def test_every_small_code_by_enumeration(numbers: tuple[int, int, int, int]) -> None:
    try:
        words = families.polynomials(*numbers)
    except families.Wrong:  # the letters removed are all that two words differ in
        with pytest.raises(Rejected, match="exactly one codeword"):
            proved(numbers, {})
        return
    stated = texts(families.counted(words.sum(axis=1)))
    agrees({"rule": "reed-muller", "given": given(*numbers), "gives": {"weights": stated}})
    if len(words) <= 1 << 8:  # from every word the same distances
        rows = [families.counted(row) for row in families.distances(words)]
        assert all(texts(row) == stated for row in rows)
    assert len(np.unique(words, axis=0)) == len(words) == proved(numbers, families.counted(words.sum(axis=1))).size


@pytest.fixture(scope="module")
def quadratic() -> np.ndarray:
    """The 2^16 words of RM(2, 5)."""
    return words_of(2, 5)


def words_of(order: int, m: int) -> np.ndarray:
    points = np.array(list(product((0, 1), repeat=m)))
    chosen = [v for r in range(order + 1) for v in combinations(range(m), r)]
    table = np.array([points[:, list(v)].prod(axis=1) for v in chosen], np.uint8)
    words = np.zeros((1, 1 << m), np.uint8)
    for row in table:
        words = np.concatenate([words, words ^ row])
    return words


@pytest.mark.parametrize(("shortened", "punctured"), REMOVED)
def test_quadratic_forms_in_five_variables(quadratic: np.ndarray, shortened: int, punctured: int) -> None:
    """Ranks 0, 2 and 4, letters taken away anywhere: the first, the last, and some that were drawn."""
    removed = shortened + punctured
    for letters in (range(removed), range(32 - removed, 32), np.random.default_rng(removed).permutation(32)[:removed]):
        gone = list(letters)
        words = quadratic[~quadratic[:, gone[:shortened]].any(axis=1)]
        weights = families.counted(np.delete(words, gone, axis=1).sum(axis=1))
        fact = proved((2, 5, shortened, punctured), weights)
        assert (fact.size, fact.dim) == (len(words), 32 - removed)


@pytest.mark.parametrize(("order", "m"), [(1, 3), (2, 3), (1, 4), (2, 4)])
def test_any_letters_may_go(order: int, m: int) -> None:
    """All choices of three letters, in every role; of four not even these small codes are free."""
    words = words_of(order, m)
    for removed in (1, 2, 3):
        for shortened in range(removed + 1):
            seen = set()
            for gone in combinations(range(1 << m), removed):
                for zero in combinations(gone, shortened):
                    left = np.delete(words[~words[:, list(zero)].any(axis=1)], gone, axis=1)
                    seen.add(np.bincount(left.sum(axis=1), minlength=left.shape[1] + 1).tobytes())
            assert len(seen) == 1
    four = {
        np.bincount(words[~words[:, list(gone)].any(axis=1)].sum(axis=1), minlength=17).tobytes()
        for gone in combinations(range(1 << m), 4)
    }
    assert len(four) == (1 if (order, m) == (2, 3) else 2)


@pytest.mark.parametrize(("order", "m"), [(2, 6), (3, 6), (1, 7), (5, 7)])
def test_larger_codes_by_a_walk(order: int, m: int) -> None:
    low = min(order, m - 1 - order)
    weights = walk(1 << m, reed_muller(low, m).rows)
    weights = macwilliams(1 << m, weights) if order > low else weights
    assert proved((order, m, 0, 0), weights).size == reed_muller(order, m).size


PUBLISHED = {32: 10668, 48: 5291328, 56: 112881664, 64: 300503590, 72: 112881664, 80: 5291328, 96: 10668, 128: 1}


def test_the_second_order_code_of_length_128() -> None:
    """MacWilliams and Sloane, chapter 15; 2^29 keys in 128 coordinates."""
    fact = proved((2, 7, 0, 0), PUBLISHED)
    assert (fact.size, fact.dim, fact.unit, fact.pad_twice, fact.own) == (1 << 29, 128, Fraction(64), 128, 128)
    assert fact.bf16


def test_ranks_of_alternating_matrices() -> None:
    """Over all 2^10 of size 5 and all smaller ones, by elimination."""
    for m in range(1, 6):
        pairs, ranks = list(combinations(range(m), 2)), Counter[int]()
        for bits in product((0, 1), repeat=len(pairs)):
            rows = [
                sum(1 << i + j - k for (i, j), b in zip(pairs, bits, strict=True) if b and k in (i, j))
                for k in range(m)
            ]
            basis: dict[int, int] = {}
            for row in rows:
                while row and row.bit_length() in basis:
                    row ^= basis[row.bit_length()]
                if row:
                    basis[row.bit_length()] = row
            ranks[len(basis) // 2] += 1
        assert [ranks[h] for h in range(m // 2 + 1)] == _forms(m)


def test_kernel_producer_and_second_opinion_count_alike() -> None:
    """Three derivations, to the largest length that a key may have."""
    case = Case(read(controls.statement(key_dim=1024)), Path())
    for m in range(1, 11):
        for order in {*range(min(3, m)), *range(max(0, m - 3), m)}:
            for s, p in [(0, 0), (1, 2), (3, 0), (0, 3), (2, 1)]:
                if s + p >= 1 << m or (p >= 1 << m - order):
                    continue
                code = CountedReedMuller(order, m, s, p)
                fact = proved((order, m, s, p), code.exponents())
                other = second(case, {}, given(order, m, s, p), code.step()["gives"])
                assert dict(fact.exponents) == other.exponents == code.exponents()
                assert (fact.size, fact.dim) == (other.size, other.dim) == (code.size, code.length)
                assert fact.size.bit_count() == 1


@pytest.mark.parametrize("numbers", [(2, 7, 0, 0), (2, 7, 1, 2), (4, 7, 0, 0), (1, 5, 2, 1), (0, 4, 0, 0)], ids=str)
def test_one_word_more_or_less_is_refused(numbers: tuple[int, ...]) -> None:
    case = Case(read(controls.statement(key_dim=1024)), Path())
    weights = CountedReedMuller(*numbers).exponents()
    wrong = [
        {**weights, w: weights.get(w, 0) + by} for w in range(1, 129) for by in (-1, 1) if weights.get(w, 0) + by >= 0
    ]
    wrong += [{**weights, w: n - 1, w + 1: weights.get(w + 1, 0) + 1} for w, n in weights.items()]
    for stated in wrong:
        with pytest.raises(Rejected, match="number of codewords of weight"):
            proved(numbers, stated)
        with pytest.raises(Contrary, match="codewords have weight"):
            second(case, {}, given(*numbers), {"weights": texts(stated)})


@pytest.mark.parametrize(
    ("numbers", "error", "reason"),
    [
        ((3, 7, 0, 0), OverLimit, r"RM\(3, 7\)"),
        ((2, 11, 0, 0), OverLimit, "length 2"),
        ((2, 1 << 70, 0, 0), OverLimit, "length 2"),
        ((-1, 7, 0, 0), Rejected, "0 <= order < variables"),
        ((7, 7, 0, 0), Rejected, "0 <= order < variables"),
        ((0, 0, 0, 0), Rejected, "0 <= order < variables"),
        ((2, 7, 4, 0), Rejected, "at most three letters"),
        ((2, 7, 2, 2), Rejected, "at most three letters"),
        ((2, 7, -1, 0), Rejected, "not negative"),
        ((2, 7, 5, -2), Rejected, "not negative"),
        ((2, 7, -2, 5), Rejected, "not negative"),
        ((0, 1, 1, 1), Rejected, "fewer letters"),
        ((4, 5, 0, 2), Rejected, "exactly one codeword"),
    ],
    ids=str,
)
def test_what_is_not_counted(numbers: tuple[int, ...], error: type[Exception], reason: str) -> None:
    for weights in ({}, PUBLISHED):
        with pytest.raises(error, match=reason):
            proved(numbers, weights)


OTHERS = [(1, 7, 0, 0), (3, 6, 0, 0), (4, 7, 0, 0), (2, 6, 0, 0), (2, 8, 0, 0), (2, 7, 1, 0), (2, 7, 0, 1)]


@pytest.mark.parametrize("numbers", OTHERS, ids=str)
def test_the_weights_of_another_code(numbers: tuple[int, ...]) -> None:
    with pytest.raises(Rejected, match="number of codewords"):
        proved(numbers, PUBLISHED)
