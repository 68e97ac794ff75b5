"""The algebra behind the rules and the claims, as statements for all real numbers, proved by two solvers.

A lemma is written once, with divisions; sympy clears them, an encoder lets nothing but polynomials pass, and z3 and
cvc5 must both find its denial unsatisfiable. Beside each stands a twin that is false, which both must refute by values
that are evaluated exactly. One-variable lemmas carry a certificate that the kernel checks as well.
"""

from __future__ import annotations

from difflib import get_close_matches

from kvverify.errors import UsageError
from kvverify.lemmas.base import Envelope, Lemma, Twin
from kvverify.lemmas.encode import counterexample, denial
from kvverify.lemmas.kernel import polynomial
from kvverify.lemmas.solvers import SOLVERS, running
from kvverify.lemmas.statements import LEMMAS
from kvverify.lemmas.verdict import Finding, prove

__all__ = [
    "LEMMAS", "SOLVERS", "Envelope", "Finding", "Lemma", "Twin", "carrying", "counterexample", "denial", "find",
    "polynomial", "prove", "running",
]  # fmt: skip


def carrying(name: str) -> tuple[Lemma, ...]:
    """The lemmas that a rule of the kernel, or a claim of the ledger, rests on."""
    return tuple(lemma for lemma in LEMMAS if name in lemma.carries)


def find(name: str) -> Lemma:
    """The lemma of that id. Raises UsageError, which names the nearest ids."""
    by_id = {lemma.id: lemma for lemma in LEMMAS}
    if name not in by_id:
        near = get_close_matches(name, by_id, n=3, cutoff=0) or sorted(by_id)[:3]
        raise UsageError(f"no lemma {name!r}: the nearest are {', '.join(near)}; kvverify lemmas proves them all")
    return by_id[name]
