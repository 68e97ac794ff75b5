"""An explanation as a page (blocks of prose, formulas and lists), and as a JSON object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kvverify.kernel.check import Verdict
from kvverify.report.explain.explanation import Explanation, StepText, trust
from kvverify.report.explain.numbers import Field, name
from kvverify.report.explain.template import Formula
from kvverify.trust import trust as trusted


@dataclass(frozen=True)
class Heading:
    """A title (level 1) or a section's name."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Sentences. What stands between backquotes is code."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """Digits as they stand, line by line."""

    lines: tuple[str, ...]


Block = Heading | Paragraph | Items | Listing | Formula
_HOLDS = {False: "It does not hold.", None: "It could not be decided."}


def page(found: Explanation) -> list[Block]:
    """The blocks, in reading order."""
    blocks: list[Block] = [Heading(1, f"The proof in `{found.file}`")]
    if found.claim:
        blocks += [Heading(2, "What is claimed"), Paragraph(" ".join(found.claim)), Paragraph(" ".join(found.problem))]
    blocks += [Heading(2, "Verdict"), Paragraph(verdict(found))]
    for number, step in enumerate(found.steps, 1):
        blocks += _step(number, step, found)
    if found.conclusion:
        blocks += [Heading(2, "Conclusion"), Paragraph(" ".join(found.conclusion))]
    blocks += [Heading(2, "What this rests on"), Items(tuple(trust(found)))]
    if found.not_said:
        blocks += [Heading(2, "What is not said"), Items(found.not_said)]
    return blocks


def verdict(found: Explanation) -> str:
    """The kernel's word, and where and why it stopped; both sides of an inequality are in the reason."""
    result = found.result
    if result.verdict is Verdict.VALID:
        return f"VALID. The kernel proved every step anew. Certificate digest: `{found.digest}`."
    where = f" at step `{name(result.step)}`" if result.step else ""
    kind = "was refuted" if result.verdict is Verdict.INVALID else "could not be decided"
    return f"{result.verdict.value}{where}. It {kind}: `{name(result.reason, 600)}`."


def _step(number: int, step: StepText, found: Explanation) -> list[Block]:
    blocks: list[Block] = [Heading(2, f"Step {number}: `{step.id}`, by rule `{step.rule}`")]
    if step.holds is not True:
        blocks.append(Paragraph(f"{_HOLDS[step.holds]} The kernel says: `{name(found.result.reason, 600)}`."))
        blocks.append(Paragraph("What it states, as far as it can be read:"))
    blocks.append(Paragraph(" ".join([_uses(step), *step.says])))
    if step.fields:
        blocks.append(Items(tuple(_field(field) for field in step.fields)))
    blocks += [
        block for field in step.fields if field.listing
        for block in (Paragraph(f"`{field.name}`:"), Listing(field.listing))
    ]  # fmt: skip
    before = [other.lemma for other in found.steps[: number - 1]]
    if step.lemma is not None and step.lemma in before:
        blocks.append(Paragraph(f"Lemma and proof: those of step {before.index(step.lemma) + 1}."))
    elif step.lemma is not None:
        blocks += [
            Paragraph(f"Lemma: {step.lemma.text}"),
            step.lemma.formula,
            Paragraph(f"Proof: {step.lemma.proof}. Source: {step.lemma.source}."),
        ]
    return blocks


def _uses(step: StepText) -> str:
    if not step.uses:
        return "It uses no other step."
    if len(step.uses) == 1:
        return f"It uses step `{step.uses[0][1]}`."
    return f"It uses {', '.join(f'step `{used}` as `{key}`' for key, used in step.uses)}."


def _field(field: Field) -> str:
    return f"`{name(field.name)}`: {field.text}"


def explain_json(found: Explanation) -> dict[str, Any]:
    """The JSON object of ``kvverify explain``. ``numbers``: each as the certificate has it, as shown, how rounded."""
    return {
        "schema": "kvverify-explain/1",
        "verdict": found.result.verdict.value,
        "step": found.result.step,
        "reason": found.result.reason or None,
        "statement": {"says": [*found.claim, *found.problem], "fields": found.fields},
        "steps": [
            {
                "id": step.id,
                "rule": step.rule,
                "uses": dict(step.uses),
                "says": list(step.says),
                "numbers": {
                    field.name: {
                        "exact": str(field.figure.exact),
                        "shown": field.figure.shown,
                        "rounded": None if field.figure.rounded is None else field.figure.rounded.value,
                    }
                    for field in step.fields
                    if field.figure is not None
                },
                "lemma": None if step.lemma is None else step.lemma.text,
                "formula": None if step.lemma is None else step.lemma.formula.plain,
                "proof": None if step.lemma is None else step.lemma.proof,
                "source": None if step.lemma is None else step.lemma.source,
                "holds": step.holds,
            }
            for step in found.steps
        ],
        "trust": {
            **trusted(found.result),
            "python": found.python,
            "second_opinion": found.opinion,
        },
        "not_said": list(found.not_said),
    }
