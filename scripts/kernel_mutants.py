"""Broken copies of a module's source, each in one place; scripts/mutate_kernel.py asks whether a test notices.

A comparison takes or loses its boundary or its sense, a condition is negated, a constant moves by one, `+` becomes `-`,
`and` becomes `or`, a lower bound an upper one, min max, a sign or a statement is left out. What is only said to people
(annotations, docstrings, the reasons of refusals) stays.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
COMBINED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd, ast.Pow: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "all": "any", "any": "all"}
_PLAIN = (ast.Name, ast.Attribute, ast.Call, ast.NamedExpr)  # conditions that have no operator to change


@dataclass(frozen=True)
class Mutant:
    """A place (line of the source), what is done there, and the module with it done."""

    line: int
    change: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of the module, in the order of its source."""
    whole = ast.parse(source)
    for index, node in enumerate(ast.walk(whole)):
        vars(node)["index"] = index
    for parent, field, node in _places(whole):
        for change, other in _changed(node):
            tree = copy.deepcopy(whole)
            twin = next(n for n in ast.walk(tree) if vars(n)["index"] == vars(parent)["index"])
            value = getattr(twin, field[0])
            if field[1] is None:
                setattr(twin, field[0], other)
            else:
                value[field[1]] = other
            yield Mutant(getattr(node, "lineno", 0), change, ast.fix_missing_locations(tree))


def _places(node: ast.AST) -> Iterator[tuple[ast.AST, tuple[str, int | None], ast.AST]]:
    """(parent, its field and place there, node), but for annotations, docstrings and what is only said to people."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "exc"):
            continue
        items = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        if isinstance(node, ast.Call) and _called(node) in ("need", "reject", "Rejected") and name == "args":
            items = items[:1] if _called(node) == "need" else []
        for place, item in items:
            if isinstance(item, ast.AST) and not isinstance(item, ast.JoinedStr):
                yield node, (name, place), item
                yield from _places(item)


def _called(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _changed(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Constant(value=bool(flag)):
            yield f"{flag} -> {not flag}", ast.Constant(not flag)
        case ast.Constant(value=int(number)):
            for value in (number + 1, number - 1):
                yield f"{number} -> {value}", ast.Constant(value)
        case ast.Compare():
            for i, op in enumerate(node.ops):
                other = copy.deepcopy(node)
                other.ops[i] = COMPARED[type(op)]()
                yield f"{ast.unparse(node)} -> {ast.unparse(other)}", other
        case ast.BoolOp():
            twin = ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
            yield f"{ast.unparse(node)} -> {ast.unparse(twin)}", twin
        case ast.BinOp():
            sum_ = ast.BinOp(node.left, COMBINED[type(node.op)](), node.right)
            yield f"{ast.unparse(node)} -> {ast.unparse(sum_)}", sum_
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield f"{ast.unparse(node)} -> {ast.unparse(node.operand)}", node.operand
        case ast.Name(id=name, ctx=ast.Load()) if (other_name := _other_name(name)) != name:
            yield f"{name} -> {other_name}", ast.Name(other_name, ast.Load())
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if isinstance(test, _PLAIN):
            opposite = copy.copy(node)
            vars(opposite)["test"] = ast.UnaryOp(ast.Not(), test)
            yield f"{ast.unparse(test)} -> not {ast.unparse(test)}", opposite
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign() | ast.Continue() | ast.Break():
            yield f"{ast.unparse(node)[:70]} left out", ast.Pass()


def _other_name(name: str) -> str:
    for one, other in (("_lower", "_upper"), ("_upper", "_lower"), ("LOWER", "UPPER")):
        if name.endswith(one) and name[: -len(one)] in ("exp", "log2"):
            return name[: -len(one)] + other
    return NAMES.get(name, name)
