"""What a verdict rests on: the kernel's files and the rule files that ran, with digests."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from kvverify.kernel import check
from kvverify.kernel.rules import RULES

_KERNEL = Path(check.__file__).parent


def trust(result: check.Result) -> dict[str, list[str]]:
    """What VALID rests on: the kernel, and the rule files that ran. No lemma is cited, no other engine is used."""
    files = sorted({_file(rule) for rule in result.rules})
    rules = [f"{file.name} {_digest([file])}" for file in files]
    return {"kernel": [_digest(sorted(_KERNEL.rglob("*.py")))], "rules": rules, "cited": [], "engines": []}


def rule_files() -> list[tuple[str, str]]:
    """Every rule file with its digest."""
    return [(file.name, _digest([file])) for file in sorted({_file(rule) for rule in RULES})]


def rule_file(rule: str) -> str:
    """The name of the file that a rule stands in."""
    return _file(rule).name


def _file(rule: str) -> Path:
    return Path(str(sys.modules[RULES[rule].__module__].__file__))


def _digest(paths: list[Path]) -> str:
    """The first 16 digits of the sha256 of the files, one after the other."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]
