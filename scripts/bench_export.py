"""What other provers say of certificates, and how long they take: ``python scripts/bench_export.py [FILE...]``.

Without files all of certificates/ours. For each: leaves in the Coq file and facts left to the kernel, seconds of coqc
(its own processor time, and by the clock), whether coqc accepted; the same leaves that SMT-LIB can say, answers
``unsat`` of z3, its seconds. One process at a time. Prints a Markdown table: docs/export.md holds one.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kvverify.export import export

ROOT = Path(__file__).resolve().parents[1]


def coq(source: str, folder: Path) -> tuple[float, float, bool]:
    """Processor seconds and seconds of one coqc, and whether it accepted."""
    file = folder / "leaves.v"
    file.write_text(source)
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(["coqc", "-q", file.name], cwd=folder, capture_output=True, check=False)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, time.perf_counter() - start, done.returncode == 0


def smt(source: str) -> tuple[float, int, int]:
    """Seconds of z3, how many leaves it refuted the denial of, and how many there are."""
    import z3

    context, start = z3.Context(), time.perf_counter()
    answers = z3.Z3_eval_smtlib2_string(context.ref(), source).split()
    return time.perf_counter() - start, answers.count("unsat"), source.count("(check-sat)")


def main(paths: list[Path]) -> int:
    """Print the table; 1 where a prover did not accept."""
    if shutil.which("coqc") is None:
        print("bench_export.py: coqc is not installed (scripts/install_coq.sh)", file=sys.stderr)
        return 2
    version = subprocess.run(["coqc", "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    print(f"{version}; {platform.machine()}, {os.cpu_count()} processors\n")
    print("| certificate | leaves | left to the kernel | coqc: processor s | s | | SMT-LIB | z3 s |")
    print("|---|---|---|---|---|---|---|---|")
    fine = True
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            found, rational = export(path, "coq"), export(path, "smt")
            used, clock, accepted = coq(found.text, Path(folder))
            seconds, unsat, asked = smt(rational.text)
            fine = fine and accepted and unsat == asked
            row = [path.stem, len(found.exported), len(found.kept), f"{used:.1f}", f"{clock:.1f}"]
            row += ["accepted" if accepted else "REFUSED", f"{unsat} of {asked}", f"{seconds:.2f}"]
            print("| " + " | ".join(map(str, row)) + " |", flush=True)
    return 0 if fine else 1


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:]]
    sys.exit(main(given or sorted((ROOT / "certificates" / "ours").glob("*.json"))))
