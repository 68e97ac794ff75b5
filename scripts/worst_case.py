"""What the dearest certificates that we know within the kernel's limits cost to check; writes docs/limits.md.

A rule's dearest step stands in its certificate as often as 256 steps and 8 MiB allow, so that a cost that the account
of work does not see adds up, and a cost that it sees uses the account up: such a check ends INCOMPLETE after all the
work that it may do. A last step uses the others, as a step that nothing uses is refused; there a check that has work
left ends INVALID. Every check runs in a fresh ``python -I -S``; seconds are of processor time.

    python scripts/worst_case.py                 all cases, and docs/limits.md
    python scripts/worst_case.py WORD...         only cases whose name has one of these words; writes nothing
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import worst_compared  # noqa: F401
import worst_covers  # noqa: F401
import worst_exact  # noqa: F401
import worst_files  # noqa: F401  (registers its cases)
import worst_nets  # noqa: F401
import worst_secrets  # noqa: F401
import worst_tensor  # noqa: F401
import worst_visual  # noqa: F401
from worst_certificates import CASES

from kvverify.kernel import document, numbers, tensors
from kvverify.kernel.check import STEP_WORK
from kvverify.kernel.context import WORK_LIMIT
from kvverify.kernel.document import short, write_bytes
from kvverify.kernel.rules import (
    RULES,
    codes,
    comparison,
    covering,
    information,
    instances,
    nets,
    packed,
    payload,
    points,
    polynomials,
    precondition,
    quantiser,
    reed_muller,
    rows,
    sampling,
    softmax,
    tensor_explicit,
    visual,
    volume,
)

ROOT = Path(__file__).resolve().parents[1]
SECONDS, MIB = 60.0, 1024.0  # what a check may cost

BUILD = """
import json, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import worst_compared, worst_covers, worst_exact, worst_files, worst_nets, worst_secrets, worst_tensor, worst_visual
from worst_certificates import CASES
tree = CASES[sys.argv[3]](Path(sys.argv[4]))
(Path(sys.argv[4]) / "certificate.json").write_text(json.dumps(tree, separators=(",", ":")))
"""
CHECK = """
import json, resource, sys
sys.path.insert(0, sys.argv[1])
from kvverify.kernel.check import check
result = check(sys.argv[2])
used = resource.getrusage(resource.RUSAGE_SELF)
said = [result.verdict.value, len(result.rules), result.reason]
print(json.dumps([*said, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


@dataclass(frozen=True)
class Cost:
    """One check: its verdict, how many steps were taken up, why it ended; seconds of processor time and peak MiB."""

    verdict: str
    steps: int
    reason: str
    seconds: float
    peak: float


def measure(name: str) -> Cost:
    """The cost of a case, built in another process: a child's peak begins with that of the process that made it."""
    with tempfile.TemporaryDirectory(prefix="kvverify-worst-") as folder:
        subprocess.run([sys.executable, "-c", BUILD, str(ROOT / "scripts"), str(ROOT), name, folder], check=True)
        command = [sys.executable, "-I", "-S", "-c", CHECK, str(ROOT), f"{folder}/certificate.json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Cost(*json.loads(done.stdout))


def limits() -> list[tuple[str, object]]:
    """Every limit, from where the kernel has it."""
    return [
        ("bytes of a document", document.MAX_BYTES), ("depth of a document", document.MAX_DEPTH),
        ("digits of an integer", document.MAX_DIGITS), ("steps", document.MAX_STEPS),
        ("entries of a histogram, exponents of at most 18 digits", document.MAX_COUNTS),
        ("units of work of one check, all steps together", WORK_LIMIT), ("units of work of any step", STEP_WORK),
        ("argument of exp: exponents, strengths of tilts, scores of one row apart", numbers.MAX_EXPONENT),
        ("length of a code, dimension of the hypercube", codes.MAX_LENGTH),
        ("dimension of a code that is walked", codes.MAX_WALK), ("words of a union of cosets", codes.MAX_UNION),
        ("order of a Reed-Muller code or of its dual", reed_muller.MAX_ORDER),
        ("bits of an entry of an explicit key", points.MAX_ENTRY_BITS),
        ("dimension of explicit keys and of the paraboloid", points.MAX_DIMENSION),
        ("cutoff of the paraboloid, its side of at most 64 bits", points.MAX_CUTOFF),
        ("times that keys are shrunk", 1), ("dimensions of a ball of payload", payload.MAX_COORDINATES),
        ("levels of a value", softmax.MAX_ALPHABET),
        ("symbols that are counted, of an alphabet of at most 16 bits", information.MAX_SYMBOLS),
        ("bytes of a file", tensors.MAX_FILE), ("bytes of its header", tensors.MAX_HEADER),
        ("entries of a matrix", tensors.MAX_ENTRIES), ("rows or columns of a matrix", tensors.MAX_SIDE),
        ("powers of two between a matrix's entries' last places", tensors.MAX_SPREAD),
        ("bits of an entry of queries in place", rows.MAX_ENTRY_BITS),
        ("bits of the unit of scores, a power of two of up to eight times as many beside", packed._UNIT_BITS),
        ("rows of an exact elimination", volume.MAX_EXACT), ("rows that are preconditioned", precondition.MAX_ROWS),
        ("bits of a quantised token", quantiser.MAX_TOKEN_BITS),
        ("dimensions of a covering number", covering.MAX_DIM), ("dimensions of a net", nets.MAX_DIMENSION),
        ("bits of a coordinate of a net", nets.MAX_BITS),
        ("squares, and sums with squares at a time, of a lattice", nets.MAX_STATES),
        ("tokens of a stream that is sampled", sampling.MAX_TOKENS), ("bits of a weight", sampling.MAX_WEIGHT_BITS),
        ("bits of a value, of at most 64 coordinates", sampling.MAX_VALUE_BITS),
        ("bits of the number of outcomes, whose work is then charged", sampling.MAX_STATE_BITS),
        ("rows times columns of explicit inputs", instances.MAX_ENTRIES),
        ("bits of such an entry", instances.MAX_ENTRY_BITS),
        ("bits by which powers of a base differ", instances.MAX_POWER_BITS),
        ("side of a map", visual.MAX_SIDE), ("tokens of its pyramid in the cache", visual.MAX_TOKENS),
        ("entries of their keys", visual.MAX_KEYS), ("coordinates of a token", visual.MAX_COLUMNS),
        ("bits of a carrier's entry", visual.MAX_ENTRY_BITS), ("bits of its unit", visual.MAX_UNIT_BITS),
        ("tokens of patterns of 0/1 columns", tensor_explicit.PATTERNS["binary"]),
        ("tokens of patterns of thresholds", tensor_explicit.PATTERNS["threshold"]),
        ("lines of a program of numbers, and comparisons", comparison.MAX_LINES),
        ("operands of a line", comparison.MAX_OPERANDS),
        ("bits of a number of a program that is kept exactly", comparison.EXACT_BITS),
        ("bits above and below the point of any number of a program", comparison.MAX_MAGNITUDE),
        ("factorial", comparison.MAX_FACTORIAL), ("upper index of a sum of binomials", comparison.MAX_TAIL),
        ("degree of a polynomial", polynomials.MAX_DEGREE), ("its elevation", polynomials.MAX_ELEVATION),
        ("pieces of its interval", polynomials.MAX_PIECES),
    ]  # fmt: skip


PAGE = """# Limits of the checker, and what the dearest certificates cost

A certificate beyond a limit is INCOMPLETE, in one line that names the limit, before the work is done. Work is charged
to one account for the whole check, so that many dear steps are no way around it. A check within the limits takes under
{seconds:.0f} s of one core and under 1 GiB; the table shows the dearest certificates that we know. It and the list are
written by `python scripts/worst_case.py`, from the kernel's own constants; `tests/kernel/test_limits.py` holds the
refusals.

## Limits

| limit | value |
|---|---:|
{limits}

Sizes in a statement may have 4,000 digits: a rule whose work would grow with them has a limit above.

## The dearest certificates

A rule's dearest step stands in its certificate as often as 256 steps and 8 MiB allow. INCOMPLETE: the account of work
ran out, or a limit refused; INVALID: all that work was done, and the last step, which uses all others, is no proof of
anything. Seconds of processor time, in a fresh `python -I -S`, of {python}.

| case | verdict | steps | seconds | peak MiB | ended by |
|---|---|---:|---:|---:|---|
{costs}

The slowest takes {slowest:.0f} s, the largest {largest:.0f} MiB.
"""


def page(found: dict[str, Cost]) -> str:
    """docs/limits.md."""
    costs = [
        f"| {name} | {c.verdict} | {c.steps} | {c.seconds:.1f} | {c.peak:.0f} | {c.reason[:90].replace('|', '')} |"
        for name, c in found.items()
    ]
    version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    return PAGE.format(
        seconds=SECONDS, limits="\n".join(f"| {name} | {value:,} |" for name, value in limits()),
        python=version, costs="\n".join(costs),
        slowest=max(c.seconds for c in found.values()), largest=max(c.peak for c in found.values()),
    )  # fmt: skip


def main(words: list[str]) -> int:
    """Measure; 1 where a case costs too much or a rule has none."""
    found: dict[str, Cost] = {}
    for name in CASES:
        if words and not any(word in name for word in words):
            continue
        cost = found[name] = measure(name)
        dear = "TOO MUCH " if cost.seconds > SECONDS or cost.peak > MIB else ""
        print(
            f"{dear}{name:<56} {cost.verdict:<10} {cost.steps:>3} steps {cost.seconds:6.1f} s {cost.peak:5.0f} MiB  "
            f"{short(cost.reason, 120)}",
            flush=True,
        )
    without = [] if words else sorted(RULES.keys() - {name.split(":")[0] for name in found})
    if without:
        print(f"no case: {', '.join(without)}")
    if not words:
        write_bytes(ROOT / "docs" / "limits.md", page(found).encode())
    return 1 if without or any(c.seconds > SECONDS or c.peak > MIB for c in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
