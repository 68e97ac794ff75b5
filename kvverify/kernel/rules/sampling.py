"""Reservoirs over all outcomes of their coins: mean, variance and tail, exactly. Proofs: docs/proofs/sampling.md.

Source: the samplers are SubGen's (Zandieh, Han, Mirrokni and Karbasi, arXiv 2402.06082) as recorded; the exact
variance of `cell` and the sharp bound on it are ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import (
    Malformed,
    Node,
    OverLimit,
    fields,
    integer,
    integers,
    rational,
    strings,
    text,
)
from kvverify.kernel.facts import Fact, Goal, need

MAX_TOKENS = 256
MAX_WEIGHT_BITS = 256
MAX_VALUE_BITS = 32
MAX_VALUE_DIM = 64
MAX_STATE_BITS = 64  # of the number of states that are walked, before their work is charged

Vector = tuple[Fraction, ...]
Law = dict[tuple[int, ...], Fraction]

_STREAM = {"cell": ("cells",), "norm": ("values",), "combination": ("cells", "values")}
_SLOTS = {"cell": ("cell_slots",), "norm": ("norm_slots",), "combination": ("cell_slots", "norm_slots")}
_CLAIMED = {"cell": {"weight_ratio_at_most"}, "norm": set[str](), "combination": {"radius_square", "probability"}}
_MOMENTS = {"mean", "variance", "marginals"}


@dataclass(frozen=True)
class Moments(Fact):
    """Of an estimate: mean, and mean of the squared distance from it. Of a slot: the chance that it holds a token."""

    mean: Vector
    variance: Fraction
    marginals: Vector


@dataclass(frozen=True)
class Tail(Fact):
    """The chance that the combined estimate is off by more than the radius."""

    chance: Fraction


@dataclass(frozen=True)
class Sampling(Goal):
    """What sampling makes of a stream of tokens.

    Token l has the weight e^{<q, k_l>} = ``weights[l]`` in a common unit and the value ``values[l]``. ``cells`` are the
    clusters' tokens in the order of arrival. ``slots``: of every cell, of the sampler by norm, as far as the form has
    them. ``bound``: the weights' ratio within a cell, or the squared radius.
    """

    form: str
    weights: tuple[int, ...]
    cells: tuple[tuple[int, ...], ...]
    values: tuple[tuple[int, ...], ...]
    slots: dict[str, int]
    bound: Fraction
    claimed: Moments | Tail

    def said(self) -> str:
        """The form, the sizes and the numbers."""
        slots = " and ".join(f"{many} {name.replace('_', ' ')}" for name, many in self.slots.items())
        start = f"sampling ({self.form}) of {len(self.weights)} tokens by {slots}: "
        if isinstance(self.claimed, Tail):
            return f"{start}an error above sqrt({self.bound}) has probability {self.claimed.chance}"
        return f"{start}mean {' '.join(map(str, self.claimed.mean))}, variance {self.claimed.variance}"

    def met_by(self, last: Fact) -> None:
        """The last step gives exactly the numbers that are claimed."""
        need(last == self.claimed, "the last step gives the statement's mean, variance and marginals, or its tail")


@dataclass(frozen=True)
class Reservoir:
    """Independent slots that forget: arrival i is token ``tokens[i]`` and replaces what a slot holds with probability
    ``chances[i]``, 1 for the first. The estimate is the mean over slots of ``shares`` of what they hold.
    """

    tokens: tuple[int, ...]
    chances: tuple[Fraction, ...]
    shares: tuple[Vector, ...]


def parse(node: Node) -> Goal:
    """Read a statement about sampling. Raises Malformed and OverLimit."""
    form = text(node.get("form"), "statement.form")
    if form not in _STREAM:
        raise Malformed(f"statement.form: expected one of {', '.join(_STREAM)}")
    claimed = _CLAIMED[form] | (set() if form == "combination" else _MOMENTS)
    fields(node, "statement", {"claim", "form", "weights", *_STREAM[form], *_SLOTS[form]} | claimed)
    weights = integers(node["weights"], "statement.weights")
    many = len(weights)
    _within(many <= MAX_TOKENS, f"{MAX_TOKENS} tokens")
    _within(max(weights).bit_length() <= MAX_WEIGHT_BITS, f"weights of {MAX_WEIGHT_BITS} bits")
    _ranged(min(weights) > 0, "weights", "powers of e are positive")
    cells = _rows(node, "cells")
    placed = sorted(token for cell in cells for token in cell)
    _ranged(not cells or placed == list(range(many)), "cells", "every token stands in one cell")
    _ranged(all(list(cell) == sorted(cell) for cell in cells), "cells", "tokens stand in the order of arrival")
    values = _rows(node, "values")
    _ranged(not values or len(values) == many, "values", "one row for each weight")
    _ranged(len({len(row) for row in values}) < 2, "values", "rows of one length")
    size = max((abs(x) for row in values for x in row), default=0)
    _within(size.bit_length() <= MAX_VALUE_BITS, f"values of {MAX_VALUE_BITS} bits")
    _within(max(map(len, values), default=0) <= MAX_VALUE_DIM, f"{MAX_VALUE_DIM} value coordinates")
    slots = {name: integer(node[name], f"statement.{name}") for name in _SLOTS[form]}
    for name, number in slots.items():
        _ranged(number >= 1, name, "at least one slot")
    bound = Fraction(1)
    for name in {"weight_ratio_at_most", "radius_square"} & node.keys():
        bound = rational(node[name], f"statement.{name}")
        _ranged(bound >= (0 if name == "radius_square" else 1), name, "below its least value")
    tail = form == "combination"
    result = Tail(rational(node["probability"], "statement.probability")) if tail else _moments_of(node, "statement")
    return Sampling(form, tuple(weights), cells, values, slots, bound, result)


def reservoir(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Fact:
    """The streaming updates of every slot, with every outcome of their coins.

    `cell`: the n-th token of a cell replaces each of its t slots with probability 1/n; tau = sum over cells of n times
    the mean weight in its slots. E tau = Z = sum w_l, and Var tau = sum over cells of (n sum w^2 - (sum w)^2) / t
    <= Z^2 (kappa - 1)^2 / (4 kappa t) where weights of a cell differ by the factor kappa at most.
    `norm`: a token with v != 0 adds |v|^2 to mu and then replaces each of s slots with probability |v|^2 / mu, one with
    v = 0 is passed over; z = mean over slots of mu w v / |v|^2, 0 where no slot holds a token. E z = y = sum w_l v_l,
    E|z - y|^2 = (|V|_F^2 W - |y|^2) / s with W the sum of w_l^2 over v_l != 0.
    `combination`: both with coins of their own; the probability is that of |z / tau - y / Z|^2 > radius_square.
    ``slots_together`` slots are walked at once; groups of them are independent and alike.
    """
    fields(uses, "uses", set())
    goal = context.about(Sampling)
    if goal.form == "combination":
        fields(given, "given", set())
        tail, claimed = _tail(context, goal), _tail_of(gives)
        need(claimed == tail, "the probability of a larger error is as stated", tail.chance, claimed.chance)
        return tail
    (slots,) = goal.slots.values()
    together = integer(fields(given, "given", {"slots_together"})["slots_together"], "slots_together")
    need(together >= 1 and slots % together == 0, "slots_together divides the number of slots", slots, together)
    stated, found = _moments_of(gives, "gives"), _moments(context, goal, together, Fraction(together, slots))
    exact, variance = _closed(goal, slots)
    need(found.mean == exact, "mean over all outcomes = what is estimated")
    need(found.variance == variance, "variance over all outcomes = its formula", found.variance, variance)
    need(stated.mean == exact, "mean is what the outcomes give")
    need(stated.variance == variance, "variance is what the outcomes give", variance, stated.variance)
    need(stated.marginals == found.marginals, "marginals are what the outcomes give")
    if goal.form == "cell":
        ratio = max(Fraction(max(w), min(w)) for w in ([goal.weights[i] for i in cell] for cell in goal.cells))
        need(ratio <= goal.bound, "weights of one cell differ by weight_ratio_at_most at most", ratio, goal.bound)
        most = exact[0] ** 2 * (goal.bound - 1) ** 2 / (4 * goal.bound * slots)
        need(variance <= most, "variance <= Z^2 (kappa - 1)^2 / (4 kappa slots)", variance, most)
    return stated


def _closed(goal: Sampling, slots: int) -> tuple[Vector, Fraction]:
    """What is estimated, summed directly, and the variance by its formula."""
    weights = goal.weights
    if goal.form == "cell":
        cells = [[weights[i] for i in cell] for cell in goal.cells]
        spread = sum(len(w) * sum(x * x for x in w) - sum(w) ** 2 for w in cells)
        return (Fraction(sum(weights)),), Fraction(spread, slots)
    exact = _weighted(goal)
    frobenius = sum(x * x for row in goal.values for x in row)
    squares = sum(w * w for w, row in zip(weights, goal.values, strict=True) if any(row))
    return exact, (frobenius * squares - sum((x * x for x in exact), Fraction(0))) / slots


def _weighted(goal: Sampling) -> Vector:
    """y = sum of w_l v_l."""
    columns = zip(*goal.values, strict=True)
    return tuple(Fraction(sum(w * x for w, x in zip(goal.weights, column, strict=True))) for column in columns)


def _cells(goal: Sampling) -> list[Reservoir]:
    return [
        Reservoir(
            cell,
            tuple(Fraction(1, i + 1) for i in range(len(cell))),
            tuple((Fraction(len(cell) * goal.weights[token]),) for token in cell),
        )
        for cell in goal.cells
    ]


def _norm(goal: Sampling) -> Reservoir:
    tokens = tuple(token for token, row in enumerate(goal.values) if any(row))
    chances, mass = [], 0
    squares = [sum(x * x for x in goal.values[token]) for token in tokens]
    for square in squares:
        mass += square
        chances.append(Fraction(square, mass))
    shares = (
        tuple(Fraction(mass * goal.weights[token] * x, square) for x in goal.values[token])
        for token, square in zip(tokens, squares, strict=True)
    )
    return Reservoir(tokens, tuple(chances), tuple(shares))


def _walk(context: Context, source: Reservoir, slots: int) -> Law:
    """What the slots hold after the last arrival, as places in ``source.tokens``, with the probability of each."""
    arrivals = len(source.tokens)
    if slots * arrivals.bit_length() > MAX_STATE_BITS:
        raise OverLimit(f"limit: more than 2^{MAX_STATE_BITS} outcomes")
    # Fractions of about 2 bits per slot and bit of the mass, some microseconds for each of the two branches of a coin
    context.charge(sum((i + 1) ** slots for i in range(arrivals)) * slots * (32 + 2 * slots))
    law: Law = {(0,) * slots: Fraction(1)}
    for arrival, chance in enumerate(source.chances):
        for slot in range(slots):
            after: Law = defaultdict(Fraction)
            for state, likely in law.items():
                after[(*state[:slot], arrival, *state[slot + 1 :])] += likely * chance
                if chance < 1:
                    after[state] += likely * (1 - chance)
            law = after
    return law


def _estimates(context: Context, source: Reservoir, slots: int, law: Law) -> tuple[Law, int]:
    """The law of the estimate, as integers over a common denominator, and that."""
    unit = slots * lcm(*(x.denominator for share in source.shares for x in share))
    scaled = [[int(x * unit) // slots for x in share] for share in source.shares]
    context.charge(len(law) * (slots + 4) * len(scaled[0]) * (8 + unit.bit_length() // 32))
    found: Law = defaultdict(Fraction)
    for state, likely in law.items():
        found[tuple(map(sum, zip(*(scaled[place] for place in state), strict=True)))] += likely
    return found, unit


def _moments(context: Context, goal: Sampling, together: int, share: Fraction) -> Moments:
    """Sums over independent reservoirs; ``share`` of the variance of ``together`` slots is that of all slots."""
    cells = goal.form == "cell"
    sources = _cells(goal) if cells else [source for source in [_norm(goal)] if source.tokens]
    mean = [Fraction(0)] * (1 if cells else len(goal.values[0]))
    variance, marginals = Fraction(0), [Fraction(0)] * len(goal.weights)
    for source in sources:
        law = _walk(context, source, together)
        held = [[Fraction(0)] * len(source.tokens) for _ in range(together)]
        for state, likely in law.items():
            for slot, place in enumerate(state):
                held[slot][place] += likely
        need(all(row == held[0] for row in held), "all slots are alike")
        for token, chance in zip(source.tokens, held[0], strict=True):
            marginals[token] = chance
        estimates, unit = _estimates(context, source, together, law)
        sums = [sum((likely * value[j] for value, likely in estimates.items()), Fraction(0)) for j in range(len(mean))]
        square = sum((likely * sum(x * x for x in value) for value, likely in estimates.items()), Fraction(0))
        variance += (square - sum(x * x for x in sums)) / unit**2
        mean = [before + x / unit for before, x in zip(mean, sums, strict=True)]
    return Moments(tuple(mean), variance * share, tuple(marginals))


def _tail(context: Context, goal: Sampling) -> Tail:
    """All outcomes of both samplers, each with its probability."""
    cell_slots, norm_slots = goal.slots["cell_slots"], goal.slots["norm_slots"]
    totals: Law = {(0,): Fraction(1)}
    for source in _cells(goal):  # their estimates have the denominator cell_slots
        more, _ = _estimates(context, source, cell_slots, _walk(context, source, cell_slots))
        context.charge(len(totals) * len(more) * 64)
        sums: Law = defaultdict(Fraction)
        for (x,), likely in totals.items():
            for (y,), chance in more.items():
                sums[(x + y,)] += likely * chance
        totals = sums
    source, unit = _norm(goal), 1
    products: Law = {(0,) * len(goal.values[0]): Fraction(1)}
    if source.tokens:
        products, unit = _estimates(context, source, norm_slots, _walk(context, source, norm_slots))
    exact, mass = [int(x) for x in _weighted(goal)], sum(goal.weights)
    context.charge(len(totals) * len(products) * len(exact) * (16 + unit.bit_length() // 32))
    chance = Fraction(0)
    for (total,), likely in totals.items():
        bound = goal.bound * (unit * total * mass) ** 2
        ours, theirs = cell_slots * mass, unit * total
        far = [
            p
            for product, p in products.items()
            if sum((ours * x - theirs * y) ** 2 for x, y in zip(product, exact, strict=True)) > bound
        ]
        chance += likely * sum(far, Fraction(0))
    return Tail(chance)


def _moments_of(node: Node, where: str) -> Moments:
    """The moments that a statement or a step states."""
    if where == "gives":
        fields(node, where, _MOMENTS)
    mean, marginals = (
        tuple(rational(x, f"{where}.{name}") for x in strings(node[name], f"{where}.{name}"))
        for name in ("mean", "marginals")
    )
    return Moments(mean, rational(node["variance"], f"{where}.variance"), marginals)


def _tail_of(gives: Node) -> Tail:
    return Tail(rational(fields(gives, "gives", {"probability"})["probability"], "gives.probability"))


def _rows(node: Node, name: str) -> tuple[tuple[int, ...], ...]:
    """Rows of integers, none where the form has no field of that name."""
    if name not in node:
        return ()
    rows = tuple(tuple(integers(row, f"statement.{name}")) for row in strings(node[name], f"statement.{name}"))
    _ranged(len(rows) > 0, name, "at least one row")
    return rows


def _ranged(condition: bool, name: str, meaning: str) -> None:
    if not condition:
        raise Malformed(f"statement.{name}: {meaning}")


def _within(condition: bool, most: str) -> None:
    if not condition:
        raise OverLimit(f"limit: more than {most}")


RULES: dict[str, Rule] = {"reservoir": reservoir}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"sampling": parse}
