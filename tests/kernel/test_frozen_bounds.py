"""What every step of the controls computes stays what it was, to the last digit: so what was VALID once stays VALID.

A bound that is wider by one unit in its last place refuses a certificate that states it exactly, one that is narrower
is false by as little, and no other test may see either. ``python -m tests.kernel.test_frozen_bounds`` writes the
digests anew, after a rule was changed on purpose or a control is new.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel import facts
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.rules import RULES
from tests.kernel.apply import context
from tests.kernel.controls import Control
from tests.kernel.test_mutants import controls

PAGE = Path(__file__).with_name("bounds.json")


def computed(control: Control, patch: pytest.MonkeyPatch) -> dict[str, str]:
    """By rule, a digest of what its steps compare, charge and give."""
    said: dict[str, list[str]] = {rule: [] for rule in (*control.rules, "")}
    now = [""]

    def note(*values: object) -> None:
        said[now[0]].append(" ".join(map(str, values)))

    def need(condition: bool, test: str, left: object = "", right: object = "") -> None:
        note(left, right)
        original(condition, test, left, right)

    def charge(here: Any, steps: int) -> None:
        note("work", steps)
        here.work -= steps

    def noted(rule: str, apply: Any) -> Any:
        def step(*given: Any) -> Any:
            now[0] = rule
            fact = apply(*given)
            note(*(f"{name}={value}" for name, value in vars(fact).items() if not callable(value)))
            return fact

        return step

    original = facts.need
    for name, module in list(sys.modules.items()):
        if name.startswith("kvverify.kernel") and vars(module).get("need") is original:
            patch.setattr(module, "need", need)
    for rule, apply in list(RULES.items()):
        patch.setitem(RULES, rule, noted(rule, apply))
    patch.setattr(type(context()), "charge", charge)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in control.files:
            (Path(folder) / name).write_bytes(content)
        assert check(control.tree, folder).verdict is Verdict.VALID
    # In any order: a rule may ask the same things in another one, or in other words.
    return {r: hashlib.sha256("\n".join(sorted(said[r])).encode()).hexdigest()[:12] for r in control.rules}


FROZEN = json.loads(PAGE.read_text()) if PAGE.exists() else {}


@pytest.mark.parametrize("control", [c for c in controls() if c.name in FROZEN], ids=str)
def test_what_a_step_computes_stays_what_it_was(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    assert computed(control, monkeypatch) == FROZEN[control.name], "python -m tests.kernel.test_frozen_bounds"


if __name__ == "__main__":
    found = {}
    for one in controls():
        with pytest.MonkeyPatch.context() as patched:
            found[one.name] = computed(one, patched)
    PAGE.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
