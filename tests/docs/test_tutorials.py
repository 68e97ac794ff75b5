"""The tutorials, and the reviewer's five minutes: every command runs, and prints what the page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import needs
from tests.docs.session import ROOT, Call, alike, blocks, calls, run

PAGES = {page.name: page for page in [*(ROOT / "docs" / "tutorials").glob("*.md"), ROOT / "docs" / "trust.md"]}
EXTRAS = {"engineer.md": ("torch", "audit")}


def test_a_block_is_commands_with_their_outputs() -> None:
    page = "<!-- test: slow, coqc -->\n```console\n$ a \\\n> b\none\n...\n$ c\n```\n\n```python\n# x.py\n```\n"
    first, second = blocks(page)
    assert (first.asks, first.kind) == ({"slow", "coqc"}, "console")
    assert calls(first.text) == [Call("a \\\nb\n", "one\n...\n"), Call("c\n", "")]
    assert (second.asks, second.kind, second.text) == (frozenset(), "python", "# x.py\n")


def test_another_output_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ printf '1\\n2\\n'\n1\n...\n$ (exit 3)\n$ echo $?\n2\n```\n")
    (said,) = run(page, tmp_path, slow=False)
    assert said == "$ echo $?\n--- printed\n2\n--- came\n3\n"
    assert not alike("1\n", "1\n2\n")


@pytest.mark.parametrize("name", sorted(PAGES))
@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_what_a_page_shows_is_what_comes(name: str, slow: bool, tmp_path: Path) -> None:
    if name in EXTRAS:
        needs(*EXTRAS[name])
    assert run(PAGES[name], tmp_path, slow=slow) == []
