"""The ledger as Markdown: docs/ledger.md, and the table of findings in README.md. Written by scripts/make_ledger.py."""

from __future__ import annotations

from collections.abc import Iterable

from kvverify.claims.base import PROVENANCE, STATUSES
from kvverify.claims.ledger import PAPERS, Entry, Found
from kvverify.claims.show import said

DEFINITIONS = (
    "n counts Alice's tokens; the asker's (Bob's) token comes on top of them. A window W includes the current token.",
    "score = <q, k>/scale, with the scale said: 1, or sqrt d.",
    "state: bits kept after Alice's last token and before any of the asker's input, a message of fixed length; the "
    "random "
    "tape is free and can be read again; keys are public. Certificates bound log2 of the number of states; a message "
    "of a "
    "whole number S of bits has S >= that number, rounded up.",
    "within (1 +- eta): |o - Z| <= eta |Z|, so Z = 0 forces o = 0; 0 <= eta < 1 rational; separation is strict, "
    "equality "
    "is refused.",
    "delta: the error on average over inputs, indices and coins in C1 to C5; for each input in HO-9.",
    "word: p bits, p stated. Lower bounds are in bits.",
    "SubGen: cells by diameter in SG-1, by radius where the streaming rule makes them; nearest representative, ties "
    "to the "
    "oldest; tokens with v = 0 are left out of the sampler by norm.",
    "HO-7, first reading: a token outside of the window has score 0, weight 1, and stays in the denominator.",
    "VAR: L counts the tokens in the cache at the cut. Between steps: before the last scale's tokens and queries; all "
    "keys: after its keys and values, before its queries. Free tokens: as many as the rank of the interpolation.",
    "TA: n counts Alice's tokens, each of four rows; the asker's own token brings 2n + 1 pairs. In TA-5 n counts the "
    "new token with the others.",
)  # fmt: skip
_README_COLUMNS = "| claim, as recorded in this ledger | status | what was found |\n|---|---|---|"


def page(entries: Iterable[Entry]) -> str:
    """docs/ledger.md."""
    rows = list(entries)
    parts = [
        "# The ledger: claims of papers, and what carries them",
        "Written by `python scripts/make_ledger.py`; `kvverify claims` says the same from the command line, after "
        "the kernel "
        "re-proved every certificate. Full texts of the papers were not at hand: each row judges **the claim as "
        "recorded in "
        "this ledger**, under the readings that it names. Which reduction turns a certificate into its claim: "
        "[proofs/ledger.md](proofs/ledger.md). A ledger of your own: [tutorials/ledger.md](tutorials/ledger.md).",
        "\n".join(["| row | claim | status |", "|---|---|---|", *map(_row, rows)]),
        "## Words",
        "\n".join(f"- {text}" for text in DEFINITIONS),
        "Provenance: " + "; ".join(f"**{tag}**, {text}" for tag, text in PROVENANCE.items()) + ".",
        "Status: " + "; ".join(f"**{status}**, {text}" for status, text in STATUSES.items()) + ". A status stands "
                                                                                               "only while "
        "the kernel accepts every certificate of its row; else the row is open.",
    ]  # fmt: skip
    paper = ""
    for entry in rows:
        if entry.claim.paper != paper:
            paper = entry.claim.paper
            name = PAPERS.get(paper, paper)
            parts.append(f"## {name[0].upper()}{name[1:]}")
        parts.append(_section(entry))
    return "\n\n".join(parts) + "\n"


def findings(entries: Iterable[Entry]) -> str:
    """The table of README.md: every row with its finding."""
    rows = [
        f"| [{e.claim.id}](docs/ledger.md#{_anchor(e)}) {e.claim.title} | {e.status} | {_cell(e.claim.finding)} |"
        for e in entries
    ]
    return "\n".join([_README_COLUMNS, *rows]) + "\n"


def _row(entry: Entry) -> str:
    claim = entry.claim
    return f"| [{claim.id}](#{_anchor(entry)}) | {claim.title} | {entry.status} |"


def _heading(entry: Entry) -> str:
    return f"{entry.claim.id}: {entry.claim.title}"


def _anchor(entry: Entry) -> str:
    """As GitHub makes them: lower case, white space to hyphens, other signs dropped."""
    kept = "".join(c for c in _heading(entry).lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _section(entry: Entry) -> str:
    claim = entry.claim
    facts = {
        "As recorded": claim.record,
        "Provenance": ", ".join(claim.provenance),
        "Theorem": claim.theorem or "number not known",
        "Quantifiers": claim.quantifiers,
        "Units": claim.units,
        "Says something from": entry.threshold,
        "Found": claim.finding,
    }
    parts = [
        f"### {_heading(entry)}",
        f"**{entry.status}**" + (f", declared {claim.status}: {entry.reason}" if entry.reason else ""),
        "\n".join(f"- *{name}*: {_plain(text)}" for name, text in facts.items()),
        "\n".join(["| reading | status | carried by |", "|---|---|---|"] + [
            f"| {_cell(reading.reading)} | {status} | {', '.join(reading.artefacts) or '-'} |"
            for reading, status in entry.readings
        ]),
    ]  # fmt: skip
    if entry.found:
        where = f"`certificates/{claim.paper}/{claim.id}-NAME.json`"
        head = [f"| NAME in {where} | shows | the kernel says |", "|---|---|---|"]
        parts.append("\n".join([*head, *(_line(found) for found in entry.found)]))
    if entry.lemmas:
        parts.append(f"Lemmas ([lemmas.md](lemmas.md)): {', '.join(f'`{name}`' for name in entry.lemmas)}.")
    if claim.table is not None:
        table = claim.table()
        lines = (table.head, tuple("---" if table.words else "---:" for _ in table.head), *table.rows)
        parts += [f"{_plain(table.title)}:", "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)]
    if figures := claim.measured():
        parts.append("Measured, which proves nothing:\n\n" + "\n".join(f"- {_plain(text)}" for text in figures))
    return "\n\n".join(parts)


def _line(found: Found) -> str:
    kind = " (counter-example)" if found.certificate.counterexample else ""
    told = f"`{said(found)}`".replace("|", "\\|") if said(found) else _cell(found.reason)
    return f"| {found.certificate.name}{kind} | {_cell(found.certificate.shows)} | {found.verdict}: {told} |"


def _plain(text: str) -> str:
    """Text of a row as Markdown: its signs are no markup."""
    for sign in ("\\", "*", "_"):
        text = text.replace(sign, f"\\{sign}")
    return text


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
