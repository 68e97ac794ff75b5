"""The curves beside which a compressor is drawn: what its class needs and what is enough, each point by the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from kvverify.audit.statistics import GRID
from kvverify.bounds import best_bound
from kvverify.bounds.ceiling import ceiling
from kvverify.bounds.search import QUERY_BITS
from kvverify.errors import UsageError
from kvverify.figures import at_least, at_most
from kvverify.problem import Problem, number
from kvverify.report.site_read import Played

FAILURE = Fraction(1, 10)
"""9 of 10 reads within the error: what the points are drawn by, and what the curves promise."""
_MOST_TOKENS, _MOST_DIM, _MOST_STREAMS = 1 << 24, 1 << 10, 1 << 14

Progress = Callable[[str, float], None]
Points = tuple[tuple[Fraction, float], ...]


@dataclass(frozen=True)
class Shape:
    """A class of instances; audits of one class are drawn together. Kind, budget, attention: None where usual."""

    tokens: int
    key_dim: int
    value_dim: int
    kv_heads: int
    layers: int
    max_logit: str
    inputs: str
    kind: str | None
    budget: str | None
    attention: str | None

    @classmethod
    def of(cls, instance: Mapping[str, Any]) -> Shape:
        """Of an audit's instance."""
        found = {field.name: instance[field.name] for field in fields(cls)}
        usual = {"kind": ("hard", found["attention"]), "budget": ("class",), "attention": ("softmax",)}
        return cls(**found | {name: None for name, words in usual.items() if found[name] in words})

    def __str__(self) -> str:
        dims = f"d = {self.key_dim}" if self.key_dim == self.value_dim else f"d = {self.key_dim}, {self.value_dim}"
        parts = [f"{self.tokens:,} tokens", dims, _many(self.kv_heads, "KV head")]
        parts += [_many(self.layers, "layer")] if self.layers != 1 else []
        parts += [f"logits to {self.max_logit}"]
        parts += [f"{self.inputs} inputs"] if self.inputs != "real" else []
        parts += [f"{self.kind} keys"] if self.kind else []
        parts += [f"budget of {self.budget}"] if self.budget else []
        parts += [f"{self.attention} attention"] if self.attention else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Curves:
    """Bits a token, all heads and layers, by tolerance at failure 1/10; empty where nothing is proved.

    ``values``: needed for value reads alone, which is what a game measures. ``all_reads``: needed where every read of
    the class is promised. ``enough``: a quantiser with a proof keeps no more. ``reason``: why there are none.
    """

    values: Points = ()
    all_reads: Points = ()
    enough: Points = ()
    reason: str | None = None

    @property
    def lines(self) -> dict[str, Points]:
        """The curves that there are, by their names in the style."""
        named = {"enough": self.enough, "all-reads": self.all_reads, "values": self.values}
        return {name: line for name, line in named.items() if line}


def shapes(results: Iterable[Played]) -> list[Shape]:
    """The classes of audits that came to an end, in the order of their first one."""
    return list(dict.fromkeys(shape for one in results if (shape := shape_of(one)) is not None))


def shape_of(one: Played) -> Shape | None:
    """The class of an audit that came to an end."""
    return Shape.of(one.audit["instance"]) if one.audit and one.audit["curve"] else None


def curves(shape: Shape, progress: Progress) -> Curves:
    """The curves of a class, proved now at the ten tolerances of an audit."""
    if shape.budget or shape.attention:
        return Curves(reason="they are about softmax attention, and logits that are bounded for every key of the body")
    if shape.tokens > _MOST_TOKENS or max(shape.key_dim, shape.value_dim) > _MOST_DIM:
        return Curves(reason="the class is larger than this page computes curves for")
    if shape.kv_heads * shape.layers > _MOST_STREAMS:
        return Curves(reason="the class has more heads than this page computes curves for")
    values, whole, enough = [], [], []
    for done, tolerance in enumerate(GRID):
        progress(f"bounds of {shape}, error {tolerance}", done / len(GRID))
        try:
            problem = _problem(shape, tolerance)
        except UsageError as error:
            return Curves(reason=str(error))
        alone = best_bound(problem, method="volume", scale_bits=QUERY_BITS)
        both, ceil = best_bound(problem), ceiling(problem).bits_per_token
        values += [(tolerance, at_least(alone.bits_per_token))] if alone.bits else []
        whole += [(tolerance, at_least(both.bits_per_token))] if both.bits else []
        enough += [] if ceil is None else [(tolerance, at_most(ceil))]
    return Curves(tuple(values), tuple(whole), tuple(enough))


def reached(audit: Mapping[str, Any]) -> Fraction | None:
    """The least tolerance of the grid that 9 of 10 of the reads stay within; None where it is none."""
    allowed = FAILURE * audit["reads_asked"]
    within = (p["tolerance"] for p in audit["curve"] if p["wrong_reads"] <= allowed)
    return min((tolerance for tolerance in within if tolerance in GRID), default=None)


def _problem(shape: Shape, tolerance: Fraction) -> Problem:
    return Problem(
        shape.tokens, shape.key_dim, shape.value_dim, number(shape.max_logit, "max-logit"), FAILURE,
        tolerance=tolerance, inputs=shape.inputs, kv_heads=shape.kv_heads, layers=shape.layers,
    )  # fmt: skip


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
