"""What a lemma is: a statement for all real (or all integer) values of its symbols, and a twin that is false."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from kvverify.lemmas.expression import names, value


@dataclass(frozen=True)
class Twin:
    """A lemma with one thing changed, which makes it false.

    Either the text ``old`` of the statement, which occurs once in it, is replaced by ``new`` (a constant moved by at
    most one part in a hundred, an integer by 1), or the hypothesis ``without`` is dropped.
    """

    old: str = ""
    new: str = ""
    without: str = ""

    def said(self) -> str:
        """One phrase for people."""
        return f"without {self.without}" if self.without else f"{self.new} for {self.old}"


@dataclass(frozen=True)
class Envelope:
    """A transcendental number or function as a solver sees it: a symbol with polynomial hypotheses.

    ``symbol`` stands for ``means``; ``because`` says what makes the hypotheses about it true. ``base`` are comparisons
    between numbers ("2718/1000 <= exp 1") that the kernel proves.
    """

    symbol: str
    means: str
    because: str
    base: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lemma:
    """For all values of the symbols: where every hypothesis of ``given`` holds, ``then`` holds.

    Formulas are texts of ``kvverify.lemmas.expression``. ``example``: values at which hypotheses and conclusion hold,
    so that nothing is proved of the empty set; they also say which sign each denominator has. ``carries``: the kernel's
    rules and the claims of the ledger whose proofs use the lemma. ``source``: the proof page, or the paper.
    """

    id: str
    says: str
    symbols: Mapping[str, str]
    given: tuple[str, ...]
    then: str
    twin: Twin
    example: Mapping[str, str | int]
    carries: tuple[str, ...]
    source: str
    integers: bool = False
    envelopes: tuple[Envelope, ...] = field(default=())

    @property
    def variables(self) -> tuple[str, ...]:
        """The symbols that the statement uses, in order of appearance."""
        return names(*self.given, self.then)

    @property
    def point(self) -> dict[str, Fraction]:
        """The example's values."""
        return {name: Fraction(number) for name, number in self.example.items()}

    def altered(self) -> tuple[tuple[str, ...], str]:
        """Hypotheses and conclusion of the twin. Raises ValueError where the change does not apply exactly once."""
        if self.twin.without:
            if self.given.count(self.twin.without) != 1:
                raise ValueError(f"lemma {self.id}: its twin drops {self.twin.without!r}, which is no hypothesis")
            return tuple(text for text in self.given if text != self.twin.without), self.then
        if sum(text.count(self.twin.old) for text in (*self.given, self.then)) != 1:
            raise ValueError(f"lemma {self.id}: its twin changes {self.twin.old!r}, which does not stand there once")
        given = tuple(text.replace(self.twin.old, self.twin.new) for text in self.given)
        return given, self.then.replace(self.twin.old, self.twin.new)


def holds(given: tuple[str, ...], then: str, at: Mapping[str, Fraction]) -> bool | None:
    """Whether hypotheses imply the conclusion at a point, exactly; None where a hypothesis fails or a division does."""
    try:
        return bool(value(then, at)) if all(value(text, at) for text in given) else None
    except ZeroDivisionError:
        return None
