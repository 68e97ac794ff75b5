"""Explicit inputs: answers by fractions where weights are rational, else by MPFR. What is counted is taken as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gmpy2 import mpq

from tests.engines.interval import Case, Interval, exp, must

Node = dict[str, Any]


@dataclass(frozen=True)
class Stated:
    """What a step gives, as it stands."""

    node: Node


def taken(case: Case, uses: Node, given: Node, gives: Node) -> Stated:
    """Fractions over outcomes, or over a stream: no question for real arithmetic."""
    case.taken = True
    return Stated(gives)


def sampled(case: Case, last: Any) -> None:
    """The same numbers."""
    must(isinstance(last, Stated) and all(case.node[name] == value for name, value in last.node.items()), "the claim")


def agreed(case: Case, last: Any) -> None:
    """No more words."""
    must(isinstance(last, Stated), "the last step is about two evaluations")
    must(int(last.node["right_words_at_most"]) <= int(case.node["right_words_at_most"]), "the words")


@dataclass(frozen=True)
class Answers:
    """The stated bounds of the first and the second answer."""

    bounds: list[Any]


def two_inputs(case: Case, uses: Node, given: Node, gives: Node) -> Answers:
    """The inputs, entry by entry, and their answers."""
    node = case.node
    bounds = [mpq(gives[f"{which}_{side}"]) for which in ("first", "second") for side in ("at_least", "at_most")]
    for part in ("query", "keys", "values"):
        rows = [[each] if isinstance(each, str) else each for each in (node["first"][part], node["second"][part])]
        for i, (one, other) in enumerate(zip(*rows, strict=True)):
            for j, (x, y) in enumerate(zip(one.split(" "), other.split(" "), strict=True)):
                listed = f"query {j}" if part == "query" else f"{part} {i} {j}"
                must(x == y or listed in node["may_differ"], f"{listed} is the same in both")
    if "states" in node:
        bits = ["".join(node[which]["values"]).replace(" ", "")[::-1] for which in ("first", "second")]
        one, other = (node["states"].split(" ")[int(each, 2)] for each in bits)
        must(one == other, "one state")
    for i, which in enumerate(("first", "second")):
        _bounded(case, which, bounds[2 * i], bounds[2 * i + 1])
    return Answers(bounds)


def _bounded(case: Case, which: str, low: Any, high: Any) -> None:
    each, coordinate = case.node[which], int(case.node["coordinate"])
    query = [int(x) for x in each["query"].split(" ")]
    keys, values = ([[int(x) for x in row.split(" ")] for row in each[part]] for part in ("keys", "values"))
    scores = [sum(a * b for a, b in zip(query, key, strict=True)) / mpq(case.node["scale"]) for key in keys]
    column = [row[coordinate] for row in values]
    if "base" in case.node:
        must(all(score.denominator == 1 for score in scores), "scores are integers")
    if "base" in case.node or len(set(scores)) == 1:
        base = mpq(case.node.get("base", 1))
        weights = [base ** int(score) for score in scores] if len(set(scores)) > 1 else [mpq(1)] * len(scores)
        answer = sum(w * v for w, v in zip(weights, column, strict=True)) / sum(weights)
        must(low <= answer <= high, f"{which}: the answer within its bounds")
        return

    def enclosed() -> Interval:
        balls = [exp(score) for score in scores]
        return sum((w * v for w, v in zip(balls, column, strict=True)), mpq(0)) / sum(balls, mpq(0))

    case.at_most(f"{which}_at_least", lambda: (low, enclosed()))
    case.at_most(f"{which}_at_most", lambda: (enclosed(), high))


def apart(case: Case, last: Any) -> None:
    """No number within the relative tolerance of both answers, wherever these lie in their bounds."""
    must(isinstance(last, Answers), "the last step gives two answers")
    eta = mpq(case.node["relative"])
    ends = [x - eta * abs(x) if i % 2 == 0 else x + eta * abs(x) for i, x in enumerate(last.bounds)]
    must(ends[1] < ends[2] or ends[3] < ends[0], "the intervals are disjoint")


RULES = {"reservoir": taken, "running-sum": taken, "two-inputs": two_inputs}
CLAIMS = {"sampling": sampled, "identity": agreed, "two-inputs": apart}
