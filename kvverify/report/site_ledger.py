"""The papers' claims on the page, with what the kernel says of their certificates now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from kvverify.claims.base import STATUSES
from kvverify.claims.ledger import PAPERS, Entry
from kvverify.claims.show import said
from kvverify.report.site_html import Html, element

_HEAD = {"id": None, "claim": None, "status": None, "certificates hold": "n", "found": None}
_NOTE = "Claims as recorded in this ledger. The kernel proved their certificates anew for this page."


def ledger(entries: Sequence[Entry]) -> Html:
    """The section."""
    head = element("tr", (element("th", word, scope="col", class_=name) for word, name in _HEAD.items()))
    table = element(
        "table",
        element("caption", "Claims of papers", class_="unseen"),
        element("thead", head),
        (_paper(name, rows) for name, rows in groupby(entries, lambda entry: entry.claim.paper)),
    )
    used = [status for status in STATUSES if any(entry.status == status for entry in entries)]
    words = (part for status in used for part in (element("dt", status), element("dd", STATUSES[status])))
    return element(
        "section",
        element("h2", "What papers claim"),
        element("p", _NOTE, class_="soft"),
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Claims, a wide table"),
        element("dl", words),
        id="ledger",
    )


def _paper(name: str, rows: Iterable[Entry]) -> Html:
    """The claims of one paper, below its name."""
    title = element("th", PAPERS.get(name, name), scope="rowgroup", colspan=len(_HEAD), class_="group")
    return element("tbody", element("tr", title), (_row(entry) for entry in rows))


def _row(entry: Entry) -> Html:
    claim = entry.claim
    held = sum(found.holds for found in entry.found)
    found = f"Declared {claim.status}; {entry.reason}" if entry.reason else claim.finding
    return element(
        "tr",
        element("th", claim.id, scope="row"),
        element("td", element("details", element("summary", claim.title), _record(entry))),
        element("td", entry.status, class_="verdict"),
        element("td", f"{held} of {len(entry.found)}", class_="n"),
        element("td", found),
    )


def _record(entry: Entry) -> list[Html]:
    """The claim in the ledger's words, its readings, its certificates."""
    claim = entry.claim
    readings = (element("li", element("b", status), f": {reading.reading}") for reading, status in entry.readings)
    certificates = (
        element(
            "li", element("b", found.verdict), f" {found.certificate.name}: {found.certificate.shows}. {said(found)}"
        )
        for found in entry.found
    )
    return [
        element("p", claim.record),
        element("p", f"Quantifiers: {claim.quantifiers}"),
        element("p", f"Units: {claim.units}"),
        element("ul", readings),
        element("ul", certificates) if entry.found else Html(),
    ]
