"""Attention rows of a file's keys under given queries: exact integer scores, Arb's exponentials."""

from __future__ import annotations

from functools import reduce

import numpy as np
from flint import arb, arb_mat, ctx, fmpq, fmpz, fmpz_mat

from kvverify.crosscheck import tensor
from kvverify.crosscheck.attention import stated_leak
from kvverify.crosscheck.facts import Leak, Rule
from kvverify.crosscheck.goal import Fact, must
from kvverify.crosscheck.settle import FIRST_PRECISION, LAST_PRECISION, Case, within
from kvverify.crosscheck.statement import number, tensor_file
from kvverify.kernel.document import Node, fields, integers, strings

_SCORES = 1 << 22
_WORK = 1 << 28  # scores times bits of precision
_BITS = 320
_BLOCK = 1 << 16  # key entries that are multiplied at a time


class AttentionRows:
    """Scores of the payload's queries (rows) on all keys, times ``unit``; balls are kept for each precision."""

    def __init__(self, scores: list[list[fmpz]], payload: list[int], unit: fmpq) -> None:
        self.scores, self.payload, self.unit = scores, payload, unit
        room = _WORK // (len(payload) * len(scores[0]))
        self.most = max(FIRST_PRECISION, min(LAST_PRECISION, room))
        self._known: dict[int, tuple[list[tuple[arb, arb]], arb]] = {}

    def masses(self) -> list[tuple[arb, arb]]:
        """(off-target mass, all other mass) of each row; the asker's own key has minus the largest absolute score."""
        return self._balls()[0]

    def squares(self) -> arb:
        """The mean over rows of the sum of squared off-target weights."""
        return self._balls()[1]

    def matrix(self) -> arb_mat:
        """Relative weights among the payload tokens."""
        unit = arb(self.unit)
        return arb_mat(
            [
                [(arb(row[j] - row[i]) * unit).exp() for j in self.payload]
                for i, row in zip(self.payload, self.scores, strict=True)
            ]
        )

    def _balls(self) -> tuple[list[tuple[arb, arb]], arb]:
        if ctx.prec not in self._known:
            unit, chosen = arb(self.unit), set(self.payload)
            found, squares = [], arb(0)
            for i, row in zip(self.payload, self.scores, strict=True):
                off, rest = arb(0), (arb(-max(max(row), -min(row)) - row[i]) * unit).exp()
                for j, score in enumerate(row):
                    if j != i:
                        weight = (arb(score - row[i]) * unit).exp()
                        if j in chosen:
                            off, squares = off + weight, squares + weight**2
                        else:
                            rest += weight
                found.append((off, rest))
            self._known[ctx.prec] = found, squares / len(found)
        return self._known[ctx.prec]


def attention_row(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Leak:
    """The stated masses against those of every row; logits within the budget on all keys of the file, exactly."""
    statement = case.statement
    file = statement.keys
    must(file is not None, "the statement's budget is 'own-keys' or 'own-queries'")
    assert file is not None
    must(statement.streams == 1, "the file's keys are those of one stream, kv_heads = layers = 1")
    keys, power, dtype = tensor.read(case.folder, file)
    must(keys.shape == (statement.tokens, statement.key_dim), "the file's matrix is (tokens, key_dim)")
    must(dtype == "BF16" or not statement.bf16, "the keys are exact in bf16")
    payload = integers(given["payload"], "payload")
    must(len(payload) == len(set(payload)), "payload tokens are distinct")
    must(0 <= min(payload) <= max(payload) < len(keys), "payload tokens of the file")
    queries, scale = _queries(case, given)
    must(
        len(queries) == len(payload) and {len(q) for q in queries} == {keys.shape[1]},
        "one query of key_dim entries for each payload token",
    )
    within(len(payload) * len(keys) <= _SCORES, f"more than {_SCORES} scores")
    within(max(abs(x) for q in queries for x in q).bit_length() <= _BITS, f"query entries of more than {_BITS} bits")
    scores = _scores(queries, keys)
    unit = scale * fmpq(2) ** power
    highest = max(max(max(row), -min(row)) for row in scores)
    must(highest * unit <= statement.max_logit, "logits of the queries on the keys <= max_logit")
    rows = AttentionRows(scores, payload, unit)
    stated = stated_leak(gives, len(payload))
    case.at_most(
        "off-target mass of every row <= off_target_at_most",
        lambda: (reduce(arb.max, (off for off, _ in rows.masses())), arb(stated.sigma)),
        most=rows.most,
    )
    case.at_most(
        "mass of other tokens in every row <= rest_at_most",
        lambda: (reduce(arb.max, (rest for _, rest in rows.masses())), arb(stated.rest)),
        most=rows.most,
    )
    case.at_most(
        "mean off-target squares <= off_target_squares_at_most",
        lambda: (rows.squares(), arb(stated.squares)),
        most=rows.most,
    )
    return Leak(stated.payload, stated.sigma, stated.rest, stated.squares, rows)


def _queries(case: Case, given: Node) -> tuple[list[list[int]], fmpq]:
    """(rows of integers, their unit): in place, or rows of the tensor that the step or the statement names."""
    recorded = case.statement.queries
    inline = recorded is None and not isinstance(given.get("queries"), dict)
    source = {"queries"} if inline else {"rows"} if recorded is not None else {"queries", "rows"}
    fields(given, "given", {"payload", "query_scale"} | source)
    scale = number(given, "query_scale")
    must(scale > 0, "query_scale > 0")
    must(recorded is None or scale == 1, "recorded queries are taken as they are")
    if inline:
        return [integers(row, f"queries[{i}]") for i, row in enumerate(strings(given["queries"], "queries"))], scale
    matrix, power, _ = tensor.read(case.folder, recorded or tensor_file(given["queries"], "queries"))
    rows = integers(given["rows"], "rows")
    must(0 <= min(rows) <= max(rows) < len(matrix), "rows of the queries' file")
    return matrix[rows].tolist(), scale * fmpq(2) ** power


def _scores(queries: list[list[int]], keys: np.ndarray) -> list[list[fmpz]]:
    """<query, key> in integers, a block of keys at a time."""
    matrix = fmpz_mat(queries)
    scores: list[list[fmpz]] = [[] for _ in queries]
    block = max(1, _BLOCK // keys.shape[1])
    for start in range(0, len(keys), block):
        columns = fmpz_mat(keys[start : start + block].tolist()).transpose()
        for row, found in zip(scores, (matrix * columns).tolist(), strict=True):
            row.extend(found)
    return scores


RULES: dict[str, Rule] = {"attention-row": attention_row}
