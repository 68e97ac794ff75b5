"""The documentation as a site: it builds offline with no broken link, holds every page, and fetches nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.docs.session import ROOT

needs("mkdocs", "docs")

PAGES = sorted(page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md"))
TOP = {"README.md": "index.html", "CONTRIBUTING.md": "CONTRIBUTING.html", "CHANGELOG.md": "CHANGELOG.html"}


def seat(page: Path) -> str:
    """Where a page of docs/ stands in the site."""
    return str(page.with_name("index.html") if page.name == "README.md" else page.with_suffix(".html"))


def build(config: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", folder]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "scripts" / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def menu(site: Path) -> set[str]:
    """The pages to which the navigation leads from the first one."""
    text = (site / "index.html").read_text().split('role="navigation"')[1]
    return set(re.findall(r'class="[^"]*reference internal[^"]*" href="([^"#]+)"', text))


def test_every_page_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    wanted = {seat(page) for page in PAGES} | set(TOP.values())
    assert wanted - {str(page.relative_to(site)) for page in site.rglob("*.html")} == set()
    assert wanted - menu(site) - {"index.html"} == set()


def test_a_page_that_is_not_named_is_put_last(tmp_path: Path) -> None:
    text = (ROOT / "scripts" / "mkdocs.yml").read_text()
    places = {"docs_dir: ../docs": f"docs_dir: {ROOT}/docs", "[site_pages.py]": f"[{ROOT}/scripts/site_pages.py]"}
    for old, new in places.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "mkdocs.yml").write_text(text.partition("  - Tutorials:")[0])
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert {"trust.html", "tutorials/theorist.html", "CHANGELOG.html"} <= menu(tmp_path / "site")


def leads_somewhere(page: Path, target: str) -> bool:
    """Whether a link of a page of the site is to another place, or to a file and an anchor that are there."""
    path, _, anchor = target.partition("#")
    if "://" in target or path.startswith(("mailto:", "data:")):
        return True
    there = page.parent / path if path else page
    return there.exists() and (not anchor or there.suffix != ".html" or f'id="{anchor}"' in there.read_text())


def test_links_lead_somewhere(site: Path) -> None:
    pages = [page for page in site.rglob("*.html") if page.name != "404.html"]  # whose links are from the root
    targets = [(page, target) for page in pages for target in re.findall(r'(?:href|src)="([^"]+)"', page.read_text())]
    assert len(targets) > 1000
    assert [link for link in targets if not leads_somewhere(*link)] == []


def test_formulas_are_no_markup(site: Path) -> None:
    pages = {str(page.relative_to(site)): page.read_text() for page in site.rglob("*.html")}
    assert "A score is &lt;q, k&gt;; a scale" in pages["proofs/class.html"]
    assert "leaves B' with b'_ij = b_ij - b_i1 b_1j" in pages["proofs/volume.html"]
    assert "<ul>\n<li><strong>Any compressor in the class</strong>" in pages["index.html"]
    lists = re.compile(r"<p>(?:(?!</p>).)*?\n(?:- |1\. )", re.DOTALL)
    assert [name for name, text in pages.items() if lists.search(text)] == []
    assert [name for name, text in pages.items() if re.search(r"<[a-z](?:_\w)?, ?[^>]*>", text)] == []


def test_it_fetches_nothing(site: Path) -> None:
    far = r"(?:https?:)?//"
    fetched = re.compile(rf'src="{far}|<link(?![^>]*canonical)[^>]*href="{far}|url\(["\']?{far}')
    files = [file for kind in ("*.html", "*.css") for file in site.rglob(kind)]
    assert [file for file in files if fetched.search(file.read_text())] == []
    assert fetched.search('<link href="https://a.test/x.css" rel="stylesheet">')


def test_a_dead_link_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[nowhere](nowhere.md)\n")
    text = (ROOT / "scripts" / "mkdocs.yml").read_text()
    text = re.sub(r"^(docs_dir|site_dir|hooks):.*\n", "", text, flags=re.MULTILINE).partition("# In reading order")[0]
    (tmp_path / "mkdocs.yml").write_text(text)
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 1
    assert "nowhere.md" in done.stderr
