"""Tensor attention on explicit inputs: three orders of evaluation agree; patterns that product columns can have.

Proofs: docs/proofs/tensor.md. Source: the claims are those of Chen et al. (arXiv 2503.11108) as recorded; the
re-associated order, the counts and the patterns are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from operator import add

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integer, rational, text
from kvverify.kernel.facts import Fact, Goal, need, of_kind
from kvverify.kernel.rules.instances import MAX_ENTRY_BITS, MAX_POWER_BITS, Row, Rows, integer_rows

ORDERS = ("four_cache", "two_cache", "re_associated")
PATTERNS = {"binary": 8, "threshold": 4}  # the most tokens that are enumerated


@dataclass(frozen=True)
class Caches:
    """A query and four caches of factor rows; a pair of tokens weighs base^<query, k1_i o k2_l>."""

    base: Fraction
    query: Row
    k1: Rows
    k2: Rows
    v1: Rows
    v2: Rows


@dataclass(frozen=True)
class Orders(Fact):
    """All orders give one answer: multiplications of entries that each takes, bits of the four caches at most."""

    products: tuple[int, ...]
    bits: int


@dataclass(frozen=True)
class TensorIdentity(Goal):
    """Four caches in ``bits`` bits, entries from ``word_from`` in ``word_bits`` bits each, give the two-cache answer.

    ``products``: the exact number of multiplications for one new token in each of `ORDERS`.
    """

    inputs: Caches
    word_bits: int
    word_from: int
    products: tuple[int, ...]
    bits: int

    def said(self) -> str:
        """The sizes, and the counts."""
        counts = ", ".join(f"{name.replace('_', '-')} {n}" for name, n in zip(ORDERS, self.products, strict=True))
        return f"{len(self.inputs.k1)} tokens in {self.bits} bits: one exact answer; multiplications: {counts}"

    def met_by(self, last: Fact) -> None:
        """The last step gives these counts, and no more bits."""
        found = of_kind(last, Orders, "the last step")
        for name, claimed, counted in zip(ORDERS, self.products, found.products, strict=True):
            need(claimed == counted, f"multiplications of {name} are as claimed", claimed, counted)
        need(found.bits <= self.bits, "bits of the four caches <= state_bits_at_most", found.bits, self.bits)


@dataclass(frozen=True)
class Count(Fact):
    """Exactly so many patterns."""

    reachable: int


@dataclass(frozen=True)
class TensorPatterns(Goal):
    """Exactly ``reachable`` of the 2^(tokens^2) patterns of 0 and 1 occur as a column of V1 * V2.

    ``form`` binary: entries of V1 and V2 are 0 or 1, the pattern is the column. threshold: entries are real, the
    pattern says which products are at least theta, any one theta > 0.
    """

    tokens: int
    form: str
    reachable: int

    def said(self) -> str:
        """The number, and what it is out of."""
        kind = "0/1 entries" if self.form == "binary" else "real entries and a threshold"
        return (
            f"{self.reachable} of 2^{self.tokens**2} patterns of a column of V1 * V2 over {self.tokens} tokens: {kind}"
        )

    def met_by(self, last: Fact) -> None:
        """The last step counts that many."""
        found = of_kind(last, Count, "the last step").reachable
        need(self.reachable == found, "reachable patterns are as claimed", self.reachable, found)


class Ledger:
    """Row products, counted: entries multiplied with entries or with weights."""

    def __init__(self) -> None:
        self.products = 0

    def times(self, left: Row, right: Row) -> Row:
        """Entrywise product."""
        self.products += len(left)
        return tuple(a * b for a, b in zip(left, right, strict=True))

    def scaled(self, weight: int, row: Row) -> Row:
        """A row times a weight."""
        self.products += len(row)
        return tuple(weight * a for a in row)


Answer = tuple[Row, int]  # numerators and denominator
Weigh = Callable[[int], int]


def tensor_orders(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Orders:
    """Four-cache, two-cache and re-associated evaluation give one answer, exactly; their multiplications are counted.

    four_cache forms all product rows for the one query; two_cache has all but those of the last token, which it forms;
    re_associated multiplies the query with k1 first, and v1 last. Exponentials and divisions are not counted.
    """
    fields(uses, "uses", set())
    fields(given, "given", set())
    node = fields(gives, "gives", {*ORDERS, "state_bits_at_most"})
    stated = {name: integer(node[name], name) for name in (*ORDERS, "state_bits_at_most")}
    goal = context.about(TensorIdentity)
    inputs, tokens = goal.inputs, len(goal.inputs.k1)
    width = len(inputs.k1[0]) + len(inputs.v1[0])
    context.charge(tokens * tokens * (4 * width + 16))
    weigh = _weights(context, inputs, width)
    entries = [x for rows in (inputs.k1, inputs.k2, inputs.v1, inputs.v2) for row in rows for x in row]
    low, high = min(entries) - goal.word_from, max(entries) - goal.word_from
    need(low >= 0, "entries are words: at least word_from", low, 0)
    need(high >> goal.word_bits == 0, "entries are words: below word_from + 2^word_bits", high, 1 << goal.word_bits)
    bits = len(entries) * goal.word_bits
    need(
        bits <= stated["state_bits_at_most"],
        "words of four caches <= state_bits_at_most",
        bits,
        stated["state_bits_at_most"],
    )
    answers = []
    for name, order in zip(ORDERS, (_four_cache, _two_cache, _re_associated), strict=True):
        ledger = Ledger()
        answers.append(order(ledger, inputs, weigh))
        need(ledger.products == stated[name], f"multiplications of {name}", ledger.products, stated[name])
        need(answers[-1] == answers[0], f"{name} gives the answer of {ORDERS[0]}")
    return Orders(tuple(stated[name] for name in ORDERS), stated["state_bits_at_most"])


def _four_cache(ledger: Ledger, inputs: Caches, weigh: Weigh) -> Answer:
    """All product rows anew."""
    return _attend(ledger, inputs, weigh, lambda i, k: ledger)


def _two_cache(ledger: Ledger, inputs: Caches, weigh: Weigh) -> Answer:
    """Product rows are there but for those of the last token, 2 n - 1, which are formed now."""
    before, last = Ledger(), len(inputs.k1) - 1
    return _attend(ledger, inputs, weigh, lambda i, k: ledger if last in (i, k) else before)


def _attend(ledger: Ledger, inputs: Caches, weigh: Weigh, forming: Callable[[int, int], Ledger]) -> Answer:
    """Plain attention over product rows; ``forming`` says whose multiplications it is to form a pair's."""
    above, below = [0] * len(inputs.v1[0]), 0
    for i, (k1, v1) in enumerate(zip(inputs.k1, inputs.v1, strict=True)):
        for k, (k2, v2) in enumerate(zip(inputs.k2, inputs.v2, strict=True)):
            maker = forming(i, k)
            key, value = maker.times(k1, k2), maker.times(v1, v2)
            weight = weigh(sum(ledger.times(inputs.query, key)))
            above = list(map(add, above, ledger.scaled(weight, value)))
            below += weight
    return tuple(above), below


