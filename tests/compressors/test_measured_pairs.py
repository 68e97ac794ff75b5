"""Measured figures of subgen4 and subgen2: the page has the rows of the script, and they are within their bounds."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from kvverify.errors import UsageError
from tests.conftest import needs

needs("torch", "audit")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "bench_subgen_tensor.py"))
PAGE = (ROOT / "docs" / "subgen.md").read_text()
TABLE = PAGE.partition(SCRIPT["BEGIN"])[2].partition(SCRIPT["END"])[0]
ROWS = [[cell.strip() for cell in line.strip("| ").split("|")] for line in TABLE.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("index", [2, 5])
def test_a_row_is_measured_again(index: int) -> None:
    found = SCRIPT["measured"](index)
    assert SCRIPT["within"](found)
    assert SCRIPT["cells"](index, found) == ROWS[2 + index]


def test_all_rows_are_there() -> None:
    assert ROWS[0] == SCRIPT["HEAD"]
    asked = [(name, str(tokens), str(dim), str(norm), delta) for name, tokens, dim, norm, delta, *_ in SCRIPT["ROWS"]]
    assert [tuple(row[:5]) for row in ROWS[2:]] == asked


def test_what_is_not_measured() -> None:
    inputs = SCRIPT["TensorInputs"].uniform(4, 2, 1)
    with pytest.raises(UsageError, match="nothing is proved here but of subgen4, subgen2"):
        SCRIPT["measure_tensor"]("dense", {}, inputs)
    with pytest.raises(UsageError, match="give it, or t and s, not both"):
        SCRIPT["measure_tensor"]("subgen4", {"t": 3}, inputs, epsilon=SCRIPT["Fraction"](1))
