"""``pytest --kvverify``: certificates as test items, with failures that one can read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

# Loaded here, so that an inner run, which forgets what it imports, does not load compiled modules a second time.
import kvverify.pytest_plugin
import kvverify.report.checks  # noqa: F401
from tests.ci.certificates import ROOT, good, mutated, over_limit, stronger

pytest_plugins = "pytester"


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    return pytester.path / "certificates"


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "kvverify.pytest_plugin", "-p", "no:cacheprovider", *words)


def test_valid_certificates_are_items_named_by_their_path(pytester: pytest.Pytester, folder: Path) -> None:
    good(folder / "a.json")
    good(folder / "below" / "b.json")
    (folder / "note.txt").write_text("no certificate")
    done = run(pytester, "--kvverify", "certificates", "--collect-only", "-q")
    assert done.outlines[:2] == ["certificates/a.json", "certificates/below/b.json"]
    run(pytester, "--kvverify", "certificates").assert_outcomes(passed=2)
    run(pytester, "--kvverify", "certificates/below/b.json").assert_outcomes(passed=1)


def test_a_failure_says_file_step_rule_and_both_sides(pytester: pytest.Pytester, folder: Path) -> None:
    good(folder / "good.json")
    mutated(folder / "mutated.json")
    stronger(folder / "stronger.json")
    (folder / "other.json").write_text("{}")
    done = run(pytester, "--kvverify", "certificates")
    done.assert_outcomes(passed=1, failed=3)
    done.stdout.fnmatch_lines(
        [
            "_* certificates/mutated.json _*",
            "INVALID */certificates/mutated.json",
            "  claim   state of 16 tokens >= 33 bits",
            "  step    decay (rule exp-bound)",
            "  needed  exp_minus_at_most [*] e^exponent >= 1",
            "  found   about 2^* against 1",
            "  right   a certificate of which every step holds *",
            "_* certificates/other.json _*",
            "  reason  document: missing field 'digest'",
            "_* certificates/stronger.json _*",
            "  found   34 against 17817551/524288",
        ]
    )
    done.stdout.no_fnmatch_line("*Traceback*")
    done.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_undecided_fails_unless_one_says_skip(pytester: pytest.Pytester, folder: Path) -> None:
    over_limit(folder / "limit.json")
    good(folder / "good.json")
    done = run(pytester, "--kvverify", "certificates/limit.json", "certificates/good.json")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["INCOMPLETE */limit.json", "  right * undecided is not proved"])
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    skipping = ("--kvverify", "--kvverify-incomplete=skip", "-rs")
    done = run(pytester, *skipping, "certificates/limit.json", "certificates/good.json")
    done.assert_outcomes(passed=1, skipped=1)
    done.stdout.fnmatch_lines(["SKIPPED * INCOMPLETE *limit.json*"])
    mutated(folder / "mutated.json")
    run(pytester, *skipping, "certificates/mutated.json").assert_outcomes(failed=1)
    assert run(pytester, "--kvverify", "--kvverify-incomplete=pass").ret == pytest.ExitCode.USAGE_ERROR


def test_the_junit_report_of_pytest_holds_the_failure(pytester: pytest.Pytester, folder: Path) -> None:
    good(folder / "good.json")
    mutated(folder / "mutated.json")
    run(pytester, "--kvverify", "certificates", "--junitxml=out.xml")
    (suite,) = ElementTree.parse(pytester.path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    first, second = suite.iter("testcase")
    assert (first.get("name"), second.get("name")) == ("certificates.good.json", "certificates.mutated.json")
    properties = {one.get("name"): one.get("value") for one in first.iter("property")}
    assert properties == {"claim": "state of 16 tokens >= 33 bits", "second_opinion": "agrees"}
    failure = second.find("failure")
    assert failure is not None
    assert "step    decay (rule exp-bound)" in (failure.text or "")


def test_beside_tests_and_only_where_it_is_asked_for(pytester: pytest.Pytester, folder: Path) -> None:
    mutated(folder / "mutated.json")
    pytester.makepyfile(test_one="def test_one():\n    pass\n")
    run(pytester).assert_outcomes(passed=1)
    run(pytester, "--kvverify").assert_outcomes(passed=1, failed=1)
    run(pytester, "--kvverify", "test_one.py").assert_outcomes(passed=1)
    run(pytester, "--kvverify", "--ignore=certificates").assert_outcomes(passed=1)


def test_it_costs_nothing_where_it_is_not_asked_for(pytester: pytest.Pytester, folder: Path) -> None:
    """In a process of its own: pytest with the plugin loads two small files of ours and nothing heavy."""
    mutated(folder / "mutated.json")
    pytester.makepyfile(
        test_loaded="""
        import sys

        def test_loaded():
            ours = {name for name in sys.modules if name.partition(".")[0] == "kvverify"}
            assert ours == {"kvverify", "kvverify.pytest_plugin"}
            assert not {"numpy", "flint", "torch", "typer", "rich"} & sys.modules.keys()
        """
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "kvverify.pytest_plugin", "-p", "no:cacheprovider", "-q"],
        cwd=pytester.path, text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
