"""``check``: certificates proved again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvverify.cli.options import Json
from kvverify.cli.output import apart, save, show


def check(
    paths: Annotated[list[Path], typer.Argument(help="Certificates, or folders that are searched for *.json.")],
    files: Annotated[Path | None, typer.Option(help="Folder of the files that certificates refer to.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report here.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write a SARIF 2.1.0 log here.")] = None,
    changed_since: Annotated[
        str | None, typer.Option(help="Only files that git saw change since this revision.")
    ] = None,
    expect: Annotated[
        Path | None, typer.Option(help="A statement: same class, and a bound at least as strong.")
    ] = None,
    only_certificates: Annotated[
        bool, typer.Option("--only-certificates", help="Leave out files that nowhere name the certificates' format.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Re-prove certificates with the kernel, and ask Arb for a second opinion."""
    from kvverify.report.checks import check_all, checks_json, checks_text, junit_bytes
    from kvverify.report.sarif import sarif_bytes

    outcomes = check_all(
        paths, files=files, changed_since=changed_since, expect=expect, only_certificates=only_certificates
    )
    read = [expect, *(outcome.path for outcome in outcomes)]
    apart(junit, sarif, *read)
    apart(sarif, *read)
    if junit is not None:
        save(junit, junit_bytes(outcomes))
    if sarif is not None:
        save(sarif, sarif_bytes(outcomes))
    show(checks_json(outcomes) if as_json else checks_text(outcomes))
    raise typer.Exit({None: 0, "VALID": 0, "INVALID": 1, "INCOMPLETE": 3}[checks_json(outcomes)["verdict"]])
