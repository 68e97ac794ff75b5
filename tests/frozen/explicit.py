"""The statements of samplers and of explicit inputs, read from docs/format.md alone: a part of reader.py."""

from __future__ import annotations

from typing import Any

from tests.frozen.reader import CLAIMS, Incomplete, Node, _fields, _must, integer, rational


def _row(text: Any) -> list[int]:
    _must(isinstance(text, str), "a row")
    return [integer(word) for word in text.split(" ")]


def _rows(value: Any) -> list[list[int]]:
    _must(isinstance(value, list) and len(value) > 0, "rows")
    return [_row(row) for row in value]


def _matrix(value: Any) -> list[list[int]]:
    rows = _rows(value)
    _must(len({len(row) for row in rows}) == 1, "rows of one length")
    _limit(sum(map(len, rows)) <= 1 << 14 and all(abs(x) < 1 << 320 for row in rows for x in row))
    return rows


def _limit(condition: bool) -> None:
    if not condition:
        raise Incomplete("a limit")


def _rationals(value: Any) -> None:
    _must(isinstance(value, list) and all(isinstance(x, str) for x in value), "a list of strings")
    for x in value:
        rational(x)


def _sampling(node: Node) -> None:
    form = node.get("form")
    _must(form in ("cell", "norm", "combination"), "form")
    names = {"claim", "form", "weights"}
    names |= set() if form == "norm" else {"cells", "cell_slots"}
    names |= set() if form == "cell" else {"values", "norm_slots"}
    names |= {"radius_square", "probability"} if form == "combination" else {"mean", "variance", "marginals"}
    _fields(node, names | ({"weight_ratio_at_most"} if form == "cell" else set()))
    weights = _row(node["weights"])
    _must(all(w > 0 for w in weights), "weights")
    _limit(len(weights) <= 256 and all(w < 1 << 256 for w in weights))
    if "cells" in node:
        cells = _rows(node["cells"])
        _must(sorted(token for cell in cells for token in cell) == list(range(len(weights))), "each token once")
        _must(all(sorted(cell) == cell for cell in cells), "tokens grow")
    if "values" in node:
        values = _rows(node["values"])
        _must(len(values) == len(weights) and len({len(row) for row in values}) == 1, "values")
        _limit(len(values[0]) <= 64 and all(abs(x) < 1 << 32 for row in values for x in row))
    for name in {"cell_slots", "norm_slots"} & node.keys():
        _must(integer(node[name]) >= 1, name)
    for name in {"mean", "marginals"} & node.keys():
        _rationals(node[name])
    for name in {"variance", "probability"} & node.keys():
        rational(node[name])
    for name, least in (("weight_ratio_at_most", 1), ("radius_square", 0)):
        if name in node:
            p, q = rational(node[name])
            _must(p >= least * q, name)


def _identity(node: Node) -> None:
    _fields(node, {"claim", "left", "right", "right_words_at_most", "stream"})
    _must(sorted([str(node["left"]), str(node["right"])]) == ["masked-window", "running-sum"], "left and right")
    integer(node["right_words_at_most"])
    _fields(node["stream"], {"base", "window", "queries", "keys", "values"})
    queries, keys, values = (_matrix(node["stream"][name]) for name in ("queries", "keys", "values"))
    _must(len(queries) == len(keys) == len(values) and len(queries[0]) == len(keys[0]), "sizes")
    _must(rational(node["stream"]["base"])[0] > 0 and integer(node["stream"]["window"]) >= 1, "base and window")


def _two_inputs(node: Node) -> None:
    names = {"claim", "scale", "relative", "coordinate", "first", "second", "may_differ"}
    _fields(node, names | ({"base", "states"} & node.keys()))
    _must("base" not in node or rational(node["base"])[0] > 0, "base")
    _must(rational(node["scale"])[0] > 0, "scale")
    p, q = rational(node["relative"])
    _must(0 <= p < q, "relative")
    inputs = []
    for which in ("first", "second"):
        _fields(node[which], {"query", "keys", "values"})
        query, keys, values = (
            _matrix(value) for value in ([node[which]["query"]], node[which]["keys"], node[which]["values"])
        )
        _must(len(keys) == len(values) and len(keys[0]) == len(query[0]), "sizes")
        inputs.append((len(keys), len(keys[0]), len(values[0]), values))
    _must(inputs[0][:3] == inputs[1][:3], "the same sizes")
    many, keyed, valued, _ = inputs[0]
    _must(0 <= integer(node["coordinate"]) < valued, "coordinate")
    entries = {f"query {j}" for j in range(keyed)} | {f"keys {i} {j}" for i in range(many) for j in range(keyed)}
    entries |= {f"values {i} {j}" for i in range(many) for j in range(valued)}
    listed = node["may_differ"]
    _must(isinstance(listed, list) and all(isinstance(entry, str) for entry in listed), "a list of strings")
    _must(len(set(listed)) == len(listed) and set(listed) <= entries, "entries, each once")
    if "states" in node:
        _must(len(_row(node["states"])) == 2 ** min(many * valued, 30), "states")
        _must(all(x in (0, 1) for each in inputs for row in each[3] for x in row), "bits")
        _must(all(entry[:6] == "values" for entry in listed), "values only")


CLAIMS.update({"sampling": _sampling, "identity": _identity, "two-inputs": _two_inputs})
