"""The checker: walks the steps, applies the rules, gives the verdict. It reads no verdict from a certificate."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path

from kvverify.kernel import document
from kvverify.kernel.context import Absent, Context
from kvverify.kernel.document import Document, Malformed, Node, OverLimit, short
from kvverify.kernel.facts import Fact, Goal, Rejected
from kvverify.kernel.rules import CLAIMS, RULES
from kvverify.kernel.statement import Statement

STEP_WORK = 1 << 16  # of a step before its rule's own account: some arithmetic with numbers as long as may be


class Verdict(Enum):
    """VALID: re-proved. INVALID: malformed, or a step that does not hold. INCOMPLETE: could not be decided."""

    VALID = "VALID"
    INVALID = "INVALID"
    INCOMPLETE = "INCOMPLETE"


@dataclass(frozen=True)
class Result:
    """A verdict. ``bits`` is what the steps prove about state, ``claim`` what the statement says.

    ``proved``: the number of steps that hold, ``step`` the one where the check ended if it is not VALID.
    """

    verdict: Verdict
    reason: str
    step: str | None = None
    goal: Goal | None = None
    bits: Fraction | None = None
    rules: tuple[str, ...] = ()
    proved: int = 0

    @property
    def claim(self) -> str:
        """The claim in one line; the empty one where it could not be read."""
        return "" if self.goal is None else short(self.goal.said(), 200)

    @property
    def statement(self) -> Statement | None:
        """The problem class and its bits; None where the certificate claims something else."""
        return self.goal if isinstance(self.goal, Statement) else None


def check(source: str | os.PathLike[str] | bytes | Node, files: str | os.PathLike[str] | None = None) -> Result:
    """Check a certificate: a path, its bytes, or its JSON tree. ``files``: folder of the files that it refers to
    (the certificate's own folder when it is a path). Raises OSError when the certificate itself cannot be read.
    """
    given_path = not isinstance(source, bytes | dict)
    folder = Path(files) if files is not None else Path(str(source)).parent if given_path else Path()
    try:
        found = document.read(_serial(source) if isinstance(source, dict) else source)
        goal = read_goal(found.statement)
    except Malformed as error:
        return Result(Verdict.INVALID, short(str(error), 600))
    except OverLimit as error:
        return Result(Verdict.INCOMPLETE, short(str(error), 600))
    return _prove(found, Context(goal, folder))


def read_goal(node: Node) -> Goal:
    """What a statement claims, read by the family of rules that it is for. Raises Malformed, OverLimit."""
    claim = document.text(node.get("claim"), "statement.claim")
    if claim not in CLAIMS:
        raise Malformed(f"statement.claim: expected one of {', '.join(CLAIMS)}, found {short(claim)!r}")
    return CLAIMS[claim](node)


def _serial(tree: Node) -> bytes:
    """A JSON tree as bytes, so that it takes the one strict way in."""
    try:
        return json.dumps(tree).encode()
    except (TypeError, ValueError, RecursionError):
        raise Malformed("document: no JSON tree of objects, lists and strings") from None


def _prove(found: Document, context: Context) -> Result:
    facts: dict[str, Fact] = {}
    rules: list[str] = []
    step_id = None
    used = {premise for step in found.steps for premise in step.uses.values()}

    def result(verdict: Verdict, reason: str = "", bits: Fraction | None = None) -> Result:
        return Result(verdict, short(reason, 600), step_id, context.goal, bits, tuple(rules), len(facts))

    try:
        for step in found.steps:
            step_id = step.id
            if step.id in facts:
                raise Malformed("a second step of this name")
            if step.rule not in RULES:
                raise Malformed(f"unknown rule {short(step.rule)!r}")
            for premise in step.uses.values():
                if premise not in facts:
                    raise Malformed(f"uses {short(premise)!r}, which is not proved before it")
            if step.id not in used and step is not found.steps[-1]:
                raise Malformed("a step that nothing uses")
            rules.append(step.rule)
            context.charge(STEP_WORK)
            premises = {name: facts[premise] for name, premise in step.uses.items()}
            facts[step.id] = RULES[step.rule](context, premises, step.given, step.gives)
        bits = context.goal.met_by(facts[found.steps[-1].id])
    except (Malformed, Rejected) as error:
        return result(Verdict.INVALID, str(error))
    except (OverLimit, Absent) as error:
        return result(Verdict.INCOMPLETE, str(error))
    step_id = None
    return result(Verdict.VALID, bits=bits)
