"""The map of a capture: every cell is a bound of its own head, a stopped map goes on, odd files are one line."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import needs

needs("torch", "audit")
needs("scipy", "audit")

from kvverify.bounds import map as maps  # noqa: E402
from kvverify.bounds.key_files import open_tensors  # noqa: E402
from kvverify.bounds.map import Survey, draw, metadata  # noqa: E402
from kvverify.errors import UsageError  # noqa: E402
from kvverify.kernel.check import Verdict, check  # noqa: E402
from tests.bounds.captures import DIM, LATER, TOKENS, arrays, capture  # noqa: E402

EPS = Fraction(1, 16), Fraction(1, 100)


def survey(path: Path, **others: Any) -> Survey:
    asked = {"tolerances": EPS, "failure": Fraction(0), "max_logit": Fraction(32), "seconds": 0.05}
    return Survey(path, **{**asked, **others})


def known(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What does not depend on the clock."""
    return [{name: x for name, x in cell.items() if name != "seconds"} for cell in cells]


def test_every_cell_is_a_certificate_about_its_own_head(tmp_path: Path) -> None:
    path, proofs = capture(tmp_path / "c.safetensors"), tmp_path / "map" / "certificates"
    cells = draw(survey(path, certificates=proofs), tmp_path / "map")
    assert [(c["floor"], c["layer"], c["head"], c["kv_head"]) for c in cells[::2]] == [
        (floor, layer, head, head if floor == "keys" else head // 2)
        for layer in (0, 1)
        for floor, heads in (("keys", 2), ("queries", 4))
        for head in range(heads)
    ]
    assert [cell["tolerance"] for cell in cells] == ["1/16", "1/100"] * 12
    for cell in cells:
        if cell["certificate"] is None:
            assert cell["head"] == 3
            continue
        result = check(proofs / cell["certificate"])
        assert (result.verdict, int(result.bits or 0)) == (Verdict.VALID, cell["state_bits_at_least"]), cell
        statement = json.loads((proofs / cell["certificate"]).read_text())["statement"]
        assert statement["budget"] == f"own-{cell['floor']}"
        for kind, head in (("keys", cell["kv_head"]), ("queries", cell["head"])):
            if kind in statement:
                kept = open_tensors(proofs / statement[kind]["name"]).tensor(cell["layer"], 0, kind).values
                assert np.array_equal(kept, arrays()[f"layers.{cell['layer']}.{kind}"][head])
        assert result.bits is not None
        rounded_off = result.bits / (TOKENS * DIM) - Fraction(cell["bits_per_token_and_coordinate"])
        assert 0 <= rounded_off < Fraction(1, 10**5)


def test_heads_differ_and_so_do_their_floors(tmp_path: Path) -> None:
    cells = draw(survey(capture(tmp_path / "c.safetensors")), tmp_path / "map")
    bits = {(c["floor"], c["layer"], c["head"], c["tolerance"]): c["state_bits_at_least"] or 0 for c in cells}
    for layer in (0, 1):
        assert bits["queries", layer, 3, "1/16"] < bits["queries", layer, 2, "1/16"]
        # Eight queries cannot ask for ten tokens.
        assert bits["queries", layer, 2, "1/16"] <= LATER * DIM * 4 < TOKENS * DIM * 4
        assert bits["keys", layer, 0, "1/16"] < bits["keys", layer, 0, "1/100"]
    assert not list(tmp_path.glob("map/*.safetensors"))
    budgets = {c["max_logit"] for c in cells if c["floor"] == "keys"}
    assert budgets == {"32"}
    assert len({c["max_logit"] for c in cells if c["floor"] == "queries"}) > 1


def test_a_map_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, asked_of = survey(capture(tmp_path / "c.safetensors"), layers=(1,)), []
    whole = draw(asked, tmp_path / "map")
    lines = tmp_path / "map" / "cells.jsonl"
    before = lines.read_bytes().splitlines(keepends=True)
    assert len(before) == 1 + len(whole)
    lines.write_bytes(b"".join(before[:6]) + before[6][:20])
    answer = maps.answer

    def counted(survey: Survey, cell: maps.Cell) -> dict[str, Any]:
        asked_of.append(cell.known_as())
        return answer(survey, cell)

    monkeypatch.setattr(maps, "answer", counted)
    shares: list[float] = []
    again = draw(asked, tmp_path / "map", progress=lambda stage, done: shares.append(done))
    assert known(again) == known(whole)
    assert again[:5] == whole[:5], "cells that were there are taken with their seconds"
    assert len(asked_of) == len(shares) == len(whole) - 5
    assert (shares[0], shares[-1]) == (0.5, 1.0)
    draw(asked, tmp_path / "map")
    assert len(asked_of) == len(whole) - 5
    more = draw(replace(asked, tolerances=(*EPS, Fraction(1, 256))), tmp_path / "map")
    assert len(more) == len(whole) * 3 // 2
    assert len(asked_of) == len(whole) - 5 + len(whole) // 2


def test_a_folder_holds_one_map(tmp_path: Path) -> None:
    asked = survey(capture(tmp_path / "c.safetensors"), layers=(0,), floors=("keys",))
    draw(asked, tmp_path / "map")
    with pytest.raises(UsageError, match="map holds a map of another capture, or with other options; choose another"):
        draw(replace(asked, failure=Fraction(1, 10)), tmp_path / "map")
    (tmp_path / "map" / "cells.jsonl").write_text("[]\n7\n")
    with pytest.raises(UsageError, match=r"cells\.jsonl: not a map's lines"):
        draw(asked, tmp_path / "map")


def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    asked = survey(capture(tmp_path / "c.safetensors"), tolerances=EPS[:1], layers=(0,), floors=("queries",))
    assert known(draw(asked, tmp_path / "two", workers=2)) == known(draw(asked, tmp_path / "one"))


def test_a_head_without_a_bound_says_why_and_the_others_stand(tmp_path: Path) -> None:
    tensors = arrays(1)
    tensors["layers.0.keys"][0] = 1.0
    tensors["layers.0.keys"][1, 2, 3] = np.nan
    path = capture(tmp_path / "c.safetensors", tensors)
    same, odd = draw(survey(path, tolerances=EPS[:1], floors=("keys",)), tmp_path / "map")
    for cell, words in ((same, "all keys are the same"), (odd, "holds NaN or infinity")):
        assert words in cell["reason"]
        assert {cell[n] for n in ("state_bits_at_least", "bits_per_token_and_coordinate", "certificate")} == {None}


def test_odd_files_are_one_line(tmp_path: Path) -> None:
    def refused(asked: Survey, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            draw(asked, tmp_path / "map")
        assert not (tmp_path / "map").exists()

    (tmp_path / "empty").write_bytes(b"")
    refused(survey(tmp_path / "empty"), "empty: not a safetensors file")
    whole = arrays()
    keys = {name: x for name, x in whole.items() if "keys" in name}
    rest = {name: x for name, x in whole.items() if "keys" not in name}
    refused(survey(capture(tmp_path / "q", rest)), r"no tensor layers\.I\.keys there")
    refused(survey(capture(tmp_path / "k", keys), floors=("queries",)), r"no tensor layers\.I\.queries there")
    refused(survey(capture(tmp_path / "c"), layers=(0, 2)), "--layers: 2 given, it has layers 0 to 1")
    refused(
        survey(capture(tmp_path / "m", {"layers.0.keys": whole["layers.0.keys"][0]})), r"layers\.0\.keys is no tensor"
    )
    (tmp_path / "list").write_bytes((2).to_bytes(8, "little") + b"[]")
    refused(survey(tmp_path / "list"), "its header is no object")
    (tmp_path / "long").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    refused(survey(tmp_path / "long"), "long: not a safetensors file")
    whole["layers.0.queries"] = whole["layers.0.queries"][:3]
    refused(survey(capture(tmp_path / "h", whole)), "layer 0 has 3 query heads for 2 KV heads")
    assert metadata(tmp_path / "c") == {}
