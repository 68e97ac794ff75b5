"""An enemy's mutants of every certificate: ``python scripts/attack_kernel.py [--seed N] [--fast N] [--slow N]``.

Of every control of the tests and every committed certificate: so many mutants where it checks in under 20 ms, and so
many where it takes longer (tests/kernel/attacks.py says what is changed). The kernel's verdict must come, without an
exception and in time; what comes out VALID is judged by the second opinion (Arb), and where the certificate is small
also step by step and from the instance itself by the tests' oracle. Exit code 1 where a VALID one is false, or is
proved by none of them.

Each certificate's counts are a line of build/attack/SEED.jsonl as soon as they are known; interrupted, the run goes on
from there, and draws the same mutants. ``--render`` writes the tables of all seeds to docs/attack.md, and runs nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import kvverify
from kvverify.crosscheck import bits
from kvverify.kernel.check import Result, Verdict, check
from kvverify.kernel.document import write_bytes
from kvverify.trust import rule_files

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.kernel.attacks import (  # noqa: E402
    FILE,
    OPEN,
    SAME,
    WEAKER,
    WRONG,
    Attempt,
    Target,
    attempt,
    judged,
)  # fmt: skip
from tests.kernel.test_mutants import controls  # noqa: E402

BUILD, PAGE = ROOT / "build" / "attack", ROOT / "docs" / "attack.md"
FAST = 0.02  # seconds of a check
PATIENCE = 120  # seconds after which a mutant counts as a hang: twice what the kernel's limit of work allows
ROWS = 512  # of a determinant that the second opinion takes: more than where it has to answer at once
CRASH, HANG = "exception", "hang"

Record = dict[str, Any]


@dataclass(frozen=True)
class Certificate:
    """One under attack; ``small``: the tests' oracle can judge it by brute force."""

    name: str
    tree: dict[str, Any]
    files: dict[str, bytes]
    small: bool


class Slow(Exception):
    """A mutant took longer than the kernel's limits allow."""


@cache
def certificates() -> tuple[Certificate, ...]:
    """The tests' controls, then what is committed and VALID, each once and with the files that it names."""
    found = {c.tree["digest"]: Certificate(f"control {c}", c.tree, dict(c.files), True) for c in controls()}
    for folder in ("certificates", "instances", "tests/frozen"):
        for path in sorted((ROOT / folder).rglob("*.json")):
            if check(path).verdict is Verdict.VALID:
                tree = json.loads(path.read_bytes())
                names = set(re.findall(r'"name": ?"([^"]+)"', json.dumps(tree)))
                files = {name: (path.parent / name).read_bytes() for name in names}
                found.setdefault(tree["digest"], Certificate(str(path.relative_to(ROOT)), tree, files, False))
    return tuple(found.values())


def verdict_of(mutant: Attempt, folder: Path) -> Result | str:
    """The kernel's, with an exception or a hang said as such."""
    signal.alarm(PATIENCE)
    try:
        return check(mutant.content, folder)
    except Slow:
        return HANG
    except Exception:  # whatever escapes the kernel is what is looked for
        logging.exception("escaped")
        return CRASH
    finally:
        signal.alarm(0)


def attack(certificate: Certificate, seed: int, fast: int, slow: int) -> Record:
    """Counts by rule, kind and outcome. Whatever is wrong is written to build/attack as it is found."""
    target_rng = Random(f"{seed} {certificate.name}")
    donors = [s for other in certificates() if not other.files for s in other.tree["steps"]]
    counts: Counter[tuple[str, str, str]] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in certificate.files.items():
            (folder / file).write_bytes(data)
        seconds = min(_seconds(certificate, folder) for _ in range(3))
        target = Target(certificate.tree, certificate.files, donors)
        mutants = fast if seconds < FAST else slow
        for index in range(mutants):
            mutant = attempt(target, target_rng)
            if mutant.file is not None:
                (folder / FILE).write_bytes(mutant.file)
            start = time.perf_counter()
            result = verdict_of(mutant, folder)
            slowest = max(slowest, time.perf_counter() - start)
            outcome = result if isinstance(result, str) else result.verdict.value
            if isinstance(result, Result) and result.verdict is Verdict.VALID:
                outcome = judged(certificate.tree, mutant.content, folder, small=certificate.small)
            counts[mutant.rule, mutant.kind, outcome] += 1
            if outcome in (WRONG, OPEN, CRASH, HANG):
                _keep(mutant, f"{seed}-{certificate.name}-{index}", outcome)
    return {
        "certificate": certificate.name, "mutants": mutants, "check_ms": round(1000 * seconds, 1),
        "slowest_s": round(slowest, 2), "counts": [[*key, number] for key, number in sorted(counts.items())],
    }  # fmt: skip


