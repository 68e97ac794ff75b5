"""One rule, on premises made for the test."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from kvverify.kernel import statement
from kvverify.kernel.context import Context
from kvverify.kernel.facts import Fact, Rejected
from kvverify.kernel.rules import RULES
from tests.kernel import controls

Node = dict[str, Any]


def context(**changes: object) -> Context:
    return Context(statement.parse(controls.statement(**changes)), Path())


def apply(rule: str, premises: Mapping[str, Fact], given: Node, gives: Node, **changes: object) -> Any:
    """What the rule proves; raises what the kernel raises. ``changes`` are fields of the statement."""

    def text(node: dict[str, Any]) -> dict[str, Any]:
        return {k: v if isinstance(v, list | dict) else str(v) for k, v in node.items()}

    return RULES[rule](context(**changes), dict(premises), text(given), text(gives))


def accepts(rule: str, premises: Mapping[str, Fact], given: Node, gives: Node, **changes: object) -> bool:
    try:
        apply(rule, premises, given, gives, **changes)
    except Rejected:
        return False
    return True


TINY = Fraction(1, 1 << 50)
