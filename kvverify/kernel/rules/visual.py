"""State bits for visual autoregressive streams, whose tokens are interpolated maps. Proofs: docs/proofs/visual.md.

Source: the reduction of Haris and Onak (COLT 2025) and of Chen, Li, Ke, Liang, Shi and Song (arXiv 2503.14881) as
recorded; instances that an interpolated pyramid can really produce, and their bounds, are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integer, integers, obj, rational, strings, text
from kvverify.kernel.facts import Fact, Goal, need, of_kind, premise, present
from kvverify.kernel.numbers import (
    LOG2_E_UPPER,
    divergence_lower,
    exp_upper,
    fano_lower,
    log2_lower,
    log2_upper,
    log_ratio_upper,
    round_up,
)
from kvverify.kernel.rules.packed import CELL, ENTRY, SPAN, Exponentials, Scores
from kvverify.kernel.rules.pyramid import KERNELS, Map, axis, whole

MAX_SIDE = 64  # of a map
MAX_TOKENS = 1 << 13  # in the cache at the cut
MAX_COLUMNS = 1 << 14  # of a map's tokens
MAX_ENTRY_BITS = 64
MAX_UNIT_BITS = 320
MAX_KEYS = 1 << 20  # entries of all tokens' keys
_GRID = 76  # keys of tokens are rounded down to multiples of 2^-76 ..
_REACH = 1 << 12  # .. which moves scores of queries of size 2^12 by 2^-64 at most
_FINE = 32  # further bits of entries that are brought to one denominator
_SQUARE = 256  # bits of a row's sum of squares

_SCALE = re.compile(r"[1-9][0-9]{0,5}(x[1-9][0-9]{0,5})?\Z", re.ASCII)
_SIZES = {"model_dim", "key_dim", "value_dim", "kv_heads"}
_WORDS = {
    "kernel": KERNELS, "edge": ("clamp",), "cut": ("between-steps", "all-keys"), "inputs": ("real",),
}  # fmt: skip
_NUMBERS = {"max_logit", "failure"}


@dataclass(frozen=True)
class Held(Fact):
    """log2 of the number of states of any compressor of the class is at least this."""

    at_least: Fraction


@dataclass(frozen=True)
class VisualBits(Goal):
    """A lower bound on the state of compressors that serve pyramids of these ``scales`` (height, width).

    Exactly one of ``tolerance`` and ``relative`` is given.
    """

    scales: tuple[tuple[int, int], ...]
    kernel: str
    cut: str
    model_dim: int
    key_dim: int
    value_dim: int
    kv_heads: int
    max_logit: Fraction
    tolerance: Fraction | None
    relative: Fraction | None
    failure: Fraction
    state_bits_at_least: int

    @property
    def held(self) -> tuple[tuple[int, int], ...]:
        """The scales whose tokens are in the cache at the cut."""
        return self.scales if self.cut == "all-keys" else self.scales[:-1]

    @property
    def tokens(self) -> int:
        """How many these are."""
        return sum(height * width for height, width in self.held)

    def said(self) -> str:
        """The number of tokens, of scales, and of bits."""
        last, when = "x".join(map(str, self.scales[-1])), self.cut.replace("-", " ")
        return (
            f"state of {self.tokens} tokens of a {self.kernel} pyramid of {len(self.scales)} scales up to {last} "
            f"({when}) >= {self.state_bits_at_least} bits"
        )

    def met_by(self, last: Fact) -> Fraction:
        """The last step gives bits of state that are necessary."""
        proved, least = of_kind(last, Held, "the last step").at_least, self.state_bits_at_least
        need(least <= proved, "state_bits_at_least <= what the steps prove", least, proved)
        return proved


@dataclass(frozen=True)
class Mixed(Fact):
    """How the answers to one query for each of ``carriers`` tokens mix the secret.

    log2 |det| of the map from secrets in [-1, 1] to answers is at least ``log2_det``. Relative to a row's own carrier
    the others weigh at most ``off_target`` in all, signs aside.
    """

    carriers: int
    log2_det: Fraction
    off_target: Fraction


def parse(node: Node) -> Goal:
    """Read a statement about visual streams. Raises Malformed and OverLimit."""
    one_of = sorted({"tolerance", "relative"} & node.keys())
    if len(one_of) != 1:
        raise Malformed("statement: expected exactly one of 'tolerance' and 'relative'")
    fields(node, "statement", {"claim", "scales", "state_bits_at_least", *_WORDS, *_SIZES, *_NUMBERS, *one_of})
    for name, words in _WORDS.items():
        if text(node[name], f"statement.{name}") not in words:
            raise Malformed(f"statement.{name}: expected one of {', '.join(words)}")
    scales = tuple(map(_scale, strings(node["scales"], "statement.scales")))
    grow = all(h <= i and w <= j and (h, w) != (i, j) for (h, w), (i, j) in pairwise(scales))
    _ranged(len(scales) >= (1 if node["cut"] == "all-keys" else 2) and grow, "scales")
    size = {name: integer(node[name], f"statement.{name}") for name in sorted(_SIZES)}
    bits = integer(node["state_bits_at_least"], "statement.state_bits_at_least")
    number = {name: rational(node[name], f"statement.{name}") for name in sorted({*_NUMBERS, *one_of})}
    for name, value in size.items():
        _ranged(value >= 1, name)
    _ranged(bits >= 0, "state_bits_at_least")
    _ranged(number["max_logit"] > 0, "max_logit")
    _ranged(0 <= number["failure"] < 1, "failure")
    _ranged(0 < number.get("tolerance", Fraction(1, 2)) < 1, "tolerance")
    _ranged(0 <= number.get("relative", Fraction(0)) < 1, "relative")
    goal = VisualBits(
        scales, node["kernel"], node["cut"], max_logit=number["max_logit"], tolerance=number.get("tolerance"),
        relative=number.get("relative"), failure=number["failure"], state_bits_at_least=bits, **size,
    )  # fmt: skip
    if max(map(max, scales)) > MAX_SIDE or goal.tokens > MAX_TOKENS or goal.model_dim > MAX_COLUMNS:
        raise OverLimit(f"limit: sides up to {MAX_SIDE}, {MAX_TOKENS} tokens, {MAX_COLUMNS} coordinates of a token")
    return goal


def _scale(word: str) -> tuple[int, int]:
    """(height, width) of "5" or "4x6"; a square is written by one side."""
    sides = word.split("x")
    _ranged(bool(_SCALE.match(word)) and (len(sides) == 1 or sides[0] != sides[1]), "scales")
    return int(sides[0]), int(sides[-1])


def _ranged(condition: bool, name: str) -> None:
    if not condition:
        raise Malformed(f"statement.{name}: outside the problem class")


def visual_rows(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Mixed:
    """One query for each carrier, over all tokens of the pyramid and, between steps, those of the last map.

    ``down`` and ``across`` name the carriers of each interpolated map, ``keys`` are the carriers' keys, in the order of
    the cache; all other tokens' keys follow. ``projections``: which coordinates of a token are its key's, its query's,
    and its value's in each head. Near-identity or Ostrowski's bound, whichever is more, then the secret's own volume.
    """
    fields(uses, "uses", set())
    goal = context.about(VisualBits)
    fields(given, "given", {"down", "across", "keys", "key_unit", "queries", "query_unit", "projections"})
    fields(gives, "gives", {"log2_det_at_least", "off_target_at_most"})
    stated = Mixed(0, *(rational(gives[name], name) for name in ("log2_det_at_least", "off_target_at_most")))
    maps = _maps(context, goal, given)
    keys, queries = (_integers(given, name) for name in ("keys", "queries"))
    carriers, columns = sum(each.carriers for each in maps), len(keys[0])
    for name, rows in (("keys", keys), ("queries", queries)):
        need(len(rows) == carriers, f"{name}: one for each carrier", len(rows), carriers)
        need({len(row) for row in rows} == {columns}, f"{name}: rows of one length")
    _projected(goal, given["projections"], columns)
    context.charge(
        carriers * (512 + goal.tokens * 4 + sum((2 * each.work + 8 * each.carriers) * each.width for each in maps))
    )
    tokens = _token_keys(context, maps, keys, _unit(given, "key_unit"))
    unit = _unit(given, "query_unit")
    sizes = [unit * sum(map(abs, query)) for query in queries]
    need(unit > 0 and max(sizes) <= goal.max_logit, "|query|_1 <= max_logit", max(sizes), goal.max_logit)
    if max(sizes) > _REACH:
        raise OverLimit(f"limit: queries of |query|_1 above {_REACH}")
    own = 0 if goal.cut == "all-keys" else goal.scales[-1][0] * goal.scales[-1][1]
    others, totals, squares = _mixed(context, maps, Scores(context, queries, tokens, unit / (1 << _GRID)), sizes, own)
    worst = round_up(max(others))
    need(worst <= stated.off_target, "off-target weights <= off_target_at_most", worst, stated.off_target)
    need(worst < 1, "off-target weights < 1", worst, 1)
    near = LOG2_E_UPPER * log_ratio_upper(worst) * squares
    ostrowski = -sum((log2_lower(1 - x) for x in others), Fraction(0))
    bound = sum((each.log2_volume() for each in maps), Fraction(0)) - totals - min(near, ostrowski)
    need(stated.log2_det <= bound, "log2_det_at_least <= log2 |det|", stated.log2_det, bound)
    return Mixed(carriers, stated.log2_det, stated.off_target)


def _maps(context: Context, goal: VisualBits, given: Node) -> list[Map]:
    """The maps in the cache at the cut: the first is free, every later one is carried by the tokens that are named."""
    named = [[integers(row, name) for row in strings(given[name], name)] for name in ("down", "across")]
    need(all(len(rows) == len(goal.held) - 1 for rows in named), "carriers are named for every map but the first")
    maps = [Map(whole(goal.scales[0][0]), whole(goal.scales[0][1]))]
    for (before, after), *carriers in zip(pairwise(goal.held), *named, strict=True):
        maps.append(Map(*(axis(context, before[k], after[k], goal.kernel, carriers[k]) for k in (0, 1))))
    return maps


def _integers(given: Node, name: str) -> list[list[int]]:
    rows = [integers(row, f"{name}[{i}]") for i, row in enumerate(strings(given[name], name))]
    need(len(rows) >= 1, f"at least one of the {name}")
    if max(abs(x) for row in rows for x in row).bit_length() > MAX_ENTRY_BITS:
        raise OverLimit(f"limit: entries of more than {MAX_ENTRY_BITS} bits")
    return rows


def _unit(given: Node, name: str) -> Fraction:
    unit = rational(given[name], name)
    if max(abs(unit.numerator), unit.denominator).bit_length() > MAX_UNIT_BITS:
        raise OverLimit(f"limit: units of more than {MAX_UNIT_BITS} bits")
    return unit


def _projected(goal: VisualBits, given: object, columns: int) -> None:
    """Keys, queries and each head's values are coordinates of a token of their own; heads share keys and queries."""
    node = fields(obj(given, "projections"), "projections", {"keys", "queries", "values"})
    heads = [integers(row, "projections.values") for row in strings(node["values"], "projections.values")]
    need(len(heads) == goal.kv_heads, "projections: values of every head", len(heads), goal.kv_heads)
    need({len(head) for head in heads} == {goal.value_dim}, "projections: value_dim coordinates for each head's values")
    taken = [x for head in heads for x in head]
    for name in ("keys", "queries"):
        found = integers(node[name], f"projections.{name}")
        need(len(found) == columns, f"projections: as many {name} as the rows have entries", len(found), columns)
        taken += found
    need(columns <= goal.key_dim, "keys fit key_dim", columns, goal.key_dim)
    need(len(set(taken)) == len(taken), "projections: coordinates are distinct")
    need(min(taken) >= 0 and max(taken) < goal.model_dim, "projections: coordinates of a token", max(taken))