def _seconds(certificate: Certificate, folder: Path) -> float:
    """Of a processor, whatever else the machine does."""
    start = time.process_time()
    result = check(certificate.tree, folder)
    assert result.verdict is Verdict.VALID, (certificate.name, result.reason)
    return time.process_time() - start


def _keep(mutant: Attempt, name: str, outcome: str) -> None:
    path = BUILD / f"{outcome} {name.replace('/', '_')}.json"
    content = mutant.content
    write_bytes(path, content if isinstance(content, bytes) else json.dumps(content, indent=1).encode())
    if mutant.file is not None:
        write_bytes(path.with_suffix(".safetensors"), mutant.file)
    print(f"{outcome}: {path}", file=sys.stderr)


def read(path: Path) -> list[Record]:
    """The results of a seed."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(seeds: dict[int, list[Record]]) -> str:
    """The counts for docs/attack.md."""
    by_rule: dict[str, Counter[str]] = {}
    by_kind: dict[str, Counter[str]] = {}
    records = [record for found in seeds.values() for record in found]
    for record in records:
        for rule, kind, outcome, number in record["counts"]:
            by_rule.setdefault(rule, Counter())[outcome] += number
            by_kind.setdefault(kind, Counter())[outcome] += number
    total = sum(by_kind.values(), Counter())
    quick = {r["certificate"] for r in records if r["check_ms"] < 1000 * FAST}
    slow = {r["certificate"] for r in records} - quick
    in_quick, in_slow = (sum(r["mutants"] for r in records if r["certificate"] in part) for part in (quick, slow))
    digests = ", ".join(sorted({f"{name} {digest}" for r in records for name, digest in r["rules"].items()}))
    commands = []
    for seed, found in seeds.items():
        fast = max(r["mutants"] for r in found)
        few = max((r["mutants"] for r in found if r["check_ms"] >= 1000 * FAST), default=0)
        commands.append(f"`python scripts/attack_kernel.py --seed {seed} --fast {fast} --slow {few}`")
    head = ["", "INVALID", "INCOMPLETE", SAME, WEAKER, OPEN, WRONG, CRASH, HANG]
    lines = [
        f"{' and '.join(commands)}, {date.today()}, kvverify {kvverify.__version__}. {total.total()} mutants of "
        f"{len(quick | slow)} certificates: {in_quick} of the {len(quick)} that check in under {1000 * FAST:.0f} ms, "
        f"{in_slow} of the other {len(slow)}. The slowest check of a mutant took "
        f"{max(r['slowest_s'] for r in records)} s.",
        "",
        f"Rules by the first 16 digits of the sha256 of their files: {digests}.",
    ]  # fmt: skip
    for title, rows in (("changed in", by_rule), ("kind", by_kind)):
        lines += ["", "| " + " | ".join([title, *head[1:]]) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
        named = [*sorted(rows.items()), ("all", total)]
        lines += [f"| {name} | " + " | ".join(str(row[outcome]) for outcome in head[1:]) + " |" for name, row in named]
    return "\n".join(lines)


def put_part(name: str, text: str) -> None:
    """Replace what stands between the page's marks of that name."""
    page = PAGE.read_text()
    begin, end = f"<!-- {name}: begin -->\n", f"\n<!-- {name}: end -->"
    before, rest = page.split(begin)
    write_bytes(PAGE, (before + begin + text + end + rest.split(end, 1)[1]).encode())


def _slow(number: int, frame: object) -> None:
    raise Slow


def main(arguments: list[str]) -> int:
    """Run what is missing of the attack of this seed, then say the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--fast", type=int, default=850, help="mutants of a certificate that checks in under 20 ms")
    parser.add_argument("--slow", type=int, default=100, help="mutants of any other")
    parser.add_argument("--render", action="store_true", help="write the tables of docs/attack.md, run nothing")
    options = parser.parse_args(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{options.seed}.jsonl"
    if options.render:
        put_part("attack", table({int(path.stem): read(path) for path in sorted(BUILD.glob("*.jsonl"))}))
        return 0
    records = read(path)
    signal.signal(signal.SIGALRM, _slow)
    vars(bits)["_ROWS"] = ROWS
    rules = dict(rule_files())
    done = {record["certificate"] for record in records}
    for certificate in certificates():
        if certificate.name not in done:
            records.append({**attack(certificate, options.seed, options.fast, options.slow), "rules": rules})
            with path.open("a") as stream:
                stream.write(json.dumps(records[-1]) + "\n")
    outcomes: Counter[str] = Counter()
    for record in records:
        for _, _, outcome, number in record["counts"]:
            outcomes[outcome] += number
    print(outcomes.total(), dict(outcomes))
    return 1 if any(outcomes[bad] for bad in (WRONG, OPEN, CRASH, HANG)) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
