"""What one rule's explanation is made of; the texts themselves are tables in the files beside this one.

A sentence holds ``{field}`` for a number of the step (``{field.rows}``, ``.columns``, ``.words``, ``.count``,
``.total`` of what is no single number), ``{s.field}`` for one of the statement, ``{uses.name}`` for the step that is a
premise.
Prose is ASCII; names stand between backquotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kvverify.report.explain.numbers import Side

if TYPE_CHECKING:
    from kvverify.kernel.check import Result
    from kvverify.kernel.document import Document

_PLACE = re.compile(r"\{([a-z0-9_.-]+)\}")


@dataclass(frozen=True)
class When:
    """A sentence for steps that have ``field``, with this ``value`` where one is given; ``absent`` turns it round."""

    field: str
    text: str
    value: str | None = None
    absent: bool = False

    def holds(self, words: Mapping[str, str]) -> bool:
        """Whether the sentence belongs to a step of these words."""
        found = self.field in words and self.value in (None, words[self.field].strip("`"))
        return found != self.absent


@dataclass(frozen=True)
class Formula:
    """A formula for terminals and Markdown (``plain``, Unicode) and for LaTeX's display mode (``tex``)."""

    plain: str
    tex: str


@dataclass(frozen=True)
class Lemma:
    """One sentence, its formula, and where the proof stands: a page of docs/proofs/ and the section's name."""

    text: str
    formula: Formula
    page: str
    section: str
    source: str

    @property
    def proof(self) -> str:
        """The reference in words."""
        return f"docs/proofs/{self.page}, {self.section}"


@dataclass(frozen=True)
class Template:
    """A rule's explanation. ``sides``: for each number, the direction in which it may be rounded.

    ``cases``: other lemmas for values of the text field ``given[by]``.
    """

    says: tuple[str | When, ...]
    lemma: Lemma
    sides: Mapping[str, Side] = field(default_factory=dict)
    by: str = ""
    cases: Mapping[str, Lemma] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """A claim in words: what is claimed, of what, what it leaves open, how the last step meets it.

    ``words``: what ``{s.field}`` stands for in the steps' sentences.
    """

    claim: tuple[str, ...] = ()
    problem: tuple[str, ...] = ()
    not_said: tuple[str, ...] = ()
    conclusion: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)


Teller = Callable[["Result", "Document"], Told]
"""Of a kind of claim: the result's goal, and the document, in words."""


def filled(says: tuple[str | When, ...], words: Mapping[str, str]) -> list[str]:
    """The sentences that belong to these words; one with a number that the step lacks is left out."""
    found = []
    for sentence in says:
        if isinstance(sentence, When):
            if not sentence.holds(words):
                continue
            sentence = sentence.text
        if all(place in words for place in _PLACE.findall(sentence)):
            found.append(_PLACE.sub(lambda match: words[match[1]], sentence))
    return found
