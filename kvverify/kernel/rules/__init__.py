"""The rules, one file a family. A rule is a pure function (context, premises, given, gives) -> fact, or a rejection."""

from __future__ import annotations

from kvverify.kernel.facts import Rule
from kvverify.kernel.rules import (
    amplitude,
    codes,
    information,
    payload,
    points,
    quantiser,
    reed_muller,
    rows,
    softmax,
    volume,
)

FAMILIES = (codes, reed_muller, points, rows, softmax, information, volume, payload, amplitude, quantiser)
RULES: dict[str, Rule] = {name: rule for family in FAMILIES for name, rule in family.RULES.items()}
FILES: dict[str, str] = {name: str(family.__file__) for family in FAMILIES for name in family.RULES}
