"""Numbers as people write them, and the class of problems: what is in it, what is not, and how that is said."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvverify.errors import UsageError
from kvverify.kernel import statement
from kvverify.problem import MAX_DIGITS, Problem, number, whole
from tests.strategies import problems

GOOD = Problem(64, 16, 8, Fraction(24), Fraction(1, 10), tolerance=Fraction(1, 100))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-3", -3), ("+3", 3), (" 3 ", 3), ("6/4", Fraction(3, 2)), ("-1/2", Fraction(-1, 2)),
        ("0.01", Fraction(1, 100)), (".5", Fraction(1, 2)), ("1e-2", Fraction(1, 100)), ("1E3", 1000),
        ("1.5e+2", 150), ("2^10", 1024), ("2^-8", Fraction(1, 256)), ("2^0", 1), (7, 7),
        (Fraction(1, 3), Fraction(1, 3)),
    ],
)  # fmt: skip
def test_ways_to_write_a_number(text: str | int | Fraction, value: Fraction) -> None:
    assert number(text, "x") == value


@given(st.fractions())
def test_every_rational_is_read_back(value: Fraction) -> None:
    assert number(str(value), "x") == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_every_decimal_is_read_exactly(value: Any) -> None:
    assert number(str(value), "x") == Fraction(value)


NOT_NUMBERS = [
    "", " ", "nan", "inf", "-inf", "1/0", "1//2", "1/2/3", "1/-2", "0x10", "1_000", "1,5", "1e", "1e9999", "2^",
    "2^1.5", "2^-99999", "3^2", "2**3", "½", "٣", "1 2", "--1", "1/2e3", "true", "None",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(UsageError, match=r"^x: .* is no number; give p/q, a decimal or 2\^k$"):
        number(text, "x")


@given(st.text(max_size=MAX_DIGITS))
def test_any_text_is_a_number_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):  # nothing else
        assert isinstance(number(text, "x"), Fraction)


@pytest.mark.parametrize("length", [MAX_DIGITS + 1, 10**6])
def test_long_numbers_are_not_read(length: int) -> None:
    with pytest.raises(UsageError, match=f"^x: a number of {length} characters; at most {MAX_DIGITS} are read$"):
        number("9" * length, "x")


def test_whole_numbers() -> None:
    assert [whole(text, "x") for text in ("1", "2^17", "1e3", "6/2", 5)] == [1, 1 << 17, 1000, 3, 5]
    assert whole("2^128", "x") == 1 << 128
    for text in ("0", "-1", "1/2", "0.1", "2^129", "1e100"):
        with pytest.raises(UsageError, match=r"a whole number from 1 to 2\^128 is needed"):
            whole(text, "x")
    with pytest.raises(UsageError, match=r"^x: about 2\^332 given"):
        whole("1e100", "x")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tokens": 0}, "tokens: 0 given, at least 1"),
    ({"key_dim": 0}, "key-dim: 0 given, at least 1"),
    ({"value_dim": -1}, "value-dim: -1 given"),
    ({"kv_heads": 0}, "kv-heads: 0 given"),
    ({"layers": 0}, "layers: 0 given"),
    ({"max_logit": Fraction(0)}, "max-logit: 0 given, above 0"),
    ({"max_logit": Fraction(4097)}, "max-logit: 4097 given, at most 4096"),
    ({"max_logit": Fraction(1, 1 << 501)}, "max-logit: about 2^-501 given"),
    ({"tolerance": Fraction(0)}, "tolerance: 0 given, a number above 0 and below 1"),
    ({"tolerance": Fraction(1)}, "tolerance: 1 given"),
    ({"tolerance": -Fraction(1, 1 << 2000)}, "tolerance: about -2^-2000 given"),
    ({"tolerance": None}, "give exactly one of tolerance (additive) and relative"),
    ({"relative": Fraction(1, 2)}, "give exactly one of tolerance (additive) and relative"),
    ({"tolerance": None, "relative": Fraction(1)}, "relative: 1 given"),
    ({"tolerance": None, "relative": Fraction(-1, 2)}, "relative: -1/2 given"),
    ({"tolerance": None, "relative": Fraction(0), "failure": Fraction(3, 5)}, "failure: 3/5 given, 0 to 1/2"),
    ({"failure": Fraction(-1, 9)}, "failure: -1/9 given, 0 to 99/100"),
    ({"failure": Fraction(199, 200)}, "failure: 199/200 given, 0 to 99/100"),
    ({"body": "sphere"}, "body: sphere given, cube or ball"),
    ({"inputs": "fp8"}, "inputs: fp8 given, real or bf16"),
]


@pytest.mark.parametrize(("changes", "line"), WRONG, ids=lambda one: str(one))
def test_outside_the_class(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError) as refused:
        replace(GOOD, **changes)
    assert str(refused.value).startswith(line)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": 1, "key_dim": 1, "value_dim": 1},
        {"failure": Fraction(0)},
        {"failure": Fraction(99, 100)},
        {"max_logit": Fraction(4096)},
        {"tolerance": Fraction(1, 1 << 500)},
        {"tolerance": None, "relative": Fraction(0), "failure": Fraction(1, 2)},
    ],
    ids=str,
)
def test_the_edges_are_inside(changes: dict[str, Any]) -> None:
    assert replace(GOOD, **changes).streams == 1


def test_totals() -> None:
    one = replace(GOOD, kv_heads=3, layers=5)
    assert one.streams == 15
    assert one.dense_bits() == 64 * 15 * (16 + 8) * 16
    assert one.dense_bits(4) == one.dense_bits() // 4


@given(problems(), st.integers(0, 1 << 70))
def test_the_kernel_reads_the_statement_as_it_was_meant(problem: Problem, bits: int) -> None:
    read = statement.parse(problem.statement(bits))
    names = ("tokens", "key_dim", "value_dim", "kv_heads", "layers", "body", "max_logit", "tolerance", "relative",
             "failure", "inputs")  # fmt: skip
    assert {name: getattr(read, name) for name in names} == {name: getattr(problem, name) for name in names}
    assert (read.state_bits_at_least, read.budget, read.keys) == (bits, "class", None)
