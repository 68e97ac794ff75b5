"""What ``kvverify claims`` says: the JSON object, the table, one entry."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from textwrap import fill
from typing import Any

from kvverify.claims.base import PROVENANCE, STATUSES, Table
from kvverify.claims.ledger import PAPERS, Entry, Found, place
from kvverify.claims.recipe import parameters
from kvverify.figures import at_least

_WIDTH = 110


def ledger_json(entries: Iterable[Entry]) -> dict[str, Any]:
    """The object of ``kvverify claims --json``. ``record`` ends with quantifiers and units."""
    return {"schema": "kvverify-claims/1", "claims": [_claim_json(entry) for entry in entries]}


def _claim_json(entry: Entry) -> dict[str, Any]:
    claim = entry.claim
    return {
        "id": claim.id,
        "paper": claim.paper,
        "record": f"{claim.title}. {claim.record} Quantifiers: {claim.quantifiers} Units: {claim.units}",
        "provenance": list(claim.provenance),
        "status": entry.status,
        "readings": [
            {"reading": reading.reading, "status": status, "artefacts": list(reading.artefacts)}
            for reading, status in entry.readings
        ],
        "threshold": entry.threshold,
        "certificates": [_found_json(entry, found) for found in entry.found if not found.certificate.counterexample],
        "lemmas": list(entry.lemmas),
        "counterexamples": [_found_json(entry, found) for found in entry.found if found.certificate.counterexample],
    }


def _found_json(entry: Entry, found: Found) -> dict[str, Any]:
    return {
        "name": found.certificate.name,
        "shows": found.certificate.shows,
        "file": place(entry.claim, found.certificate),
        "claim": said(found),
        "verdict": found.verdict,
        "reason": found.reason,
    }


def table(entries: Iterable[Entry]) -> str:
    """One line a row, and what the words mean."""
    rows = [(entry.claim.id, entry.status, entry.claim.title) for entry in entries]
    first, second = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
    lines = [f"{name:<{first}}  {status:<{second}}  {title}" for name, status, title in rows]
    used = [status for status in STATUSES if any(row[1] == status for row in rows)]
    meaning = [f"{status}: {STATUSES[status]}" for status in used]
    return "\n".join(
        [*lines, "", *meaning, "", "All claims as recorded in this ledger; one of them: kvverify claims ID"]
    )


def entry_text(entry: Entry) -> str:
    """The whole row for people."""
    claim = entry.claim
    number = f", {claim.theorem}" if claim.theorem else ""
    parts = [
        f"{claim.id}  {claim.title}  ({PAPERS.get(claim.paper, claim.paper)}{number})",
        f"Status: {entry.status}" + (f" (declared {claim.status}; {entry.reason})" if entry.reason else ""),
        *(f"{name}: {text}" for name, text in (
            ("As recorded in this ledger", claim.record), ("Quantifiers", claim.quantifiers), ("Units", claim.units),
            ("Provenance", "; ".join(f"{tag} ({PROVENANCE[tag]})" for tag in claim.provenance)),
            ("Says something from", entry.threshold), ("Found", claim.finding),
        ) if text),
        "Readings:",
        *(f"- {status}: {reading.reading}" + (f" [{', '.join(reading.artefacts)}]" if reading.artefacts else "")
          for reading, status in entry.readings),
    ]  # fmt: skip
    for title, wanted in (("Certificates", False), ("Counter-examples", True)):
        chosen = [found for found in entry.found if found.certificate.counterexample is wanted]
        parts += [f"{title}:", *(_found_text(found) for found in chosen)] if chosen else []
    parts += [f"Lemmas (kvverify lemmas): {', '.join(entry.lemmas)}"] if entry.lemmas else []
    lines = _aligned(claim.table()) if claim.table else []
    if figures := claim.measured():
        parts += ["Measured, which proves nothing:", *(f"- {text}" for text in figures)]
    filled = [fill(part, _WIDTH, subsequent_indent="  ", break_on_hyphens=False) for part in parts]
    return "\n".join([*filled, *lines])


def _aligned(table: Table) -> list[str]:
    widths = [max(map(len, column)) for column in zip(table.head, *table.rows, strict=True)]
    side, lines = "<" if table.words else ">", (table.head, *table.rows)
    aligned = ("  ".join(f"{c:{side}{w}}" for c, w in zip(line, widths, strict=True)) for line in lines)
    return [table.title, *(line.rstrip() for line in aligned)]


def said(found: Found) -> str:
    """The certificate's claim as the kernel says it, with the exact bits where it is about state."""
    if found.result is None:
        return ""
    bits, claim = found.result.bits, found.result.claim
    if found.result.statement is not None and (mass := found.result.statement.top_mass_at_least):
        claim += f", every causal row with {mass} of its mass on one token"
    if bits is None or bits.denominator == 1:
        return claim
    return f"{claim} (log2 of the number of states >= {at_least(bits)}, so {ceil(bits):,} whole bits)"


def _found_text(found: Found) -> str:
    names = ", ".join(f"{name}={_shown(value)}" for name, value in parameters(found.certificate).items())
    claim = f" Kernel: {said(found)}" if said(found) else f" {found.reason}"
    return f"- {found.certificate.name} {found.verdict}: {found.certificate.shows} --set {names}.{claim}"


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "automatic" if value is None else str(value)
