"""``explain``: a certificate's proof as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvverify.cli.options import Json
from kvverify.cli.output import apart, save, show
from kvverify.errors import UsageError


def explain(
    path: Annotated[Path, typer.Argument(help="A certificate.", metavar="FILE")],
    page_format: Annotated[
        str, typer.Option("--format", help="text, markdown or latex (a complete document).")
    ] = "text",
    output: Annotated[Path | None, typer.Option(help="Write the page here, else to standard output.")] = None,
    files: Annotated[Path | None, typer.Option(help="Folder of the files that the certificate refers to.")] = None,
    as_json: Json = False,
) -> None:
    """Check a certificate, and print its proof as a page of plain sentences with numbers."""
    from kvverify.report.explain import FORMATS, explain_json, page, verdict
    from kvverify.report.explain import explain as explained

    if page_format not in FORMATS:
        raise UsageError(f"--format {page_format} given, one of {', '.join(FORMATS)} is needed")
    apart(output, path)
    found = explained(path, files)
    written = FORMATS[page_format](page(found))
    if output is not None:
        save(output, f"{written}\n".encode())
    if as_json:
        show(explain_json(found))
    else:
        show(written if output is None else verdict(found).replace("`", ""))
    raise typer.Exit({"VALID": 0, "INVALID": 1, "INCOMPLETE": 3}[found.result.verdict.value])
