"""The best bounds of both sides, as one certificate that the kernel accepted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kvverify.covering import forms
from kvverify.covering.nets import Net
from kvverify.covering.question import Question
from kvverify.errors import Incomplete
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check


@dataclass(frozen=True)
class Bounds:
    """``at_least`` <= N <= ``at_most``, the forms that prove it, and all others with what they prove."""

    question: Question
    at_least: int
    at_most: int
    methods: tuple[str, str]
    below: tuple[tuple[str, int], ...]
    above: tuple[tuple[str, int], ...]
    certificate: dict[str, Any]
    verdict: Verdict


def best_cover(question: Question, net: Net | None = None) -> Bounds:
    """The largest lower and the least upper bound; ``net``: one that covers as the question asks, among the upper ones.

    Raises UsageError where a bound is too long for a certificate, Incomplete where the kernel does not accept it.
    """
    below, above = list(forms.lower(question)), list(forms.upper(question))
    lower = max(below, key=lambda form: form.count)
    upper = min(above, key=lambda form: form.count)
    steps = [lower.step("at-least"), upper.step("at-most")]
    if net is not None and net.count <= upper.count:
        upper = replace(upper, name="net", count=net.count)
        steps[1] = {**net.step, "id": "upper"}
    gives = {"at_least": str(lower.count), "at_most": str(upper.count)}
    both = {"lower": "lower", "upper": "upper"}
    steps.append({"id": "both", "rule": "cover", "uses": both, "given": {}, "gives": gives})
    tree = document.build(question.statement(lower.count, upper.count), steps)
    result = check(tree)
    if result.verdict is not Verdict.VALID:
        raise Incomplete(f"no certificate: {result.reason}")
    found = [(form.name, form.count) for form in above] + ([] if net is None else [("net", net.count)])
    names = lower.name, upper.name
    return Bounds(
        question, lower.count, upper.count, names, tuple((form.name, form.count) for form in below), tuple(found), tree,
        result.verdict,
    )  # fmt: skip
