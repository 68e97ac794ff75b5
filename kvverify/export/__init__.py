"""The numeric facts of a certificate for other provers: Coq and SMT-LIB. What that proves: docs/export.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kvverify.errors import Incomplete, UsageError
from kvverify.export.coq import to_coq
from kvverify.export.facts import Leaf, Unexported
from kvverify.export.leaves import find_leaves
from kvverify.export.smt import to_smt
from kvverify.kernel import document
from kvverify.kernel.check import Result, check

Prover = Literal["coq", "smt"]


@dataclass(frozen=True)
class Export:
    """One certificate for one prover.

    ``text`` is the file, ``exported`` the leaves in it, ``inexpressible`` those that this prover's language cannot say,
    ``kept`` the facts that are no leaves, which rest on ``result``, the kernel's verdict on the whole certificate.
    """

    prover: Prover
    text: str
    exported: tuple[Leaf, ...]
    inexpressible: tuple[Leaf, ...]
    kept: tuple[Unexported, ...]
    result: Result

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.prover}: {len(self.exported)} leaves exported, {len(self.inexpressible)} not expressible, "
            f"{len(self.kept)} facts left to the kernel, which says {self.result.verdict.value}"
        )

    def json(self) -> dict[str, Any]:
        """The object of ``kvverify export --json`` without the places: docs/contracts.md."""
        kept = [(fact.step, fact.rule, fact.words, "decided by the kernel") for fact in self.kept]
        kept += [(leaf.step, leaf.rule, leaf.words, "not expressible") for leaf in self.inexpressible]
        return {
            "schema": "kvverify-export/1",
            "to": self.prover,
            "verdict": self.result.verdict.value,
            "reason": self.result.reason,
            "exported": [{"name": leaf.name, "fact": leaf.words} for leaf in self.exported],
            "not_exported": [dict(zip(("step", "rule", "fact", "why"), row, strict=True)) for row in kept],
        }


def export(path: Path, prover: Prover, files: Path | None = None) -> Export:
    """Leaves of the certificate at ``path`` for ``prover``; ``files`` as in ``check``.

    A certificate that the kernel refuses is exported all the same, where it has the form of one: then some leaf is
    false, or some fact that is none. Raises UsageError where it has not, Incomplete where it is over a limit, OSError
    where it cannot be read.
    """
    data = path.read_bytes()
    try:
        found = find_leaves(document.read(data))
    except document.Malformed as error:
        raise UsageError(f"{path}: no certificate whose leaves could be exported: {error}") from None
    except document.OverLimit as error:
        raise Incomplete(f"{path}: {error}") from None
    text, refused = (to_coq(found), ()) if prover == "coq" else to_smt(found)
    exported = tuple(leaf for leaf in found.leaves if leaf not in refused)
    result = check(data, files if files is not None else path.parent)
    return Export(prover, text, exported, refused, found.unexported, result)
