"""``lemmas``: the algebra behind the rules and the claims, proved by two solvers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvverify.cli.options import Json, amount, require
from kvverify.cli.output import save, show
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from kvverify.lemmas import Lemma

_CODES = {"PROVED": 0, "REFUTED": 1, "INCOMPLETE": 3}


def lemmas(
    lemma: Annotated[str | None, typer.Argument(metavar="ID", help="One lemma; all of them without it.")] = None,
    solver: Annotated[str, typer.Option(help="z3, cvc5 or both; one alone proves nothing.")] = "both",
    timeout: Annotated[str, typer.Option(help="Seconds for one answer of a solver.")] = "20",
    smtlib: Annotated[Path | None, typer.Option(help="Write what the solvers are asked into this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Prove the lemmas behind rules and claims by z3 and cvc5, and refute their twins."""
    require("lemmas", "lemmas", "sympy")
    from kvverify.lemmas import LEMMAS, SOLVERS, find, prove, running

    if solver not in (*SOLVERS, "both"):
        raise UsageError(f"--solver {solver}: expected z3, cvc5 or both")
    seconds = amount(timeout, "timeout")
    chosen = LEMMAS if lemma is None else (find(lemma),)
    if smtlib is not None:
        _write(chosen, smtlib)
    found = []
    with running(SOLVERS if solver == "both" else (solver,), seconds) as engines:
        for one in chosen:
            found.append(prove(one, engines))
            if not as_json:
                show(found[-1].said())
        versions = {engine.name: engine.version or None for engine in engines}
    counts = {word.lower(): sum(finding.verdict == word for finding in found) for word in _CODES}
    if as_json:
        entries = [finding.json() for finding in found]
        show({"schema": "kvverify-lemmas/1", "solvers": versions, "counts": counts, "lemmas": entries})
    else:
        show(", ".join(f"{count} {word}" for word, count in counts.items()))
    verdicts = {finding.verdict for finding in found}
    raise typer.Exit(next((_CODES[word] for word in ("REFUTED", "INCOMPLETE") if word in verdicts), 0))


def _write(chosen: tuple[Lemma, ...], folder: Path) -> None:
    """Of each lemma its denial, and what its twin's counter-model must satisfy."""
    from kvverify.lemmas import counterexample, denial

    folder.mkdir(exist_ok=True)
    for lemma in chosen:
        numbers, given = "integers" if lemma.integers else "real numbers", " and ".join(lemma.given)
        head = f"; {lemma.id}: {lemma.says}\n; for all {numbers}{' with ' if given else ''}{given}: {lemma.then}\n"
        twin = f"; its twin, which is false: {lemma.twin.said()}\n"
        save(folder / f"{lemma.id}.smt2", f"{head}{denial(lemma)}(check-sat)\n".encode())
        save(folder / f"{lemma.id}-twin.smt2", f"{head}{twin}{counterexample(lemma)}(check-sat)\n".encode())
