"""The SARIF log, against the structure that the standard asks for, and the text of a failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from kvverify import __version__
from kvverify.kernel.rules import RULES
from kvverify.report.checks import check_all, failure_text
from kvverify.trust import rule_files
from tests.ci.certificates import good, mutated, over_limit, stronger
from tests.cli.command import kvverify

Tree = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One file of each kind, in the working directory."""
    monkeypatch.chdir(tmp_path)
    good(tmp_path / "c" / "good.json")
    mutated(tmp_path / "c" / "a step, é.json")
    stronger(tmp_path / "c" / "claim.json")
    over_limit(tmp_path / "c" / "limit.json")
    (tmp_path / "c" / "other.json").write_text('{"name": 1}')
    return tmp_path


def log(*paths: str | Path) -> Tree:
    kvverify("check", *paths, "--sarif", "out.sarif")
    tree = json.loads(Path("out.sarif").read_text(encoding="ascii"))
    assert tree.keys() == {"$schema", "version", "runs"}
    assert tree["version"] == "2.1.0"
    assert tree["$schema"].endswith("/sarif-schema-2.1.0.json")
    (run,) = tree["runs"]
    assert run.keys() == {"tool", "columnKind", "results", "properties"}
    assert run["columnKind"] == "unicodeCodePoints"
    assert run["tool"].keys() == {"driver"}
    for result in run["results"]:
        strict(result, run["tool"]["driver"]["rules"])
    return run


def strict(result: Tree, rules: list[Tree]) -> None:
    """A result as the standard and code hosts want it: a known rule, a level, a text, one place in a file."""
    assert result.keys() == {"ruleId", "ruleIndex", "level", "message", "locations", "properties"}
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert result["level"] == "error"
    assert result["message"].keys() == {"text"}
    assert result["message"]["text"].startswith(result["properties"]["verdict"])
    (place,) = result["locations"]
    assert place.keys() <= {"physicalLocation", "logicalLocations"}
    assert place["physicalLocation"].keys() == {"artifactLocation", "region"}
    assert place["physicalLocation"]["artifactLocation"].keys() == {"uri"}
    assert place["physicalLocation"]["artifactLocation"]["uri"].isascii()
    assert place["physicalLocation"]["region"].keys() == {"startLine"}
    assert place["physicalLocation"]["region"]["startLine"] >= 1


def place_of(result: Tree) -> tuple[str, int]:
    physical = result["locations"][0]["physicalLocation"]
    return unquote(physical["artifactLocation"]["uri"]), physical["region"]["startLine"]


def test_the_driver_names_every_rule_once_and_the_digests(folder: Path) -> None:
    driver = log("c")["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("kvverify", __version__)
    names = [rule["id"] for rule in driver["rules"]]
    assert sorted(names) == sorted({"certificate", *RULES})
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    assert driver["properties"]["ruleFiles"] == dict(rule_files())


def test_one_result_for_each_that_is_not_valid(folder: Path) -> None:
    run = log("c")
    assert run["properties"]["counts"] == {"valid": 1, "invalid": 3, "incomplete": 1}
    found = {place_of(result)[0]: (result["ruleId"], result["properties"]["verdict"]) for result in run["results"]}
    assert found == {
        "c/a step, é.json": ("exp-bound", "INVALID"),
        "c/claim.json": ("random-access-code", "INVALID"),
        "c/limit.json": ("certificate", "INCOMPLETE"),
        "c/other.json": ("certificate", "INVALID"),
    }


def test_the_line_is_that_of_the_step(folder: Path) -> None:
    (result,) = log("c/a step, é.json")["results"]
    name, line = place_of(result)
    assert '"id": "decay"' in Path(name).read_text().splitlines()[line - 1]
    assert result["locations"][0]["logicalLocations"] == [{"name": "decay", "kind": "step"}]


def test_a_file_elsewhere_has_an_absolute_address(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    (result,) = log("../c/claim.json")["results"]
    assert place_of(result)[0] == (folder / "c" / "claim.json").as_uri()
    assert log(folder / "c" / "good.json")["results"] == []


def test_the_text_of_a_failure_says_both_sides(folder: Path) -> None:
    (outcome,) = check_all([Path("c/claim.json")])
    assert failure_text(outcome).splitlines() == [
        "INVALID c/claim.json",
        "  claim   state of 16 tokens >= 34 bits",
        "  step    bits (rule random-access-code)",
        "  needed  state_bits_at_least <= what the steps prove",
        "  found   34 against 17817551/524288",
        "  right   a certificate of which every step holds and proves the claim, as kvverify certify writes it",
    ]
    (outcome,) = check_all([Path("c/limit.json")])
    assert failure_text(outcome).splitlines()[0] == "INCOMPLETE c/limit.json"
    assert "  reason  " in failure_text(outcome)
    assert failure_text(outcome).endswith("undecided is not proved")


def test_only_certificates_leaves_out_what_nowhere_names_the_format(folder: Path) -> None:
    def names(**options: bool) -> set[str]:
        return {outcome.path.name for outcome in check_all([Path("c")], **options)}

    cut = Path("c/cut.json")
    cut.write_bytes(Path("c/good.json").read_bytes()[:200])
    Path("c/gone.json").symlink_to("nowhere")
    assert names() - names(only_certificates=True) == {"other.json"}
    assert names(only_certificates=True) >= {"cut.json", "gone.json"}
    assert kvverify("check", "c/other.json", "c/good.json", "--only-certificates").code == 0
    assert kvverify("check", "c/other.json", "c/good.json").code == 1
    assert kvverify("check", cut, "--only-certificates").code == 1
