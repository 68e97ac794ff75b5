"""The checker: walks the steps, applies the rules, gives the verdict. It reads no verdict from a certificate."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path

from kvverify.kernel import document, statement
from kvverify.kernel.document import Document, Malformed, Node, OverLimit, short
from kvverify.kernel.facts import Absent, Context, Enough, Fact, Rejected, StateBits, need
from kvverify.kernel.rules import FILES, RULES
from kvverify.kernel.statement import Statement

STEP_WORK = 1 << 16  # of a step before its rule's own account: some arithmetic with numbers as long as may be

_KERNEL = Path(__file__).parent


class Verdict(Enum):
    """VALID: re-proved. INVALID: malformed, or a step that does not hold. INCOMPLETE: could not be decided."""

    VALID = "VALID"
    INVALID = "INVALID"
    INCOMPLETE = "INCOMPLETE"


@dataclass(frozen=True)
class Result:
    """A verdict, with what it rests on. ``bits`` is what the steps prove, ``claim`` what the statement says."""

    verdict: Verdict
    claim: str
    step: str | None
    reason: str
    statement: Statement | None
    bits: Fraction | None
    rules: tuple[str, ...]

    @property
    def trust(self) -> dict[str, list[str]]:
        """What VALID rests on: the rule files that ran and the whole kernel, with digests.

        No lemma is cited and no other engine is used.
        """
        files = sorted({FILES[rule] for rule in self.rules})
        rules = [f"{Path(file).name} {_digest([Path(file)])}" for file in files]
        return {"kernel": [_digest(sorted(_KERNEL.rglob("*.py")))], "rules": rules, "cited": [], "engines": []}


def rule_files() -> list[tuple[str, str]]:
    """Every rule file with its digest."""
    return [(Path(file).name, _digest([Path(file)])) for file in sorted(set(FILES.values()))]


def _digest(paths: list[Path]) -> str:
    """The first 16 digits of the sha256 of the files, one after the other."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def check(source: str | os.PathLike[str] | bytes | Node, files: str | os.PathLike[str] | None = None) -> Result:
    """Check a certificate: a path, its bytes, or its JSON tree. ``files``: folder of the files that it refers to
    (the certificate's own folder when it is a path). Raises OSError when the certificate itself cannot be read.
    """
    given_path = not isinstance(source, bytes | dict)
    folder = Path(files) if files is not None else Path(str(source)).parent if given_path else Path()
    try:
        found = document.read(_serial(source) if isinstance(source, dict) else source)
        claimed = statement.parse(found.statement)
    except Malformed as error:
        return _result(Verdict.INVALID, reason=str(error))
    except OverLimit as error:
        return _result(Verdict.INCOMPLETE, reason=str(error))
    return _prove(found, Context(claimed, folder))


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
        return _result(verdict, step_id, reason, context.statement, bits, tuple(rules))

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
        bits = _conclude(context.statement, facts[found.steps[-1].id])
    except (Malformed, Rejected) as error:
        return result(Verdict.INVALID, str(error))
    except (OverLimit, Absent) as error:
        return result(Verdict.INCOMPLETE, str(error))
    step_id = None
    return result(Verdict.VALID, bits=bits)


def _conclude(claimed: Statement, last: Fact) -> Fraction:
    """The bits of the last step, which must be of the kind that the claim asks for and at least as strong."""
    if claimed.state_bits_enough is not None:
        need(isinstance(last, Enough), "the last step gives bits that are enough")
        assert isinstance(last, Enough)
        enough = claimed.state_bits_enough
        need(last.at_most <= enough, "state_bits_enough >= what the steps prove", enough, last.at_most)
        return Fraction(last.at_most)
    need(isinstance(last, StateBits), "the last step gives bits of state")
    assert isinstance(last, StateBits)
    least = claimed.state_bits_at_least
    need(least <= last.at_least, "state_bits_at_least <= what the steps prove", least, last.at_least)
    return last.at_least


def _result(
    verdict: Verdict,
    step: str | None = None,
    reason: str = "",
    claimed: Statement | None = None,
    bits: Fraction | None = None,
    rules: tuple[str, ...] = (),
) -> Result:
    claim = ""
    if claimed is not None:
        enough = claimed.state_bits_enough
        bound = f">= {claimed.state_bits_at_least}" if enough is None else f"<= {enough}"
        claim = f"state of {claimed.tokens} tokens {bound} bits"
    return Result(verdict, short(claim, 200), step, short(reason, 600), claimed, bits, rules)
