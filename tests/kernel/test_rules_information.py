"""Random access codes against all encoders of the smallest shapes: no bound exceeds what the best encoder attains."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import pytest

from kvverify.kernel.document import OverLimit
from kvverify.kernel.rules.attention import Reading
from tests.kernel.apply import TINY, accepts, apply
from tests.kernel.oracle import least_errors
from tests.kernel.real import at_most, down, fano, log2

SHAPES = [(2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (4, 1), (5, 1), (7, 1)]  # alphabet, symbols


def partitions(size: int) -> Iterator[list[int]]:
    """Every partition of range(size), as labels that grow by one at most."""

    def grow(labels: list[int], most: int) -> Iterator[list[int]]:
        if len(labels) == size:
            yield labels
            return
        for label in range(most + 1):
            yield from grow([*labels, label], max(most, label + 1))

    yield from grow([], 0)


@cache
def best_errors(alphabet: int, symbols: int) -> dict[int, Fraction]:
    """{states: least mean error of a read}, over all encoders; the best decoder takes each symbol's majority."""
    words = list(product(range(alphabet), repeat=symbols))
    best: dict[int, int] = {}
    for labels in partitions(len(words)):
        right = 0
        for state in range(max(labels) + 1):
            members = [w for w, label in zip(words, labels, strict=True) if label == state]
            right += sum(max(sum(w[j] == x for w in members) for x in range(alphabet)) for j in range(symbols))
        states = max(labels) + 1
        best[states] = max(best.get(states, 0), right)
    total = len(words) * symbols
    for states in range(2, len(words) + 1):  # more states are never worse
        best[states] = max(best[states], best[states - 1])
    return {states: 1 - Fraction(right, total) for states, right in best.items()}


def counted_bits(alphabet: int, symbols: int, failure: Fraction) -> int:
    """The most bits that the counting rule gives; 0 when it gives none."""
    bits = 0
    premises = {"reading": Reading(alphabet, 1)}
    while accepts("counting", premises, {}, {"bits_at_least": bits + 1}, value_dim=symbols, failure=failure):
        bits += 1
    return bits


@pytest.mark.parametrize(("alphabet", "symbols"), SHAPES)
def test_no_bound_exceeds_the_best_encoder(alphabet: int, symbols: int) -> None:
    for states, failure in best_errors(alphabet, symbols).items():
        assert least_errors(alphabet, symbols, states) <= failure
        if failure > 1 - Fraction(1, alphabet):
            continue
        assert 1 << counted_bits(alphabet, symbols, failure) <= states
        beyond = down(log2(states), 40) + Fraction(1, 1 << 39)
        premises = {"reading": Reading(alphabet, 1)}
        assert not accepts(
            "random-access-code", premises, {}, {"bits_at_least": beyond}, value_dim=symbols, failure=failure
        )


def test_four_bits_in_one() -> None:
    """All 2^15 ways to put the 16 words of four bits into two states."""
    words = np.array(list(product((0, 1), repeat=4)))
    inside = np.arange(1 << 15)[:, None] >> np.arange(15) & 1
    inside = np.concatenate([inside, np.zeros((1 << 15, 1), inside.dtype)], axis=1)  # the last word is in state 0
    right = np.zeros(1 << 15, np.int64)
    for members in (inside, 1 - inside):
        ones = members @ words
        right += np.maximum(ones, members.sum(axis=1, keepdims=True) - ones).sum(axis=1)
    failure = 1 - Fraction(int(right.max()), 64)
    assert failure == Fraction(5, 16)  # the majority bit
    assert counted_bits(2, 4, failure) <= 1
    assert at_most(4 * fano(2, failure), 1)
    assert counted_bits(2, 4, failure - Fraction(1, 64)) >= 1


@pytest.mark.parametrize(("alphabet", "symbols"), SHAPES)
def test_exact_recovery_needs_all_states(alphabet: int, symbols: int) -> None:
    words = alphabet**symbols
    assert counted_bits(alphabet, symbols, Fraction(0)) == words.bit_length() - 1
    bits = down(log2(words), 40) if alphabet & (alphabet - 1) else Fraction(words.bit_length() - 1)
    premises = {"reading": Reading(alphabet, 1)}
    for over, truth in ((Fraction(0), True), (Fraction(1, 1 << 39), False)):
        gives = {"bits_at_least": bits + over}
        assert accepts("random-access-code", premises, {}, gives, value_dim=symbols, failure=0) is truth


@pytest.mark.parametrize("alphabet", [2, 3, 4, 257, 1 << 40])
@pytest.mark.parametrize("failure", [Fraction(1, 10), Fraction(1, 3), Fraction(1, 10**9)])
def test_the_random_access_code_is_exact_to_its_threshold(alphabet: int, failure: Fraction) -> None:
    bound = down(5 * fano(alphabet, failure), 50)
    premises = {"reading": Reading(alphabet, 5)}
    fact = apply("random-access-code", premises, {}, {"bits_at_least": bound}, value_dim=1, failure=failure)
    assert fact.at_least == bound
    assert not accepts(
        "random-access-code", premises, {}, {"bits_at_least": bound + TINY}, value_dim=1, failure=failure
    )


@pytest.mark.parametrize("rule", ["random-access-code", "counting"])
@pytest.mark.parametrize("alphabet", [2, 3, 16])
def test_a_failure_that_a_guess_attains_gives_nothing(rule: str, alphabet: int) -> None:
    premises = {"reading": Reading(alphabet, 1)}
    edge = 1 - Fraction(1, alphabet)
    assert not accepts(rule, premises, {}, {"bits_at_least": 1}, failure=edge)
    assert accepts("random-access-code", premises, {}, {"bits_at_least": -TINY}, failure=edge)
    for failure in (edge + TINY, Fraction(99, 100)):  # where F grows again: always wrong says as much as always right
        assert not accepts("random-access-code", premises, {}, {"bits_at_least": -1000}, failure=failure)


def test_counting_stays_near_the_random_access_code() -> None:
    """Balls cover with an excess of about the root of the length, which entropy does not see."""
    for symbols in (50, 200, 1000):
        bits = counted_bits(2, symbols, Fraction(1, 10))
        entropy = symbols * fano(2, Fraction(1, 10))
        assert at_most(bits, entropy + log2(symbols) / 2 + 2)
        assert at_most(entropy * 9 / 10 - 8, bits)


def test_counting_has_a_limit() -> None:
    with pytest.raises(OverLimit):
        apply("counting", {"reading": Reading(2, 1)}, {}, {"bits_at_least": 1}, value_dim=4097)
