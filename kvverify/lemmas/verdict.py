"""What becomes of a lemma: proved, refuted or undecided; every counter-model is evaluated exactly before it counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from typing import Any, Literal

from kvverify.lemmas.base import Lemma, holds
from kvverify.lemmas.encode import counterexample, denial, is_settled
from kvverify.lemmas.identity import is_identity
from kvverify.lemmas.kernel import kernel_verdict
from kvverify.lemmas.solvers import SOLVERS, Answer, Solver

Verdict = Literal["PROVED", "REFUTED", "INCOMPLETE"]


@dataclass(frozen=True)
class Finding:
    """A lemma and what was found about it.

    ``reason``: why it is not proved. ``answers`` and ``twin_answers``: by solver. ``counter``: values at which the
    lemma fails (REFUTED), ``twin_counter`` those at which its twin does. ``kernel``: the kernel's verdict on the
    one-variable certificate, None where there is none to give.
    """

    lemma: Lemma
    verdict: Verdict
    reason: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    twin_answers: dict[str, Answer] = field(default_factory=dict)
    counter: dict[str, Fraction] | None = None
    twin_counter: dict[str, Fraction] | None = None
    kernel: str | None = None

    def said(self) -> str:
        """One line for people."""
        head = f"{self.verdict:<10} {self.lemma.id}"
        if self.verdict == "REFUTED":
            return f"{head}: it fails at {_point(self.counter or {})}"
        if self.verdict == "INCOMPLETE":
            return f"{head}: {self.reason}"
        kernel = "" if self.kernel is None else f", kernel {self.kernel}"
        return f"{head}: unsat by {' and '.join(self.answers)}{kernel}; twin refuted {_at(self.twin_counter)}"

    def json(self) -> dict[str, Any]:
        """The entry of ``--json``; a counter-model's values are "p/q"."""
        lemma = self.lemma
        given, then = lemma.altered()
        twin = {"change": lemma.twin.said(), "given": list(given), "then": then}
        return {
            "id": lemma.id, "says": lemma.says, "symbols": dict(lemma.symbols),
            "domain": "integers" if lemma.integers else "reals", "given": list(lemma.given), "then": lemma.then,
            "verdict": self.verdict, "reason": self.reason or None, "solvers": _answers(self.answers),
            "counterexample": _texts(self.counter), "kernel": self.kernel,
            "twin": {**twin, "solvers": _answers(self.twin_answers), "counterexample": _texts(self.twin_counter)},
            "envelopes": [{"symbol": e.symbol, "means": e.means, "because": e.because} for e in lemma.envelopes],
            "carries": list(lemma.carries), "source": lemma.source,
        }  # fmt: skip


def prove(lemma: Lemma, engines: Sequence[Solver]) -> Finding:
    """Proved is what both solvers say, and the kernel where it can, and whose twin is refuted.

    One solver alone proves nothing: the finding is INCOMPLETE and has its answers. Raises Refused for a statement that
    is no polynomial one.
    """
    if holds(lemma.given, lemma.then, lemma.point) is not True:
        return Finding(lemma, "INCOMPLETE", "hypotheses and conclusion do not hold at its own example")
    denied, twin_asked = denial(lemma), counterexample(lemma)
    answers = {engine.name: engine.ask(denied) for engine in engines}
    counter = _first(_fails(lemma.given, lemma.then, answer) for answer in answers.values())
    if counter is not None:
        return Finding(lemma, "REFUTED", "", answers, counter=counter)
    twin_answers = {engine.name: engine.ask(twin_asked) for engine in engines}
    twin = {name: _fails(*lemma.altered(), answer) for name, answer in twin_answers.items()}
    twin_counter = _first(twin.values())
    kernel, why = kernel_verdict(lemma)
    reason = _unproved(answers) or _unrefuted(twin_answers, twin)
    if not reason and kernel not in (None, "VALID"):
        reason = f"the kernel says {kernel}: {why}"
    if not reason and is_settled(lemma) and not is_identity(lemma.then):
        reason = "sympy calls it an identity, but it fails on a grid of values"
    if not reason and (silent := [name for name in SOLVERS if name not in answers]):
        reason = f"unsat by {' and '.join(answers)}, but {' and '.join(silent)} was not asked"
    verdict: Verdict = "INCOMPLETE" if reason else "PROVED"
    return Finding(lemma, verdict, reason, answers, twin_answers, None, twin_counter, kernel)


def _unproved(answers: dict[str, Answer]) -> str:
    """Why the answers are no proof, or nothing."""
    for name, answer in answers.items():
        if answer.said == "sat":
            return f"{name} says that it fails, but its model does not bear this out"
        if answer.said != "unsat":
            return answer.reason or f"{name} says {answer.said!r}"
    return ""


def _unrefuted(answers: dict[str, Answer], models: dict[str, dict[str, Fraction] | None]) -> str:
    """Why the twin is not refuted by every solver, or nothing."""
    for name, answer in answers.items():
        if answer.said == "unsat":
            wrong = any(model is not None for model in models.values())
            return f"{name} finds its twin true{', wrongly' if wrong else ''}"
        if answer.said != "sat":
            return f"twin: {answer.reason or f'{name} says {answer.said!r}'}"
        if models[name] is None:
            return f"twin: at {name}'s model it does not fail"
    return ""


def _fails(given: tuple[str, ...], then: str, answer: Answer) -> dict[str, Fraction] | None:
    """Values of the model at which hypotheses hold and the conclusion does not, by exact evaluation.

    An irrational value is replaced by a rational one beside it: where the statement fails there, it fails.
    """
    if answer.said != "sat":
        return None
    for values in product(*answer.model.values()):
        at = dict(zip(answer.model, values, strict=True))
        try:
            if holds(given, then, at) is False:
                return at
        except KeyError:  # a model without one of the variables is none
            return None
    return None


def _first(models: Iterable[dict[str, Fraction] | None]) -> dict[str, Fraction] | None:
    return next((model for model in models if model is not None), None)


def _answers(answers: dict[str, Answer]) -> dict[str, Any]:
    return {
        name: {"answer": a.said, "seconds": round(a.seconds, 3), "reason": a.reason or None}
        for name, a in answers.items()
    }


def _texts(at: dict[str, Fraction] | None) -> dict[str, str] | None:
    return None if at is None else {name: str(number) for name, number in at.items()}


def _at(at: dict[str, Fraction] | None) -> str:
    return f"at {_point(at)}" if at else "with no symbol in it"


def _point(at: dict[str, Fraction]) -> str:
    return ", ".join(f"{name} = {number}" for name, number in at.items())
