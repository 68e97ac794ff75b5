"""A map for people: where nothing is proved it says so, in the table and in the picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from kvverify.bounds.key_files import safetensors
from tests.bounds.captures import arrays
from tests.conftest import needs

needs("torch", "audit")

from kvverify.bounds.map import Survey  # noqa: E402
from kvverify.report.maps import grid, map_json, map_text  # noqa: E402
from kvverify.report.plots import map_png  # noqa: E402


def cell(head: int, bits: float | None, layer: int = 4) -> dict[str, Any]:
    return {
        "floor": "keys", "layer": layer, "head": head, "tolerance": "1/16", "bits_per_token_and_coordinate": bits,
    }  # fmt: skip


def test_a_head_without_a_bound_counts_as_zero_and_shows_as_a_dash(tmp_path: Path) -> None:
    (tmp_path / "c.safetensors").write_bytes(safetensors(arrays(1)))
    survey = Survey(tmp_path / "c.safetensors", (Fraction(1, 16),), Fraction(0), Fraction(8))
    answer = map_json(survey, [cell(0, 1.0), cell(1, None), cell(2, 2.0)])
    assert answer["summary"] == [
        {"floor": "keys", "tolerance": "1/16", "heads": 3, "proved": 2, "mean_at_least": 1.0, "least": 0.0,
         "largest": 2.0, "method_reaches_at_most": 4.0}
    ]  # fmt: skip
    lines = map_text(answer).splitlines()
    assert lines[1].split() == ["4", "1.000", "-", "2.000"]
    assert "2 of 3 heads have a bound" in lines[2]
    assert grid(answer, "keys", "1/16") == {4: [1.0, None, 2.0]}
    assert "windows" not in map_text(answer)
    answer["made_from"] = {"window": "7"}
    assert "The model reads through windows (7)" in map_text(answer)


def test_a_picture_tells_nothing_from_little() -> None:
    needs("matplotlib", "report")

    def picture(second: float | None) -> bytes:
        return map_png([("a", {0: [1.0, second], 5: [0.5]}, 1.0), ("b", {2: [0.1]}, 1.0)], 2, "title")

    assert picture(0.0).startswith(b"\x89PNG")
    assert picture(0.0) == picture(0.0)
    assert len({picture(0.0), picture(None), picture(0.5)}) == 3
