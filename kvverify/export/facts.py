"""What the walk over a certificate knows: its statement, what each step hands on, leaves, and what is no leaf.

Nothing here is proved. Facts hold the certificate's own numbers, as they are stated, and what follows from them by a
formula. The kernel's rules are not used: documents only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TypeVar

from kvverify.export.expression import Expression, Inequality, Number
from kvverify.kernel.document import Malformed, Node, Step, integer, rational, text

ROUNDING = Fraction(1, 1 << 9)  # what bf16 moves a number of [-1, 1] by, at most


@dataclass(frozen=True)
class Leaf:
    """Inequalities that one step rests on, all of them to be true; ``words`` are the rule's."""

    step: str
    rule: str
    fact: str
    words: str
    parts: tuple[Inequality, ...]

    @property
    def name(self) -> str:
        """Of letters, digits and underscores; different for different leaves."""
        return "__".join(part.replace("-", "_") for part in (self.step, self.rule, self.fact))


@dataclass(frozen=True)
class Unexported:
    """A fact that stays with the kernel, and why it is no inequality between numbers of the certificate."""

    step: str
    rule: str
    words: str


@dataclass(frozen=True)
class Statement:
    """The claim's numbers; exactly one of ``tolerance`` and ``relative``, of ``least`` and ``enough``, is given."""

    tokens: int
    key_dim: int
    value_dim: int
    streams: int
    body: str
    inputs: str
    max_logit: Fraction
    failure: Fraction
    tolerance: Fraction | None
    relative: Fraction | None
    least: int | None
    enough: int | None
    top_mass: Fraction

    @property
    def bf16(self) -> bool:
        """Whether inputs are bf16 numbers."""
        return self.inputs == "bf16"

    @property
    def additive(self) -> Fraction:
        """The additive tolerance. Raises Malformed."""
        if self.tolerance is None:
            raise Malformed("the rule needs an additive tolerance in the statement")
        return self.tolerance

    def widened(self) -> Expression:
        """The additive tolerance, with what bf16 moves a value."""
        return Number(self.additive) + ROUNDING if self.bf16 else Number(self.additive)


def read_statement(node: Node) -> Statement:
    """The numbers of a statement. Raises Malformed where one is missing or is no number."""

    def count(name: str) -> int:
        return integer(node.get(name), f"statement.{name}")

    def number(name: str) -> Fraction | None:
        return rational(node[name], f"statement.{name}") if name in node else None

    return Statement(
        count("tokens"), count("key_dim"), count("value_dim"), count("kv_heads") * count("layers"),
        text(node.get("body"), "statement.body"), text(node.get("inputs"), "statement.inputs"),
        rational(node.get("max_logit"), "statement.max_logit"), rational(node.get("failure"), "statement.failure"),
        number("tolerance"), number("relative"),
        count("state_bits_at_least") if "state_bits_at_least" in node else None,
        count("state_bits_enough") if "state_bits_enough" in node else None,
        number("top_mass_at_least") or Fraction(0),
    )  # fmt: skip


class Fact:
    """What a step states, taken at its word."""


@dataclass(frozen=True)
class Keys(Fact):
    """``cost``: the logit of a query at scale 1 on the cube; in the ball the square of it."""

    size: int
    dim: int
    exponents: tuple[tuple[int, int], ...]
    cost: Expression
    pad_twice: int
    own: int
    signs: bool = False
    beside: Fraction = Fraction(0)


@dataclass(frozen=True)
class Decay(Fact):
    """exp(-exponent) <= z."""

    exponent: Fraction
    z: Fraction


@dataclass(frozen=True)
class Tilt(Fact):
    """``mean`` and ``entropy`` of the law of a secret under a tilt; (radius, coordinates) in the ball."""

    strength: Fraction
    mean: Expression
    entropy: Expression
    ball: tuple[Fraction, int] | None = None


@dataclass(frozen=True)
class Scaled(Fact):
    """Keys at a scale."""

    keys: Keys
    decay: Decay
    payload: int
    tilt: Tilt | None


@dataclass(frozen=True)
class Leak(Fact):
    """The stated sums of a row; ``scaled`` is None where the rows are those of a file."""

    payload: int
    off_target: Fraction
    squares: Fraction
    rest: Fraction
    scaled: Scaled | None


@dataclass(frozen=True)
class Reading(Fact):
    """Symbols that can be read back. ``crowd``: a row's sum over its largest weight, where every token is asked for."""

    alphabet: int
    payload: int
    crowd: Expression | None = None


@dataclass(frozen=True)
class Determinant(Fact):
    """log2 |det W| is at least this."""

    payload: int
    log2: Fraction


@dataclass(frozen=True)
class Bits(Fact):
    """State bits at least; or enough, for one token of one stream."""

    value: Fraction
    enough: bool = False
    crowd: Expression | None = None


T = TypeVar("T", bound=Fact)


@dataclass
class Case:
    """One step at work: the claim's fields, the step, its premises; leaves and other facts are noted here."""

    fields: Node
    step: Step
    known: dict[str, Fact]
    leaves: list[Leaf] = field(default_factory=list)
    unexported: list[Unexported] = field(default_factory=list)

    @cached_property
    def statement(self) -> Statement:
        """The problem class and its bits. Raises Malformed where the claim is of another kind."""
        return read_statement(self.fields)

    def leaf(self, fact: str, words: str, *parts: Inequality) -> None:
        """Note an inequality under the rule's own words."""
        self.leaves.append(Leaf(self.step.id, self.step.rule, fact, words, parts))

    def kept(self, words: str) -> None:
        """Note a fact that stays with the kernel."""
        self.unexported.append(Unexported(self.step.id, self.step.rule, words))

    def premise(self, name: str, kind: type[T]) -> T:
        """The premise of that name. Raises Malformed where there is none of that kind."""
        fact = self.known.get(self.step.uses.get(name, ""))
        if not isinstance(fact, kind):
            raise Malformed(f"premise {name!r} is no {kind.__name__} of a step before it")
        return fact

    def given(self, name: str) -> Fraction:
        """A number of the step."""
        return rational(self.step.given.get(name), f"given.{name}")

    def gives(self, name: str) -> Fraction:
        """A number that the step states."""
        return rational(self.step.gives.get(name), f"gives.{name}")

    def count(self, name: str) -> int:
        """An integer of the step, above -1."""
        value = integer(self.step.given.get(name), f"given.{name}")
        if value < 0:
            raise Malformed(f"given.{name}: below 0")
        return value
