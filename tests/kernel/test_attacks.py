"""An enemy's mutants, a few of each control: scripts/attack_kernel.py tries a hundred thousand more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

from kvverify.kernel.check import Verdict, check
from tests.kernel.attacks import FILE, KINDS, OPEN, SAME, WEAKER, Target, attempt, judged
from tests.kernel.test_mutants import controls

EACH = 12


def test_an_attack_succeeds_only_where_the_mutant_is_true(tmp_path: Path) -> None:
    kinds: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    donors = [step for control in controls() for step in control.tree["steps"]]
    for number, control in enumerate(controls()):
        folder, rng = tmp_path / str(number), Random(f"ci {control.name}")
        folder.mkdir()
        for name, content in control.files:
            (folder / name).write_bytes(content)
        target = Target(control.tree, dict(control.files), donors)
        for _ in range(EACH):
            mutant = attempt(target, rng)
            if mutant.file is not None:
                (folder / FILE).write_bytes(mutant.file)
            kinds[mutant.kind] += 1
            if check(mutant.content, folder).verdict is Verdict.VALID:
                found = judged(control.tree, mutant.content, folder, small=True)
                assert found in (SAME, WEAKER), (control.name, mutant, found)
                accepted[found] += 1
    assert min(kinds[kind] for kind in (*KINDS, "combined", "document")) >= 5
    assert min(accepted[SAME], accepted[WEAKER]) >= 20
    assert OPEN not in accepted
