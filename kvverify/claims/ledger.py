"""The ledger: all claims, one's own from a file, and what becomes of a row when the kernel is asked."""

from __future__ import annotations

import runpy
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from kvverify.claims import core, haris_onak, subgen, tensor, visual
from kvverify.claims.base import Certificate, Claim, Node, Reading
from kvverify.errors import Incomplete, UsageError
from kvverify.kernel.check import Result, Verdict, check
from kvverify.lemmas.statements import LEMMAS

CLAIMS: tuple[Claim, ...] = (*core.CLAIMS, *haris_onak.CLAIMS, *subgen.CLAIMS, *visual.CLAIMS, *tensor.CLAIMS)
PAPERS = {
    "core": "shared by the papers on lower bounds",
    "haris-onak": haris_onak.PAPER,
    "subgen": subgen.PAPER,
    "visual": visual.PAPER,
    "tensor": tensor.PAPER,
}


@dataclass(frozen=True)
class Found:
    """What the kernel says now of a certificate that was built from its recipe; None where nothing could be built."""

    certificate: Certificate
    tree: Node | None
    result: Result | None
    reason: str

    @property
    def holds(self) -> bool:
        """Whether the kernel re-proved it."""
        return self.result is not None and self.result.verdict is Verdict.VALID

    @property
    def verdict(self) -> str:
        """VALID, INVALID or INCOMPLETE."""
        return "INCOMPLETE" if self.result is None else self.result.verdict.value


@dataclass(frozen=True)
class Entry:
    """A claim with what its artefacts are worth now."""

    claim: Claim
    found: tuple[Found, ...]

    @cached_property
    def lemmas(self) -> tuple[str, ...]:
        """Ids of the lemmas that carry the claim: those that say so, and those that the claim names."""
        ours = [lemma.id for lemma in LEMMAS if self.claim.id in lemma.carries]
        return tuple(dict.fromkeys([*ours, *self.claim.lemmas]))

    @cached_property
    def reason(self) -> str:
        """Why the row is open where it was declared to be more; empty where it stands."""
        unknown = [f"no lemma {name!r}" for name in self.lemmas if name not in {lemma.id for lemma in LEMMAS}]
        return "; ".join([*(_refusal(found) for found in self.found if not found.holds), *unknown])

    @cached_property
    def threshold(self) -> str:
        """From which sizes on the claim says something."""
        try:
            return str(self.claim.threshold())
        except Exception as error:  # noqa: BLE001  a row may be somebody's own
            return f"not computed, {type(error).__name__}: {error}"

    @property
    def status(self) -> str:
        """As declared while every artefact holds, else open."""
        return "open" if self.reason else self.claim.status

    @property
    def readings(self) -> list[tuple[Reading, str]]:
        """Each reading with its status: open where one of its own certificates does not hold."""
        broken = {found.certificate.name for found in self.found if not found.holds}
        return [(r, "open" if broken & set(r.artefacts) else r.status) for r in self.claim.readings]


def judge(claim: Claim) -> Entry:
    """Build every certificate of the row from its recipe, and ask the kernel."""
    return Entry(claim, tuple(_found(certificate) for certificate in claim.certificates))


def ledger(own: Path | None = None) -> tuple[Claim, ...]:
    """All claims; with ``own``, a Python file, those of its list CLAIMS after them. The file is executed.

    Raises UsageError where it cannot be, has no list of claims, or uses an id twice.
    """
    if own is None:
        return CLAIMS
    if not own.is_file():
        raise UsageError(f"{own}: no such file; a Python file with a list CLAIMS is needed")
    try:
        names = runpy.run_path(str(own))
    except (Exception, SystemExit) as error:  # noqa: BLE001  somebody's own code: whatever it raises is one line
        raise UsageError(f"{own}: {type(error).__name__}: {error}") from None
    added = names.get("CLAIMS")
    if not isinstance(added, list | tuple) or not all(isinstance(claim, Claim) for claim in added):
        raise UsageError(f"{own}: a list CLAIMS of kvverify.claims.base.Claim is needed")
    ids = [claim.id.lower() for claim in (*CLAIMS, *added)]
    if twice := sorted({claim.id for claim in added if ids.count(claim.id.lower()) > 1}):
        raise UsageError(f"{own}: the id {twice[0]} stands twice; one that the ledger does not have is needed")
    return (*CLAIMS, *added)


def find(name: str, among: Iterable[Claim]) -> Claim:
    """The claim of that id. Raises UsageError, which names the nearest ids."""
    by_id = {claim.id.lower(): claim for claim in among}
    if (found := by_id.get(name.lower())) is not None:
        return found
    near = get_close_matches(name.lower(), by_id, n=3, cutoff=0)
    raise UsageError(f"no claim {name!r}; the nearest are {', '.join(by_id[key].id for key in near)}")


def place(claim: Claim, certificate: Certificate) -> str:
    """Where the certificate is committed, below ``certificates/``."""
    return f"{claim.paper}/{claim.id}-{certificate.name}.json"


def _found(certificate: Certificate) -> Found:
    try:
        tree: object = certificate.build(**certificate.given)
        result = check(tree) if isinstance(tree, dict) else None
    except (UsageError, Incomplete) as error:
        return Found(certificate, None, None, str(error))
    except Exception as error:  # noqa: BLE001  a recipe may be somebody's own: what it raises shows nothing
        return Found(certificate, None, None, f"its recipe raised {type(error).__name__}: {error}")
    if result is None or not isinstance(tree, dict):
        return Found(certificate, None, None, f"its recipe returned {type(tree).__name__}, no certificate")
    return Found(certificate, tree, result, result.reason)


def _refusal(found: Found) -> str:
    return f"{found.certificate.name} is {found.verdict}: {found.reason or 'no reason given'}"
