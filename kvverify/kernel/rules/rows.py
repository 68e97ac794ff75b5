"""Attention rows of given keys under given queries: every weight enclosed. Proofs: docs/proofs/rows.md.

Source: ours.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from operator import mul

from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integers, rational, strings
from kvverify.kernel.facts import Context, Fact, Leak, Row, Rule, need, present
from kvverify.kernel.numbers import exp_lower, exp_upper
from kvverify.kernel.rules.softmax import stated_leak
from kvverify.kernel.tensors import read_matrix

GRID = 1 << 12  # exponents are rounded up to this grid for sums, which raises a weight by at most 0.03 %
WIDTH = 1 << 80  # grid of the exact form's enclosures
MAX_ENTRY_BITS = 320


def attention_row(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Leak:
    """Row i: query i over all the file's keys and the asker's own key -k_i; logits within ``max_logit`` on all of them.

    ``payload`` lists the tokens (rows of the file) that carry values, ``queries`` one row of integers for each, times
    ``query_scale``. Tokens outside the payload have value 0. Weights are exp of exact rational scores, relative to the
    target's, and rounded up; the stated bounds must hold for the worst row (squares: for the mean).
    """
    fields(uses, "uses", set())
    fields(given, "given", {"payload", "queries", "query_scale"})
    stated = stated_leak(gives)
    statement = context.statement
    file = present(statement.keys, "the statement's budget is 'own-keys'")
    keys, power, dtype = read_matrix(context, file)
    need(statement.inputs == "real" or dtype == "BF16", "keys are exact in bf16", dtype, "BF16")
    payload = integers(given["payload"], "payload")
    need(payload[0] >= 0 and payload[-1] < len(keys), "payload tokens lie in the file", payload[-1], len(keys))
    need(all(a < b for a, b in pairwise(payload)), "payload tokens are in increasing order")
    queries = [integers(row, f"queries[{i}]") for i, row in enumerate(strings(given["queries"], "queries"))]
    need(len(queries) == len(payload), "one query for each payload token", len(queries), len(payload))
    scale = rational(given["query_scale"], "query_scale")
    need(scale > 0, "query_scale > 0", scale, 0)
    unit = scale * Fraction(2) ** power
    if max(abs(x) for row in (*keys, *queries) for x in row).bit_length() > MAX_ENTRY_BITS or unit.denominator >> 600:
        raise OverLimit(f"limit: entries of more than {MAX_ENTRY_BITS} bits")
    context.charge(len(payload) * len(keys) * (statement.key_dim + 16))
    scores = [_scores(row, keys, statement.key_dim, i) for i, row in enumerate(queries)]
    highest = max(max(map(abs, row)) for row in scores) * unit
    need(highest <= statement.max_logit, "logits of the queries on the keys <= max_logit", highest, statement.max_logit)
    weights = _Weights(context, unit)
    rows, squares = _sums(weights, scores, payload)
    for i, row in enumerate(rows):
        _at_most(row.off_target, stated.worst.off_target, f"off-target mass of row {i} <= off_target_at_most")
        _at_most(row.rest, stated.worst.rest, f"mass of other tokens in row {i} <= rest_at_most")
    _at_most(squares, stated.squares, "mean off-target squares <= off_target_squares_at_most")

    def matrix() -> list[list[tuple[Fraction, Fraction]]]:
        return [[_enclose((row[j] - row[i]) * unit) for j in payload] for i, row in zip(payload, scores, strict=True)]

    return Leak(len(payload), stated.worst, stated.squares, None, tuple(rows), matrix)


def _scores(query: list[int], keys: list[list[int]], dim: int, i: int) -> list[int]:
    if len(query) != dim:
        raise Malformed(f"queries[{i}]: {len(query)} entries, the keys have {dim}")
    return [sum(map(mul, query, key)) for key in keys]


class _Weights:
    """Upper bounds of exp on a grid, each computed once."""

    def __init__(self, context: Context, unit: Fraction) -> None:
        self.context, self.unit = context, unit
        self.known: dict[int, Fraction] = {}

    def __call__(self, difference: int) -> Fraction:
        above, below = difference * self.unit.numerator * GRID, self.unit.denominator
        cell = -(-above // below)
        if cell not in self.known:
            self.context.charge(200)
            bound = exp_upper(Fraction(cell, GRID))
            self.known[cell] = Fraction(-(-bound.numerator * WIDTH // bound.denominator), WIDTH)
        return self.known[cell]


def _sums(weights: _Weights, scores: list[list[int]], payload: list[int]) -> tuple[list[Row], Fraction]:
    """Per row the mass of the other payload tokens and of all else; and the mean of the sums of squares."""
    chosen = set(payload)
    rows: list[Row] = []
    squares = 0
    for i, row in zip(payload, scores, strict=True):
        off_target = rest = 0
        for j, score in enumerate(row):
            if j != i:
                weight = weights(score - row[i])
                scaled = weight.numerator * (WIDTH // weight.denominator)
                if j in chosen:
                    off_target += scaled
                    squares += scaled * scaled
                else:
                    rest += scaled
        own = weights(-2 * row[i])
        rows.append(Row(Fraction(off_target, WIDTH), Fraction(rest, WIDTH) + own))
    return rows, Fraction(squares, WIDTH * WIDTH * len(payload))


def _enclose(x: Fraction) -> tuple[Fraction, Fraction]:
    low, high = exp_lower(x), exp_upper(x)
    return (
        Fraction(low.numerator * WIDTH // low.denominator, WIDTH),
        Fraction(-(-high.numerator * WIDTH // high.denominator), WIDTH),
    )


def _at_most(found: Fraction, stated: Fraction, test: str) -> None:
    need(found <= stated, test, found, stated)


RULES: dict[str, Rule] = {"attention-row": attention_row}
