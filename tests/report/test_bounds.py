"""The answer of ``bound``: rates on the safe side for any number of bits, and words for a bound of zero."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kvverify.bounds import Bound
from kvverify.bounds.ceiling import Ceiling
from kvverify.problem import Problem
from kvverify.report.bounds import Sides, bound_json, bound_text
from tests.strategies import problems

PROBLEM = Problem(64, 16, 16, Fraction(24), Fraction(1, 10), tolerance=Fraction(1, 100), kv_heads=3, layers=2)


@given(problems(), st.fractions(1, 1 << 70), st.integers(1, 64))
def test_rates_are_on_the_safe_side(problem: Problem, bits: Fraction, width: int) -> None:
    tree = {"statement": problem.statement(int(bits))}
    answer = bound_json(Bound(problem, bits, tree, "a family", None), width, Sides(Path("c.json")))
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    dense = Fraction(answer["dense_bits"])
    assert dense == problem.dense_bits(width)
    assert int(answer["state_bits_at_least"]) <= bits
    assert Fraction(str(answer["bits_per_token_at_least"])) <= bits / problem.tokens
    assert Fraction(str(answer["bits_per_token_per_head_at_least"])) <= bits / problem.tokens / problem.streams
    assert Fraction(str(answer["compression_at_most"])) >= dense / bits
    assert (answer["verdict"], answer["certificate"]) == ("VALID", "c.json")


def test_zero() -> None:
    found = Bound(PROBLEM, Fraction(0), None, "best family", "it misses by a factor of 2")
    answer = bound_json(found, 16, Sides())
    assert answer["compression_at_most"] is None
    assert (answer["state_bits_at_least"], answer["verdict"], answer["certificate"]) == (0, "INCOMPLETE", None)
    assert answer["reason"] == "it misses by a factor of 2"
    assert bound_text(found, 16, Sides()) == "No bound above 0 was found; it misses by a factor of 2."


def test_words() -> None:
    tree = {"statement": PROBLEM.statement(5000)}
    text = bound_text(Bound(PROBLEM, Fraction(5000), tree, "a family", None), 16, Sides(Path("c.json")))
    assert "at least 5000 bits (78.125 a token)" in text
    assert f"compression is at most 39.3216x of {64 * 6 * 32 * 16} dense bits" in text
    assert "3 KV head(s) in 2 layer(s); error 1/100 with failure 1/10, logits to 24, real inputs" in text
    assert text.endswith("Certificate: c.json")


def test_both_sides() -> None:
    found = Bound(PROBLEM, Fraction(5000), {"statement": PROBLEM.statement(5000)}, "a family", None)
    other = Ceiling(PROBLEM, 20001, {}, "dithered", None)
    answer = bound_json(found, 16, Sides(enough=Path("e.json")), other)
    assert (answer["state_bits_enough"], answer["enough_method"], answer["enough_certificate"]) == (
        20001, "dithered", "e.json",
    )  # fmt: skip
    assert Fraction(str(answer["gap"])) >= Fraction(20001, 5000)
    assert Fraction(str(answer["bits_per_token_enough"])) >= Fraction(20001, 64)
    text = bound_text(found, 16, Sides(), other)
    assert "20001 bits (312.516 a token) are enough, 4.0002 times the bound" in text


def test_one_side_alone() -> None:
    nothing = Bound(PROBLEM, Fraction(0), None, "", "it misses")
    other = Ceiling(PROBLEM, 20001, {}, "quantiser", None)
    assert bound_json(nothing, 16, Sides(), other)["gap"] is None
    assert "20001 bits (312.516 a token) are enough: a quantiser to midpoints" in bound_text(
        nothing, 16, Sides(), other
    )
    none = Ceiling(PROBLEM, None, None, "", "why")
    found = Bound(PROBLEM, Fraction(5000), {"statement": PROBLEM.statement(5000)}, "a family", None)
    answer = bound_json(found, 16, Sides(), none)
    assert (answer["state_bits_enough"], answer["gap"], answer["enough_reason"]) == (None, None, "why")
    assert "enough" not in bound_text(found, 16, Sides(), none)
