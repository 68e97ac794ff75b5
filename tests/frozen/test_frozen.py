"""Certificates of earlier versions keep their verdicts; what is frozen is never written again."""

from __future__ import annotations

import hashlib
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.rules import RULES
from scripts import freeze
from tests.engines.mpfr import AGREES, TAKEN, third_opinion

FOLDER = Path(__file__).parent / "v1"
INDEX: list[dict[str, Any]] = json.loads((FOLDER / "index.json").read_text())
FORMS = {
    "determinant": ("near-identity", "ostrowski", "exact", "preconditioned"),
    "dithered": ("gaussian", "log-concave"),
    "cover-at-least": ("few", "volume", "caps", "ball-through-sphere"),
    "cover-at-most": ("few", "arcs", "packing", "lattice", "lovasz-stein", "shells"),
    "positive-polynomial": ("sturm", "bernstein"),
}
every = pytest.mark.parametrize("entry", INDEX, ids=lambda entry: entry["name"])


@every
def test_its_bytes_are_those_that_were_frozen(entry: dict[str, Any]) -> None:
    folder = FOLDER / entry["name"]
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert found == entry["sha256"]


@every
def test_its_verdict_is_what_it_was(entry: dict[str, Any]) -> None:
    result = check(FOLDER / entry["name"] / "certificate.json")
    assert result.verdict.value == entry["verdict"] == entry["name"].partition("/")[0].upper()
    if result.verdict is Verdict.VALID:
        assert (str(result.bits), result.claim) == (entry.get("bits", "None"), entry["claim"])
        if result.statement is not None:
            enough = result.statement.state_bits_enough
            bits = Fraction(entry["bits"])
            assert bits >= result.statement.state_bits_at_least if enough is None else bits <= enough
    else:
        assert result.step == entry.get("step")


def test_nothing_else_lies_there() -> None:
    names = {str(path.parent.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()} - {"."}
    assert names == {entry["name"] for entry in INDEX}
    assert len(INDEX) == len(names)
    assert {entry["format"] for entry in INDEX} == {document.FORMAT}


def test_every_rule_and_form_is_frozen() -> None:
    """A version that brings a rule freezes a certificate of it."""
    found = {rule for entry in INDEX for rule in entry.get("rules", [])}
    wanted = {f"{rule}, {form}" for rule in RULES for form in FORMS.get(rule, ())} | (RULES.keys() - FORMS.keys())
    assert found == wanted


def test_the_third_engine_proves_the_valid_ones() -> None:
    for entry in INDEX:
        if entry["verdict"] == "VALID":
            path = FOLDER / entry["name"] / "certificate.json"
            outcomes = third_opinion(document.load(path), path.parent)
            assert {outcome.verdict for outcome in outcomes} <= {AGREES, TAKEN}, entry["name"]


def test_freezing_writes_new_names_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "v1"
    shutil.copytree(FOLDER, copy)
    index = (copy / "index.json").read_bytes()
    first = INDEX[0]["name"]
    certificate = copy / first / "certificate.json"
    certificate.write_bytes(b"changed")
    assert freeze.main([str(copy)]) == 0
    assert capsys.readouterr().out.startswith("0 new")
    assert (certificate.read_bytes(), (copy / "index.json").read_bytes()) == (b"changed", index)
    # A name that the index has lost is not written over what lies there.
    (copy / "index.json").write_text(json.dumps(INDEX[1:]))
    assert freeze.main([str(copy)]) == 2
    assert "in the way" in capsys.readouterr().err
    assert certificate.read_bytes() == b"changed"
    # Gone altogether, it is new, and the same as it was.
    shutil.rmtree(copy / first)
    assert freeze.main([str(copy)]) == 0
    assert capsys.readouterr().out.startswith("1 new")
    assert certificate.read_bytes() == (FOLDER / first / "certificate.json").read_bytes()


def test_only_what_has_its_folder_s_verdict_is_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = freeze.Frozen(b"{}")
    monkeypatch.setattr(freeze, "frozen", lambda: iter([("valid/broken", broken)]))
    with pytest.raises(ValueError, match="broken is INVALID"):
        freeze.freeze(tmp_path / "v1")
    assert not (tmp_path / "v1" / "index.json").exists()
