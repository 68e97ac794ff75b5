"""Attention rows of given keys under given queries: every weight enclosed. Proofs: docs/proofs/rows.md.

Source: ours.
"""

from __future__ import annotations

from fractions import Fraction

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integers, rational, strings
from kvverify.kernel.facts import Fact, need, present
from kvverify.kernel.numbers import exp_upper
from kvverify.kernel.rules.attention import Leak, Matrix, Row
from kvverify.kernel.rules.packed import CELL, ENTRY, MASS, SPAN, Exponentials, Scores
from kvverify.kernel.rules.softmax import stated_leak
from kvverify.kernel.statement import tensor_file
from kvverify.kernel.tensors import read_matrix

MAX_ENTRY_BITS = 320  # of inline queries


def attention_row(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Leak:
    """Row i: query i over all the file's keys and one of the asker's own; logits within ``max_logit`` on all of them.

    ``payload`` lists the tokens (rows of the key file) that carry values, one query each: integers in place, or the
    ``rows`` of a tensor, times ``query_scale``. Tokens outside the payload have value 0. The asker's own key is plus or
    minus the key of the largest absolute score, so that its score is minus that. Weights are relative to the target's;
    the stated bounds must hold for the worst row (squares: for the mean).
    """
    fields(uses, "uses", set())
    stated = stated_leak(gives)
    statement = context.statement
    file = present(statement.keys, "the statement's budget is 'own-keys' or 'own-queries'")
    keys, power, dtype = read_matrix(context, file, statement.key_dim, statement.tokens)
    need(statement.inputs == "real" or dtype == "BF16", "keys are exact in bf16", dtype, "BF16")
    queries, scale = _queries(context, given)
    payload = integers(given["payload"], "payload")
    chosen = set(payload)
    need(min(payload) >= 0 and max(payload) < len(keys), "payload tokens lie in the file", max(payload), len(keys))
    need(len(chosen) == len(payload), "payload tokens are distinct", len(chosen), len(payload))
    need(len(queries) == len(payload), "one query for each payload token", len(queries), len(payload))
    unit = scale * Fraction(2) ** power
    inside = [keys[i] for i in payload]
    outside = [key for i, key in enumerate(keys) if i not in chosen]
    context.charge(len(payload) * (2 * len(keys) + len(payload) + 256))
    scores = Scores(context, queries, inside + outside, unit)
    weights = Exponentials(context)
    rows, squares, totals, tops = _sums(scores, weights, len(payload), statement.max_logit)
    for i, row in enumerate(rows):
        _at_most(row.off_target, stated.worst.off_target, f"off-target mass of row {i} <= off_target_at_most")
        _at_most(row.rest, stated.worst.rest, f"mass of other tokens in row {i} <= rest_at_most")
    _at_most(squares, stated.squares, "mean off-target squares <= off_target_squares_at_most")

    def matrix() -> Matrix:
        context.charge(2 * len(payload) ** 2)
        again, _, _ = read_matrix(context, file, statement.key_dim, statement.tokens)  # rather than kept till now
        cells = Scores(context, _queries(context, given)[0], [again[i] for i in payload], unit).floors()
        tables = Exponentials(context)
        low = [tables.entries(row, top) for row, top in zip(cells, tops, strict=True)]
        return Matrix(low, ENTRY, SPAN, tuple(totals))

    return Leak(len(payload), stated.worst, stated.squares, None, tuple(rows), matrix)


def _queries(context: Context, given: Node) -> tuple[list[list[int]], Fraction]:
    """The queries that the step names, as integers times one scale: in place, of a file, or of the statement's file."""
    file, columns = context.statement.queries, context.statement.key_dim
    named = file is None and isinstance(given.get("queries"), dict)
    taken = {"rows"} if file else {"queries", "rows"} if named else {"queries"}
    fields(given, "given", {"payload", "query_scale"} | taken)
    scale = rational(given["query_scale"], "query_scale")
    need(scale > 0, "query_scale > 0", scale, 0)
    if file or named:
        need(not file or scale == 1, "query_scale = 1 under the budget 'own-queries'", scale, 1)
        recorded, power, _ = read_matrix(context, file or tensor_file(given["queries"], "queries"), columns)
        rows = integers(given["rows"], "rows")
        need(min(rows) >= 0 and max(rows) < len(recorded), "rows lie in the file", max(rows), len(recorded))
        return [recorded[i] for i in rows], scale * Fraction(2) ** power
    queries = [integers(row, f"queries[{i}]") for i, row in enumerate(strings(given["queries"], "queries"))]
    need(len(queries) >= 1, "at least one query")
    for i, query in enumerate(queries):
        if len(query) != columns:
            raise Malformed(f"queries[{i}]: {len(query)} entries, the keys have {columns}")
    if max(abs(x) for query in queries for x in query).bit_length() > MAX_ENTRY_BITS:
        raise OverLimit(f"limit: entries of more than {MAX_ENTRY_BITS} bits")
    return queries, scale


def _sums(
    scores: Scores, weights: Exponentials, payload: int, max_logit: Fraction
) -> tuple[list[Row], Fraction, list[Fraction], list[int]]:
    """Per row the mass of the other payload tokens and of all else; the mean of the sums of squares; per row the whole
    mass relative to exp(top), and top in cells. The first keys are the payload's, in the order of the queries.
    """
    rows, totals, tops = [], [], []
    squares = Fraction(0)
    for i, cells in enumerate(scores.floors(max_logit)):
        top, low = max(cells), min(cells)
        own = -max(top, -low - 1)  # the largest absolute score is at least so many cells, negated
        masses = weights.masses([*cells, min(own, top)], top)
        within = sum(masses[:payload])
        relative = exp_upper(Fraction(top - cells[i], 1 << CELL)) / (1 << MASS)
        rows.append(Row((within - masses[i]) * relative, sum(masses[payload:]) * relative))
        squares += (sum([x * x for x in masses[:payload]]) - masses[i] ** 2) * relative**2
        totals.append(Fraction(sum(masses), 1 << MASS))
        tops.append(top)
    return rows, squares / payload, totals, tops


def _at_most(found: Fraction, stated: Fraction, test: str) -> None:
    need(found <= stated, test, found, stated)


RULES: dict[str, Rule] = {"attention-row": attention_row}
