"""The third engine, in tests only: the inequalities of docs/format.md between real numbers, by MPFR, rounded outwards.

It shares nothing with the kernel and with the second opinion but the reading of JSON (kernel.document). Steps are taken
one by one under their premises as stated. ``agrees`` and ``contrary`` are proofs; ``undecided`` is an equality, or work
over a limit, or a premise that was one; ``taken`` is a step whose statement counts words or keys, which is no question
for real arithmetic: its numbers are taken as stated by the steps that use it. Fields that are missing or of the wrong
kind are no question of this engine either: it is for certificates of the right form.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvverify.kernel import document
from tests.engines import bits, compared, coverings, enough, exact, keys, reads, tensored, visual
from tests.engines.facts import Enough, Node, Problem, StateBits
from tests.engines.interval import Case, Contrary, Undecided, must

AGREES, CONTRARY, UNDECIDED, TAKEN = "agrees", "contrary", "undecided", "taken"
RULES = {**keys.RULES, **reads.RULES, **bits.RULES, **enough.RULES, **coverings.RULES, **exact.RULES, **compared.RULES}
RULES |= tensored.RULES | visual.RULES


@dataclass(frozen=True)
class Outcome:
    """Of one step, or of the conclusion (rule "claim")."""

    step: str
    rule: str
    verdict: str
    reason: str = ""


def third_opinion(tree: Node, folder: Path) -> list[Outcome]:
    """The outcome of every step and of the claim; after a contrary one none is judged."""
    found = document.parse(tree)
    node = found.statement
    problem = Problem(node) if str(node["claim"]).startswith("state-bits") else None
    case, facts = Case(node, problem, folder), dict[str, Any]()
    outcomes: list[Outcome] = []
    for step in found.steps:
        outcomes.append(_judge(case, facts, step))
        if outcomes[-1].verdict == CONTRARY:
            return outcomes
    return [*outcomes, _claim(case, facts.get(found.steps[-1].id))]


def _judge(case: Case, facts: dict[str, Any], step: document.Step) -> Outcome:
    case.open, case.taken = [], False
    try:
        if missing := [used for used in step.uses.values() if used not in facts]:
            raise Undecided(f"premise {missing[0]!r} was not read")
        premises = {name: facts[used] for name, used in step.uses.items()}
        facts[step.id] = RULES[step.rule](case, premises, step.given, step.gives)
    except Contrary as error:
        return Outcome(step.id, step.rule, CONTRARY, str(error))
    except Undecided as error:
        return Outcome(step.id, step.rule, UNDECIDED, str(error))
    verdict = UNDECIDED if case.open else TAKEN if case.taken else AGREES
    return Outcome(step.id, step.rule, verdict, "; ".join(case.open))


def _claim(case: Case, last: Any) -> Outcome:
    try:
        if last is None:
            raise Undecided("the last step was not read")
        CLAIMS[case.node["claim"]](case, last)
    except Contrary as error:
        return Outcome("", "claim", CONTRARY, str(error))
    except Undecided as error:
        return Outcome("", "claim", UNDECIDED, str(error))
    return Outcome("", "claim", AGREES)


def _state(case: Case, last: Any) -> None:
    problem = case.problem
    must(isinstance(last, Enough if problem.enough else StateBits), "the last step gives bits of the claim's kind")
    must(last.bits <= problem.claimed if problem.enough else problem.claimed <= last.bits, "the claim follows")
    must(not problem.top or (not problem.enough and problem.top <= last.top), "the top mass follows")


CLAIMS: dict[str, Any] = {
    **dict.fromkeys(("state-bits", "state-bits-enough"), _state), **coverings.CLAIMS, **exact.CLAIMS, **compared.CLAIMS,
    **tensored.CLAIMS, **visual.CLAIMS,
}  # fmt: skip
"""Of each kind of claim: what the last step is held against. Raises Contrary."""
