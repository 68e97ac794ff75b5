"""Checking many certificates: the kernel's verdict, Arb's second opinion, and reports of both."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from kvverify.crosscheck.arb import second_opinion
from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.kernel.check import Result, Verdict, check, read_goal
from kvverify.trust import trust

_BITS = {"state-bits": "state_bits_at_least", "state-bits-enough": "state_bits_enough"}
_BOUNDS = ("at_least", "at_most", "enough")  # how a field is called in which more, or less, is stronger
_SIDES = re.compile(r"(?P<test>.+) \((?P<found>.+ against .+)\)", re.DOTALL)  # as the kernel says no to an inequality


@dataclass(frozen=True)
class Outcome:
    """One certificate: the kernel's result, the second opinion ("agrees", "undecided"; None unless VALID), seconds.

    ``rule`` is that of the step that did not hold, ``line`` the one that names this step in the file (1: no such step).
    """

    path: Path
    result: Result
    opinion: str | None
    seconds: float
    rule: str | None = None
    line: int = 1


def check_all(
    paths: list[Path],
    *,
    files: Path | None = None,
    changed_since: str | None = None,
    expect: Path | None = None,
    only_certificates: bool = False,
) -> list[Outcome]:
    """Check every certificate below the paths. Raises UsageError where there is none.

    ``only_certificates`` leaves out files that nowhere name the format; what cannot be read is kept.
    """
    found = [file for path in paths for file in _certificates(path)]
    if not found:
        raise UsageError(f"no certificate (*.json) found in {', '.join(map(str, paths))}")
    if files is not None and not files.is_dir():
        raise UsageError(f"--files {files}: no such folder")
    if changed_since is not None:
        changed = _changed(changed_since)
        found = [file for file in found if not changed.isdisjoint(_rests_on(file, files))]
    if only_certificates:
        found = [file for file in found if _names_the_format(file)]
    wanted = None if expect is None else _statement(expect)
    if wanted is not None and not found and changed_since is None:  # what did not change was held against it before
        raise UsageError(f"{expect}: no certificate is left to hold against this statement")
    return [_check(file, files, wanted) for file in dict.fromkeys(found)]


def _certificates(path: Path) -> list[Path]:
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if path.is_dir():
        walk = os.walk(path, onerror=_stop)
        found = sorted(Path(folder, name) for folder, _, names in walk for name in names if name.endswith(".json"))
        return [file for file in found if file.is_file() or not file.exists()]  # no pipes, but links that lead nowhere
    return [path]


def _stop(error: OSError) -> None:
    """A folder that cannot be read is not one without certificates."""
    raise error


def is_certificate(path: Path) -> bool:
    """Whether a file says that it is a certificate (whether it is a valid one is another question)."""
    try:
        tree = document.load(path)
    except (document.Malformed, document.OverLimit):
        return False
    return str(tree.get("format", "")).startswith("kvverify-certificate")


def _names_the_format(path: Path) -> bool:
    """Looser than ``is_certificate``: a certificate that was cut or garbled is still to be judged."""
    try:
        return b"kvverify-certificate" in _read(path)
    except OSError:
        return True


def _rests_on(file: Path, files: Path | None) -> set[Path]:
    """A certificate, and the files that it names: a change of any is to be checked."""
    try:
        tree = document.load(file)
        return {file.resolve(), *(((files or file.parent) / name).resolve() for name in _named(tree))}
    except (document.Malformed, document.OverLimit, OSError, ValueError):
        return {file.resolve()}


def _named(node: Any) -> Iterator[str]:
    """The names of files in a certificate: of every object that has a name and a digest."""
    if isinstance(node, dict):
        if {"name", "sha256"} <= node.keys():
            yield str(node["name"])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _named(child)


def _changed(revision: str) -> set[Path]:
    """Files that differ from the revision, and files that git does not track yet."""
    git = ["git", "--no-optional-locks"]
    try:
        top = _git([*git, "rev-parse", "--show-toplevel"]).strip()
        # The end of options, so that a revision is never read as one.
        diff = [*git, "-C", top, "diff", "--no-ext-diff", "--name-only", "-z"]
        changed = _git([*diff, "--end-of-options", revision, "--"])
        changed += _git([*git, "-C", top, "ls-files", "--others", "--exclude-standard", "-z"])
    except FileNotFoundError:
        raise UsageError("--changed-since needs git") from None
    return {Path(top, name).resolve() for name in changed.split("\0") if name}


def _git(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", check=False)
    if done.returncode:
        raise UsageError(f"--changed-since: git says {done.stderr.strip() or 'no'}")
    return done.stdout


def _statement(path: Path) -> dict[str, Any]:
    try:
        tree = document.load(path)
        if bound := _BITS.get(str(tree.get("claim", "state-bits"))):
            document.integer(tree.get(bound), bound)
        else:
            read_goal(tree)
    except (document.Malformed, document.OverLimit) as error:
        raise UsageError(
            f"{path}: a statement is an object of strings with its bound, as in a certificate ({error})"
        ) from None
    return tree


def _check(path: Path, files: Path | None, wanted: dict[str, Any] | None) -> Outcome:
    begin = time.perf_counter()
    try:
        data = _read(path)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        result = Result(Verdict.INCOMPLETE, reason)
        return Outcome(path, result, None, time.perf_counter() - begin)
    result = check(data, files if files is not None else path.parent)
    opinion = None
    if result.verdict is Verdict.VALID:
        second = second_opinion(data, files if files is not None else path.parent)
        opinion = second.verdict
        if opinion == "contrary":
            reason = f"the second opinion proves the contrary: {second.reason}"
            result = replace(result, verdict=Verdict.INVALID, step=second.step, reason=reason)
        elif wanted is not None:
            result = _compare(result, json.loads(data)["statement"], wanted)
    return Outcome(path, result, opinion, time.perf_counter() - begin, *_place(data, result.step))


def _place(data: bytes, step: str | None) -> tuple[str | None, int]:
    """The rule of a step, and the line of the file that names the step."""
    if step is None:
        return None, 1
    rule = next((one.rule for one in document.read(data).steps if one.id == step), None)
    lines = data.decode().split("\n")
    return rule, next((number for number, line in enumerate(lines, 1) if f'"id": "{step}"' in line), 1)


def _read(path: Path) -> bytes:
    """The file's bytes, no more than the kernel reads: it may be larger than memory, or never end."""
    with path.open("rb") as stream:
        return stream.read(document.MAX_BYTES + 1)


