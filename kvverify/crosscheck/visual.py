"""Visual streams, decided anew: the whole interpolation as one integer matrix a map, answers by balls.

What a query's answers mix is W C, where C has every token as a combination of the carriers; its determinant is
computed, not bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

from flint import arb, arb_mat, ctx, fmpq, fmpq_mat, fmpz_mat

from kvverify.crosscheck.facts import Rule, premise
from kvverify.crosscheck.goal import Fact, Goal, must
from kvverify.crosscheck.settle import Case, log2, within
from kvverify.crosscheck.statement import number
from kvverify.kernel.document import Malformed, Node, fields, integer, integers, obj, strings, text

_WORDS = {
    "claim": {"visual-state-bits"}, "kernel": {"nearest", "bilinear", "bicubic", "catmull-rom"}, "edge": {"clamp"},
    "cut": {"between-steps", "all-keys"}, "inputs": {"real"},
}  # fmt: skip
_COUNTS = ("model_dim", "key_dim", "value_dim", "kv_heads")
_SIDE, _TOKENS, _WIDE, _BITS, _ROWS, _REACH = 64, 1 << 13, 1 << 14, 64, 512, 1 << 12

Pair = tuple[int, int]


@dataclass(frozen=True)
class Held(Fact):
    """So many bits of state."""

    bits: fmpq


@dataclass(frozen=True)
class VisualBits(Goal):
    """Pyramids of these scales; ``held`` of them are in the cache at the cut, ``own`` tokens come after it."""

    scales: tuple[Pair, ...]
    held: tuple[Pair, ...]
    own: int
    kernel: str
    model_dim: int
    key_dim: int
    value_dim: int
    kv_heads: int
    max_logit: fmpq
    failure: fmpq
    tolerance: fmpq | None
    relative: fmpq | None
    bits: int

    def met_by(self, last: Fact) -> None:
        """No more bits than the last step states."""
        must(isinstance(last, Held), "the last step states bits of a visual stream")
        assert isinstance(last, Held)
        must(self.bits <= last.bits, "state_bits_at_least is at most what the last step states")


@dataclass(frozen=True)
class Mixed(Fact):
    """What a step states of the answers to one query for each carrier."""

    carriers: int
    log2_det: fmpq
    off_target: fmpq


def read(node: Node) -> VisualBits:
    """The statement of a document. Raises Malformed where it is not one of the class."""
    kinds = node.keys() & {"tolerance", "relative"}
    fields(node, "statement", {*_WORDS, *_COUNTS, "scales", "max_logit", "failure", "state_bits_at_least"} | kinds)
    for name, words in _WORDS.items():
        _require(text(node[name], name) in words, name)
    scales = tuple(_scale(word) for word in strings(node["scales"], "scales"))
    between = node["cut"] == "between-steps"
    _require(len(scales) > between, "scales")
    for before, after in pairwise(scales):
        _require(before != after and all(x <= y for x, y in zip(before, after, strict=True)), "scales")
    count = {name: integer(node[name], name) for name in _COUNTS}
    _require(min(count.values()) > 0, "sizes")
    bits = integer(node["state_bits_at_least"], "state_bits_at_least")
    max_logit, failure = number(node, "max_logit"), number(node, "failure")
    tolerance = number(node, "tolerance") if "tolerance" in kinds else None
    relative = number(node, "relative") if "relative" in kinds else None
    _require(len(kinds) == 1, "tolerance or relative")
    _require(max_logit > 0 and 0 <= failure < 1 and bits >= 0, "max_logit, failure, state_bits_at_least")
    _require(tolerance is None or 0 < tolerance < 1, "tolerance")
    _require(relative is None or 0 <= relative < 1, "relative")
    held, own = (scales[:-1], scales[-1][0] * scales[-1][1]) if between else (scales, 0)
    return VisualBits(
        scales, held, own, node["kernel"], count["model_dim"], count["key_dim"], count["value_dim"],
        count["kv_heads"], max_logit, failure, tolerance, relative, bits,
    )  # fmt: skip


def _scale(word: str) -> Pair:
    sides = word.split("x")
    _require(all(side.isascii() and side.isdigit() and side[0] != "0" and len(side) < 7 for side in sides), "scales")
    _require(len(sides) == 1 or (len(sides) == 2 and sides[0] != sides[1]), "scales")
    return int(sides[0]), int(sides[-1])


def _require(condition: bool, name: str) -> None:
    if not condition:
        raise Malformed(f"statement: {name} outside the class")


@dataclass(frozen=True)
class Combined:
    """A map: its tokens as combinations of its carriers, and |det| of the scaled free map -> carriers.

    That is the product of ``scaled`` numbers, each to a power.
    """

    matrix: fmpq_mat
    scaled: list[tuple[fmpq, int]]


class Streams:
    """All queries over all tokens; balls at the present precision."""

    def __init__(self, maps: list[Combined], scores: list[list[fmpq]], sizes: list[fmpq], own: int) -> None:
        self.maps, self.scores, self.sizes, self.own = maps, scores, sizes, own
        self._known: dict[int, tuple[arb_mat, arb]] = {}

    def mixed(self) -> tuple[arb_mat, arb]:
        """What the carriers weigh in each row, over a factor of the row; the sum of ln of the rows' whole masses."""
        if ctx.prec not in self._known:
            tops = [max(row) for row in self.scores]
            weights = [[arb(x - top).exp() for x in row] for row, top in zip(self.scores, tops, strict=True)]
            masses = arb(0)
            for row, size, top in zip(weights, self.sizes, tops, strict=True):
                masses += (sum(row, arb(0)) + self.own * arb(-size - top).exp()).log()
            parts: list[list[arb]] = [[] for _ in weights]
            first = 0
            for each in self.maps:
                count = each.matrix.nrows()
                part = arb_mat([row[first : first + count] for row in weights]) * arb_mat(each.matrix)
                parts = [[*before, *more] for before, more in zip(parts, part.tolist(), strict=True)]
                first += count
            self._known[ctx.prec] = arb_mat(parts), masses
        return self._known[ctx.prec]

    def off_target(self) -> arb:
        """The most that other carriers weigh in a row, signs aside, relative to its own."""
        rows = self.mixed()[0].tolist()
        others = [
            sum((abs(x) for i, x in enumerate(row) if i != j), arb(0)) / abs(row[j]) for j, row in enumerate(rows)
        ]
        return reduce(arb.max, others)

    def log2_det(self) -> arb:
        """log2 |det| from secrets to answers."""
        matrix, masses = self.mixed()
        secret = sum((n * log2(x) for factors in self.maps for x, n in factors.scaled), arb(0))
        return secret + (abs(matrix.det()).log() - masses) / arb.const_log2()


