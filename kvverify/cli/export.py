"""``export``: the numeric facts of a certificate for other provers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvverify.cli.options import Json
from kvverify.cli.output import apart, save, show
from kvverify.errors import UsageError


def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate.")],
    to: Annotated[str, typer.Option(help="coq, or smt (SMT-LIB: the rational facts alone).")],
    output: Annotated[Path | None, typer.Option(help="Write the file here, and print what is in it.")] = None,
    files: Annotated[Path | None, typer.Option(help="Folder of the files that the certificate refers to.")] = None,
    as_json: Json = False,
) -> None:
    """Write a certificate's leaf inequalities for Coq or an SMT solver to prove."""
    from kvverify.export import export as export_leaves

    if to not in ("coq", "smt"):
        raise UsageError(f"--to {to}: expected coq or smt")
    if files is not None and not files.is_dir():
        raise UsageError(f"--files {files}: no such folder")
    apart(output, path)
    found = export_leaves(path, "coq" if to == "coq" else "smt", files)
    if output is not None:
        save(output, found.text.encode())
    if as_json:
        place = {"file": str(path), "output": None if output is None else str(output)}
        show({**found.json(), **place, "text": found.text if output is None else None})
    else:
        show(found.summary() if output is not None else found.text.rstrip("\n"))
    raise typer.Exit({"VALID": 0, "INVALID": 1, "INCOMPLETE": 3}[found.result.verdict.value])
