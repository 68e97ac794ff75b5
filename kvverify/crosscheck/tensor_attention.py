"""Tensor attention, decided anew: masses as balls, orders of evaluation by matrices, patterns one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from flint import arb, fmpq, fmpz_mat

from kvverify.crosscheck.facts import Decay, Rule, premise
from kvverify.crosscheck.goal import Fact, Goal, must
from kvverify.crosscheck.keys import all_words, linear_words
from kvverify.crosscheck.settle import Case, log2, within
from kvverify.crosscheck.statement import number
from kvverify.kernel.document import Malformed, Node, fields, integer, integers, strings, text

_COUNTS = ("four_cache", "two_cache", "re_associated")
_BITS, _PAIRS = 1 << 14, 1 << 16
_LARGEST = {"binary": 8, "threshold": 4}

Matrix = list[list[int]]


@dataclass(frozen=True)
class Words(Fact):
    """All words of a code of that length and size; ``weights`` of those other than 0."""

    size: int
    length: int
    weights: dict[int, int]


@dataclass(frozen=True)
class Secret(Fact):
    """Secret rows of a head, and masses beside a read's targets, in units of theirs."""

    rows: int
    off: fmpq
    rest: fmpq


@dataclass(frozen=True)
class TensorBits(Fact):
    """All heads together have at least 2^bits states."""

    bits: fmpq


@dataclass(frozen=True)
class StateBits(Goal):
    """The class of tensor attention problems, and bits that its compressors keep."""

    count: dict[str, int]
    real: dict[str, fmpq]

    def met_by(self, last: Fact) -> None:
        """No more bits than the last step states."""
        must(isinstance(last, TensorBits), "the last step states bits of tensor attention")
        assert isinstance(last, TensorBits)
        must(self.count["state_bits_at_least"] <= last.bits, "state_bits_at_least is at most what the last step states")


