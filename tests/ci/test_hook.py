"""The pre-commit hook, run on staged files as pre-commit runs it: its entry, and the names that its pattern finds.

The entry is called in this process; what installs it is pre-commit's own business.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.ci.certificates import ROOT, good, mutated, over_limit
from tests.ci.conftest import Git, guide
from tests.cli.command import kvverify

Commit = Callable[..., tuple[int, str] | None]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())


@pytest.fixture
def commit(clone: Path, sample: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> Commit:
    """Stage everything and run the clone's hook; its exit code and last line, or None where no file is for it."""
    monkeypatch.chdir(sample)
    (hook,) = yaml.safe_load((clone / ".pre-commit-hooks.yaml").read_text())

    def run(*arguments: str) -> tuple[int, str] | None:
        git("-C", sample, "add", ".")
        staged = git("-C", sample, "diff", "--cached", "--name-only", "-z", "--diff-filter=ACMRTUXB").split("\0")
        files = [name for name in staged if re.search(hook["files"], name)]
        if not files:
            return None
        command, *words = shlex.split(hook["entry"])
        assert command in tomllib.loads((clone / "pyproject.toml").read_text())["project"]["scripts"]
        done = kvverify(*words, *arguments, *files)
        return done.code, (done.out or done.err).splitlines()[-1]

    return run


def test_the_hook_is_as_pre_commit_reads_it() -> None:
    (hook,) = HOOKS
    assert hook.keys() == {"id", "name", "description", "entry", "language", "files"}
    assert (hook["id"], hook["language"]) == ("kvverify-check", "python")
    ((used,),) = (repo["hooks"] for repo in yaml.safe_load(guide()["repos"])["repos"])
    assert used == {"id": hook["id"]}


@pytest.mark.parametrize("name", ["certificates/a.json", "certificates/b/c.json", "paper/certificates/a.json"])
def test_files_that_are_judged(name: str) -> None:
    assert re.search(HOOKS[0]["files"], name)


@pytest.mark.parametrize(
    "name", ["a.json", "certificates/a.md", "my-certificates/a.json", "certificates.json", "a.jsonl"]
)
def test_files_that_are_none_of_its_business(name: str) -> None:
    assert not re.search(HOOKS[0]["files"], name)


def test_commits(commit: Commit, sample: Path, git: Git) -> None:
    assert commit() is None  # nothing changed
    good(sample / "certificates" / "new.json")
    (sample / "package.json").write_text("{}")
    assert commit() == (0, "1 valid, 0 invalid, 0 incomplete")
    git("-C", sample, "rm", "--quiet", "certificates/one.json")
    assert commit() == (0, "1 valid, 0 invalid, 0 incomplete")
    over_limit(sample / "certificates" / "below" / "two words.json")
    assert commit() == (3, "1 valid, 0 invalid, 1 incomplete")
    mutated(sample / "certificates" / "new.json")
    assert commit() == (1, "0 valid, 1 invalid, 1 incomplete")


def test_other_json_in_a_folder_of_certificates(commit: Commit, sample: Path) -> None:
    (sample / "certificates" / "index.json").write_text('{"files": 2}')
    assert commit() == (1, "0 valid, 1 invalid, 0 incomplete")
    assert commit("--only-certificates") == (0, "0 valid, 0 invalid, 0 incomplete")
    mutated(sample / "certificates" / "new.json")
    assert commit("--only-certificates") == (1, "0 valid, 1 invalid, 0 incomplete")
