"""Reservoirs a second time: the law of a slot from its last replacement, and every single coin for the claim itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

from tests.kernel.families import require, small

Node = dict[str, Any]
Vector = tuple[Fraction, ...]
OUTCOMES = 1 << 14


@dataclass(frozen=True)
class Sampler:
    """Per token its mass (as likely as the slot is to be replaced by it, among those up to it) and what it adds."""

    tokens: list[int]
    masses: list[int]
    adds: list[Vector]


@dataclass(frozen=True)
class Stream:
    node: Node
    weights: list[int]
    samplers: dict[str, list[Sampler]]

    @property
    def slots(self) -> dict[str, int]:
        return {name: int(self.node[f"{name}_slots"]) for name in self.samplers}


def read(node: Node) -> Stream:
    """The statement; Wrong where it is out of range."""
    weights = [int(w) for w in node["weights"].split(" ")]
    require(min(weights) > 0, "weights")
    samplers: dict[str, list[Sampler]] = {}
    if "cells" in node:
        cells = [[int(i) for i in row.split(" ")] for row in node["cells"]]
        require(sorted(i for cell in cells for i in cell) == list(range(len(weights))), "cells")
        require(all(a < b for cell in cells for a, b in pairwise(cell)), "order")
        samplers["cell"] = [
            Sampler(cell, [1] * len(cell), [(Fraction(len(cell) * weights[i]),) for i in cell]) for cell in cells
        ]
    if "values" in node:
        values = [[int(x) for x in row.split(" ")] for row in node["values"]]
        require(len(values) == len(weights) and len({len(row) for row in values}) == 1, "values")
        norms = [sum(x * x for x in row) for row in values]
        kept = [i for i, norm in enumerate(norms) if norm]
        adds = [tuple(Fraction(sum(norms) * weights[i] * x, norms[i]) for x in values[i]) for i in kept]
        samplers["norm"] = [Sampler(kept, [norms[i] for i in kept], adds)] if kept else []
    require(all(int(node[f"{name}_slots"]) >= 1 for name in samplers), "slots")
    require(Fraction(node.get("weight_ratio_at_most", 1)) >= 1, "ratio")
    require(Fraction(node.get("radius_square", 0)) >= 0, "radius")
    return Stream(node, weights, samplers)


def law(sampler: Sampler) -> list[Fraction]:
    """Where a slot ends: replaced there, and by nothing after it."""
    sums = [sum(sampler.masses[: i + 1]) for i in range(len(sampler.masses))]
    chances = [Fraction(mass, total) for mass, total in zip(sampler.masses, sums, strict=True)]
    found = []
    for i, chance in enumerate(chances):
        for later in chances[i + 1 :]:
            chance *= 1 - later
        found.append(chance)
    return found


def numbers(node: Node) -> tuple[Any, ...]:
    """What a statement or a step states."""
    if "probability" in node:
        return (Fraction(node["probability"]),)
    return tuple(map(Fraction, node["mean"])), Fraction(node["variance"]), tuple(map(Fraction, node["marginals"]))


def width(stream: Stream) -> int:
    return 1 if "norm" not in stream.samplers else len(stream.node["values"][0].split(" "))


def reservoir(stream: Stream, step: Node, facts: Node, folder: object) -> tuple[Any, ...]:
    """Moments from the law of one slot, slots being independent; tails over all that they hold together."""
    if stream.node["form"] == "combination":
        require(numbers(step["gives"]) == (tail(stream),), "probability")
        return numbers(step["gives"])
    (slots,) = stream.slots.values()
    together = int(step["given"]["slots_together"])
    require(together >= 1 and slots % together == 0, "together")
    (samplers,) = stream.samplers.values()
    mean, variance = [Fraction(0)] * width(stream), Fraction(0)
    marginals = [Fraction(0)] * len(stream.weights)
    for sampler in samplers:
        chances = law(sampler)
        for token, chance in zip(sampler.tokens, chances, strict=True):
            marginals[token] = chance
        own = [
            sum((p * x[j] for p, x in zip(chances, sampler.adds, strict=True)), Fraction(0)) for j in range(len(mean))
        ]
        mean = [a + b for a, b in zip(mean, own, strict=True)]
        for p, x in zip(chances, sampler.adds, strict=True):
            variance += p * sum((a - b) ** 2 for a, b in zip(x, own, strict=True)) / slots
    require(numbers(step["gives"]) == (tuple(mean), variance, tuple(marginals)), "moments")
    if stream.node["form"] == "cell":
        _bounded(stream, mean[0], variance)
    return numbers(step["gives"])


def _bounded(stream: Stream, mean: Fraction, variance: Fraction) -> None:
    """The hypothesis of the bound by the ratio, and the bound."""
    kappa = Fraction(stream.node["weight_ratio_at_most"])
    for cell in stream.samplers["cell"]:
        own = [stream.weights[i] for i in cell.tokens]
        require(all(a <= kappa * b for a in own for b in own), "ratio")
    require(variance * 4 * kappa * stream.slots["cell"] <= (mean * (kappa - 1)) ** 2, "bound")


def tail(stream: Stream) -> Fraction:
    """Over all that all slots hold at the end, token by token."""
    choices: list[list[tuple[Fraction, str, Vector]]] = []
    for name, samplers in stream.samplers.items():
        for sampler in samplers:
            slot = [
                (p, name, tuple(x / stream.slots[name] for x in add))
                for p, add in zip(law(sampler), sampler.adds, strict=True)
            ]
            small(stream.slots[name] <= 8)
            choices += [slot] * stream.slots[name]
    outcomes = 1
    for choice in choices:
        outcomes *= len(choice)
    small(outcomes <= OUTCOMES)
    far = Fraction(0)
    for outcome in product(*choices):
        likely, tau, z = Fraction(1), Fraction(0), [Fraction(0)] * width(stream)
        for p, name, add in outcome:
            likely *= p
            if name == "cell":
                tau += add[0]
            else:
                z = [a + b for a, b in zip(z, add, strict=True)]
        far += likely * _misses(stream, tau, z)
    return far


def _misses(stream: Stream, tau: Fraction, z: list[Fraction]) -> bool:
    columns = zip(*([int(x) for x in row.split(" ")] for row in stream.node["values"]), strict=True)
    exact = [Fraction(sum(w * x for w, x in zip(stream.weights, c, strict=True)), sum(stream.weights)) for c in columns]
    error = sum((x / tau - y) ** 2 for x, y in zip(z, exact, strict=True))
    return error > Fraction(stream.node["radius_square"])


def claimed(stream: Stream, last: Any) -> bool:
    """Whether the last step states what is claimed."""
    return bool(last == numbers(stream.node))


def coins(sampler: Sampler, slots: int) -> Iterator[tuple[Fraction, list[int]]]:
    """Every run of the streaming updates, coin by coin: its probability, and the places that the slots hold."""

    def arrive(place: int, held: list[int], likely: Fraction) -> Iterator[tuple[Fraction, list[int]]]:
        if place == len(sampler.masses):
            yield likely, held
            return
        chance = Fraction(sampler.masses[place], sum(sampler.masses[: place + 1]))
        for heads in product((True, False), repeat=slots):
            weight = likely
            for head in heads:
                weight *= chance if head else 1 - chance
            if weight:
                after = [place if head else old for head, old in zip(heads, held, strict=True)]
                yield from arrive(place + 1, after, weight)

    yield from arrive(0, [-1] * slots, Fraction(1))


def holds(tree: Node) -> bool:
    """The statement itself, by all coins of so many slots as are quick (of all slots where there is a tail)."""
    stream = read(tree["statement"])
    if stream.node["form"] == "combination":
        return numbers(stream.node) == (_tail_by_coins(stream),)
    (samplers,) = stream.samplers.values()
    (slots,) = stream.slots.values()
    longest = max((len(sampler.tokens) for sampler in samplers), default=1)
    walked = max(s for s in range(1, slots + 1) if s == 1 or (slots % s == 0 and s * longest <= 12))
    mean, variance = [Fraction(0)] * width(stream), Fraction(0)
    marginals = [Fraction(0)] * len(stream.weights)
    for sampler in samplers:
        runs = [
            (p, [sum((sampler.adds[i][j] for i in held), Fraction(0)) / walked for j in range(len(mean))], held[-1])
            for p, held in coins(sampler, walked)
        ]
        own = [sum((p * x[j] for p, x, _ in runs), Fraction(0)) for j in range(len(mean))]
        mean = [a + b for a, b in zip(mean, own, strict=True)]
        square = sum((p * sum((a - b) ** 2 for a, b in zip(x, own, strict=True)) for p, x, _ in runs), Fraction(0))
        variance += square * walked / slots
        for p, _, place in runs:
            marginals[sampler.tokens[place]] += p
    return numbers(stream.node) == (tuple(mean), variance, tuple(marginals))


def _tail_by_coins(stream: Stream) -> Fraction:
    taus, zs = [(Fraction(1), [Fraction(0)])], [(Fraction(1), [Fraction(0)] * width(stream))]
    for name, sums in (("cell", taus), ("norm", zs)):
        slots = stream.slots[name]
        for sampler in stream.samplers[name]:
            sums[:] = [
                (
                    q * p,
                    [b + sum((sampler.adds[i][j] for i in held), Fraction(0)) / slots for j, b in enumerate(before)],
                )
                for q, before in sums
                for p, held in coins(sampler, slots)
            ]
    return sum((p * q for p, tau in taus for q, z in zs if _misses(stream, tau[0], z)), Fraction(0))
