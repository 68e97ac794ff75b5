"""Linear codes: published weight enumerators, MacWilliams both ways, and operations against their definitions."""

from __future__ import annotations

from collections import Counter
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvverify.codes.bch import dimensions, extended_bch
from kvverify.codes.cyclic import cyclic
from kvverify.codes.golay import golay
from kvverify.codes.linear import LinearCode, independent, macwilliams, walk
from kvverify.codes.quadratic_residue import quadratic_residue
from kvverify.codes.reed_muller import reed_muller
from kvverify.errors import Incomplete, UsageError

PUBLISHED = {
    # MacWilliams and Sloane, The Theory of Error-Correcting Codes, chapters 2, 8, 14, 15, 16
    "golay(24)": {0: 1, 8: 759, 12: 2576, 16: 759, 24: 1},
    "golay(23)": {0: 1, 7: 253, 8: 506, 11: 1288, 12: 1288, 15: 506, 16: 253, 23: 1},
    "extended-bch(7,8)": {0: 1, 64: 254, 128: 1},
    "extended-bch(7,15)": {0: 1, 56: 8128, 64: 16510, 72: 8128, 128: 1},
    "extended-bch(7,22)": {0: 1, 48: 42672, 56: 877824, 64: 2353310, 72: 877824, 80: 42672, 128: 1},
    "reed-muller(2,5)": {0: 1, 8: 620, 12: 13888, 16: 36518, 20: 13888, 24: 620, 32: 1},
    "quadratic-residue(32)": {0: 1, 8: 620, 12: 13888, 16: 36518, 20: 13888, 24: 620, 32: 1},
    "quadratic-residue(48)": {
        0: 1, 12: 17296, 16: 535095, 20: 3995376, 24: 7681680, 28: 3995376, 32: 535095, 36: 17296, 48: 1,
    },
}  # fmt: skip
CODES = {
    code.name: code
    for code in (
        golay(24), golay(23), extended_bch(7, 8), extended_bch(7, 15), extended_bch(7, 22), reed_muller(2, 5),
        quadratic_residue(32), quadratic_residue(48),
    )
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights(name: str) -> None:
    assert CODES[name].weights == PUBLISHED[name]


@pytest.mark.parametrize("m", range(3, 8))
def test_first_order_reed_muller_is_biorthogonal(m: int) -> None:
    assert reed_muller(1, m).weights == {0: 1, 2 ** (m - 1): 2 ** (m + 1) - 2, 2**m: 1}


def test_cyclic_codes() -> None:
    """All words of a small one are the multiples of its generator and a parity letter; larger ones are known codes."""
    code = cyclic(7, 29)  # (x + 1)(x^3 + x + 1): the Hamming code
    assert (code.length, code.weights) == (8, {0: 1, 4: 14, 8: 1})
    words = {word & 127 for word in all_words(code)}
    assert words == {(word << 1 | word >> 6) & 127 for word in words}
    assert cyclic(15, 19).weights == {0: 1, 8: 15}
    assert cyclic(23, 7973).weights == PUBLISHED["golay(24)"]
    assert min(cyclic(55, 3897129).exponents()) == 16
    assert cyclic(51, 139975).puncture(1).size == 1 << 17


def test_weight_256_does_not_wrap() -> None:
    assert reed_muller(1, 8).weights == {0: 1, 128: 510, 256: 1}


@pytest.mark.parametrize("m", range(3, 9))
def test_extended_hamming_distance_is_4(m: int) -> None:
    n = 1 << m
    code = extended_bch(m, n - 1 - m)
    assert min(code.exponents()) == 4
    assert code.exponents()[4] == n * (n - 1) * (n - 2) // 24  # a Steiner quadruple system
    assert sum(code.weights.values()) == code.size


@pytest.mark.parametrize("m", range(3, 9))
def test_bch_codes_are_nested(m: int) -> None:
    largest = extended_bch(m, dimensions(m)[-1])
    for k in dimensions(m):
        assert extended_bch(m, k).rows == largest.rows[:k]


@pytest.mark.parametrize(
    ("k", "distance"), [(7, 32), (10, 28), (16, 24), (18, 22), (24, 16), (39, 10), (45, 8), (51, 6), (57, 4)]
)
def test_extended_bch_of_length_64(k: int, distance: int) -> None:
    assert min(extended_bch(6, k).exponents()) == distance


def test_dual_of_reed_muller_is_reed_muller() -> None:
    for r, m in ((1, 4), (1, 5), (2, 5), (1, 6)):
        assert independent([*reed_muller(r, m).dual().rows, *reed_muller(m - r - 1, m).rows]) == (
            reed_muller(r, m).dual().rows
        )


@pytest.mark.parametrize("code", [golay(23), extended_bch(5, 11), reed_muller(2, 4), golay(24).shorten(7)], ids=str)
def test_macwilliams_both_ways(code: LinearCode) -> None:
    weights, dual = walk(code.length, code.rows), walk(code.length, code.dual().rows)
    assert macwilliams(code.length, weights) == dual
    assert macwilliams(code.length, dual) == weights


def test_macwilliams_refuses_what_is_no_code() -> None:
    with pytest.raises(ValueError, match="no weight histogram"):
        macwilliams(4, {0: 1, 3: 2})


def test_large_code_through_its_dual() -> None:
    code = reed_muller(5, 7)
    step = code.step()
    assert code.dimension == 120
    assert len(step["given"]["parity"]) == 8
    assert sum(map(int, step["gives"]["weights"].values())) == 2**120 - 1
    assert "parity" not in golay(24).step()["given"]


def test_neither_code_nor_dual_can_be_walked() -> None:
    with pytest.raises(Incomplete, match="dimension 64"):
        reed_muller(3, 7).exponents()


def test_walk_beyond_the_table_and_with_a_shift() -> None:
    rows = [1 << i for i in range(19)]
    assert walk(130, rows) == {w: comb(19, w) for w in range(20)}
    assert walk(130, rows, shift=1 << 129 | 1) == {w + 1: comb(19, w) for w in range(20)}


codes = st.integers(2, 12).flatmap(
    lambda length: st.lists(st.integers(1, (1 << length) - 1), min_size=1, max_size=7).map(
        lambda rows: LinearCode(length, independent(rows), "drawn")
    )
)


def all_words(code: LinearCode) -> set[int]:
    return set(code.words(code.size))


def letters(word: int, kept: list[int]) -> int:
    return sum((word >> j & 1) << i for i, j in enumerate(kept))


@given(codes, st.data())
def test_shortened_and_punctured_by_definition(code: LinearCode, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, code.length - 1), unique=True, max_size=code.length - 1))
    kept = [j for j in range(code.length) if j not in positions]
    zero = {word for word in all_words(code) if not any(word >> j & 1 for j in positions)}
    assert all_words(code.shorten(positions)) == {letters(word, kept) for word in zero}
    assert all_words(code.puncture(positions)) == {letters(word, kept) for word in all_words(code)}
    assert code.puncture(positions).size == len(all_words(code.puncture(positions)))


