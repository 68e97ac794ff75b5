"""The secret: uniform, the same again from its seed, and nothing that a few words of state could regenerate."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from kvverify.errors import UsageError
from kvverify.instances import payload
from tests.audit.small import instance

SHAPE = (2, 3, 50, 7)


def test_a_seed_gives_its_secret_again_and_another_gives_another() -> None:
    one, again = (payload.draw(payload.seed_from(1), SHAPE, None).values for _ in range(2))
    other = payload.draw(payload.seed_from(2), SHAPE, None).values
    assert one.shape == SHAPE
    assert np.array_equal(one, again)
    assert not np.isin(one, other).any()
    assert payload.fresh_seed() != payload.fresh_seed()


def test_long_secrets_do_not_repeat_their_blocks() -> None:
    values = payload.draw(b"x" * 32, (1, 1, 1 << 18, 1), None).values.ravel()
    assert len(np.unique(values)) == values.size


def test_continuous_values_are_odd_multiples_of_a_cell_and_fill_the_interval() -> None:
    values = payload.draw(payload.seed_from(3), (1, 1, 1000, 64), None).values
    numbers = [Fraction(value) * 2**53 for value in values.ravel()[:100].tolist()]
    assert all(number.denominator == 1 and number.numerator % 2 for number in numbers)
    counts, _ = np.histogram(values, bins=64, range=(-1, 1))
    assert counts.sum() == values.size
    assert abs(counts - 1000).max() < 6 * 1000**0.5
    assert abs(np.corrcoef(values[0, 0, :-1].ravel(), values[0, 0, 1:].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("alphabet", [2, 3, 16, 255, 256])
def test_symbols_are_uniform_and_read_back_from_their_levels(alphabet: int) -> None:
    secret = payload.draw(payload.seed_from(4), (1, 1, 1000, 100), alphabet)
    symbols = secret.symbols
    assert symbols is not None
    counts = np.bincount(symbols.ravel(), minlength=alphabet)
    assert len(counts) == alphabet
    assert abs(counts - 1e5 / alphabet).max() < 6 * (1e5 / alphabet) ** 0.5
    assert secret.values.min() == -1
    assert secret.values.max() == 1
    off = 0.49 * 2 / (alphabet - 1)
    assert np.array_equal(payload.nearest(secret.values + off, alphabet), symbols)
    assert np.array_equal(payload.nearest(secret.values - off, alphabet), symbols)


def test_words_past_the_last_full_round_are_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """65535 = 3 * 21845: of 16-bit words, 65535 itself would favour symbol 0."""
    words = np.array([65535, 4, 65535, 5, 65534, 0], dtype="<u2").tobytes()
    monkeypatch.setattr(payload, "_blocks", lambda seed: iter([words]))
    symbols = payload.draw(b"", (1, 1, 4, 1), 3).symbols
    assert symbols is not None
    assert symbols.ravel().tolist() == [1, 2, 2, 0]


def test_nearest_of_what_is_no_number_is_no_symbol() -> None:
    assert payload.nearest(np.array([np.nan, np.inf, -np.inf, 0.9]), 4).tolist() == [-1, 3, 0, 3]


def test_an_alphabet_out_of_range_is_wrong_usage() -> None:
    for alphabet in (1, 257):
        with pytest.raises(UsageError, match=r"2\.\.256"):
            payload.draw(b"", SHAPE, alphabet)


def test_bf16_rounding_agrees_with_the_bits() -> None:
    values = payload.draw(payload.seed_from(5), (1, 1, 1000, 4), None).values.ravel()
    rounded = payload.to_bf16(values)
    assert abs(rounded - values).max() <= 2.0**-9
    assert not (rounded.astype(np.float32).view(np.uint32) & 0xFFFF).any()
    ties = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 0.0, -0.75])
    assert payload.to_bf16(ties).tolist() == [1.0, 1 + 2.0**-6, 0.0, -0.75]


def test_scattering_moves_tokens_with_their_queries() -> None:
    one = instance(16)
    moved = payload.scatter(one, b"commit")
    again = payload.scatter(one, b"commit")
    assert np.array_equal(moved.keys, again.keys)
    assert not np.array_equal(moved.keys, one.keys)
    assert np.array_equal(np.sort(moved.keys @ one.keys.T, axis=1)[:, -1], np.full(32, 16.0))
    assert np.array_equal(moved.queries, moved.keys / 2)
    assert np.array_equal(moved.own_keys, -moved.keys)
