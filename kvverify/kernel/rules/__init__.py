"""The rules, one file a family. A rule is a pure function (context, premises, given, gives) -> fact, or a rejection.

A family whose certificates claim something of their own has the readers of these claims beside its rules.
"""

from __future__ import annotations

from collections.abc import Callable

from kvverify.kernel import statement
from kvverify.kernel.context import Rule
from kvverify.kernel.document import Node
from kvverify.kernel.facts import Goal
from kvverify.kernel.rules import (
    amplitude,
    codes,
    comparison,
    covering,
    information,
    instances,
    nets,
    payload,
    points,
    polynomials,
    quantiser,
    reed_muller,
    rows,
    sampling,
    softmax,
    tensor,
    tensor_explicit,
    visual,
    volume,
)

FAMILIES = (
    codes, reed_muller, points, rows, softmax, information, volume, payload, amplitude, quantiser, covering, nets,
    sampling, instances, comparison, polynomials, tensor, tensor_explicit, visual,
)  # fmt: skip
RULES: dict[str, Rule] = {name: rule for family in FAMILIES for name, rule in family.RULES.items()}
CLAIMS: dict[str, Callable[[Node], Goal]] = {
    **dict.fromkeys(statement.CLAIMS, statement.parse),
    **covering.CLAIMS,
    **sampling.CLAIMS,
    **instances.CLAIMS,
    **comparison.CLAIMS,
    **polynomials.CLAIMS,
    **tensor.CLAIMS,
    **tensor_explicit.CLAIMS,
    **visual.CLAIMS,
}
