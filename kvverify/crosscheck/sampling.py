"""Reservoirs, decided anew: by the law of what a slot holds at the end, where the kernel walks through the updates.

A slot holds token l with probability 1/n in a cell of n tokens, |v_l|^2 / |V|_F^2 in the sampler by norm, and slots are
independent (docs/proofs/sampling.md). Tails are sums over multisets with their multinomial coefficients.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise
from math import comb, factorial, prod

from flint import fmpq

from kvverify.crosscheck.facts import Rule
from kvverify.crosscheck.goal import Fact, Goal, must
from kvverify.crosscheck.settle import Case, within
from kvverify.kernel.document import Malformed, Node, fields, integer, integers, rational, strings

_FORMS = {
    "cell": {"cells", "cell_slots", "weight_ratio_at_most", "mean", "variance", "marginals"},
    "norm": {"values", "norm_slots", "mean", "variance", "marginals"},
    "combination": {"cells", "values", "cell_slots", "norm_slots", "radius_square", "probability"},
}
_TOKENS, _OUTCOMES = 256, 1 << 16

Numbers = dict[str, list[fmpq]]
Law = list[tuple[fmpq, list[fmpq]]]


@dataclass(frozen=True)
class Stated(Fact):
    """The numbers that a step states, by name."""

    numbers: Numbers


@dataclass(frozen=True)
class Sampling(Goal):
    """The stream and what is claimed of it. ``cells`` are lists of tokens, ``values`` rows; empty where not of use."""

    form: str
    weights: list[int]
    cells: list[list[int]]
    values: list[list[int]]
    slots: dict[str, int]
    bound: fmpq
    claimed: Numbers

    def met_by(self, last: Fact) -> None:
        """The same numbers."""
        must(isinstance(last, Stated) and last.numbers == self.claimed, "the last step states the claim's numbers")


def read(node: Node) -> Sampling:
    """The statement of a document. Raises Malformed."""
    form = str(node.get("form"))
    _require(form in _FORMS, "form")
    fields(node, "statement", {"claim", "form", "weights"} | _FORMS[form])
    weights = integers(node["weights"], "weights")
    _require(all(w > 0 for w in weights), "weights")
    cells = [integers(row, "cells") for row in strings(node.get("cells", []), "cells")]
    values = [integers(row, "values") for row in strings(node.get("values", []), "values")]
    if "cells" in node:
        _require(Counter(i for cell in cells for i in cell) == Counter(range(len(weights))), "cells")
        _require(all(a < b for cell in cells for a, b in pairwise(cell)), "cells")
    if "values" in node:
        _require(len(values) == len(weights) and len({len(row) for row in values}) == 1, "values")
    slots = {str(name): integer(node[name], name) for name in ("cell_slots", "norm_slots") if name in node}
    _require(all(number > 0 for number in slots.values()), "slots")
    bound = fmpq(1)
    for name, least in (("weight_ratio_at_most", 1), ("radius_square", 0)):
        if name in node:
            (bound,) = _numbers(node, [name])[name]
            _require(bound >= least, name)
    return Sampling(form, weights, cells, values, slots, bound, _numbers(node, _named(form)))


def reservoir(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Fact:
    """Mean, variance and marginals of independent slots of a known law, or the tail over all that they hold."""
    must(not uses, "no premises")
    goal = case.about(Sampling)
    within(len(goal.weights) <= _TOKENS, f"{len(goal.weights)} tokens")
    stated = _numbers(fields(gives, "gives", set(_named(goal.form))), _named(goal.form))
    if goal.form == "combination":
        fields(given, "given", set())
        must(stated["probability"] == [_tail(goal)], "the probability over what the slots hold")
        return Stated(stated)
    (slots,) = goal.slots.values()
    together = integer(fields(given, "given", {"slots_together"})["slots_together"], "slots_together")
    must(together > 0 and slots % together == 0, "slots in equal groups")
    laws = _laws(goal)
    width = 1 if goal.form == "cell" else len(goal.values[0])
    means = [[sum((p * x[j] for p, x in law), fmpq(0)) for j in range(width)] for law in laws]
    squares = [sum((p * x * x for p, share in law for x in share), fmpq(0)) for law in laws]
    variance = sum((s - sum(x * x for x in mean) for s, mean in zip(squares, means, strict=True)), fmpq(0)) / slots
    mean = [sum((part[j] for part in means), fmpq(0)) for j in range(width)]
    must(stated["mean"] == mean, "the mean of the law of a slot")
    must(stated["variance"] == [variance], "the variance of the mean of independent slots")
    must(stated["marginals"] == _marginals(goal), "the law of a slot")
    if goal.form == "cell":
        for cell in goal.cells:
            weights = [goal.weights[i] for i in cell]
            must(max(weights) <= goal.bound * min(weights), "weights of a cell within their ratio")
        kappa = goal.bound
        must(4 * kappa * slots * variance <= (mean[0] * (kappa - 1)) ** 2, "the variance within the bound of the ratio")
    return Stated(stated)


def _laws(goal: Sampling) -> list[Law]:
    """For each reservoir what a slot adds to the estimate, with its probability."""
    if goal.form == "cell":
        return [[(fmpq(1, len(c)), [fmpq(len(c) * goal.weights[i])]) for i in c] for c in goal.cells]
    mass = sum(x * x for row in goal.values for x in row)
    law = []
    for w, row in zip(goal.weights, goal.values, strict=True):
        if square := sum(x * x for x in row):
            law.append((fmpq(square, mass), [fmpq(mass * w * x, square) for x in row]))
    return [law] if law else []


def _marginals(goal: Sampling) -> list[fmpq]:
    if goal.form == "cell":
        sizes = {i: len(cell) for cell in goal.cells for i in cell}
        return [fmpq(1, sizes[i]) for i in range(len(goal.weights))]
    mass = sum(x * x for row in goal.values for x in row) or 1
    return [fmpq(sum(x * x for x in row), mass) for row in goal.values]


def _held(law: Law, slots: int) -> dict[tuple[fmpq, ...], fmpq]:
    """The law of the mean over slots: every multiset of what they hold, as often as it can be arranged."""
    within(comb(len(law) + slots - 1, slots) <= _OUTCOMES if slots < 64 else len(law) == 1, "outcomes of the slots")
    found: dict[tuple[fmpq, ...], fmpq] = defaultdict(lambda: fmpq(0))
    for held in combinations_with_replacement(range(len(law)), slots):
        arranged = factorial(slots) // prod(factorial(many) for many in Counter(held).values())
        likely = fmpq(arranged)
        for i in held:
            likely *= law[i][0]
        found[tuple(sum(column, fmpq(0)) / slots for column in zip(*(law[i][1] for i in held), strict=True))] += likely
    return found


def _tail(goal: Sampling) -> fmpq:
    """P(|z / tau - y / Z|^2 > radius_square)."""
    taus = {fmpq(0): fmpq(1)}
    for cell in goal.cells:
        law: Law = [(fmpq(1, len(cell)), [fmpq(len(cell) * goal.weights[i])]) for i in cell]
        parts = _held(law, goal.slots["cell_slots"])
        within(len(taus) * len(parts) <= _OUTCOMES, "outcomes of the cells")
        sums: dict[fmpq, fmpq] = defaultdict(lambda: fmpq(0))
        for tau, p in taus.items():
            for (part,), chance in parts.items():
                sums[tau + part] += p * chance
        taus = sums
    laws = _laws(goal)
    width = len(goal.values[0])
    estimates = _held(laws[0], goal.slots["norm_slots"]) if laws else {(fmpq(0),) * width: fmpq(1)}
    within(len(taus) * len(estimates) <= _OUTCOMES, "outcomes of both samplers")
    columns = zip(*goal.values, strict=True)
    mass = sum(goal.weights)
    answer = [fmpq(sum(w * x for w, x in zip(goal.weights, c, strict=True)), mass) for c in columns]
    return sum(
        (
            p * chance
            for tau, p in taus.items()
            for z, chance in estimates.items()
            if sum((x / tau - a) ** 2 for x, a in zip(z, answer, strict=True)) > goal.bound
        ),
        fmpq(0),
    )


def _named(form: str) -> list[str]:
    return ["probability"] if form == "combination" else ["mean", "variance", "marginals"]


def _numbers(node: Node, names: list[str]) -> Numbers:
    """The rationals in these fields, one or a list of them."""
    found = {}
    for name in names:
        listed = strings(node[name], name) if name in ("mean", "marginals") else [node[name]]
        values = [rational(x, name) for x in listed]
        found[name] = [fmpq(x.numerator, x.denominator) for x in values]
    return found


def _require(condition: bool, name: str) -> None:
    if not condition:
        raise Malformed(f"statement: {name} outside of what can be sampled")


RULES: dict[str, Rule] = {"reservoir": reservoir}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"sampling": read}
