"""A throw-away clone of the project, and a sample repository that uses it as docs/ci.md says."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ci.certificates import ROOT, good

Git = Callable[..., str]


def guide() -> dict[str, str]:
    """The YAML examples of the guide, by their first key."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    return {block.partition(":")[0]: block for block in blocks}


@pytest.fixture(scope="session")
def git(tmp_path_factory: pytest.TempPathFactory) -> Git:
    """git with an identity of its own, deaf to the configuration of the machine."""
    config = tmp_path_factory.mktemp("git") / "config"
    config.write_text("[user]\nname = t\nemail = t@example.org\n[safe]\ndirectory = *\n[init]\ndefaultBranch = main\n")
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    quiet |= {"GIT_CONFIG_GLOBAL": str(config), "GIT_CONFIG_SYSTEM": os.devnull}

    def run(*words: str | Path) -> str:
        done = subprocess.run(["git", *words], env=quiet, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def clone(git: Git, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last commit of this project, marked so that one sees whose code ran."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so there is no commit to clone")
    path = tmp_path_factory.mktemp("clone") / "kvverify"
    git("clone", "--quiet", ROOT, path)
    package = path / "kvverify" / "__init__.py"
    package.write_text(re.sub(r'__version__ = "[^"]*"', '__version__ = "0.0.clone"', package.read_text()))
    return path


@pytest.fixture
def sample(git: Git, tmp_path: Path) -> Path:
    """A repository with two certificates, the guide's workflow and hook, and files that would like to be imported."""
    path = tmp_path / "sample"
    good(path / "certificates" / "one.json")
    good(path / "certificates" / "below" / "two words.json")
    examples = guide()
    (path / ".github" / "workflows").mkdir(parents=True)
    (path / ".github" / "workflows" / "certificates.yml").write_text(examples["name"])
    (path / ".pre-commit-config.yaml").write_text(examples["repos"])
    (path / "kvverify").mkdir()
    for name in ("json.py", "typing.py", "kvverify/__init__.py", "kvverify/__main__.py"):
        (path / name).write_text("raise SystemExit(0)\n")
    git("init", "--quiet", path)
    git("-C", path, "add", ".")
    git("-C", path, "commit", "--quiet", "-m", "first")
    return path
