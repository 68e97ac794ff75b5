"""A SARIF 2.1.0 log of ``kvverify check`` (OASIS standard), which code hosts show beside the lines of a change."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kvverify import __version__
from kvverify.crosscheck.arb import RULES
from kvverify.kernel.check import Verdict
from kvverify.report.checks import Outcome, checks_json, failure_text
from kvverify.trust import rule_files

_WHOLE = "certificate"
"""The rule of what no step is to blame for: the document's form, its statement, a limit, a file that cannot be read."""

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif_bytes(outcomes: list[Outcome]) -> bytes:
    """One result for each certificate that is INVALID or INCOMPLETE; both are errors, for undecided is not proved."""
    rules = [_WHOLE, *sorted(RULES)]
    driver = {
        "name": "kvverify",
        "version": __version__,
        "rules": [{"id": rule, "shortDescription": {"text": _description(rule)}} for rule in rules],
        "properties": {"ruleFiles": dict(rule_files())},
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, rules) for one in outcomes if one.result.verdict is not Verdict.VALID],
        "properties": {"counts": checks_json(outcomes)["counts"]},
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1).encode()


def _description(rule: str) -> str:
    return "The certificate as a whole" if rule == _WHOLE else f"A step by the kernel's rule {rule}"


def _result(outcome: Outcome, rules: list[str]) -> dict[str, Any]:
    rule = outcome.rule if outcome.rule in rules else _WHOLE
    place: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(outcome.path)},
            "region": {"startLine": outcome.line},
        }
    }
    if outcome.result.step:
        place["logicalLocations"] = [{"name": outcome.result.step, "kind": "step"}]
    return {
        "ruleId": rule,
        "ruleIndex": rules.index(rule),
        "level": "error",
        "message": {"text": failure_text(outcome)},
        "locations": [place],
        "properties": {"verdict": outcome.result.verdict.value},
    }


def _uri(path: Path) -> str:
    """Relative to the working directory where the file lies below it, else absolute; bytes that need it are escaped."""
    below = Path(os.path.relpath(path))
    if below.parts[:1] == ("..",):
        return Path(os.path.abspath(path)).as_uri()
    return quote(os.fsencode(below.as_posix()))