def tensor_keys(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Words:
    """The words of a code, by weight."""
    must(not uses, "no premises")
    case.about(StateBits)
    return Words(*(all_words if "dimension" in given else linear_words)(given, gives))


def tensor_leak(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Secret:
    """Sums over pairs of words: each half's row of weights, their product, less the targets, over the targets."""
    goal, words, read = case.about(StateBits), premise(uses, "keys", Words), premise(uses, "read", Decay)
    both, n = "held" in uses, goal.count["tokens"]
    held = premise(uses, "held", Decay) if both else Decay(fmpq(0), fmpq(1))
    fields(given, "given", {"payload"} | ({"sentinels"} if both else set()))
    many = integer(given["payload"], "payload")
    ones = integer(given["sentinels"], "sentinels") if both else n
    stated = {name: number(gives, f"{name}_at_most") for name in ("off_target", "rest", "logit")}
    fields(gives, "gives", {f"{name}_at_most" for name in stated})
    must(many >= 1 and ones >= 1, "secret rows and targets")
    must(many <= words.size - (1 if both else 0), "a word for every secret row beside the sentinels'")
    must(many + (ones if both else 0) <= n, "no more rows than tokens")
    must((2 if both else 1) * words.length <= goal.count["head_dim"], "room in the key coordinates")
    scale = (read.exponent / 2, held.exponent / 2)
    must(words.length * (scale[0] + scale[1]) <= stated["logit"] <= goal.real["max_logit"], "the logit budget")
    if "max_query" in goal.real:
        must(max(scale) * goal.real["scale"] <= goal.real["max_query"], "entries of the queries")
    near = _take(sorted(words.weights.items()), many if both else many - 1)
    far = _take(sorted(words.weights.items(), reverse=True), many) if both else {}

    def row() -> arb:
        others = sum((count * arb(read.z) ** w for w, count in near.items()), arb(0))
        return 1 + others + ((ones - 1) * arb(read.z) ** min(far) if far else arb(0))

    def column() -> arb:
        return ones + sum((count * arb(held.z) ** w for w, count in far.items()), arb(0))

    case.at_most(
        "off-target mass <= off_target_at_most", lambda: ((row() * column() - ones) / ones, arb(stated["off_target"]))
    )
    seen = (many + ones) ** 2 if both else many * n
    zero = (arb(read.z) * arb(held.z)).sqrt
    case.at_most(
        "mass of pairs of value 0 <= rest_at_most",
        lambda: (((n + 1) ** 2 - seen) * zero() ** words.length / ones, arb(stated["rest"])),
    )
    return Secret(many * (2 if both else 1), stated["off_target"], stated["rest"])


def _take(weights: list[tuple[int, int]], left: int) -> dict[int, int]:
    """So many words in the order given, by weight."""
    taken: dict[int, int] = {}
    for weight, count in weights:
        if left <= 0:
            break
        taken[weight] = min(count, left)
        left -= count
    return taken


def tensor_symbols(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> TensorBits:
    """Neighbouring symbols are told apart, and each is worth log2 L - H(delta) - delta log2(L - 1) bits."""
    fields(given, "given", set())
    fields(gives, "gives", {"alphabet", "bits_at_least"})
    goal, secret = case.about(StateBits), premise(uses, "leak", Secret)
    alphabet, stated = integer(gives["alphabet"], "alphabet"), number(gives, "bits_at_least")
    must(alphabet >= 2, "an alphabet of at least 2")
    if "tolerance" in goal.real:
        reach = goal.real["tolerance"] * (1 + secret.off + secret.rest) + secret.off
        must((alphabet - 1) * reach < 1, "half a gap between levels exceeds error and other pairs")
    else:
        must(alphabet == 2, "an alphabet of 2")
        must(secret.off * (1 + goal.real["relative"]) < 1 - goal.real["relative"], "0 and 1 are told apart")
    delta = goal.real["failure"]
    must(delta <= 1 - fmpq(1, alphabet), "failure <= 1 - 1/alphabet")
    symbols = secret.rows * goal.count["value_dim"] * goal.count["kv_heads"]

    def sides() -> tuple[arb, arb]:
        each = log2(fmpq(alphabet)) + (1 - delta) * log2(1 - delta)
        if delta:
            each += arb(delta) * (log2(delta) - log2(fmpq(alphabet - 1)))
        return arb(stated), symbols * each

    case.at_most("bits_at_least <= symbols * F(alphabet, failure)", sides)
    return TensorBits(stated)


@dataclass(frozen=True)
class Orders(Fact):
    """Numbers that a step states: multiplications by order, and bits of state."""

    stated: dict[str, int]


@dataclass(frozen=True)
class Identity(Goal):
    """A query and four caches of integers, and what is claimed of them."""

    base: fmpq
    rows: dict[str, Matrix]
    word: tuple[int, int]
    claimed: dict[str, int]

    def met_by(self, last: Fact) -> None:
        """The same counts, and no fewer bits claimed."""
        must(isinstance(last, Orders), "the last step is about orders of evaluation")
        assert isinstance(last, Orders)
        must(all(self.claimed[name] == last.stated[name] for name in _COUNTS), "the counts claimed")
        must(last.stated["state_bits_at_most"] <= self.claimed["state_bits_at_most"], "the bits claimed")


@dataclass(frozen=True)
class Patterns(Goal):
    """How many patterns a product column has."""

    tokens: int
    form: str
    reachable: int

    def met_by(self, last: Fact) -> None:
        """The same number."""
        must(last == Count(self.reachable), "the number claimed")


@dataclass(frozen=True)
class Count(Fact):
    """So many patterns."""

    reachable: int


def tensor_orders(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Orders:
    """Product rows as a matrix against two small ones; counts by their formulas."""
    must(not uses, "no premises")
    fields(given, "given", set())
    names = (*_COUNTS, "state_bits_at_most")
    fields(gives, "gives", set(names))
    stated = {name: integer(gives[name], name) for name in names}
    goal = case.about(Identity)
    k1, k2, v1, v2 = (goal.rows[name] for name in ("k1", "k2", "v1", "v2"))
    (query,) = goal.rows["query"]
    n, width = len(k1), len(k1[0]) + len(v1[0])
    within(n * n <= _PAIRS, f"{n} tokens")
    formed = {"four_cache": n * n, "two_cache": n * n - (n - 1) ** 2, "re_associated": n}
    for name, count in formed.items():
        must(stated[name] == (n * n + count) * width, f"multiplications of {name}")
    entries = [x for rows in (k1, k2, v1, v2) for row in rows for x in row]
    bits, least = goal.word
    must(all(0 <= x - least < 1 << bits for x in entries), "entries are words")
    must(bits * len(entries) <= stated["state_bits_at_most"], "words of four caches")
    turned = [[q * x for q, x in zip(query, row, strict=True)] for row in k1]
    scores = fmpz_mat(turned) * fmpz_mat(k2).transpose()
    top = max(abs(int(x)) for x in scores.entries())
    within(2 * top * max(int(goal.base.p), int(goal.base.q)).bit_length() <= _BITS, f"scores of {top}")
    unit = (goal.base.p * goal.base.q) ** top
    weights = fmpz_mat([[(goal.base ** int(scores[i, j]) * unit).p for j in range(n)] for i in range(n)])
    inner = weights * fmpz_mat(v2)
    small = [sum(v1[i][c] * inner[i, c] for i in range(n)) for c in range(len(v1[0]))]
    products = fmpz_mat([[a * b for a, b in zip(v1[i], v2[j], strict=True)] for i in range(n) for j in range(n)])
    dense = fmpz_mat([[weights[i, j] for i in range(n) for j in range(n)]]) * products
    rows = [[a * b for a, b in zip(k1[i], k2[j], strict=True)] for i in range(n) for j in range(n)]
    again = fmpz_mat(rows) * fmpz_mat([[x] for x in query])
    must(all(again[i * n + j, 0] == scores[i, j] for i in range(n) for j in range(n)), "equal scores")
    must([dense[0, c] for c in range(len(small))] == small, "equal numerators")
    return Orders(stated)


def tensor_patterns(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Count:
    """Of all patterns those that rows' and columns' signs and an order of sizes can explain; 0/1 ones by their rows."""
    must(not uses, "no premises")
    fields(given, "given", set())
    goal, n = case.about(Patterns), case.about(Patterns).tokens
    stated = integer(fields(gives, "gives", {"reachable"})["reachable"], "reachable")
    within(n <= _LARGEST[goal.form], f"patterns of {n} tokens")
    if goal.form == "binary":  # a pattern other than 0 has one row other than 0, and some rows that are it
        must(stated == 1 + (2**n - 1) * (2**n - 1), "one pattern of zeros, and one for each two subsets not empty")
        return Count(stated)
    found = _explained(n)
    must(found == stated, f"{found} patterns occur")
    return Count(stated)


def _explained(n: int) -> int:
    """Of all patterns, bit i n + j for row i and column j: those with signs of rows and columns that explain them.

    No product is over the threshold between different signs, and no two equal ones cross: ones on one diagonal of a 2 x
    2 part and zeros on the other, as both diagonals have the same product.
    """
    patterns = np.arange(1 << n * n)
    explained = np.zeros(len(patterns), bool)
    pairs = list(combinations(range(n), 2))
    for rows, columns in product(product((0, 1), repeat=n), repeat=2):
        same = [[a == b for b in columns] for a in rows]
        outside = sum(1 << i * n + j for i in range(n) for j in range(n) if not same[i][j])
        fits = patterns & outside == 0
        for (i, k), (j, m) in product(pairs, repeat=2):
            if same[i][j] and same[k][m] and same[i][m] and same[k][j]:
                one, other = (1 << i * n + j | 1 << k * n + m), (1 << i * n + m | 1 << k * n + j)
                part = patterns & (one | other)
                fits &= (part != one) & (part != other)
        explained |= fits
    return int(explained.sum())


def state_bits(node: Node) -> StateBits:
    """A statement about tensor attention. Raises Malformed."""
    counts = ("tokens", "head_dim", "value_dim", "kv_heads", "state_bits_at_least")
    kinds = node.keys() & {"tolerance", "relative"}
    fields(node, "statement", {"claim", *counts, "scale", "max_logit", "failure", *kinds}, {"max_query"})
    count = {name: integer(node[name], name) for name in counts}
    real = {
        name: number(node, name) for name in ("scale", "max_logit", "failure", *kinds, *({"max_query"} & node.keys()))
    }
    _require(len(kinds) == 1, "tolerance or relative")
    for name in counts:
        _require(count[name] >= (0 if name == "state_bits_at_least" else 1), name)
    for name in ("scale", "max_logit", "max_query"):
        _require(name not in real or real[name] > 0, name)
    _require(0 <= real["failure"] < 1, "failure")
    _require("relative" in real or 0 < real["tolerance"] < 1, "tolerance")
    _require("tolerance" in real or 0 <= real["relative"] < 1, "relative")
    return StateBits(count, real)


def identity(node: Node) -> Identity:
    """A statement of orders on explicit inputs. Raises Malformed."""
    caches = ("k1", "k2", "v1", "v2")
    claimed = (*_COUNTS, "state_bits_at_most")
    fields(node, "statement", {"claim", "base", "query", *caches, "word_bits", "word_from", *claimed})
    rows = {name: _matrix(node[name], name) for name in caches} | {"query": _matrix([node["query"]], "query")}
    sizes = {name: (len(found), len(found[0])) for name, found in rows.items()}
    _require(sizes["k1"] == sizes["k2"] and sizes["v1"] == sizes["v2"], "factors")
    _require(sizes["k1"][0] == sizes["v1"][0] and sizes["query"][1] == sizes["k1"][1], "sizes")
    base, word = (
        number(node, "base"),
        (integer(node["word_bits"], "word_bits"), integer(node["word_from"], "word_from")),
    )
    _require(base > 0 and word[0] >= 1, "base or word_bits")
    return Identity(base, rows, word, {name: integer(node[name], name) for name in claimed})


def patterns(node: Node) -> Patterns:
    """A statement about patterns. Raises Malformed."""
    fields(node, "statement", {"claim", "tokens", "form", "reachable"})
    found = Patterns(integer(node["tokens"], "tokens"), text(node["form"], "form"), integer(node["reachable"], "it"))
    _require(found.tokens >= 1 and found.form in _LARGEST, "tokens or form")
    return found


def _matrix(value: object, name: str) -> Matrix:
    rows = [integers(row, name) for row in strings(value, name)]
    _require(len({len(row) for row in rows}) == 1, name)
    return rows


def _require(condition: bool, name: str) -> None:
    if not condition:
        raise Malformed(f"statement: {name} out of range")


RULES: dict[str, Rule] = {
    "tensor-keys": tensor_keys, "tensor-leak": tensor_leak, "tensor-symbols": tensor_symbols,
    "tensor-orders": tensor_orders, "tensor-patterns": tensor_patterns,
}  # fmt: skip
CLAIMS: dict[str, Callable[[Node], Goal]] = {
    "tensor-state-bits": state_bits, "tensor-identity": identity, "tensor-patterns": patterns,
}  # fmt: skip