def visual_rows(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Mixed:
    """Every token's key from the carriers', exactly; then the answers' determinant itself."""
    must(not uses, "no premises")
    goal = case.about(VisualBits)
    fields(given, "given", {"down", "across", "keys", "key_unit", "queries", "query_unit", "projections"})
    fields(gives, "gives", {"log2_det_at_least", "off_target_at_most"})
    tokens = sum(high * wide for high, wide in goal.held)
    within(max(map(max, goal.scales)) <= _SIDE and tokens <= _TOKENS, "sides of 64, 2^13 tokens")
    maps = _maps(goal, given)
    carriers = sum(each.matrix.ncols() for each in maps)
    within(carriers <= _ROWS, f"{carriers} rows")
    keys, queries = (_matrix(given, name, carriers) for name in ("keys", "queries"))
    must(keys.ncols() == queries.ncols() <= goal.key_dim, "keys and queries have one length, key_dim at most")
    _projections(goal, given["projections"], keys.ncols())
    unit, per_query = number(given, "key_unit"), number(given, "query_unit")
    sizes = [per_query * sum(abs(x) for x in row) for row in queries.tolist()]
    must(per_query > 0 and max(sizes) <= goal.max_logit, "|query|_1 <= max_logit")
    within(max(sizes) <= _REACH, "|query|_1 above 2^12")
    scores: list[list[fmpq]] = [[] for _ in range(carriers)]
    first = 0
    for each in maps:
        count = each.matrix.ncols()
        all_keys = each.matrix * fmpq_mat(fmpz_mat(keys.tolist()[first : first + count])) * unit
        must(all(abs(x) <= 1 for x in all_keys.entries()), "keys of all tokens lie in the cube")
        first += count
        part = (fmpq_mat(queries) * all_keys.transpose() * per_query).tolist()
        scores = [[*before, *more] for before, more in zip(scores, part, strict=True)]
    streams = Streams(maps, scores, sizes, goal.own)
    stated = Mixed(carriers, number(gives, "log2_det_at_least"), number(gives, "off_target_at_most"))
    most = arb(stated.off_target)
    case.at_most("off-target weights of every row <= off_target_at_most", lambda: (streams.off_target(), most))
    case.at_most("log2_det_at_least <= log2 |det|", lambda: (arb(stated.log2_det), streams.log2_det()))
    return stated


def _maps(goal: VisualBits, given: Node) -> list[Combined]:
    """The first map is free, the others are made of the carriers that are named."""
    named = [[integers(row, name) for row in strings(given[name], name)] for name in ("down", "across")]
    must(all(len(rows) == len(goal.held) - 1 for rows in named), "carriers of every map but the first")
    first = goal.held[0][0] * goal.held[0][1]
    maps = [Combined(fmpq_mat(fmpz_mat(first, first, [int(i == j) for i in range(first) for j in range(first)])), [])]
    for k, (before, after) in enumerate(pairwise(goal.held)):
        sides, scaled = [], []
        for side in (0, 1):
            chosen = named[side][k]
            must(len(chosen) == before[side] and chosen == sorted({*chosen}), "carriers grow, one a source index")
            must(chosen[0] >= 0 and chosen[-1] < after[side], "carriers are target indices")
            phi = fmpq_mat([_row(before[side], after[side], goal.kernel, i) for i in range(after[side])])
            rows = phi.tolist()
            told = fmpq_mat([rows[i] for i in chosen])
            must(told.det() != 0, "the carriers determine the map")
            reach = max(sum((abs(x) for x in row), fmpq(0)) for row in rows)
            sides.append(phi * told.inv())
            scaled.append((abs(told.det()) / reach ** before[side], before[1 - side]))
        maps.append(Combined(_kronecker(*sides), scaled))
    return maps


def _kronecker(one: fmpq_mat, other: fmpq_mat) -> fmpq_mat:
    left, right = one.tolist(), other.tolist()
    return fmpq_mat([[x * y for x in above for y in below] for above in left for below in right])


def _row(source: int, target: int, kernel: str, index: int) -> list[fmpq]:
    """Weights of the source indices: those outside of 0 .. source - 1 fall to the border."""
    x = fmpq((2 * index + 1) * source - target, 2 * target)
    row = [fmpq(0)] * source
    for s in range(-3, source + 3):
        row[min(max(s, 0), source - 1)] += _weight(x - s, kernel)
    return row


def _weight(x: fmpq, kernel: str) -> fmpq:
    if kernel == "nearest":
        return fmpq(int(-1 <= 2 * x < 1))
    x = abs(x)
    if kernel == "bilinear":
        return max(1 - x, fmpq(0))
    tension = fmpq(3, 4) if kernel == "bicubic" else fmpq(1, 2)  # Keys' -a
    if x >= 2:
        return fmpq(0)
    return tension * (x - 1) * (2 - x) ** 2 * -1 if x > 1 else (1 - x) * (1 + x - (2 - tension) * x**2)


def _matrix(given: Node, name: str, rows: int) -> fmpz_mat:
    found = [integers(row, name) for row in strings(given[name], name)]
    must(len(found) == rows and len({len(row) for row in found}) == 1, f"{name}: one row for each carrier")
    within(max(abs(x) for row in found for x in row).bit_length() <= _BITS, "entries of 64 bits")
    return fmpz_mat(found)


def _projections(goal: VisualBits, given: object, columns: int) -> None:
    """No coordinate of a token is used twice."""
    node = fields(obj(given, "projections"), "projections", {"keys", "queries", "values"})
    within(goal.model_dim <= _WIDE, "2^14 coordinates of a token")
    heads = [integers(row, "values") for row in strings(node["values"], "values")]
    must([len(head) for head in heads] == [goal.value_dim] * goal.kv_heads, "value_dim values of each head")
    pairs = [integers(node[name], name) for name in ("keys", "queries")]
    must([len(pair) for pair in pairs] == [columns, columns], "a coordinate for each of a key's and a query's")
    used = [x for row in (*heads, *pairs) for x in row]
    must(len(used) == len({*used} & {*range(goal.model_dim)}), "different coordinates of a token")


def visual_volume(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Held:
    """kv_heads * value_dim columns of answers, each known up to an interval."""
    mixed, stated, goal = _last(case, uses, given, gives)
    eps, delta = goal.tolerance, goal.failure
    must(eps is not None and delta <= 1 - eps, "an additive tolerance, failure <= 1 - tolerance")
    assert eps is not None

    def sides() -> tuple[arb, arb]:
        each = (1 - delta) * (log2(1 - delta) - log2(eps))
        if delta:
            each += arb(delta) * (log2(delta) - log2(1 - eps))
        return arb(stated), goal.kv_heads * goal.value_dim * (arb(mixed.log2_det) + mixed.carriers * each)

    case.at_most("bits_at_least <= kv_heads value_dim (log2 |det| + carriers g)", sides)
    return Held(stated)


def visual_symbols(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Held:
    """A bit for each carrier and column, read with a threshold."""
    mixed, stated, goal = _last(case, uses, given, gives)
    eta, delta = goal.relative, goal.failure
    must(eta is not None and 2 * delta <= 1, "a relative tolerance, failure <= 1/2")
    assert eta is not None
    must((1 - eta) * (1 - mixed.off_target) > (1 + eta) * mixed.off_target, "0 and 1 are told apart")

    def sides() -> tuple[arb, arb]:
        each = 1 + (1 - delta) * log2(1 - delta) + (arb(delta) * log2(delta) if delta else arb(0))
        return arb(stated), goal.kv_heads * goal.value_dim * mixed.carriers * each

    case.at_most("bits_at_least <= kv_heads value_dim carriers (1 - H(failure))", sides)
    return Held(stated)


def _last(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> tuple[Mixed, fmpq, VisualBits]:
    fields(given, "given", set())
    stated = number(fields(gives, "gives", {"bits_at_least"}), "bits_at_least")
    return premise(uses, "rows", Mixed), stated, case.about(VisualBits)


RULES: dict[str, Rule] = {
    "visual-rows": visual_rows, "visual-volume": visual_volume, "visual-symbols": visual_symbols,
}  # fmt: skip
CLAIMS: dict[str, Callable[[Node], Goal]] = {"visual-state-bits": read}
