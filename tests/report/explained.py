"""What the tests of pages share: committed certificates and the kernel's controls, explained; a reader of LaTeX."""

from __future__ import annotations

import json
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kvverify.report.explain import Explanation, explain, explain_bytes
from tests.kernel.controls import Control, rebuild
from tests.kernel.test_mutants import controls

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted((ROOT / "certificates").rglob("*.json"))
every_certificate = pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)

Node = dict[str, Any]


@cache
def explained(path: Path) -> Explanation:
    return explain(path)


@cache
def control_pages() -> tuple[tuple[Control, Explanation], ...]:
    """Every control of the kernel's tests, explained."""
    found = []
    for control in controls():
        with tempfile.TemporaryDirectory() as folder:
            for file, content in control.files:
                (Path(folder) / file).write_bytes(content)
            found.append((control, explain_bytes(json.dumps(control.tree).encode(), Path(folder), "control.json")))
    return tuple(found)


def tree_of(name: str) -> Node:
    """A copy of the control of that name, to be changed."""
    (control,) = (control for control in controls() if control.name == name)
    found: Node = json.loads(json.dumps(control.tree))
    return found


def judged(tree: Node) -> Explanation:
    return explain_bytes(json.dumps(rebuild(tree)).encode(), ROOT, "c.json")


def sound_latex(text: str) -> None:
    """Complete and balanced, with nothing that a special character of a name could have opened."""
    assert text.isascii()
    assert text.startswith("\\documentclass{article}\n")
    assert text.endswith("\\end{document}")
    assert set(re.findall(r"\\usepackage\{(.*?)\}", text)) == {"amsmath"}
    bare = re.sub(r"\\[\\{}$&#_%^~]", "", text.replace("\\\\\n", "\n"))
    depth = 0
    for c in bare:
        depth += {"{": 1, "}": -1}.get(c, 0)
        assert depth >= 0
    assert depth == 0
    stack = []
    for kind, environment in re.findall(r"\\(begin|end)\{(.*?)\}", text):
        if kind == "begin":
            stack.append(environment)
        else:
            assert stack.pop() == environment
    assert stack == []
    assert text.count("\\begin{document}") == text.count("\\end{document}") == 1
    prose = re.sub(r"\\\[.*?\\\]", "", bare, flags=re.DOTALL)
    assert re.search(r"[$&#%^_]", prose) is None, re.search(r".{20}[$&#%^_].{20}", prose)
    # textbackslash and its like are the only commands that a name can make.
    allowed = {
        "documentclass", "usepackage", "setlength", "parindent", "parskip", "emergencystretch", "begin", "end", "item",
        "section", "subsection", "texttt", "allowbreak", "textbackslash", "textasciitilde", "textasciicircum",
        "textless", "textgreater", "textbar", "char", "tiny", "ttfamily", "raggedright", "par",
    }  # fmt: skip
    assert set(re.findall(r"\\([a-zA-Z]+)", prose)) <= allowed
