"""The second opinion on a certificate: every step re-decided with python-flint's integers, rationals and balls.

It shares only the reading of documents with the kernel, and takes each step's premises as they are stated. It asks
whether the conclusion is true, which may be less than what the kernel asks. ``contrary`` is a proof, ``agrees`` is a
proof, and what neither is proved of is ``undecided``: an equality, or work over a limit. Meant for certificates that
the kernel accepted; time and memory are bounded on all others too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kvverify.crosscheck import (
    amplitude,
    attention,
    bits,
    comparison,
    covering,
    instances,
    keys,
    nets,
    payload,
    polynomials,
    quantiser,
    reed_muller,
    rows,
    sampling,
    statement,
    tensor_attention,
    visual,
)
from kvverify.crosscheck.facts import Rule
from kvverify.crosscheck.goal import Contrary, Fact, Goal, must
from kvverify.crosscheck.settle import Case, Undecided
from kvverify.kernel import document
from kvverify.kernel.document import Malformed, Node, OverLimit, Step, short

AGREES, CONTRARY, UNDECIDED = "agrees", "contrary", "undecided"
RULES: dict[str, Rule] = {
    **keys.RULES,
    **reed_muller.RULES,
    **attention.RULES,
    **rows.RULES,
    **bits.RULES,
    **payload.RULES,
    **amplitude.RULES,
    **quantiser.RULES,
    **covering.RULES,
    **nets.RULES,
    **sampling.RULES,
    **instances.RULES,
    **comparison.RULES,
    **polynomials.RULES,
    **tensor_attention.RULES,
    **visual.RULES,
}
CLAIMS: dict[str, Callable[[Node], Goal]] = {
    **dict.fromkeys(statement.CLAIMS, statement.read),
    **covering.CLAIMS,
    **sampling.CLAIMS,
    **instances.CLAIMS,
    **comparison.CLAIMS,
    **polynomials.CLAIMS,
    **tensor_attention.CLAIMS,
    **visual.CLAIMS,
}


@dataclass(frozen=True)
class Outcome:
    """Of one step: ``agrees``, ``contrary`` or ``undecided``, and why."""

    step: str
    rule: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Opinion:
    """Of a certificate. ``step`` and ``reason``: where and why it is not ``agrees``; after a contrary none is read."""

    verdict: str
    step: str | None
    reason: str
    steps: tuple[Outcome, ...]


def second_opinion(
    source: str | os.PathLike[str] | bytes | Node, files: str | os.PathLike[str] | None = None
) -> Opinion:
    """The opinion on a certificate: a path, its bytes, or its JSON tree. ``files``: the folder of the files that it
    refers to (the certificate's own when it is a path). Raises OSError when the certificate cannot be read.
    """
    path = None if isinstance(source, bytes | dict) else Path(os.fspath(source))
    folder = Path(files) if files is not None else path.parent if path is not None else Path()
    try:
        found = document.read(_serial(source) if isinstance(source, dict) else source)
        case = Case(_goal(found.statement), folder)
    except Malformed as error:
        return Opinion(CONTRARY, None, str(error), ())
    except OverLimit as error:
        return Opinion(UNDECIDED, None, str(error), ())
    facts: dict[str, Fact | None] = {}
    outcomes: list[Outcome] = []
    for step in found.steps:
        outcomes.append(_judge(case, facts, step))
        if outcomes[-1].verdict == CONTRARY:
            break
    else:
        outcomes.append(_conclusion(case, facts, found.steps[-1]))
    return _summary(outcomes)


def _goal(node: Node) -> Goal:
    claim = str(node.get("claim"))
    if claim not in CLAIMS:
        raise Malformed(f"statement: no claim of the kind {short(claim)!r} is known")
    return CLAIMS[claim](node)


def _serial(tree: Node) -> bytes:
    try:
        return document.canonical(tree)
    except (TypeError, ValueError, RecursionError):
        raise Malformed("document: no JSON tree of objects, lists and strings") from None


def _judge(case: Case, facts: dict[str, Fact | None], step: Step) -> Outcome:
    """One step under its premises as stated; its own statement goes into ``facts`` (None: not even read)."""
    case.open.clear()
    try:
        must(step.id not in facts, "one step of this name")
        must(step.rule in RULES, "a known rule")
        facts[step.id] = None
        must(set(step.uses.values()) < facts.keys(), "all premises stand before the step")
        premises = {name: fact for name, used in step.uses.items() if (fact := facts[used]) is not None}
        if len(premises) < len(step.uses):
            raise Undecided("a premise could not be read")
        facts[step.id] = RULES[step.rule](case, premises, step.given, step.gives)
    except (Contrary, Malformed) as error:
        return Outcome(step.id, step.rule, CONTRARY, str(error))
    except (Undecided, OverLimit) as error:
        return Outcome(step.id, step.rule, UNDECIDED, str(error))
    return Outcome(step.id, step.rule, UNDECIDED if case.open else AGREES, "; ".join(case.open))


def _conclusion(case: Case, facts: dict[str, Fact | None], last: Step) -> Outcome:
    """What the statement claims against what the last step states."""
    fact = facts[last.id]
    if fact is None:
        return Outcome(last.id, last.rule, UNDECIDED, "the last step could not be read")
    try:
        case.goal.met_by(fact)
    except Contrary as error:
        return Outcome(last.id, last.rule, CONTRARY, str(error))
    return Outcome(last.id, last.rule, AGREES, "")


def _summary(outcomes: list[Outcome]) -> Opinion:
    for verdict in (CONTRARY, UNDECIDED):
        if found := next((outcome for outcome in outcomes if outcome.verdict == verdict), None):
            return Opinion(verdict, found.step, found.reason, tuple(outcomes))
    return Opinion(AGREES, None, "", tuple(outcomes))
