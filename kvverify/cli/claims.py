"""``claims``, and ``certify ID``: the ledger of the papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvverify.cli.options import Json
from kvverify.cli.output import save, say, show
from kvverify.errors import Incomplete, UsageError

Ledger = Annotated[Path | None, typer.Option(help="A Python file with a list CLAIMS of your own; it is executed.")]


def claims(
    claim: Annotated[str | None, typer.Argument(metavar="[ID]", help="One claim, all of it.")] = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """What papers claim, as recorded, with a status that the kernel re-proves now."""
    from kvverify.claims.ledger import find, judge
    from kvverify.claims.ledger import ledger as known
    from kvverify.claims.show import entry_text, ledger_json, table

    among = known(ledger)
    entries = [judge(one) for one in (among if claim is None else [find(claim, among)])]
    if as_json:
        show(ledger_json(entries))
    else:
        show(table(entries) if claim is None else entry_text(entries[0]))


def certify_claim(
    name: str, artefact: str | None, settings: list[str], ledger: Path | None, output: Path | None, as_json: bool
) -> None:
    """The certificate of a row, also for other parameters. A contradiction's certificate is one like all others."""
    from kvverify.claims.ledger import find
    from kvverify.claims.ledger import ledger as known
    from kvverify.claims.recipe import arguments, built, choose
    from kvverify.kernel.check import Verdict, check

    claim = find(name, known(ledger))
    certificate = choose(claim, artefact)
    tree = built(certificate, arguments(certificate, settings))
    result = check(tree)
    if result.verdict is Verdict.INCOMPLETE:
        raise Incomplete(f"{claim.id} {certificate.name}: {result.reason}")
    if result.verdict is Verdict.INVALID:
        raise UsageError(f"{claim.id} {certificate.name} does not hold for these parameters: {result.reason}")
    if output is not None:
        save(output, tree)
    names = [other.name for other in claim.certificates]
    if as_json:
        show({
            "schema": "kvverify-certify-claim/1", "id": claim.id, "artefact": certificate.name, "artefacts": names,
            "verdict": result.verdict.value, "claim": result.claim,
            "certificate": None if output is None else str(output),
        })  # fmt: skip
    elif output is None:
        show(tree)
    else:
        what = f"with {', '.join(settings)}" if settings else certificate.shows
        show(f"{result.verdict.value}: {result.claim}\n{claim.id} {certificate.name}: {what}")
    if len(names) > 1 and not as_json:
        say(f"kvverify: {claim.id} {certificate.name}; --artefact, one of {', '.join(names)}")
