"""Certificates to export, and the provers that judge what is exported, where they are installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kvverify.export.leaves import Leaves, find_leaves
from kvverify.kernel import document
from tests.conftest import needs
from tests.kernel.controls import Control
from tests.kernel.test_mutants import controls

ROOT = Path(__file__).resolve().parents[2]
HEADLINE = ROOT / "certificates" / "ours" / "2p17-d128-logit24.json"

# Of every rule that has leaves one control at least, of every form of it that has leaves of its own as well.
CHOSEN = {
    "golay, volume", "rm, levels", "rm, separation", "hypercube 3, ostrowski", "hypercube 2, counting", "one token",
    "paraboloid 3 2, ball", "explicit, ball, bf16", "hypercube 4, levels", "union, ostrowski", "rows, near-identity",
    "reed-muller, ball, bf16, pads", "joint, hypercube, one value", "joint, axes, bf16", "ball, hypercube, bf16",
    "amplitude, one token", "midpoints", "midpoints, ball", "dither, few levels", "dither, fails often",
    "dither, fails seldom", "dither, ball", "unread entry, by e", "two inputs, signs",
    "numbers, all operations", "tensor, sentinels and pads",
}  # fmt: skip


def chosen() -> list[Control]:
    found = [control for control in controls() if control.name in CHOSEN]
    assert len(found) == len(CHOSEN)
    return found


def leaves_of(tree: Any) -> Leaves:
    return find_leaves(document.read(json.dumps(tree).encode()))


def coqc(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One run of coqc; the test is skipped where there is none."""
    if shutil.which("coqc") is None:
        pytest.skip("coqc is not installed: scripts/install_coq.sh installs it from Debian")
    file = folder / "leaves.v"
    file.write_text(source)
    return subprocess.run(
        ["coqc", "-q", file.name], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )


def assumptions(printed: str) -> set[str]:
    """The names that Print Assumptions printed, all of its answers together."""
    return {line.split(" ")[0] for line in printed.splitlines() if line[:1].isalpha() and line != "Axioms:"}


def solver(module: str) -> Any:
    """z3 or cvc5; the test is skipped where it is not installed, which in CI is a failure."""
    return needs(module, "lemmas")


def z3_says(script: str) -> list[str]:
    z3 = solver("z3")
    context = z3.Context()  # which must outlive the call
    answers: str = z3.Z3_eval_smtlib2_string(context.ref(), script)
    return answers.split()


def cvc5_says(script: str) -> list[str]:
    cvc5 = solver("cvc5")
    engine = cvc5.Solver()
    parser = cvc5.InputParser(engine)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, script, "leaves.smt2")
    answers = ""
    while not (command := parser.nextCommand()).isNull():
        answers += command.invoke(engine, parser.getSymbolManager())
    return answers.split()