def _token_keys(context: Context, maps: list[Map], keys: list[list[int]], unit: Fraction) -> list[list[int]]:
    """The key of every token, each entry rounded down to a multiple of 2^-76. Rejects keys outside of the cube."""
    if len(keys[0]) * sum(each.tokens for each in maps) > MAX_KEYS:
        raise OverLimit(f"limit: {MAX_KEYS} entries of all tokens' keys")
    found: list[tuple[int, ...]] = []
    first = 0
    for each in maps:
        context.charge(len(keys[0]) * (each.work + 2 * each.tokens) * each.width)
        below = each.below * unit.denominator
        exact = [each.spread(column) for column in zip(*keys[first : first + each.carriers], strict=True)]
        largest = max(abs(x) for column in exact for x in column) * abs(unit.numerator)
        need(largest <= below, "keys of all tokens lie in the cube", Fraction(largest, below), 1)
        rounded = [[(x * unit.numerator << _GRID) // below for x in column] for column in exact]
        found += zip(*rounded, strict=True)
        first += each.carriers
    return [list(key) for key in found]


def _mixed(
    context: Context, maps: list[Map], scores: Scores, sizes: list[Fraction], own: int
) -> tuple[list[Fraction], Fraction, Fraction]:
    """For each query what other carriers weigh, relative to its own; the sum of log2 of the whole masses; of squares.

    Weights are known to ``slack`` units of 2^-48; ``own`` tokens have the score -|query|_1.
    """
    weights, slack = Exponentials(context), SPAN + 2
    errors = [slack * x for each in maps for x in each.sums]
    belows = [each.below for each in maps for _ in range(each.carriers)]
    rows, totals, squares = [], Fraction(0), 0
    for j, cells in enumerate(scores.floors()):
        top = max(cells)
        low = [x - 1 for x in weights.entries(cells, top)]
        rest = own * exp_upper(-sizes[j] - Fraction(top, 1 << CELL)) if own else Fraction(0)
        mass = sum(low) + len(low) * slack + (rest.numerator << ENTRY) // rest.denominator + 1
        gathered: list[int] = []
        first = 0
        for each in maps:
            gathered += each.gather(low[first : first + each.tokens])
            first += each.tokens
        target = ((gathered[j] - errors[j]) << _FINE) // belows[j]
        need(target > 0, f"carrier {j} has a positive weight in its own row", target, 0)
        others = [
            -(-((abs(x) + error) << _FINE) // below) for x, error, below in zip(gathered, errors, belows, strict=True)
        ]
        others[j] = 0
        rows.append(Fraction(sum(others), target))
        squares -= -(sum([x * x for x in others]) << _SQUARE) // target**2
        totals += log2_upper(Fraction(mass << _FINE, target))
    return rows, totals, Fraction(squares, 1 << _SQUARE)


def visual_volume(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Held:
    """S >= kv_heads * value_dim * (log2 |det| + carriers * g(eps, delta)), 0 < eps < 1, 0 <= delta <= 1 - eps."""
    mixed, bits, goal = _last(context, uses, given, gives)
    eps = present(goal.tolerance, "the statement's tolerance is additive")
    need(goal.failure <= 1 - eps, "failure <= 1 - tolerance", goal.failure, 1 - eps)
    bound = mixed.log2_det + mixed.carriers * divergence_lower(eps, goal.failure)
    return _held(goal, bits, bound, "bits_at_least <= kv_heads * value_dim (log2 |det| + carriers g)")


def visual_symbols(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Held:
    """S >= kv_heads * value_dim * carriers * (1 - H(delta)), delta <= 1/2, where bits of carriers can be read.

    They can where (1 - eta) (1 - off_target) > (1 + eta) off_target, strictly.
    """
    mixed, bits, goal = _last(context, uses, given, gives)
    eta = present(goal.relative, "the statement's tolerance is relative")
    one, zero = (1 - eta) * (1 - mixed.off_target), (1 + eta) * mixed.off_target
    need(one > zero, "(1 - relative) (1 - off_target) > (1 + relative) off_target", one, zero)
    need(2 * goal.failure <= 1, "failure <= 1/2", goal.failure, Fraction(1, 2))
    bound = mixed.carriers * fano_lower(2, goal.failure)
    return _held(goal, bits, bound, "bits_at_least <= kv_heads * value_dim * carriers (1 - H(failure))")


def _last(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> tuple[Mixed, Fraction, VisualBits]:
    fields(uses, "uses", {"rows"})
    fields(given, "given", set())
    bits = rational(fields(gives, "gives", {"bits_at_least"})["bits_at_least"], "bits_at_least")
    return premise(uses, "rows", Mixed), bits, context.about(VisualBits)


def _held(goal: VisualBits, bits: Fraction, bound: Fraction, test: str) -> Held:
    bound *= goal.kv_heads * goal.value_dim
    need(bits <= bound, test, bits, bound)
    return Held(bits)


RULES: dict[str, Rule] = {
    "visual-rows": visual_rows, "visual-volume": visual_volume, "visual-symbols": visual_symbols,
}  # fmt: skip
CLAIMS: dict[str, Callable[[Node], Goal]] = {"visual-state-bits": parse}
