"""Certificates about SubGen's two samplers on small streams. Proofs: docs/proofs/sampling.md.

Numbers come from the closed formulas; the kernel walks through every outcome of the coins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import product
from math import prod
from random import Random
from typing import NamedTuple

from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.kernel.document import Node

Rows = Sequence[Sequence[int]]


class Stream(NamedTuple):
    """Tokens in the order of arrival: weights e^{<q,k>} in a common unit, the cluster of each, integer values."""

    weights: tuple[int, ...]
    cells: tuple[tuple[int, ...], ...]
    values: tuple[tuple[int, ...], ...]


def stream(tokens: int = 5, cells: int = 2, head_dim: int = 2, base: int = 2, spread: int = 2, seed: int = 0) -> Stream:
    """A stream drawn from ``seed``: weights base^score with scores 0..spread, ``cells`` clusters, values of
    ``head_dim`` coordinates -2..2, the first of them 0 (SubGen as recorded divides 0 by 0 there).

    Raises UsageError for sizes below 1, more cells than tokens, and a base below 2.
    """
    for name, number, least in (
        ("tokens", tokens, 1),
        ("cells", cells, 1),
        ("head_dim", head_dim, 1),
        ("base", base, 2),
    ):
        if number < least:
            raise UsageError(f"{name} = {number}: expected at least {least}")
    if cells > tokens:
        raise UsageError(f"cells = {cells}: expected at most {tokens}, the number of tokens")
    if spread < 0:
        raise UsageError(f"spread = {spread}: expected at least 0")
    draw = Random(seed)
    weights = tuple(base ** draw.randint(0, spread) for _ in range(tokens))
    placed: dict[int, list[int]] = defaultdict(list)
    for token in range(tokens):
        drawn = draw.randrange(cells)
        placed[token if token < cells else drawn].append(token)  # no cell stays empty
    values = [[draw.randint(-2, 2) for _ in range(head_dim)] for _ in range(tokens)]
    values[0] = [0] * head_dim
    return Stream(weights, tuple(map(tuple, placed.values())), tuple(map(tuple, values)))


def reservoir_cell(
    tokens: int = 5, cells: int = 2, slots: int = 2, base: int = 2, spread: int = 2, seed: int = 0
) -> Node:
    """SG-2: mean and variance of tau, all outcomes of all ``slots`` of a cell walked together.

    Weights of a cell differ by base^spread at most, e^(2 delta r) in the record. Raises UsageError.
    """
    found = stream(tokens, cells, 1, base, spread, seed)
    _at_least_one("slots", slots)
    clusters = [[found.weights[i] for i in cell] for cell in found.cells]
    variance = sum(len(w) * sum(x * x for x in w) - sum(w) ** 2 for w in clusters)
    sizes = {token: len(cell) for cell in found.cells for token in cell}
    moments = {
        "mean": [str(sum(found.weights))],
        "variance": str(Fraction(variance, slots)),
        "marginals": [str(Fraction(1, sizes[token])) for token in range(tokens)],
    }
    statement = {
        "claim": "sampling", "form": "cell", "weights": _row(found.weights), "cells": _rows(found.cells),
        "cell_slots": str(slots), "weight_ratio_at_most": str(base**spread), **moments,
    }  # fmt: skip
    return _certificate(statement, {"slots_together": str(slots)}, moments)


def reservoir_norm(
    tokens: int = 4, head_dim: int = 2, slots: int = 2, base: int = 2, spread: int = 2, seed: int = 0
) -> Node:
    """SG-3: mean and variance of z, all outcomes of all ``slots`` walked together; the first token has v = 0.

    Raises UsageError.
    """
    return norm_sampler(stream(tokens, 1, head_dim, base, spread, seed), slots)


def norm_sampler(found: Stream, slots: int) -> Node:
    """Mean and variance of z on this stream, whose cells are not read. Raises UsageError."""
    _at_least_one("slots", slots)
    norms = [sum(x * x for x in row) for row in found.values]
    kept = sum(w * w for w, norm in zip(found.weights, norms, strict=True) if norm)
    exact = _weighted(found)
    moments = {
        "mean": [str(y) for y in exact],
        "variance": str(Fraction(sum(norms) * kept - sum(y * y for y in exact), slots)),
        "marginals": [str(Fraction(norm, sum(norms) or 1)) for norm in norms],
    }
    statement = {
        "claim": "sampling", "form": "norm", "weights": _row(found.weights), "values": _rows(found.values),
        "norm_slots": str(slots), **moments,
    }  # fmt: skip
    return _certificate(statement, {"slots_together": str(slots)}, moments)


def combination(
    tokens: int = 4, cell_slots: int = 2, norm_slots: int = 3, relative: Fraction = Fraction(1), base: int = 2,
    spread: int = 1, seed: int = 0,
) -> Node:  # fmt: skip
    """SG-4: the exact chance that |z / tau - Attn| > relative |softmax|_2 |V|_op, over all outcomes of both samplers.

    Values are axes of the plane, so that |V|_op^2 is a count. Raises UsageError.
    """
    found, radius = _axes(tokens, relative, base, spread, seed)
    _at_least_one("cell_slots", cell_slots)
    _at_least_one("norm_slots", norm_slots)
    if tokens ** (cell_slots + norm_slots) > 1 << 20:
        raise UsageError(f"{tokens} tokens in {cell_slots} and {norm_slots} slots: expected at most 2^20 outcomes")
    mass, exact = sum(found.weights), _weighted(found)
    far = Fraction(0)
    for tau, likely in _means([(Fraction(1, tokens), (tokens * w,)) for w in found.weights], cell_slots):
        for z, chance in _means(  # every value has norm 1
            [
                (Fraction(1, tokens), [tokens * w * x for x in v])
                for w, v in zip(found.weights, found.values, strict=True)
            ],
            norm_slots,
        ):
            error = sum((x / tau[0] - Fraction(y, mass)) ** 2 for x, y in zip(z, exact, strict=True))
            far += likely * chance * (error > radius)
    statement = {
        "claim": "sampling", "form": "combination", "weights": _row(found.weights), "cells": _rows(found.cells),
        "values": _rows(found.values), "cell_slots": str(cell_slots), "norm_slots": str(norm_slots),
        "radius_square": str(radius), "probability": str(far),
    }  # fmt: skip
    return _certificate(statement, {}, {"probability": str(far)})


def chebyshev(
    tokens: int = 4, cell_slots: int = 2, norm_slots: int = 3, relative: Fraction = Fraction(1), base: int = 2,
    spread: int = 1, seed: int = 0,
) -> Fraction:  # fmt: skip
    """What Chebyshev's and Markov's inequalities say of the chance that ``combination`` states: with e' = e / (2 + e),
    Var tau / (e' Z)^2 + E|z - y|^2 / (e'^2 |w|^2 |V|_op^2). It may be above 1.
    """
    found, radius = _axes(tokens, relative, base, spread, seed)
    inner = (relative / (2 + relative)) ** 2
    mass, squares = sum(found.weights), sum(w * w for w in found.weights)
    exact = _weighted(found)
    tau = Fraction(tokens * squares - mass**2, cell_slots) / mass**2
    scale = radius * mass**2 / relative**2  # |w|^2 |V|_op^2
    return (tau + Fraction(tokens * squares - sum(y * y for y in exact), norm_slots) / scale) / inner


def _axes(tokens: int, relative: Fraction, base: int, spread: int, seed: int) -> tuple[Stream, Fraction]:
    """A stream of one cell whose values are axes, and relative^2 |softmax|_2^2 |V|_op^2."""
    if relative <= 0:
        raise UsageError(f"relative = {relative}: expected a number above 0")
    found = stream(tokens, 1, 2, base, spread, seed)
    values = tuple((1, 0) if token % 2 == 0 else (0, 1) for token in range(tokens))
    softmax = Fraction(sum(w * w for w in found.weights), sum(found.weights) ** 2)
    return found._replace(values=values), relative**2 * softmax * ((tokens + 1) // 2)


def _means(law: Sequence[tuple[Fraction, Sequence[int]]], slots: int) -> Iterable[tuple[list[Fraction], Fraction]]:
    """Every outcome of independent slots: the mean of what they add, and its probability."""
    for held in product(law, repeat=slots):
        mean = [Fraction(sum(column), slots) for column in zip(*(share for _, share in held), strict=True)]
        yield mean, prod((p for p, _ in held), start=Fraction(1))


def _weighted(found: Stream) -> list[int]:
    return [
        sum(w * x for w, x in zip(found.weights, column, strict=True)) for column in zip(*found.values, strict=True)
    ]


def _certificate(statement: Node, given: Node, gives: Node) -> Node:
    step = {"id": "outcomes", "rule": "reservoir", "uses": {}, "given": given, "gives": gives}
    return document.build(statement, [step])


def _at_least_one(name: str, number: int) -> None:
    if number < 1:
        raise UsageError(f"{name} = {number}: expected at least 1")


def _row(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def _rows(rows: Rows) -> list[str]:
    return [_row(row) for row in rows]
