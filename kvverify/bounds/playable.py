"""A certificate that a game can be played on: the same keys, by the volume rule, with queries exact in bf16."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

from kvverify.bounds.candidate import Candidate
from kvverify.bounds.certificate import build
from kvverify.bounds.given import given_instance
from kvverify.bounds.search import QUERY_BITS
from kvverify.codes.base import SignKeys
from kvverify.codes.counted_reed_muller import counted
from kvverify.codes.hypercube import Hypercube
from kvverify.errors import Incomplete, UsageError
from kvverify.instances.hard import HardInstance
from kvverify.instances.layout import accepted, from_certificate
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import Step
from kvverify.problem import Problem

_SIGN_RULES = ("linear-code", "coset-union", "hypercube", "reed-muller")


class StatedKeys(SignKeys):
    """Sign keys as a step of a certificate states them; as untrusted as every family."""

    def __init__(self, step: Step) -> None:
        self.stated = step
        if step.rule == "hypercube":
            self.length = int(step.given["dimension"])
        elif step.rule == "reed-muller":
            self.length = counted(step.given).length
        else:
            self.length = len(step.given["generator" if step.rule == "linear-code" else "representatives"][0])

    @property
    def name(self) -> str:
        """The rule."""
        return self.stated.rule

    @property
    def size(self) -> int:
        """Number of words."""
        if self.stated.rule == "hypercube":
            return 1 << self.length
        if self.stated.rule == "reed-muller":
            return 1 + sum(self.exponents().values())
        words = 1 << len(self.stated.given["generator"])
        return words * len(self.stated.given.get("representatives", [""]))

    def words(self, tokens: int) -> list[int]:
        """No certificate needs them; `instances.layout` lays them out."""
        raise NotImplementedError

    def exponents(self) -> dict[int, int]:
        """As the step states them; all words of a hypercube."""
        if self.stated.rule == "hypercube":
            return Hypercube(self.length).exponents()
        return {int(w): int(n) for w, n in self.stated.gives["weights"].items()}

    def step(self) -> dict[str, Any]:
        """The step itself."""
        return {"rule": self.stated.rule, "given": self.stated.given, "gives": self.stated.gives}


def played(source: str | os.PathLike[str] | dict[str, Any]) -> HardInstance:
    """The instance that a game about a VALID certificate plays: on sign keys, or on the keys of a file.

    Raises as ``playable`` and ``given.given_instance`` do.
    """
    if not isinstance(source, dict) and accepted(source)[1].keys is not None:
        return given_instance(source)
    return from_certificate(playable(source))


def playable(source: str | os.PathLike[str] | dict[str, Any]) -> dict[str, Any]:
    """The volume-rule certificate on the keys of a VALID certificate, for the class of its statement.

    A statement with a relative tolerance is played at 1/100; the instance does not depend on it. Raises UsageError
    where the certificate is INVALID or not about sign keys, Incomplete where it is INCOMPLETE, OSError where it cannot
    be read.
    """
    found, claimed = accepted(source)
    rules = {step.rule: step for step in found.steps}
    keys = next((rules[rule] for rule in _SIGN_RULES if rule in rules), None)
    if keys is None or "budget" not in rules:
        raise UsageError(
            f"an audit plays certificates on sign keys or on a file's keys, this one is by {', '.join(rules)}; "
            "give --tokens and --head-dim, and the audit makes its own"
        )
    problem = Problem(
        claimed.tokens, claimed.key_dim, claimed.value_dim, claimed.max_logit, claimed.failure,
        tolerance=claimed.tolerance if claimed.tolerance is not None else Fraction(1, 100),
        body=claimed.body, inputs=claimed.inputs, kv_heads=claimed.kv_heads, layers=claimed.layers,
    )  # fmt: skip
    payload = int(rules["budget"].given["payload"])
    tree = build(Candidate(StatedKeys(keys), payload, "volume", 0, 0.0, 0.0), problem, scale_bits=QUERY_BITS)
    verdict = check(tree)
    if verdict.verdict is not Verdict.VALID:
        raise Incomplete(f"no game on these keys at this logit: {verdict.reason}")
    return tree
