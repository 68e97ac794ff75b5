"""The fixture ``kvverify_audit``: a compressor's bits and errors pinned by a test."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

import kvverify.api
from kvverify import pytest_plugin
from kvverify.audit.report import Report
from kvverify.errors import UsageError
from tests.ci.certificates import GOOD
from tests.conftest import needs

needs("torch", "audit")
needs("scipy", "audit")

pytest_plugins = "pytester"
SHAPE = {"tokens": 64, "head_dim": 16}
KEPT = {"wire_bits_per_token_at_most": 216, "held_bits_per_token_at_most": "168", "tolerance": "1/8"}


@pytest.fixture(scope="module")
def report() -> Report:
    """One real game, in which every promise was kept."""
    return pytest_plugin.pin("uniform", **SHAPE, **KEPT, wrong_reads_at_most=0, seed=1, dtype="bfloat16")


@pytest.fixture
def again(report: Report, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The game's report for whatever is asked for next; and with what it was asked for."""
    asked: dict[str, Any] = {}

    def audit(*_: object, **options: Any) -> Report:
        asked.update(options, report=asked.get("report", report))
        return asked["report"]

    monkeypatch.setattr(kvverify.api, "audit", audit)
    return asked


def test_a_promise_that_is_kept_gives_the_report(report: Report) -> None:
    found = report.to_json()
    assert (found["status"], found["compressor"], found["settings"]["dtype"]) == ("NO FLAG", "uniform", "bfloat16")
    assert (found["instance"]["tokens"], found["instance"]["key_dim"]) == (64, 16)
    assert found["held_bits"] == 168 * 64
    assert found["wire_bits_per_token"] <= 216
    assert (found["tolerance"], found["wrong_reads"], found["fresh_secret"]) == ("1/8", 0, False)


def test_the_least_step_below_what_was_measured_is_not_kept(report: Report, again: dict[str, Any]) -> None:
    sizes = report.record.sizes
    assert sizes is not None
    for what, name, bits in (("on the wire", "wire", sizes.wire_bits), ("held", "held", sizes.held_bits)):
        exact = Fraction(bits, 64)
        pytest_plugin.pin("uniform", **SHAPE, **{f"{name}_bits_per_token_at_most": exact})
        less = exact - Fraction(1, 64)
        promise = f"uniform: promised at most {less} bits {what} a token, measured .* \\({bits} bits for 64 tokens\\)"
        with pytest.raises(AssertionError, match=promise):
            pytest_plugin.pin("uniform", **SHAPE, **{f"{name}_bits_per_token_at_most": less})


def test_wrong_reads_and_several_promises_at_once(report: Report, again: dict[str, Any]) -> None:
    score = report.record.score
    assert score is not None
    again["report"] = replace(report, record=replace(report.record, score=replace(score, wrong_reads=7)))
    pytest_plugin.pin("uniform", **SHAPE, tolerance="1/8", wrong_reads_at_most=7)
    assert (again["claim"].bits, again["claim"].tolerance) == (None, Fraction(1, 8))
    with pytest.raises(AssertionError) as failure:
        pytest_plugin.pin("uniform", **SHAPE, tolerance=0.125, wrong_reads_at_most=6, wire_bits_per_token_at_most=1)
    first, second, *rest = str(failure.value).splitlines()
    assert first.startswith("uniform: promised at most 1 bits on the wire a token, measured ")
    assert second == "uniform: promised at most 6 wrong reads, measured 7 of 1024 reads off by more than 1/8"
    assert rest[0].startswith("uniform on 64 tokens")


def test_flags_fail_unless_allowed(report: Report, again: dict[str, Any]) -> None:
    again["report"] = replace(report, status="FLAGGED", flags=("NOT A COMPRESSOR", "HIDDEN STATE"))
    pytest_plugin.pin("uniform", **SHAPE, allow_flags=("NOT A COMPRESSOR", "HIDDEN STATE"))
    with pytest.raises(AssertionError, match=r"^uniform: flag HIDDEN STATE, which is not allowed here\nuniform on"):
        pytest_plugin.pin("uniform", **SHAPE, allow_flags=["NOT A COMPRESSOR"])


def test_a_game_without_an_end_is_a_failure(report: Report, again: dict[str, Any]) -> None:
    again["report"] = replace(report, status="INCOMPLETE", flags=(), reason="alice: out of memory")
    with pytest.raises(AssertionError, match=r"^uniform: could not be decided: alice: out of memory"):
        pytest_plugin.pin("uniform", **SHAPE)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({}, "give certificate, or tokens and head_dim"),
        ({"tokens": 64}, "give certificate, or tokens and head_dim"),
        ({"certificate": GOOD, "kv_heads": 1}, "give it, or them, not both"),
        ({**SHAPE, "tolerance": "1/8"}, "give both or neither"),
        ({**SHAPE, "wrong_reads_at_most": 0}, "give both or neither"),
        ({**SHAPE, "allow_flags": ["SLOW"]}, "allow_flags: 'SLOW' given, one of NOT A COMPRESSOR, "),
        ({**SHAPE, "tolerance": "many", "wrong_reads_at_most": 0}, "tolerance"),
        ({**SHAPE, "tolerance": 0, "wrong_reads_at_most": 0}, "tolerance: 0 given, a number above 0"),
        ({**SHAPE, "tolerance": 1, "wrong_reads_at_most": 0, "payload": "discrete"}, "a continuous payload"),
        ({"tokens": 64, "head_dim": 2, "max_logit": "1/100"}, "no hard instance of this shape"),
    ],
)
def test_a_request_that_makes_no_sense(words: dict[str, Any], line: str, again: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=line):
        pytest_plugin.pin("uniform", **words)
    assert again == {}


def test_in_a_project_of_its_own(pytester: pytest.Pytester) -> None:
    """A compressor of the project, on the instance of a certificate: a promise that is broken, and a missing extra."""
    pytester.makepyfile(my_module="from kvverify.compressors.native.uniform import Uniform as MyCache\n")
    pytester.makepyfile(
        """
        import pytest
        from kvverify import pytest_plugin

        def test_mine(kvverify_audit):
            kvverify_audit("my_module.py:MyCache", tokens=64, head_dim=16, wire_bits_per_token_at_most=100)

        @pytest.fixture
        def bare(monkeypatch):
            monkeypatch.setattr(pytest_plugin, "find_spec", lambda name: None)

        def test_bare(bare, kvverify_audit):
            kvverify_audit("dense")
        """
    )
    done = pytester.runpytest_inprocess("-p", "kvverify.pytest_plugin", "-p", "no:cacheprovider", "-rs")
    done.assert_outcomes(failed=1, skipped=1)
    done.stdout.fnmatch_lines(
        [
            "E * AssertionError: my_module.py:MyCache: promised at most 100 bits on the wire a token, measured *",
            "E * my_module.py:MyCache on 64 tokens, *",
            "SKIPPED * needs kvverify[[]audit[]]",
        ]
    )
