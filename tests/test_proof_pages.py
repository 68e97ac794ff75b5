"""Every rule has its written proof: a row of the index, a section with statement, proof and source, and a test file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvverify.kernel.rules import RULES

ROOT = Path(__file__).resolve().parent.parent
PROOFS = ROOT / "docs" / "proofs"
ROW = re.compile(r"^\| `([a-z-]+)` \| \[\w+\]\((\w+\.md)(?:#([\w-]+))?\) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
INDEX = {name: row for name, *row in ROW.findall((PROOFS / "README.md").read_text())}


def anchors(text: str) -> list[tuple[str, int, int]]:
    """The headings of a page, as a site names them: anchor, level, where the heading starts."""
    found = []
    for heading in re.finditer(r"^(#+) (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", heading[2].lower()).strip()
        found.append((re.sub(r"[\s-]+", "-", plain), len(heading[1]), heading.start()))
    return found


def section(page: str, anchor: str) -> str:
    """The text of a page from a heading to the next one of its level or above; all of it without an anchor."""
    text = (PROOFS / page).read_text()
    if not anchor:
        return text
    headings = anchors(text)
    ((level, start),) = [(level, start) for name, level, start in headings if name == anchor]
    ends = [other for _, depth, other in headings if other > start and depth <= level]
    return text[start : min(ends, default=len(text))]


def test_the_index_has_every_rule_and_nothing_else() -> None:
    assert INDEX.keys() == RULES.keys()


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_statement_proof_and_source(rule: str) -> None:
    page, anchor, _, source, _ = INDEX[rule]
    text, whole = section(page, anchor), section(page, "")
    assert re.search(r"\*Statement[.:]", text)
    assert re.search(r"Proof[.:]", text)
    for_the_page = "Source: " in whole.partition("\n## ")[0] or "\nSource: " in whole
    assert "Source: " in text or for_the_page
    assert re.match(r"ours|textbook|[A-Z][a-z]+", source)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_proved_where_its_code_says(rule: str) -> None:
    module = RULES[rule].__module__.rpartition(".")[2]
    code = (ROOT / "kvverify" / "kernel" / "rules" / f"{module}.py").read_text()
    assert f"docs/proofs/{INDEX[rule][0]}" in code


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_tested_where_the_index_says(rule: str) -> None:
    files = re.findall(r"`(\w+\.py)`", INDEX[rule][4])
    assert files
    for name in files:
        text = (ROOT / "tests" / "kernel" / name).read_text()
        assert re.search(rf"\b{rule.replace('-', '[-_ ]')}", text), name


@pytest.mark.parametrize("page", sorted(PROOFS.glob("*.md")), ids=lambda page: page.name)
def test_links_to_sections_lead_to_one(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([\w.]*\.md)?#([^)]+)\)", page.read_text()):
        names = [name for name, _, _ in anchors((PROOFS / (target or page.name)).read_text())]
        assert names.count(anchor) == 1, (target, anchor)