def _re_associated(ledger: Ledger, inputs: Caches, weigh: Weigh) -> Answer:
    """(q o k1_i) . k2_l; the sum over l of w_il v2_l, times v1_i."""
    above, below = [0] * len(inputs.v1[0]), 0
    for k1, v1 in zip(inputs.k1, inputs.v1, strict=True):
        turned = ledger.times(inputs.query, k1)
        inner = [0] * len(v1)
        for k2, v2 in zip(inputs.k2, inputs.v2, strict=True):
            weight = weigh(sum(ledger.times(turned, k2)))
            inner = list(map(add, inner, ledger.scaled(weight, v2)))
            below += weight
        above = list(map(add, above, ledger.times(tuple(inner), v1)))
    return tuple(above), below


def _weights(context: Context, inputs: Caches, width: int) -> Weigh:
    """base^score times a common factor, p^(score - low) q^(high - score), low and high bounds of all scores."""
    most = sum(
        abs(x) * max(abs(a) for a in first) * max(abs(b) for b in second)
        for x, first, second in zip(
            inputs.query, zip(*inputs.k1, strict=True), zip(*inputs.k2, strict=True), strict=True
        )
    )
    p, q = inputs.base.numerator, inputs.base.denominator
    bits = 2 * most * max(p, q).bit_length()
    if bits > MAX_POWER_BITS:
        raise OverLimit(f"limit: weights that differ by more than {MAX_POWER_BITS} bits")
    context.charge(len(inputs.k1) ** 2 * (3 * 64 + (width + 8) * (bits // 256)) + (2 * most + 1) * (64 + bits // 8))
    powers = {score: p ** (score + most) * q ** (most - score) for score in range(-most, most + 1)}
    return powers.__getitem__


def tensor_patterns(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Count:
    """The patterns of a column of V1 * V2, enumerated.

    binary: all outer products of 0/1 columns; (2^n - 1)^2 + 1 of them differ. threshold: rows and columns are split by
    sign; between equal signs the rows of a pattern are nested, between different ones it is 0; all such occur.
    """
    fields(uses, "uses", set())
    fields(given, "given", set())
    stated = integer(fields(gives, "gives", {"reachable"})["reachable"], "reachable")
    goal = context.about(TensorPatterns)
    n = goal.tokens
    if n > PATTERNS[goal.form]:
        raise OverLimit(f"limit: patterns of more than {PATTERNS[goal.form]} tokens ({goal.form})")
    context.charge(1 << (2 * n + 8 if goal.form == "binary" else 6 * n))
    subsets = range(1 << n)
    if goal.form == "binary":
        found = {tuple(b if a >> i & 1 else 0 for i in range(n)) for a in subsets for b in subsets}
    else:
        found = {rows for a in subsets for b in subsets for rows in _split(n, a, b)}
    need(len(found) == stated, "reachable patterns are as stated", len(found), stated)
    return Count(stated)


def _split(n: int, first: int, second: int) -> Iterator[Row]:
    """Patterns, a set of columns for each row: rows in ``first`` see nested sets within ``second``, others outside."""
    masks = [second if first >> i & 1 else second ^ ((1 << n) - 1) for i in range(n)]
    patterns: list[Row] = [()]
    for i, mask in enumerate(masks):
        same = [j for j in range(i) if (first >> j & 1) == (first >> i & 1)]
        within = [each for each in range(1 << n) if each & ~mask == 0]
        patterns = [
            (*rows, each)
            for rows in patterns
            for each in within
            if all(each & rows[j] in (each, rows[j]) for j in same)
        ]
    return iter(patterns)


def identity(node: Node) -> Goal:
    """Read a statement of three orders on explicit inputs. Raises Malformed and OverLimit."""
    rows = ("k1", "k2", "v1", "v2")
    fields(
        node, "statement", {"claim", "base", "query", *rows, "word_bits", "word_from", *ORDERS, "state_bits_at_most"}
    )
    k1, k2, v1, v2 = (integer_rows(node[name], f"statement.{name}") for name in rows)
    (query,) = integer_rows([node["query"]], "statement.query")
    _require(len(k1) == len(k2) == len(v1) == len(v2), "as many rows of k1, k2, v1 and v2")
    _require(len(query) == len(k1[0]) == len(k2[0]) and len(v1[0]) == len(v2[0]), "factors of one length")
    base, word = rational(node["base"], "statement.base"), integer(node["word_bits"], "statement.word_bits")
    _require(base > 0, "a base above 0")
    _require(1 <= word <= MAX_ENTRY_BITS, f"word_bits from 1 to {MAX_ENTRY_BITS}")
    numbers = [integer(node[name], f"statement.{name}") for name in ("word_from", *ORDERS, "state_bits_at_most")]
    return TensorIdentity(Caches(base, query, k1, k2, v1, v2), word, numbers[0], tuple(numbers[1:4]), numbers[4])


def patterns(node: Node) -> Goal:
    """Read a statement about patterns of product columns. Raises Malformed."""
    fields(node, "statement", {"claim", "tokens", "form", "reachable"})
    tokens, reachable = (integer(node[name], f"statement.{name}") for name in ("tokens", "reachable"))
    form = text(node["form"], "statement.form")
    _require(tokens >= 1, "at least one token")
    _require(form in PATTERNS, f"form {' or '.join(PATTERNS)}")
    return TensorPatterns(tokens, form, reachable)


def _require(condition: bool, right: str) -> None:
    if not condition:
        raise Malformed(f"statement: expected {right}")


RULES: dict[str, Rule] = {"tensor-orders": tensor_orders, "tensor-patterns": tensor_patterns}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"tensor-identity": identity, "tensor-patterns": patterns}
