"""From a certificate's file to what is to be said of it: verdict first, then the steps as far as they hold."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.kernel.check import Result, Verdict, check
from kvverify.report.explain.numbers import Field, fields, name
from kvverify.report.explain.rules import TEMPLATES, TOLD
from kvverify.report.explain.template import Lemma, Told, filled
from kvverify.trust import trust as trusted


@dataclass(frozen=True)
class StepText:
    """One step. ``holds`` is None where that could not be decided; ``lemma`` is None for an unknown rule."""

    id: str
    rule: str
    uses: tuple[tuple[str, str], ...]
    says: tuple[str, ...]
    fields: tuple[Field, ...]
    lemma: Lemma | None
    holds: bool | None


@dataclass(frozen=True)
class Explanation:
    """All that a page says. ``steps`` end with the one that fails; ``opinion`` is None where none was asked for."""

    file: str
    digest: str | None
    result: Result
    fields: document.Node
    claim: tuple[str, ...]
    problem: tuple[str, ...]
    steps: tuple[StepText, ...]
    conclusion: tuple[str, ...]
    opinion: str | None
    python: str
    not_said: tuple[str, ...]


def explain(path: Path, files: Path | None = None) -> Explanation:
    """Check the certificate at ``path`` and explain it. ``files``: folder of the files that it refers to, in place of
    its own. Raises UsageError where there is no such file, OSError where it cannot be read.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; a certificate is needed")
    if files is not None and not files.is_dir():
        raise UsageError(f"--files {files}: no such folder")
    with path.open("rb") as stream:
        data = stream.read(document.MAX_BYTES + 1)
    return explain_bytes(data, path.parent if files is None else files, str(path))


def explain_bytes(data: bytes, folder: Path, file: str) -> Explanation:
    """The same for a certificate's bytes; ``file``: what the page calls it."""
    result, opinion = _judged(data, folder)
    try:
        found = document.read(data)
    except (document.Malformed, document.OverLimit):
        found = document.Document({}, (), "")
    told = _told(result, found)
    return Explanation(
        file=name(file), digest=found.digest or None, result=result, fields=found.statement,
        claim=told.claim, problem=told.problem, steps=_steps(found, result, told.words), conclusion=told.conclusion,
        opinion=opinion, python=platform.python_version(), not_said=told.not_said,
    )  # fmt: skip


def _judged(data: bytes, folder: Path) -> tuple[Result, str | None]:
    """The kernel's result, and Arb's opinion where the kernel says VALID and python-flint is installed."""
    result = check(data, folder)
    if result.verdict is not Verdict.VALID or find_spec("flint") is None:
        return result, None
    from kvverify.crosscheck.arb import CONTRARY, second_opinion

    second = second_opinion(data, folder)
    if second.verdict == CONTRARY:
        reason = f"the second opinion proves the contrary: {second.reason}"
        steps = [step.id for step in document.read(data).steps]
        proved = len(steps) if second.step is None else steps.index(second.step)
        result = replace(result, verdict=Verdict.INVALID, step=second.step, reason=reason, bits=None, proved=proved)
    return result, second.verdict


def _told(result: Result, found: document.Document) -> Told:
    """The claim in words; nothing where the kernel could not read it."""
    return Told() if result.goal is None else TOLD[found.statement["claim"]](result, found)


def _steps(found: document.Document, result: Result, words: Mapping[str, str]) -> tuple[StepText, ...]:
    """Every step up to the one where the kernel stopped."""
    if result.goal is None:
        return ()
    texts = [_step(step, words) for step in found.steps[: result.proved + 1]]
    if result.proved < len(found.steps):
        texts[-1] = replace(texts[-1], holds=False if result.verdict is Verdict.INVALID else None)
    return tuple(texts)


def _step(step: document.Step, words: Mapping[str, str]) -> StepText:
    template = TEMPLATES.get(step.rule)
    sides = template.sides if template else {}
    shown = fields(step.given, sides) + fields(step.gives, sides)
    called = {**words} | {f"uses.{key}": name(used) for key, used in step.uses.items()}
    for part in shown:
        called |= part.words
    says, lemma = ["The kernel knows no rule of this name."], None
    if template is not None:
        says = filled(template.says, called)
        lemma = template.cases.get(str(step.given.get(template.by)), template.lemma)
    uses = tuple((name(key), name(used)) for key, used in step.uses.items())
    return StepText(name(step.id), name(step.rule), uses, tuple(says), tuple(shown), lemma, True)


def trust(found: Explanation) -> list[str]:
    """What the verdict rests on."""
    rests = trusted(found.result)
    says = [
        f"The kernel, digest `{rests['kernel'][0]}`, run by Python {found.python} with its standard library alone.",
        *(f"Rule file `{rule.split()[0]}`, digest `{rule.split()[1]}`." for rule in rests["rules"]),
        "The lemmas of these rules, proved in writing in docs/proofs/. The kernel computes every number anew, and "
        "cites no lemma without a proof there.",
    ]
    if found.result.verdict is not Verdict.VALID and found.opinion is None:
        return [*says, "No second opinion was asked for, as the kernel did not say VALID."]
    if found.opinion is None:
        return [*says, "No second opinion: python-flint is not installed."]
    return [*says, f"Second opinion, other code on Arb (python-flint): it {_OPINIONS[found.opinion]}."]


_OPINIONS = {
    "agrees": "proves every step anew and agrees",
    "undecided": "found nothing false, but left a step undecided",
    "contrary": "proves the contrary",
}
