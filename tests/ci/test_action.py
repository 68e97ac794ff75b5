"""action.yml and its one script, run on a sample repository as GitHub's runner would; never on GitHub itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.ci.certificates import ROOT, mutated, over_limit
from tests.ci.conftest import Git, guide

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
INPUT = re.compile(r"\$\{\{ inputs\.([a-z-]+) \}\}")
Act = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def act(clone: Path, sample: Path) -> Act:
    """Run the clone's action in the sample repository with the given inputs, in this interpreter's environment."""
    action = yaml.safe_load((clone / "action.yml").read_text())

    def run(**given: str) -> subprocess.CompletedProcess[str]:
        inputs = {name: str(one.get("default", "")) for name, one in action["inputs"].items()}
        inputs |= {name.replace("_", "-"): value for name, value in given.items()}
        (step,) = action["runs"]["steps"]
        env = {name: INPUT.sub(lambda match: inputs[match[1]], value) for name, value in step["env"].items()}
        return subprocess.run(
            [step["shell"], "-e", "-c", step["run"]], cwd=sample, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": ".", "PYTHONDONTWRITEBYTECODE": "", "KVVERIFY_PYTHON": sys.executable,
                 "GITHUB_ACTION_PATH": str(clone), **env},
        )  # fmt: skip

    return run


def test_the_action_is_one_step_that_is_one_script() -> None:
    assert ACTION.keys() == {"name", "description", "inputs", "runs"}
    assert ACTION["runs"].keys() == {"using", "steps"}
    assert ACTION["runs"]["using"] == "composite"
    (step,) = ACTION["runs"]["steps"]
    assert step.keys() == {"name", "shell", "env", "run"}
    assert (step["shell"], step["run"]) == ("bash", 'bash "$GITHUB_ACTION_PATH/scripts/action.sh"')
    assert os.access(ROOT / "scripts" / "action.sh", os.X_OK)


def test_every_input_is_described_and_reaches_the_script_once() -> None:
    (step,) = ACTION["runs"]["steps"]
    passed = [INPUT.fullmatch(value)[1] for value in step["env"].values()]
    assert sorted(passed) == sorted(ACTION["inputs"])
    assert all(one.keys() == {"description", "default"} and one["description"] for one in ACTION["inputs"].values())
    script = (ROOT / "scripts" / "action.sh").read_text()
    head, _, body = script.partition("set -euo pipefail")
    for name in (*step["env"], "KVVERIFY_PYTHON"):
        assert name in head, name
        assert f"${{{name}:-" in body, name


def test_certificates_that_hold(act: Act, sample: Path) -> None:
    done = act(junit="out.xml", sarif="out.sarif")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "2 valid, 0 invalid, 0 incomplete"
    assert ElementTree.parse(sample / "out.xml").getroot().get("tests") == "2"
    (run,) = json.loads((sample / "out.sarif").read_text())["runs"]
    assert (run["tool"]["driver"]["version"], run["results"]) == ("0.0.clone", [])


def test_one_that_does_not_hold(act: Act, sample: Path) -> None:
    mutated(sample / "certificates" / "below" / "two words.json")
    done = act(junit="out.xml", sarif="out.sarif")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "1 valid, 1 invalid, 0 incomplete")
    (failure,) = ElementTree.parse(sample / "out.xml").getroot().iter("failure")
    assert "exp_minus_at_most * e^exponent >= 1" in failure.get("message", "")
    assert "step    decay (rule exp-bound)" in (failure.text or "")
    ((result,),) = (run["results"] for run in json.loads((sample / "out.sarif").read_text())["runs"])
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert (result["ruleId"], place) == ("exp-bound", "certificates/below/two%20words.json")


@pytest.mark.parametrize(
    ("inputs", "code", "line"),
    [
        ({"paths": "certificates/one.json\n\ncertificates/below/two words.json\n"}, 0, "2 valid, 0 invalid"),
        ({"paths": "--help"}, 2, "--help: no such file or folder"),
        ({"paths": "$(touch broken)`touch broken`; touch broken"}, 2, "no such file or folder"),
        ({"changed_since": "--output=broken"}, 2, "--changed-since: git says"),
        ({"expect": ".pre-commit-config.yaml"}, 2, "a statement is an object of strings"),
    ],
)
def test_inputs(inputs: dict[str, str], code: int, line: str, act: Act, sample: Path) -> None:
    done = act(**inputs)
    assert done.returncode == code
    assert line in (done.stdout if code == 0 else done.stderr)
    assert not (sample / "broken").exists()


def test_undecided_is_no_success_and_changes_are_found(act: Act, sample: Path, git: Git) -> None:
    over_limit(sample / "certificates" / "new.json")
    done = act(changed_since="HEAD")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (3, "0 valid, 0 invalid, 1 incomplete")
    git("-C", sample, "rm", "--quiet", "certificates/one.json")
    (sample / "certificates" / "new.json").unlink()
    assert act(changed_since="HEAD").stdout.splitlines()[-1] == "0 valid, 0 invalid, 0 incomplete"


def test_the_guides_workflow_uses_the_action_as_it_is() -> None:
    (job,) = yaml.safe_load(guide()["name"])["jobs"].values()
    uses: dict[str, Any] = {step["uses"].partition("@")[0]: step.get("with", {}) for step in job["steps"]}
    assert uses["OWNER/kvverify"].keys() <= ACTION["inputs"].keys()
    assert uses["OWNER/kvverify"]["sarif"] == uses["github/codeql-action/upload-sarif"]["sarif_file"]
    rows = re.findall(r"^\| (`[a-z-`, ]+`) \|.*$", (ROOT / "docs" / "ci.md").read_text(), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}
    assert documented >= ACTION["inputs"].keys()
    assert "was not run on GitHub" in (ROOT / "docs" / "ci.md").read_text()


@pytest.mark.slow
def test_the_script_installs_the_checker_itself(clone: Path, sample: Path, tmp_path: Path) -> None:
    """Needs pip's index. Nothing is left behind."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("KVVERIFY_")}
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        ["bash", clone / "scripts" / "action.sh"], cwd=sample, capture_output=True, text=True,
        env={**bare, "PYTHONPATH": ".", "RUNNER_TEMP": str(tmp_path / "tmp"), "KVVERIFY_SARIF": "out.sarif"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 valid, 0 invalid, 0 incomplete"
    (run,) = json.loads((sample / "out.sarif").read_text())["runs"]
    assert run["tool"]["driver"]["version"] == "0.0.clone"
    assert list((tmp_path / "tmp").iterdir()) == []
