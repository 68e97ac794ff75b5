"""The committed atlas: complete, its page what the script makes of it, its numbers those of the search."""

from __future__ import annotations

import importlib
import random
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.bounds.candidate import divergence

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
sys.path.append(str(ROOT / "scripts"))
cells: Any = importlib.import_module("atlas_cells")
page: Any = importlib.import_module("atlas_page")
atlas: Any = importlib.import_module("atlas")

KNOWN = atlas.read(DOCS / "atlas.jsonl")
SMALL = [cell for cell in cells.grid() if cell.tokens == 1 << 12]
DRAWN = random.Random(0).sample(SMALL, 3)
ROUNDING = Fraction(1, 1000)  # of floats that rank candidates, between machines


def gap(cell: Any) -> Fraction:
    record = KNOWN[cell]
    return Fraction(record["upper"]["state_bits_enough"], record["lower"]["state_bits_at_least"])


def test_the_grid_is_the_design_s() -> None:
    grid = cells.grid()
    assert len(grid) == len(set(grid)) == 360 + 36
    assert sum(cell.plain for cell in grid) == 4 * 2 * 3 * 5 * 3
    assert len([cell for cell in grid if cell.goal]) == 3 * 4 * 4


def test_every_cell_is_there_once_and_in_order() -> None:
    lines = (DOCS / "atlas.jsonl").read_bytes()
    assert lines == b"".join(cells.line(KNOWN[cell]) for cell in cells.grid())


def test_the_page_is_what_the_script_renders() -> None:
    assert page.render(KNOWN) == (DOCS / "atlas.md").read_text()


@pytest.mark.parametrize("cell", DRAWN, ids=str)
def test_a_cell_computed_again_is_not_weaker(cell: Any) -> None:
    old, new = KNOWN[cell], cells.compute(cell)
    assert old["lower"]["state_bits_at_least"] <= new["lower"]["state_bits_at_least"] * (1 + ROUNDING)
    assert old["upper"]["state_bits_enough"] >= new["upper"]["state_bits_enough"] * (1 - ROUNDING)
    assert cells.up_to_date(new)


def test_both_sides_are_in_order() -> None:
    for cell, record in KNOWN.items():
        lower, joint, upper = record["lower"]["state_bits_at_least"], record["joint"], record["upper"]
        assert 0 < lower <= upper["state_bits_enough"], cell
        assert (joint is None) != cell.central, cell
        assert joint is None or joint <= lower, cell


def test_the_parts_of_a_gap_are_the_whole_of_it() -> None:
    for cell, record in KNOWN.items():
        between = record["upper"]["state_bits_enough"] - record["lower"]["state_bits_at_least"]
        assert sum(record["parts"].values()) == pytest.approx(between / cell.tokens, abs=0.1), cell
        assert list(record["parts"].values()) == sorted(record["parts"].values(), reverse=True)


def test_without_amplitudes_the_code_costs_g_for_each_of_its_coordinates() -> None:
    """The code's part is what the other parts leave, so that a mistake in one of them would show here."""
    seen = set()
    for cell, record in KNOWN.items():
        method = record["lower"]["method"]
        if method in ("joint", "volume") and "pads" not in record["parts"]:
            g = divergence(float(cell.problem.tolerance), float(cell.problem.failure))
            count = record["parts"]["code"] / g
            assert count == pytest.approx(round(count), abs=0.02), cell
            assert (round(count) == cell.dim) == (method == "volume"), cell
            seen.add((method, cell.body, cell.inputs))
    assert len(seen) >= 5


def test_goals_are_met_as_the_page_says() -> None:
    wanted = [cell for cell in cells.grid() if cell.goal]
    text = page.render(KNOWN)
    section = text.partition("## Goals")[2].partition("\n## ")[0]
    found = re.findall(r"(\d\.\d\d), (met|\*\*not met\*\*) \(<= ([\d.]+)\)", section)
    assert len(found) == len(wanted)
    for cell, (ratio, words, goal) in zip(wanted, found, strict=True):
        assert gap(cell) <= Fraction(ratio) < gap(cell) + Fraction(1, 100)
        assert Fraction(goal) == cell.goal
        assert (words == "met") == (gap(cell) <= cell.goal)
    assert f"**{sum(words == 'met' for _, words, _ in found)} of {len(found)} are met.**" in section
    assert page.missed_goals(KNOWN) == []


def test_cells_that_are_not_there_are_said(tmp_path: Path) -> None:
    kept = cells.grid()[:7]
    path = tmp_path / "atlas.jsonl"
    atlas.write(path, {cell: KNOWN[cell] for cell in kept})
    path.write_bytes(path.read_bytes() + cells.line(KNOWN[cells.grid()[7]])[:-9])  # a crash in the middle of a line
    some = atlas.read(path)
    assert some == {cell: KNOWN[cell] for cell in kept}
    text = page.render(some)
    assert f"7 of {len(cells.grid())} cells are computed" in text
    assert text.count(page.MISSING) > 2 * (360 - 7)
    assert page.render({}).count(page.MISSING) > text.count(page.MISSING)


def test_a_cell_of_other_rules_is_out_of_date() -> None:
    record = KNOWN[cells.grid()[0]]
    now = record | {
        "rules": {name: cells.RULES[name] for name in record["rules"]},
        "version": cells.kvverify.__version__,
    }
    assert cells.up_to_date(now)
    assert not cells.up_to_date(now | {"rules": now["rules"] | {"volume.py": "0" * 16}})
    assert not cells.up_to_date(now | {"version": "0.0"})
