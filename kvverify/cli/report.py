"""``report``: one page from the results of audits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvverify.cli.options import Json, count
from kvverify.cli.output import apart, progress, save, show
from kvverify.errors import UsageError

PAGE = "index.html"
_MOST = 5000


def report(
    results: Annotated[list[Path], typer.Argument(help="JSON lines, Parquet, or objects of audits.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for index.html.")] = Path("kvverify-report"),
    most: Annotated[str, typer.Option(help="Audits on the page; the others are counted.")] = "1000",
    classes: Annotated[str, typer.Option(help="Classes of instances that are drawn, the first ones.")] = "8",
    curves: Annotated[bool, typer.Option(help="Prove the curves of each class (10 to 20 s each).")] = True,
    claims: Annotated[bool, typer.Option(help="Ask the kernel about the ledger's claims.")] = True,
    ledger: Annotated[Path | None, typer.Option(help="Your own claims, too (a Python file; it is executed).")] = None,
    as_json: Json = False,
) -> None:
    """One static page of audits: table, plots beside proved bounds, evidence, and the papers' claims."""
    from kvverify.claims.ledger import judge
    from kvverify.claims.ledger import ledger as known
    from kvverify.report import site_bounds
    from kvverify.report.site import site_bytes
    from kvverify.report.site_read import read_results

    if (kept := count(most, "most")) > _MOST:
        raise UsageError(f"most: {kept} given; a page shows at most {_MOST} audits")
    if ledger is not None and not claims:
        raise UsageError("--ledger names claims, and --no-claims leaves them out; give one of them")
    path = output / PAGE
    apart(path, *results)
    rows = known(ledger) if claims else ()
    found = read_results(results, kept)
    drawn = site_bounds.shapes(found.shown)[: count(classes, "classes")]
    beside = {
        shape: site_bounds.curves(shape, progress) if curves else site_bounds.Curves(reason="none were asked for")
        for shape in drawn
    }
    entries = []
    for number, row in enumerate(rows):
        progress(f"claim {row.id}", number / len(rows))
        entries.append(judge(row))
    content = site_bytes(found, beside, entries)
    output.mkdir(parents=True, exist_ok=True)
    save(path, content)
    if as_json:
        show({
            "schema": "kvverify-report/1", "page": str(path), "audits": found.read, "shown": len(found.shown),
            "counts": found.counts(), "notes": found.notes,
        })  # fmt: skip
    else:
        counted = ", ".join(f"{number} {status}" for status, number in found.counts().items())
        kept_back = "" if found.read == len(found.shown) else f", {len(found.shown)} of them shown"
        show(f"{found.read} audit(s){kept_back}: {counted}. Page: {path}")
