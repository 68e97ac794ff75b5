"""Leaves of explicit inputs, as docs/proofs/instances.md states them; samplers and identities stay with the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from kvverify.export.expression import Expression, Number, at_most, below, exp, total
from kvverify.export.facts import Case, Fact
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integer, integers, obj, rational, strings

_TOKENS = 64  # terms of an answer that is written out
_POWER = 1 << 12


@dataclass(frozen=True)
class Exact(Fact):
    """What was decided between fractions, by the kernel."""


@dataclass(frozen=True)
class Answers(Fact):
    """The stated bounds of two answers, each from below and from above."""

    first: tuple[Fraction, Fraction]
    second: tuple[Fraction, Fraction]


def reservoir(case: Case) -> Fact:
    """Sums over all outcomes of coins."""
    case.kept("mean, variance and marginals, or the probability of an error, over all outcomes are as stated")
    return Exact()


def running_sum(case: Case) -> Fact:
    """Equalities between fractions, at every step of a stream."""
    case.kept("both evaluations give equal fractions at every step, and keep no more words than stated")
    return Exact()


def exactly(case: Case, last: Fact) -> None:
    """A claim that the last step's numbers meet by being the same."""
    if not isinstance(last, Exact):
        raise Malformed("the last step is not about this claim")


def two_inputs(case: Case) -> Fact:
    """Both answers against their stated bounds."""
    node = case.fields
    case.kept("the inputs differ in listed entries only, and have the same state where states are listed")
    bounds = []
    for which in ("first", "second"):
        low, high = (rational(case.step.gives.get(f"{which}_{side}"), which) for side in ("at_least", "at_most"))
        above, below_ = _answer(node, which)
        words = f"{which}_at_least <= the answer <= {which}_at_most, both sides times the sum of weights"
        case.leaf(which, words, at_most(Number(low) * below_, above), at_most(above, Number(high) * below_))
        bounds.append((low, high))
    return Answers(*bounds)


def _answer(node: Node, which: str) -> tuple[Expression, Expression]:
    """Numerator and denominator of an answer; weights relative to the first token's."""
    each = fields(node.get(which), which, {"query", "keys", "values"})
    query = integers(each["query"], "query")
    keys = [integers(row, "keys") for row in strings(each["keys"], "keys")]
    column = integer(node.get("coordinate"), "coordinate")
    values = [integers(row, "values") for row in strings(each["values"], "values")]
    if len(keys) > _TOKENS:
        raise OverLimit(f"limit: answers over more than {_TOKENS} tokens")
    if not keys or len(values) != len(keys) or any(not 0 <= column < len(row) for row in values):
        raise Malformed(f"{which}: expected as many keys as values, with that coordinate")
    scale = rational(node.get("scale"), "scale")
    if scale <= 0 or any(len(key) != len(query) for key in keys):
        raise Malformed(f"{which}: expected a scale above 0 and keys of the query's length")
    products = [sum(a * b for a, b in zip(query, key, strict=True)) for key in keys]
    base = rational(node["base"], "base") if "base" in node else None
    weights = [_weight(base, product - products[0], scale) for product in products]
    terms = [w * row[column] for w, row in zip(weights, values, strict=True)]
    return total(terms), total(weights)


def _weight(base: Fraction | None, product: int, scale: Fraction) -> Expression:
    """base^(product / scale), or e^(product / scale)."""
    if base is None:
        return exp(Number(Fraction(product)) / scale)
    score = product / scale
    if score.denominator != 1 or base <= 0:
        raise Malformed("expected a base above 0, and scores that are integers")
    if abs(score) > _POWER:
        raise OverLimit(f"limit: powers of a base above {_POWER}")
    power = Number(base) ** abs(score.numerator)
    return power if score >= 0 else 1 / power


def apart(case: Case, last: Fact) -> None:
    """The smaller answer's interval ends before the larger one's begins."""
    if not isinstance(last, Answers):
        raise Malformed("the last step gives no two answers")
    eta = rational(obj(case.fields, "statement").get("relative"), "relative")
    low, high = sorted((last.first, last.second))
    case.leaf("relative", "0 <= relative < 1", at_most(0, eta), below(eta, 1))
    words = "the smaller answer's interval ends before the larger one's begins"
    case.leaf("apart", words, below(_moved(low[1], eta, 1), _moved(high[0], eta, -1)))


def _moved(answer: Fraction, eta: Fraction, sign: int) -> Expression:
    return Number(answer) + sign * Number(eta) * Number(abs(answer))
