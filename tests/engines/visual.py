"""Visual streams: fractions up to the scores, intervals from there. Inequalities of docs/format.md."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import floor
from typing import Any

from gmpy2 import mpq

from tests.engines.bits import divergence, log_ratio
from tests.engines.facts import Node, premise
from tests.engines.interval import Case, Interval, exp, interval, log2, log2_e, must

SCORES = 1 << 11  # carriers times tokens

Matrix = list[list[Any]]


@dataclass(frozen=True)
class Mixed:
    """As the step states it."""

    carriers: int
    log2_det: Any
    off_target: Any


@dataclass(frozen=True)
class Held:
    """Bits as stated."""

    bits: Any


def rows(case: Case, uses: Node, given: Node, gives: Node) -> Mixed:
    """All tokens' keys by fractions; then each row's sums."""
    sizes = [tuple(map(int, (word.split("x") * 2)[:2])) for word in case.node["scales"]]
    own = 0
    if case.node["cut"] == "between-steps":
        own = sizes[-1][0] * sizes[-1][1]
        sizes = sizes[:-1]
    keys, queries = ([[int(x) for x in row.split(" ")] for row in given[name]] for name in ("keys", "queries"))
    unit, scale = mpq(given["key_unit"]), mpq(given["query_unit"])
    stated = Mixed(len(keys), mpq(gives["log2_det_at_least"]), mpq(gives["off_target_at_most"]))
    lengths = [scale * sum(map(abs, query)) for query in queries]
    must(scale > 0 and max(lengths) <= mpq(case.node["max_logit"]), "the budget of queries")
    _coordinates(case.node, given["projections"], len(keys[0]))
    if len(keys) * sum(high * wide for high, wide in sizes) > SCORES:
        case.open.append(f"more than {SCORES} scores")
        return stated
    maps = _maps(case, sizes, given)
    must(sum(len(matrix[0]) for matrix, _ in maps) == len(keys) == len(queries), "a key and a query for each carrier")
    scores, first = [[] for _ in queries], 0  # type: tuple[Matrix, int]
    for matrix, _ in maps:
        carried = keys[first : first + len(matrix[0])]
        first += len(carried)
        for row in matrix:
            key = [unit * sum(c * k[i] for c, k in zip(row, carried, strict=True)) for i in range(len(carried[0]))]
            must(max(map(abs, key)) <= 1, "keys in the cube")
            for query, found in zip(queries, scores, strict=True):
                found.append(scale * sum(x * y for x, y in zip(query, key, strict=True)))
    sums = _Sums([matrix for matrix, _ in maps], scores, lengths, own)
    case.at_most("off-target weights", lambda: (sums.worst(), stated.off_target))
    secret = [factor for _, factors in maps for factor in factors]
    case.at_most("log2 |det|", lambda: (stated.log2_det, sums.bound() + sum((n * log2(x) for x, n in secret), mpq(0))))
    return stated


class _Sums:
    """Rows relative to their carriers, at the present precision."""

    def __init__(self, matrices: list[Matrix], scores: Matrix, lengths: list[Any], own: int) -> None:
        self.matrices, self.scores, self.lengths, self.own = matrices, scores, lengths, own

    def rows(self) -> list[tuple[list[Interval], Interval]]:
        """(others' weights, the whole mass), over the carrier's own weight."""
        found = []
        for j, (scores, length) in enumerate(zip(self.scores, self.lengths, strict=True)):
            top = max(scores)
            weights = [exp(score - top) for score in scores]
            mass = sum(weights, interval(0)) + self.own * exp(-length - top)
            mixed: list[Interval] = []
            first = 0
            for matrix in self.matrices:
                part = weights[first : first + len(matrix)]
                first += len(matrix)
                for s in range(len(matrix[0])):
                    terms = [w * line[s] for w, line in zip(part, matrix, strict=True) if line[s]]
                    mixed.append(sum(terms, interval(0)))
            own = mixed[j]
            found.append(([abs(x / own) for i, x in enumerate(mixed) if i != j], mass / own))
        return found

    def worst(self) -> Interval:
        """The largest sum of a row's others."""
        found = interval(0)
        for others, _ in self.rows():
            found = found.max(sum(others, interval(0)))
        return found

    def bound(self) -> Interval:
        """Near-identity's or Ostrowski's, whichever is more."""
        rows = self.rows()
        sums = [sum(others, interval(0)) for others, _ in rows]
        masses = sum((log2(mass) for _, mass in rows), interval(0))
        ostrowski = sum((log2(1 - x) for x in sums), interval(0))
        high = max(x.high for x in sums)
        above = mpq(floor(mpq(high) * 2**100) + 1, 2**100)  # the bound falls with it, by far less than is asked
        squares = sum((x**2 for others, _ in rows for x in others), interval(0))
        near = -(log2_e() * log_ratio(above) * squares)
        return near.max(ostrowski) - masses


def _coordinates(node: Node, chosen: Node, columns: int) -> None:
    """Each coordinate of a token is a key's, a query's, or a value's of one head."""
    heads = [row.split(" ") for row in chosen["values"]]
    must([len(head) for head in heads] == [int(node["value_dim"])] * int(node["kv_heads"]), "values of each head")
    pairs = [chosen[name].split(" ") for name in ("keys", "queries")]
    must({len(pair) for pair in pairs} == {columns} and columns <= int(node["key_dim"]), "keys and queries")
    used = [int(x) for row in (*heads, *pairs) for x in row]
    must(len(set(used)) == len(used) and 0 <= min(used) <= max(used) < int(node["model_dim"]), "coordinates")


def _maps(case: Case, sizes: list[tuple[int, ...]], given: Node) -> list[tuple[Matrix, list[tuple[Any, int]]]]:
    """Of every map: tokens by carriers, and factors of the determinant of its scaled free map -> carriers."""
    first = sizes[0][0] * sizes[0][1]
    found: list[tuple[Matrix, list[tuple[Any, int]]]] = [
        ([[mpq(i == j) for j in range(first)] for i in range(first)], [])
    ]
    must(len(given["down"]) == len(given["across"]) == len(sizes) - 1, "carriers of every map")
    for (before, after), *named in zip(pairwise(sizes), given["down"], given["across"], strict=True):
        sides, factors = [], []
        for k in (0, 1):
            chosen = [int(x) for x in named[k].split(" ")]
            must(len(chosen) == before[k] and chosen == sorted(set(chosen)), "carriers along an axis")
            must(chosen[0] >= 0 and chosen[-1] < after[k], "carriers are indices")
            phi = [_weights(before[k], after[k], case.node["kernel"], i) for i in range(after[k])]
            combined, determinant = _solve(phi, chosen)
            reach = max(sum(map(abs, row)) for row in phi)
            sides.append(combined)
            factors.append((determinant / reach ** before[k], before[1 - k]))
        found.append(([[a * b for a in one for b in other] for one in sides[0] for other in sides[1]], factors))
    return found


def _solve(phi: Matrix, chosen: list[int]) -> tuple[Matrix, Any]:
    """C with C phi_T = phi, column operations on phi until its chosen rows are the identity; |det phi_T|."""
    columns = [list(column) for column in zip(*phi, strict=True)]
    determinant = mpq(1)
    for k, row in enumerate(chosen):
        pivot = next((i for i in range(k, len(columns)) if columns[i][row]), None)
        must(pivot is not None, "carriers determine the axis")
        assert pivot is not None
        columns[k], columns[pivot] = columns[pivot], columns[k]
        factor = columns[k][row]
        determinant *= abs(factor)
        columns[k] = [x / factor for x in columns[k]]
        for i, column in enumerate(columns):
            if i != k and column[row]:
                columns[i] = [x - column[row] * y for x, y in zip(column, columns[k], strict=True)]
    return [list(row) for row in zip(*columns, strict=True)], determinant


def _weights(source: int, target: int, kernel: str, index: int) -> list[Any]:
    """Half-pixel centres, borders clamped."""
    place = mpq(2 * index + 1, 2) * source / target - mpq(1, 2)
    row = [mpq(0)] * source
    for s in range(floor(place) - 2, floor(place) + 4):
        x = abs(place - s)
        if kernel == "nearest":
            weight = mpq(s == floor(place + mpq(1, 2)))
        elif kernel == "bilinear":
            weight = max(1 - x, mpq(0))
        else:
            a = mpq(-3, 4) if kernel == "bicubic" else mpq(-1, 2)
            inner, outer = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
            weight = inner if x <= 1 else outer if x < 2 else mpq(0)
        row[max(0, min(source - 1, s))] += weight
    return row


def volume(case: Case, uses: Node, given: Node, gives: Node) -> Held:
    """Columns of answers, each known up to an interval."""
    mixed, stated = premise(uses, "rows", Mixed), mpq(gives["bits_at_least"])
    eps, delta = mpq(case.node["tolerance"]), mpq(case.node["failure"])
    must(delta <= 1 - eps, "failure <= 1 - tolerance")
    columns = int(case.node["kv_heads"]) * int(case.node["value_dim"])
    case.at_most("bits", lambda: (stated, columns * (mixed.log2_det + mixed.carriers * divergence(eps, delta))))
    return Held(stated)


def symbols(case: Case, uses: Node, given: Node, gives: Node) -> Held:
    """A bit for each carrier and column."""
    mixed, stated = premise(uses, "rows", Mixed), mpq(gives["bits_at_least"])
    eta, delta = mpq(case.node["relative"]), mpq(case.node["failure"])
    must((1 - eta) * (1 - mixed.off_target) > (1 + eta) * mixed.off_target, "bits are told apart")
    must(2 * delta <= 1, "failure <= 1/2")
    symbols = int(case.node["kv_heads"]) * int(case.node["value_dim"]) * mixed.carriers

    def each() -> Interval:
        return 1 + (delta * log2(delta) + (1 - delta) * log2(1 - delta) if delta else interval(0))

    case.at_most("bits", lambda: (stated, symbols * each()))
    return Held(stated)


def held(case: Case, last: Any) -> None:
    """No more bits than the last step states."""
    must(isinstance(last, Held) and int(case.node["state_bits_at_least"]) <= last.bits, "the claim follows")


RULES = {"visual-rows": rows, "visual-volume": volume, "visual-symbols": symbols}
CLAIMS = {"visual-state-bits": held}
