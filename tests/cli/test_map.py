"""``kvverify map`` as people use it: table, object and picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bounds.captures import capture
from tests.cli.command import kvverify as call
from tests.conftest import needs

needs("torch", "audit")
needs("scipy", "audit")


def test_table_object_and_picture(tmp_path: Path) -> None:
    needs("matplotlib", "report")
    path = capture(tmp_path / "c.safetensors")
    words = ("map", path, "--layers", "1", "--seconds", "1/20", "--failure", 0, "--output", tmp_path / "map")
    words = (*words, "--tolerance", "1/16", "--tolerance", "1/100", "--certificates")
    done = call(*words, "--json")
    assert done.code == 0
    answer = done.json
    assert json.loads((tmp_path / "map" / "map.json").read_text()) == answer
    assert (tmp_path / "map" / "map.png").read_bytes().startswith(b"\x89PNG")
    assert (answer["schema"], len(answer["cells"])) == ("kvverify-map/1", 12)
    for summary in answer["summary"]:
        group = [c for c in answer["cells"] if all(c[n] == summary[n] for n in ("floor", "tolerance"))]
        bits = [c["bits_per_token_and_coordinate"] or 0.0 for c in group]
        assert summary["heads"] == len(group) == (2 if summary["floor"] == "keys" else 4)
        assert summary["mean_at_least"] == pytest.approx(sum(bits) / len(bits), rel=1e-5)
        assert (summary["least"], summary["largest"]) == (min(bits), max(bits))
        assert 0 < summary["largest"] <= summary["method_reaches_at_most"]
        assert summary["method_reaches_at_most"] == {"1/16": 4.0, "1/100": 6.64386}[summary["tolerance"]]
    assert len(list((tmp_path / "map" / "certificates").glob("*.json"))) == sum(s["proved"] for s in answer["summary"])
    assert call("check", tmp_path / "map" / "certificates").code == 0
    plain = call(*words)
    assert plain.err == "", "nothing is left to do"
    assert "Floor of queries, error 1/16: bits a token and value coordinate, by layer and query head" in plain.out
    row = next(line for line in plain.out.splitlines() if line.startswith("    1 "))
    assert row.split()[1:] == [f"{c['bits_per_token_and_coordinate']:.3f}" for c in answer["cells"][:4:2]]


def test_without_matplotlib_there_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvverify.cli.map.find_spec", lambda name: None)
    path = capture(tmp_path / "c.safetensors")
    done = call("map", path, "--layers", "0", "--floor", "queries", "--output", tmp_path / "map")
    assert (done.code, (tmp_path / "map" / "map.json").exists()) == (0, True)
    assert "no picture, which needs matplotlib: pip install 'kvverify[report]'" in done.err
    assert not (tmp_path / "map" / "map.png").exists()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("--layers", "0-x"), "--layers: '0-x' given; layers and ranges as in 0-3,7 are needed"),
        (("--layers", ""), "--layers: '' given"),
        (("--layers", "0,5"), "--layers: 5 given, it has layers 0 to 1"),
        (("--floor", "values"), "--floor: values given; keys, queries or both is needed"),
        (("--tolerance", "0"), "tolerance: 0 given"),
        (("--workers", "0"), "workers: 0 given"),
        (("--seconds", "-1"), "seconds: -1 given"),
        (("--max-logit", "0"), "max-logit: 0 given"),
    ],
)
def test_wrong_usage_is_one_line(words: tuple[str, ...], answer: str, tmp_path: Path) -> None:
    path = capture(tmp_path / "c.safetensors")
    call("map", path, *words, "--output", tmp_path / "map").refuses(2, answer)
    assert not (tmp_path / "map").exists()


def test_a_missing_file_or_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("map", tmp_path / "absent.safetensors").refuses(2, "absent.safetensors: No such file")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "scipy" else name)
    call("map", tmp_path / "absent.safetensors").refuses(2, "a map needs scipy: pip install 'kvverify[audit]'")
