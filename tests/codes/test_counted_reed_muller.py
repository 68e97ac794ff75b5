"""Codes that no walk reaches: what the search, a certificate and a game make of them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from kvverify.bounds import best_bound
from kvverify.bounds.candidate import Candidate
from kvverify.bounds.certificate import build
from kvverify.bounds.estimate import candidates
from kvverify.bounds.playable import playable
from kvverify.bounds.search import QUERY_BITS
from kvverify.codes import families
from kvverify.codes.counted_reed_muller import CountedReedMuller
from kvverify.codes.recipes import linear_by_name
from kvverify.errors import Incomplete, UsageError
from kvverify.instances.layout import from_certificate
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem

LONG = Problem(1 << 29, 128, 128, Fraction("22.4"), Fraction(1, 10), relative=Fraction(1, 10))
CODE = CountedReedMuller(2, 7)


def test_two_to_the_29_tokens_at_a_heads_size() -> None:
    """0.531 bits for each of the values, at logit 22.40 and no hundredth below it."""
    bound = best_bound(LONG)
    assert bound.family == CODE.name
    assert bound.certificate is not None
    assert check(bound.certificate).verdict is Verdict.VALID
    assert Fraction(53, 100) * 128 < bound.bits_per_token < Fraction(54, 100) * 128
    less = replace(LONG, max_logit=Fraction("22.39"))
    refused = check(build(Candidate(CODE, 1 << 29, "separation", 2, 1.0, 1.0), less))
    assert (refused.verdict, refused.step) == (Verdict.INVALID, "reading")


def test_every_second_token_below_that_logit() -> None:
    bound = best_bound(replace(LONG, max_logit=Fraction(22)))
    assert Fraction(26, 100) * 128 < bound.bits_per_token < Fraction(27, 100) * 128


@pytest.mark.parametrize(("method", "least"), [("volume", 650), ("joint", 665)])
def test_an_additive_tolerance(method: str, least: int) -> None:
    """2^29 tokens at logit 24, with three of the 128 coordinates left for a secret of the keys."""
    problem = replace(LONG, max_logit=Fraction(24), relative=None, tolerance=Fraction(1, 100))
    code = CountedReedMuller(2, 7, 0, 3)
    candidate = next(c for c in candidates(code, (1 << 29,), problem) if c.method == method)
    result = check(build(candidate, problem))
    assert result.verdict is Verdict.VALID
    assert result.bits is not None
    assert result.bits > least << 29


def test_the_search_meets_what_a_walk_does_not() -> None:
    def found(tokens: int, dim: int) -> set[str]:
        return {family.name for family in families(tokens, dim) if isinstance(family, CountedReedMuller)}

    assert CODE.name in found(1 << 29, 128)
    assert not found(1 << 29, 124)
    assert found(1 << 29, 125) == {
        f"counted-reed-muller({r},7,{s},{3 - s})" for r, s in [(2, 0), *((4, s) for s in range(4))]
    }
    assert "counted-reed-muller(2,8,0,0)" in found(1 << 37, 256)
    assert found((1 << 99) + 1, 128) == set()


@pytest.mark.parametrize("removed", [(0, 0), (2, 1), (0, 3)], ids=str)
def test_words_are_those_of_the_linear_code(removed: tuple[int, int]) -> None:
    code = CountedReedMuller(2, 5, *removed)
    same = linear_by_name("reed-muller(2,5) shortened {} punctured {}".format(*removed))
    assert code.words(500) == same.words(500)
    assert (code.size, code.length, code.exponents()) == (same.size, same.length, same.exponents())


def test_a_game_of_some_of_the_keys() -> None:
    problem = Problem(60, 128, 4, Fraction(24), Fraction(1, 10), tolerance=Fraction(1, 100))
    for code in (CODE, CountedReedMuller(2, 7, 1, 2)):
        tree = build(Candidate(code, 60, "volume", 0, 0.0, 0.0), problem, scale_bits=QUERY_BITS)
        for certificate in (tree, playable(tree)):
            one = from_certificate(certificate)
            assert one.keys.shape == (60, 128)
            assert np.array_equal(one.keys[:, : code.length], code.keys(60))
            assert not one.keys[:, code.length :].any()
            assert len(np.unique(one.keys, axis=0)) == 60


def test_a_game_of_all_of_them_is_too_long() -> None:
    problem = replace(LONG, max_logit=Fraction(24))
    tree = playable(build(Candidate(CODE, 1 << 29, "separation", 2, 1.0, 1.0), problem))
    with pytest.raises(Incomplete, match="a game of 536870912 tokens would hold 68719476736 scalars"):
        from_certificate(tree)


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [((3, 7), "at most 2, not 3, 7"), ((2, 11), "m <= 10"), ((7, 7), "r < m"), ((2, 7, 4), "4 asked for"),
     ((0, 1, 1, 1), "2 asked for"), ((4, 5, 0, 2), "two words of counted-reed-muller")],
)  # fmt: skip
def test_wrong_parameters_are_named(numbers: tuple[int, ...], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        CountedReedMuller(*numbers)
