"""A page's blocks as text for terminals, as Markdown, and as a complete LaTeX document.

Prose is ASCII with code between backquotes; every renderer escapes what is neither.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

from kvverify.report.explain.page import Block, Heading, Items, Listing, Paragraph
from kvverify.report.explain.template import Formula

_WIDTH = 100
_LISTING_WIDTH = 128  # a row of a code of the usual length
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"{\char34}",
    **{c: f"\\{c}" for c in "$&#_%"},
}  # fmt: skip
_PIECES = re.compile(r".{1,20}?[_/.-]+|.{1,20}")
_TEX_PARTS = re.compile(r",\s*\\q?quad\s+")
_BEFORE = r"""\documentclass{article}
\usepackage{amsmath}
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt}
\emergencystretch=3em
\begin{document}
"""


def text(blocks: list[Block]) -> str:
    """For a terminal: wrapped at 100 columns."""
    return "\n\n".join(_text(block) for block in blocks)


def _text(block: Block) -> str:
    if isinstance(block, Heading):
        plain = block.text.replace("`", "")
        return f"{plain}\n{('=' if block.level == 1 else '-') * len(plain)}"
    if isinstance(block, Paragraph):
        return _wrapped(block.text)
    if isinstance(block, Items):
        return "\n".join(_wrapped(item, "- ", "  ") for item in block.texts)
    return "\n".join(f"    {line}" for line in _lines(block))


def _wrapped(prose: str, first: str = "", further: str = "") -> str:
    return textwrap.fill(
        prose.replace("`", ""), _WIDTH, initial_indent=first, subsequent_indent=further, break_on_hyphens=False
    )


def _lines(listing: Listing | Formula) -> list[str]:
    """Short entries side by side, long rows broken; the parts of a formula."""
    if isinstance(listing, Formula):
        return listing.plain.split(",   ")
    if all(len(line) < 40 and ":" in line for line in listing.lines):
        return textwrap.wrap(", ".join(listing.lines), _WIDTH - 4, break_on_hyphens=False)
    return [part for line in listing.lines for part in textwrap.wrap(line, _LISTING_WIDTH) or [""]]


def markdown(blocks: list[Block]) -> str:
    """For a page: headings, lists, code and fenced formulas."""
    return "\n\n".join(_markdown(block) for block in blocks)


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_spans(block.text, _markdown_prose, '`{}`'.format)}"
    if isinstance(block, Paragraph):
        return _spans(block.text, _markdown_prose, "`{}`".format)
    if isinstance(block, Items):
        return "\n".join(f"- {_spans(item, _markdown_prose, '`{}`'.format)}" for item in block.texts)
    lines = _lines(block)
    return "\n".join(["```text", *lines, "```"])


def _markdown_prose(prose: str) -> str:
    return re.sub(r"([\\*_\[\]<>#|~&$])", r"\\\1", prose)


def latex(blocks: list[Block]) -> str:
    """A document of the class article that needs amsmath and nothing else."""
    return _BEFORE + "\n\n".join(_latex(block) for block in blocks) + "\n\\end{document}"


def _latex(block: Block) -> str:
    if isinstance(block, Heading):
        command = "section" if block.level == 1 else "subsection"
        return f"\\{command}*{{{_spans(block.text, _latex_prose, _latex_code)}}}"
    if isinstance(block, Paragraph):
        return _spans(block.text, _latex_prose, _latex_code)
    if isinstance(block, Items):
        items = [f"\\item {_spans(item, _latex_prose, _latex_code)}" for item in block.texts]
        return "\n".join(["\\begin{itemize}", *items, "\\end{itemize}"])
    if isinstance(block, Formula):
        parts = ",\\\\\n".join(_TEX_PARTS.split(block.tex))
        return f"\\[\\begin{{gathered}}\n{parts}\n\\end{{gathered}}\\]"
    lines = [line.replace(" ", "~") for line in map(_latex_prose, _lines(block))]
    return "{\\tiny\\ttfamily\\raggedright\n" + "\\\\\n".join(lines) + "\\par}"


def _latex_prose(prose: str) -> str:
    return "".join(_LATEX.get(c, c) for c in prose)


def _latex_code(code: str) -> str:
    """Names may break behind their marks, and digests anywhere."""
    return "\\texttt{" + "\\allowbreak{}".join(_latex_prose(part) for part in _PIECES.findall(code)) + "}"


def _spans(prose: str, plain: Callable[[str], str], code: Callable[[str], str]) -> str:
    parts = prose.split("`")
    return "".join(code(part) if i % 2 else plain(part) for i, part in enumerate(parts))


FORMATS: dict[str, Callable[[list[Block]], str]] = {"text": text, "markdown": markdown, "latex": latex}
