"""A second opinion that proves the contrary turns VALID into INVALID; one that is undecided is shown."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from kvverify.bounds import instance_bound
from kvverify.bounds.ceiling import ceiling
from kvverify.crosscheck.arb import Opinion
from kvverify.kernel import document
from kvverify.kernel.check import Verdict
from kvverify.problem import Problem
from kvverify.report import checks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    certificate = instance_bound(16, 8).certificate
    assert certificate is not None
    document.write(tmp_path / "c.json", certificate)
    return tmp_path / "c.json"


def judged(opinion: Opinion, path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[checks.Outcome], str]:
    monkeypatch.setattr(checks, "second_opinion", lambda *_: opinion)
    outcomes = checks.check_all([path])
    return outcomes, checks.checks_text(outcomes)


def test_the_contrary_is_an_error_that_names_the_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opinion = Opinion("contrary", "decay", "exp(-1/2) > 3/5", ())
    outcomes, text = judged(opinion, path, monkeypatch)
    answer = checks.checks_json(outcomes)
    assert (answer["verdict"], answer["counts"]["invalid"]) == ("INVALID", 1)
    (file,) = answer["files"]
    assert (file["step"], file["second_opinion"]) == ("decay", "contrary")
    assert file["reason"] == "the second opinion proves the contrary: exp(-1/2) > 3/5"
    assert "at step 'decay': the second opinion proves the contrary" in text


def test_undecided_is_shown_and_is_no_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, text = judged(Opinion("undecided", "leak", "equal", ()), path, monkeypatch)
    assert checks.checks_json(outcomes)["files"][0]["second_opinion"] == "undecided"
    assert "VALID" in text
    assert "(Arb undecided)" in text
    assert text.endswith("1 valid, 0 invalid, 0 incomplete")


def test_no_second_opinion_on_what_the_kernel_refuses(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("{}")
    outcomes, _ = judged(Opinion("agrees", None, "", ()), path, monkeypatch)
    assert (outcomes[0].result.verdict.value, outcomes[0].opinion) == ("INVALID", None)


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({}, Verdict.VALID, ""),
        ({"state_bits_enough": "+1"}, Verdict.VALID, ""),
        ({"state_bits_enough": "-1"}, Verdict.INVALID, "expected state_bits_enough"),
        ({"claim": "state-bits", "state_bits_at_least": "0"}, Verdict.INVALID, "expected claim = 'state-bits'"),
        ({"failure": "1/20"}, Verdict.INVALID, "expected failure = '1/20'"),
    ],
)
def test_of_an_upper_bound_less_is_stronger(
    change: dict[str, str], verdict: Verdict, reason: str, tmp_path: Path
) -> None:
    problem = Problem(64, 8, 8, Fraction(8), Fraction(1, 10), tolerance=Fraction(1, 16))
    tree = ceiling(problem).certificate
    assert tree is not None
    document.write(tmp_path / "upper.json", tree)
    wanted = dict(tree["statement"])
    for name, value in change.items():
        wanted[name] = str(int(wanted[name]) + int(value)) if value in ("+1", "-1") else value
    (tmp_path / "expected.txt").write_text(json.dumps(wanted))
    (outcome,) = checks.check_all([tmp_path / "upper.json"], expect=tmp_path / "expected.txt")
    assert outcome.result.verdict is verdict
    assert reason in outcome.result.reason
    assert "<=" in outcome.result.claim


@pytest.mark.parametrize(
    ("name", "given", "asked", "covered"),
    [
        ("at_least", "7", "7", True), ("at_least", "8", "7", True), ("at_least", "6", "7", False),
        ("at_most", "8", "7", False), ("at_most", "6", "7", True), ("at_most", "6", None, True),
        ("at_most", None, "7", False), ("top_mass_at_least", "9/10", None, True),
        ("top_mass_at_least", "1/3", "1/2", False), ("state_bits_enough", "9", "10", True),
        ("tokens", "8", "7", False), ("tokens", "7", None, False), ("body", None, "ball", False),
    ],
)  # fmt: skip
def test_a_bound_may_be_stronger_and_nothing_else_may_differ(
    name: str, given: str | None, asked: str | None, covered: bool
) -> None:
    assert checks._covers(name, given, asked) is covered


def test_a_certificate_rests_on_every_file_that_it_names(tmp_path: Path) -> None:
    tree = {"statement": {"keys": {"name": "a.safetensors", "sha256": "0"}}, "steps": [{"given": {"factors": {
        "name": "b/c.safetensors", "sha256": "0", "lower": "l"}}}]}  # fmt: skip
    document.write(tmp_path / "one.json", tree)
    names = {path.relative_to(tmp_path.resolve()).as_posix() for path in checks._rests_on(tmp_path / "one.json", None)}
    assert names == {"one.json", "a.safetensors", "b/c.safetensors"}