def _compare(result: Result, claimed: dict[str, Any], wanted: dict[str, Any]) -> Result:
    """A valid proof of another or a weaker claim does not pass."""
    for name in sorted(claimed.keys() | wanted.keys()):
        given, asked = claimed.get(name), wanted.get(name)
        if not _covers(name, given, asked):
            bound = name.endswith(_BOUNDS) and None not in (given, asked)
            reason = f"expected {name} = {asked!r}, the certificate has {given!r}"
            if bound:
                reason = f"expected {name} {asked}, the certificate proves {given}"
            return replace(result, verdict=Verdict.INVALID, reason=reason)
    return result


def _covers(name: str, given: Any, asked: Any) -> bool:
    """Whether what the certificate has in a field is at least as strong as what is asked; a bound may be more."""
    if name.endswith(_BOUNDS):
        if given is None or asked is None:
            return asked is None
        least, most = Fraction(given), Fraction(asked)
        return least >= most if name.endswith("at_least") else least <= most
    return bool(given == asked)


def checks_json(outcomes: list[Outcome]) -> dict[str, Any]:
    """The JSON object of ``kvverify check``; any INVALID outweighs any INCOMPLETE, of no file there is no verdict."""
    verdicts = [outcome.result.verdict for outcome in outcomes]
    worst = next((v for v in (Verdict.INVALID, Verdict.INCOMPLETE, Verdict.VALID) if v in verdicts), None)
    return {
        "schema": "kvverify-check/1",
        "verdict": None if worst is None else worst.value,
        "counts": {v.value.lower(): verdicts.count(v) for v in Verdict},
        "files": [
            {
                "file": str(outcome.path), "verdict": outcome.result.verdict.value, "claim": outcome.result.claim,
                "step": outcome.result.step, "reason": outcome.result.reason or None, "trust": trust(outcome.result),
                "second_opinion": outcome.opinion, "seconds": round(outcome.seconds, 3),
            }
            for outcome in outcomes
        ],
    }  # fmt: skip


def checks_text(outcomes: list[Outcome]) -> str:
    """One line for each certificate, and the counts."""
    lines = []
    for outcome in outcomes:
        result = outcome.result
        where = f" at step {result.step!r}" if result.step else ""
        claim = f"{result.claim}{where}" if result.reason else f"{result.claim} (Arb {outcome.opinion})"
        lines.append(": ".join(filter(None, (f"{result.verdict.value:10} {outcome.path}", claim, result.reason))))
    counts = checks_json(outcomes)["counts"]
    return "\n".join(
        [*lines, f"{counts['valid']} valid, {counts['invalid']} invalid, {counts['incomplete']} incomplete"]
    )


def failure_text(outcome: Outcome) -> str:
    """Why one certificate is not VALID, for people: file, claim, step and rule, what was needed and what was found."""
    result = outcome.result
    needed = _SIDES.fullmatch(result.reason)
    rule = f" (rule {document.short(outcome.rule)})" if outcome.rule else ""
    rows = {
        "claim": result.claim,
        "step": f"{result.step}{rule}" if result.step else "",
        "needed": needed["test"] if needed else "",
        "found": needed["found"] if needed else "",
        "reason": "" if needed else result.reason,
        "right": (
            "a readable file within the checker's limits, beside the files that it names; undecided is not proved"
            if result.verdict is Verdict.INCOMPLETE
            else "a certificate of which every step holds and proves the claim, as kvverify certify writes it"
        ),
    }
    lines = [f"  {name:7} {words}" for name, words in rows.items() if words]
    return "\n".join([f"{result.verdict.value} {printable(str(outcome.path))}", *lines])


def junit_bytes(outcomes: list[Outcome]) -> bytes:
    """A JUnit report: INVALID is a failure, INCOMPLETE an error (never a skip, which reads as success)."""
    counts = checks_json(outcomes)["counts"]
    suite = ElementTree.Element(
        "testsuite", name="kvverify", tests=str(len(outcomes)), failures=str(counts["invalid"]),
        errors=str(counts["incomplete"]), time=f"{sum(outcome.seconds for outcome in outcomes):.3f}",
    )  # fmt: skip
    for outcome in outcomes:
        case = ElementTree.SubElement(
            suite, "testcase", classname="certificate", name=printable(str(outcome.path)), time=f"{outcome.seconds:.3f}"
        )
        kind = {Verdict.INVALID: "failure", Verdict.INCOMPLETE: "error"}.get(outcome.result.verdict)
        if kind:
            message = f"{outcome.result.step or ''} {outcome.result.reason}".strip()
            ElementTree.SubElement(case, kind, message=printable(message)).text = failure_text(outcome)
    report: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return report


def printable(text: str) -> str:
    """What XML and JSON cannot hold (control characters, bytes that are no UTF-8) as backslash escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