@given(codes, st.data())
def test_leading_rows_stay_leading(code: LinearCode, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, code.length - 1))
    dimension = data.draw(st.integers(0, code.dimension))
    subcode = code.subcode(dimension)
    short = subcode.shorten([position])
    assert all_words(short) == all_words(code.shorten([position]).subcode(short.dimension))


@given(codes)
def test_weights_count_the_words(code: LinearCode) -> None:
    assert code.weights == Counter(word.bit_count() for word in all_words(code))
    assert all((row & check).bit_count() % 2 == 0 for row in code.rows for check in code.dual().rows)
    assert code.dual().dimension == code.length - code.dimension


def test_a_number_means_the_last_letters() -> None:
    assert golay(24).shorten(3).rows == golay(24).shorten([21, 22, 23]).rows
    assert golay(24).puncture(1).weights == golay(23).weights


@pytest.mark.parametrize("build", [lambda: extended_bch(9, 10), lambda: extended_bch(5, 12), lambda: golay(22),
                                   lambda: quadratic_residue(20), lambda: reed_muller(4, 3),
                                   lambda: golay(24).shorten([24]), lambda: golay(24).puncture([1, 1]),
                                   lambda: golay(24).subcode(13), lambda: cyclic(7, 5), lambda: cyclic(7, 1),
                                   lambda: cyclic(7, 0), lambda: cyclic(3, 27)])  # fmt: skip
def test_wrong_parameters_are_named(build: object) -> None:
    assert callable(build)
    with pytest.raises(UsageError):
        build()
