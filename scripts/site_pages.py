"""Hooks of mkdocs (scripts/mkdocs.yml): pages at the top of the repository, and a navigation that leaves no page out.

README.md is the site's index.md; CONTRIBUTING.md and CHANGELOG.md lie beside it, as if they were in docs/. Links
between these and the pages of docs/ are rewritten to where the pages stand in the site. Lists and formulas are read as
GitHub reads them.
"""

from __future__ import annotations

import re
from pathlib import Path

from markdown import Markdown
from markdown.extensions import Extension
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

TOP = Path(__file__).resolve().parent.parent
SEATS = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
FENCED = re.compile(r"^```.*?^```$|.+?(?=^```|\Z)", re.MULTILINE | re.DOTALL)
# The prose of a paragraph right before a list: to mkdocs, what follows it is no list.
LIST = re.compile(r"(?:(?<=\n\n)|\A)(?:(?!- |\d+\. ).+\n)+(?=- |1\. )")
LINK = re.compile(r"(\]\()([^)#\s]+)")


class Formulas(Extension):  # type: ignore[misc]  # mkdocs need not be installed for mypy
    """In formulas <q, k> is no tag, and _ sets nothing in italics."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Drop what reads them so."""
        md.inlinePatterns.deregister("html")
        md.delimiters.remove("_")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Bring in the extension, which has no module that mkdocs could find."""
    config.markdown_extensions.append(Formulas())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Bring in the pages of the top, and add to the navigation the pages that it does not name."""
    for name, seat in SEATS.items():
        text = LINK.sub(lambda link: link[1] + _from_top(link[2]), (TOP / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, seat, content=text))
    sections = list(config.nav or [])
    named = {page for section in sections for pages in section.values() for page in pages}
    rest = [page.src_uri for page in files.documentation_pages() if page.src_uri not in named]
    config.nav = [*sections, {"More": sorted(rest)}] if rest else sections
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links from docs/ to a page of the top lead to its seat in the site; a list starts after an empty line."""
    for name, seat in SEATS.items():
        depth = page.file.src_uri.count("/")
        markdown = markdown.replace(f"]({'../' * (depth + 1)}{name}", f"]({'../' * depth}{seat}")
    return FENCED.sub(lambda part: part[0] if part[0].startswith("```") else LIST.sub(r"\g<0>\n", part[0]), markdown)


def _from_top(target: str) -> str:
    """A link of a page at the top, as one of a page in docs/."""
    if target == "docs/proofs/":
        return "proofs/README.md"
    return SEATS.get(target, target.removeprefix("docs/"))
