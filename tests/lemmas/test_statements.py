"""The list of lemmas: complete, meaningful, each with an example and a twin that changes little."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.errors import UsageError
from kvverify.kernel.rules import RULES
from kvverify.lemmas import LEMMAS, Lemma, Twin, carrying, find
from kvverify.lemmas.base import holds
from kvverify.lemmas.encode import clear
from kvverify.lemmas.expression import names, value
from tests.conftest import needs

sympy = needs("sympy", "lemmas")

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"C": 5, "HO-": 10, "SG-": 5, "VAR-": 5, "TA-": 7}
CLAIMS = {f"{paper}{i + 1}" for paper, rows in SIZES.items() for i in range(rows)}
WITHOUT_ALGEBRA = {"cover"}  # puts the other rules of its file together


def degree(relation: Any) -> int:
    """Of the polynomial of a comparison, or the largest one of a formula."""
    if not relation.is_Relational:
        return max(degree(part) for part in relation.args)
    sides = [side for side in relation.args if side.free_symbols]
    return max([0, *(int(sympy.Poly(side, *side.free_symbols).total_degree()) for side in sides)])


def test_ids_are_names_of_their_own() -> None:
    ids = [lemma.id for lemma in LEMMAS]
    assert len(ids) == len(set(ids)) >= 100
    assert all(re.fullmatch(r"[a-z][a-z0-9-]+", name) for name in ids)


def test_every_rule_and_every_claim_is_carried() -> None:
    carried = {name for lemma in LEMMAS for name in lemma.carries}
    assert carried - set(RULES) == CLAIMS
    assert set(RULES) - carried == WITHOUT_ALGEBRA
    assert [lemma.id for lemma in carrying("HO-7")] == ["running-sum"]


def test_symbols_are_explained() -> None:
    for lemma in LEMMAS:
        assert set(lemma.symbols) == set(lemma.variables) == set(lemma.example), lemma.id
        assert {envelope.symbol for envelope in lemma.envelopes} <= set(lemma.variables), lemma.id
        assert lemma.carries, lemma.id


def test_the_proof_pages_are_there() -> None:
    pages = {page[0] for lemma in LEMMAS if (page := re.match(r"docs/\S+\.md", lemma.source))}
    assert [page for page in sorted(pages) if not (ROOT / page).exists()] == []
    assert len(pages) >= 10


def test_lemmas_are_small() -> None:
    formulas = {lemma.id: [clear(text, lemma.point).formula for text in (*lemma.given, lemma.then)] for lemma in LEMMAS}
    assert [name for name, found in formulas.items() if max(map(degree, found)) > 6] == []
    assert [lemma.id for lemma in LEMMAS if len(lemma.variables) > 4] == []


def test_examples_fulfil_hypotheses_and_conclusion() -> None:
    assert [lemma.id for lemma in LEMMAS if holds(lemma.given, lemma.then, lemma.point) is not True] == []


def pieces(text: str) -> list[str]:
    """What stands between the comparisons."""
    return [piece.strip() for piece in re.split(r"(<=|>=|==|<|>)", text)]


def is_small(old: str, new: str) -> bool:
    """A constant moved by at most a hundredth, of its size or of 1, or an integer by 1."""
    powers = [re.fullmatch(r"(\d+)\*\*(\d+)", text) for text in (old, new)]
    if powers[0] and powers[1]:
        return powers[0][1] == powers[1][1] and abs(int(powers[0][2]) - int(powers[1][2])) == 1
    points = [{name: Fraction(i + k, 17) for i, name in enumerate(names(old))} for k in range(1, 6)]
    values = [(Fraction(value(old, at)), Fraction(value(new, at))) for at in points]
    differences = {b - a for a, b in values}
    return (
        max(abs(b - a) for a, b in values) <= Fraction(1, 100)
        or all(abs(b - a) <= Fraction(101, 10_000) * abs(a) for a, b in values)
        or (len(differences) == 1 and abs(differences.pop()) == 1 and "/" not in old)
    )


def test_twins_change_one_constant_a_little() -> None:
    for lemma in LEMMAS:
        before, after = pieces(lemma.twin.old), pieces(lemma.twin.new)
        changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
        assert len(changed) == (not lemma.twin.without), lemma.id
        assert all(is_small(old, new) for old, new in changed), lemma.id


def test_a_large_change_is_seen() -> None:
    assert not is_small("x + 1", "x + 11/10")
    assert not is_small("2*x", "21/10*x")
    assert not is_small("5", "3")
    assert not is_small("2**47", "2**45")
    assert is_small("2*x", "202/100*x")


def test_a_twin_that_does_not_apply_is_refused() -> None:
    def lemma(twin: Twin) -> Lemma:
        return Lemma("x", "", {"x": ""}, ("x >= 1", "x <= 9"), "x**2 >= x", twin, {"x": 2}, (), "")

    assert lemma(Twin("x >= 1", "x >= 99/100")).altered() == (("x >= 99/100", "x <= 9"), "x**2 >= x")
    assert lemma(Twin(without="x >= 1")).altered() == (("x <= 9",), "x**2 >= x")
    for twin in (Twin("x", "y"), Twin("z", "y"), Twin(without="x >= 2")):
        with pytest.raises(ValueError, match="lemma x: its twin"):
            lemma(twin).altered()


def test_an_unknown_id_names_the_nearest() -> None:
    assert find("tilt").id == "tilt"
    with pytest.raises(UsageError, match=r"no lemma 'separaton': the nearest are separation, .*; kvverify lemmas"):
        find("separaton")
    with pytest.raises(UsageError, match="the nearest are"):
        find("")
