"""The page of measured figures: its tables are those that the script makes, and every figure is within its bound."""

from __future__ import annotations

import runpy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import needs

needs("torch", "audit")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "bench_subgen.py"))
TABLES = (ROOT / "docs" / "subgen.md").read_text().partition(SCRIPT["BEGIN"])[2].partition(SCRIPT["END"])[0]
ROWS = [[cell.strip() for cell in line.strip("| ").split("|")] for line in TABLES.splitlines() if line.startswith("| ")]
SUBGEN = ROWS[2 : 2 + len(SCRIPT["SUBGEN"])]
NET = ROWS[4 + len(SUBGEN) :]


def pair(cell: str) -> list[Fraction]:
    """A measured figure and its bound."""
    measured, _, bound = cell.replace(",", "").partition(" / ")
    return [Fraction(measured), Fraction(bound)]


def test_all_rows_are_there_and_within_their_bounds() -> None:
    assert len(NET) == len(SCRIPT["NET"])
    pairs = [pair(cell) for row in (*SUBGEN, *NET) for cell in row if " / " in cell and not cell.endswith("-")]
    by_theorem = sum(epsilon is not None for _, _, _, _, epsilon, _, _ in SCRIPT["SUBGEN"])
    assert len(pairs) == 2 * len(SUBGEN) + 3 * by_theorem + 3 * len(NET)
    assert [figures for figures in pairs if figures[0] > figures[1]] == []
    asked = [(row[0].replace(",", ""), *row[1:4]) for row in SUBGEN]
    assert asked == [tuple(map(str, row[:4])) for row in SCRIPT["SUBGEN"]]


@pytest.mark.parametrize("index", [1, 2, 6])
def test_a_row_of_the_net_is_measured_again(index: int) -> None:
    tokens, dim, max_logit, tolerance, body = SCRIPT["NET"][index]
    inputs = SCRIPT["Inputs"].uniform(tokens, dim, max_logit, body=body)
    found = SCRIPT["measure"]("net", {"tolerance": tolerance}, inputs)
    assert SCRIPT["within"](found)
    assert NET[index] == [f"{tokens:,}", str(dim), *SCRIPT["net_row"](found)]


def test_a_row_of_subgen_is_measured_again() -> None:
    tokens, dim, norm, delta, epsilon, slots, coins = SCRIPT["SUBGEN"][-2]
    assert epsilon is None
    inputs = SCRIPT["Inputs"].uniform(tokens, dim, norm)
    found = SCRIPT["measure"]("subgen", {"delta": delta, **slots}, inputs, coins=coins)
    assert SUBGEN[-2] == [f"{tokens:,}", str(dim), str(norm), *SCRIPT["subgen_row"](found)]
