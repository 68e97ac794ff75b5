"""The statements of comparisons and of polynomials, read from docs/format.md alone: a part of reader.py."""

from __future__ import annotations

from typing import Any

from tests.frozen.reader import CLAIMS, Incomplete, Node, _fields, _must, integer, rational

OPERANDS = {
    "sum": None, "product": None, "difference": 2, "quotient": 2, "power": 2, "binomial": 2, "binomial-tail": 2,
    "factorial": 1, "exp": 1, "ln": 1, "log2": 1, "sqrt": 1,
}  # fmt: skip


def _strings(value: Any) -> list[str]:
    _must(isinstance(value, list) and all(isinstance(x, str) for x in value), "a list of strings")
    found: list[str] = value
    return found


def _operand(word: str, known: int, used: set[int]) -> None:
    if word[:1] != "@":
        rational(word)
        return
    line = integer(word[1:])
    _must(0 <= line < known, "an earlier line")
    used.add(line)


def _comparison(node: Node) -> None:
    _fields(node, {"claim", "program", "holds"})
    program, holds, used = _strings(node["program"]), _strings(node["holds"]), set[int]()
    if max(len(program), len(holds)) > 4096:
        raise Incomplete("a limit")
    for i, line in enumerate(program):
        operation, *words = line.split(" ")
        _must(operation in OPERANDS, "an operation")
        if len(words) > 64:
            raise Incomplete("a limit")
        many = OPERANDS[operation]
        _must(len(words) >= 2 if many is None else len(words) == many, "operands")
        for word in words:
            _operand(word, i, used)
    for text in holds:
        words = text.split(" ")
        _must(len(words) == 3 and words[1] in ("<", "<="), "a comparison")
        _operand(words[0], len(program), used)
        _operand(words[2], len(program), used)
    _must(len(holds) > 0 and used == set(range(len(program))), "a comparison, and every line used")


def _polynomial(node: Node) -> None:
    _fields(node, {"claim", "coefficients", "relation"} | ({"from", "to"} & node.keys()))
    texts = _strings(node["coefficients"])
    if len(texts) > 129:
        raise Incomplete("a limit")
    values = [rational(text) for text in texts]
    _must(len(values) > 0 and values[-1][0] != 0, "a leading coefficient")
    _must(node["relation"] in (">", ">="), "relation")
    ends = {name: rational(node[name]) for name in ("from", "to") if name in node}
    if len(ends) == 2:
        (p, q), (r, s) = ends["from"], ends["to"]
        _must(p * s < r * q, "from < to")


CLAIMS.update({"comparison": _comparison, "polynomial": _polynomial})
