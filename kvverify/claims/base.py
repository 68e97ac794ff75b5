"""What a row of the ledger is: a claim as recorded, how it can be read, and what carries each reading.

A status is declared by whoever writes the row, and holds only as long as the kernel accepts every certificate of the
row (``ledger.judge``). A reading that is not open names at least one certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Node = dict[str, Any]

PROVENANCE = {
    "source": "read in an abstract, a published summary or a review of the paper; the wording is ours",
    "recalled": "from memory of the paper, not read again",
    "reconstructed": "the standard argument that proves the sourced statement; the paper's own steps may differ",
    "ours": "a strengthening, a repair or a counter-example that is not in the papers",
}
STATUSES = {
    "verified": "holds as recorded; the certificates are instances of it",
    "repaired": "holds after the change that the row states",
    "depends-on-reading": "holds under one reading of the record and not, or not known to hold, under another",
    "contradicted": "a certificate shows the contrary of the reading",
    "vacuous": "true, and says nothing at the sizes in question",
    "open": "nothing here decides it",
}


@dataclass(frozen=True)
class Certificate:
    """A certificate by its recipe: ``build(**given)`` returns its tree, or raises UsageError naming a hypothesis.

    ``name`` is unique within a claim. ``counterexample``: it shows where the record, read so, does not hold.
    """

    name: str
    shows: str
    build: Callable[..., Node]
    given: Mapping[str, Any] = field(default_factory=dict)
    counterexample: bool = False


@dataclass(frozen=True)
class Reading:
    """One way to read the record; ``artefacts`` names the claim's certificates that carry its status."""

    reading: str
    status: str
    artefacts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Computed figures of a row, as they are printed; ``words`` where cells are phrases."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: bool = False


@dataclass(frozen=True)
class Claim:
    """A row. ``record``: the claim as recorded in the ledger, in its words. ``units``: bits or words, and of what.

    ``theorem``: its number in the paper, None when unsure. ``threshold`` computes from which sizes on it says
    something. ``finding``: one sentence on what was found. ``measured``, ``table``: figures, which carry no status.
    Lemmas name the claims that they carry themselves (``kvverify.lemmas``); ``lemmas`` adds others by id. Raises
    ValueError where the row contradicts itself.
    """

    id: str
    paper: str
    title: str
    record: str
    provenance: tuple[str, ...]
    quantifiers: str
    units: str
    status: str
    readings: tuple[Reading, ...]
    threshold: Callable[[], str]
    certificates: tuple[Certificate, ...] = ()
    finding: str = ""
    theorem: str | None = None
    lemmas: tuple[str, ...] = ()
    measured: Callable[[], tuple[str, ...]] = tuple
    table: Callable[[], Table] | None = None

    def __post_init__(self) -> None:
        if faults := self._faults():
            raise ValueError(f"claim {self.id}: {'; '.join(faults)}")

    def _faults(self) -> list[str]:
        names = [certificate.name for certificate in self.certificates]
        statuses = [reading.status for reading in self.readings]
        used = [name for reading in self.readings for name in reading.artefacts]
        return [
            *(f"status {status!r}, one of {', '.join(STATUSES)} is needed" for status in (self.status, *statuses)
              if status not in STATUSES),
            *(f"provenance {tag!r}, one of {', '.join(PROVENANCE)} is needed" for tag in self.provenance
              if tag not in PROVENANCE),
            *(f"certificate {name!r} stands twice" for name in names if names.count(name) > 1),
            *(f"no certificate {name!r}" for name in used if name not in names),
            *(f"certificate {name!r} carries no reading" for name in names if name not in used),
            *(f"no certificate for the reading {reading.reading!r}" for reading in self.readings
              if reading.status != "open" and not reading.artefacts),
            *(["no reading"] if not self.readings else []),
            *(["'depends-on-reading' needs readings of different status"]
              if self.status == "depends-on-reading" and len(set(statuses)) < 2 else []),
            *([f"{self.status!r} with no reading of that status"]
              if self.status not in ("depends-on-reading", *statuses) else []),
        ]  # fmt: skip
