"""The dearest certificates of samplers and of explicit inputs: for scripts/worst_case.py."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from worst_certificates import _RANDOM, case, near

from kvverify.kernel import document
from kvverify.kernel.document import MAX_STEPS, Node


def _repeated(claimed: Node, rule: str, given: Node, gives: Node) -> Node:
    """The step as often as may be; the last one uses all others."""
    steps = [{"id": f"s{i}", "rule": rule, "uses": {}, "given": given, "gives": gives} for i in range(MAX_STEPS)]
    steps[-1]["uses"] = {f"u{i}": f"s{i}" for i in range(MAX_STEPS - 1)}
    return document.build(claimed, steps)


def _primes(bits: int, many: int) -> list[int]:
    """Numbers of so many bits that have little in common."""
    return [(1 << bits - 1) + 2 * _RANDOM.randrange(1 << bits - 2) + 1 for _ in range(many)]


def _moments(form: str, many: int, width: int, together: int, slots: int) -> Node:
    """A stream of the largest numbers, its moments right so that the same step may stand many times."""
    weights = _primes(256, many)
    claimed: Node = {"claim": "sampling", "form": form, "weights": " ".join(map(str, weights))}
    if form == "cell":
        claimed |= {"cells": [" ".join(map(str, range(many)))], "weight_ratio_at_most": "4"}
        mean, marginals = [str(sum(weights))], [f"1/{many}" if many > 1 else "1"] * many
        variance = many * sum(w * w for w in weights) - sum(weights) ** 2
    else:
        rows = [[x * (-1) ** j for j, x in enumerate(_primes(32, width))] for _ in range(many)]
        claimed["values"] = [" ".join(map(str, row)) for row in rows]
        norms = [sum(x * x for x in row) for row in rows]
        exact = [sum(w * row[j] for w, row in zip(weights, rows, strict=True)) for j in range(width)]
        mean = [str(x) for x in exact]
        marginals = [str(Fraction(norm, sum(norms))) for norm in norms]
        variance = sum(norms) * sum(w * w for w in weights) - sum(x * x for x in exact)
    moments = {"mean": mean, "variance": str(Fraction(variance, slots)), "marginals": marginals}
    claimed |= {f"{form}_slots": str(slots), **moments}
    return _repeated(claimed, "reservoir", {"slots_together": str(together)}, moments)


@case("reservoir: a long cell, slot by slot")
def _long(folder: Path) -> Node:
    return _moments("cell", 256, 1, 1, 1)


@case("reservoir: four slots together")
def _together(folder: Path) -> Node:
    return _moments("cell", 17, 1, 4, 4)


@case("reservoir: many slots of two tokens")
def _many_slots(folder: Path) -> Node:
    return _moments("cell", 2, 1, 14, 14)


@case("reservoir: norm, wide values")
def _wide(folder: Path) -> Node:
    return _moments("norm", 200, 64, 1, 1)


@case("reservoir: norm, three slots together")
def _norm(folder: Path) -> Node:
    return _moments("norm", 24, 8, 3, 3)


@case("reservoir: combination")
def _combination(folder: Path) -> Node:
    many = 12
    claimed = {
        "claim": "sampling", "form": "combination", "weights": " ".join(map(str, _primes(256, many))),
        "cells": [" ".join(map(str, range(many)))], "values": [" ".join(map(str, _primes(32, 8))) for _ in range(many)],
        "cell_slots": "3", "norm_slots": "3", "radius_square": "1/7", "probability": "1",
    }  # fmt: skip
    return _repeated(claimed, "reservoir", {}, {"probability": "1"})


def _stream(many: int, base: str, largest: int, window: int) -> Node:
    rows = [str(_RANDOM.randint(-largest, largest)) for _ in range(many)]
    values = [str(_RANDOM.randrange(1 << 319)) for _ in range(many)]
    stream = {"base": base, "window": str(window), "queries": ["1"] * many, "keys": rows, "values": values}
    claimed = {
        "claim": "identity", "left": "masked-window", "right": "running-sum", "stream": stream,
        "right_words_at_most": "1000000",
    }  # fmt: skip
    gives = {"left_words_at_most": "1000000", "right_words_at_most": "1000000"}
    return _repeated(claimed, "running-sum", {}, gives)


@case("running-sum: a long stream")
def _long_stream(folder: Path) -> Node:
    return _stream(2500, "3/2", 20, 2500)


@case("running-sum: large weights")
def _large_weights(folder: Path) -> Node:
    return _stream(500, "1000003/1000033", 400, 500)


def _alike(many: int, **fields: str) -> Node:
    """Two inputs that are the same, of the largest values."""
    each = {"query": "1", "keys": [str(i) for i in range(many)], "values": [str(x) for x in _primes(319, many)]}
    claimed = {
        "claim": "two-inputs", "scale": "1", "relative": "0", "coordinate": "0", "first": each, "second": each,
        "may_differ": [], **fields,
    }  # fmt: skip
    sides = (("at_least", "0"), ("at_most", str(1 << 320)))
    bounds = {f"{which}_{side}": bound for which in ("first", "second") for side, bound in sides}
    return _repeated(claimed, "two-inputs", {}, bounds)


@case("two-inputs: powers of e")
def _powers(folder: Path) -> Node:
    return _alike(4000)


@case("two-inputs: a long scale")
def _scale(folder: Path) -> Node:
    return _alike(2000, scale=near(1))


@case("two-inputs: powers of a base")
def _base(folder: Path) -> Node:
    return _alike(8000, base="3/2")


@case("two-inputs: many tokens alike")
def _tokens(folder: Path) -> Node:
    return _alike(8000, scale="1" + "0" * 3990)
