"""Break the kernel one place at a time; its tests must notice: ``python scripts/mutate_kernel.py MODULE ...``.

MODULE: a file of the kernel without its ending, as ``volume``. In memory only, a comparison takes or loses its
boundary, a constant moves by one, a lower bound becomes an upper one, min becomes max, a test is left out, and so on.
A broken kernel is killed where a control is not VALID, where a document that is broken, or false by the tests' oracle,
is not INVALID or fails at another step than the oracle says, or where the module's own tests fail.
First all go ``--by documents``, then what these let pass ``--by tests``. ``--share N``: every N-th mutant only.

Results gather in build/mutate/MODULE.jsonl, one line each; ``--render`` writes the table of docs/attack.md.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import importlib.abc
import importlib.util
import json
import os
import pickle
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "mutate"
EVERY = 10  # of the documents, for a module that all rules use
SECONDS = 240  # of one broken kernel, after which it counts as killed: the whole suite has a limit for each test
TESTS = {
    "amplitude": "rules_amplitude mutants_amplitude", "quantiser": "rules_quantiser",
    "covering": "rules_covering", "caps": "rules_covering",
    "nets": "rules_nets", "comparison": "rules_comparison", "polynomials": "rules_polynomials",
    "payload": "rules_payload rules_payload_ball mutants_payload mutants_payload_ball",
    "sampling": "rules_sampling", "instances": "rules_instances",
    "reed_muller": "rules_reed_muller", "rows": "rules_rows key_files", "packed": "rules_rows",
    "precondition": "rules_precondition", "volume": "rules_volume", "softmax": "rules_softmax", "codes": "rules_codes",
    "points": "rules_codes", "information": "rules_information", "numbers": "numbers", "document": "document",
    "statement": "document key_files", "check": "document", "tensors": "key_files", "facts": "document",
}  # fmt: skip
# Long ones of them, left for last: a mutant that nothing else notices meets them too.
SLOW = (
    "near_identity_and_ostrowski or exact_form or two_reads or elimination_on_larger or count_alike or enough_mutants "
    "or no_premise_weighs or plain_exponentials or exact_to_its_threshold or levels_hold_exactly"
)
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
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign() | ast.Continue() | ast.Break():
            yield f"{ast.unparse(node)[:70]} left out", ast.Pass()


def _other_name(name: str) -> str:
    for one, other in (("_lower", "_upper"), ("_upper", "_lower"), ("LOWER", "UPPER")):
        if name.endswith(one) and name[: -len(one)] in ("exp", "log2"):
            return name[: -len(one)] + other
    return NAMES.get(name, name)


class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module of the kernel from other code than its file's."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self.name, self.path, self.code = name, path, code

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        """Of that one module."""
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        """The other code, with both directions of every bound at hand."""
        exec(self.code, vars(module))


def code_of(tree: ast.Module, path: Path) -> CodeType:
    """The module's code, with imports of both directions of exp and log2."""
    tree = copy.deepcopy(tree)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "kvverify.kernel.numbers":
            there = {alias.name for alias in node.names}
            both = ("exp_lower", "exp_upper", "log2_lower", "log2_upper")
            node.names += [ast.alias(name) for name in both if name not in there]
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


def suite(path: Path) -> None:
    """Documents with what the tests ask of each, from the kernel as it is: (rules, files, [(content, step, rule)]).

    ``rule``: of the step that was changed. ``step``: None where the document is VALID; else the step that is false, or
    "" where any will do.
    """
    plain = importlib.import_module("tests.kernel.test_mutants")
    engine = importlib.import_module("tests.kernel.mutants")
    oracle = importlib.import_module("tests.kernel.oracle")
    found = []
    for control in plain.controls():
        with tempfile.TemporaryDirectory() as name:
            for file, data in control.files:
                (Path(name) / file).write_bytes(data)
            rows: list[tuple[Any, str | None, str]] = [(control.tree, None, "")]
            rows += [(m.content, str(m.step), m.rule) for m in engine.stronger(control, Path(name))]
            rows += [(m.content, "", m.rule) for m in list(engine.broken(control, outside=False))[::7]]
            for mutant in list(engine.rewritten(control))[::5]:
                try:
                    false = oracle.first_false(mutant.content, Path(name)) is not None
                except (engine.TooLarge, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                    continue
                rows += [(mutant.content, "", mutant.rule)] if false else []
            found.append((sorted(set(control.rules)), control.files, rows))
    path.write_bytes(pickle.dumps(found))


def noticed(documents: list[Any], rules: set[str]) -> str:
    """The first document of which the kernel says what it must not, of controls that use those rules."""
    from kvverify.kernel.check import Verdict, check

    for used, files, rows in documents:
        if rules and not rules & set(used):
            continue
        with tempfile.TemporaryDirectory() as name:
            for file, data in files:
                (Path(name) / file).write_bytes(data)
            for content, step, rule in rows if rules else rows[::EVERY]:
                if step is not None and rules and rule not in rules:
                    continue
                result = check(content, name)
                if step is None and result.verdict is not Verdict.VALID:
                    return f"a control is {result.verdict.value}"
                if step is not None and result.verdict is not Verdict.INVALID:
                    return f"a false document is {result.verdict.value}"
                if step and str(result.step) != step:
                    return "another step"
    return ""


def tried(broken: Broken, look: Callable[[], str]) -> str:
    """What ``look`` notices in a child process with that broken kernel; "" where it notices nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        why = "exception"  # of any kind: the broken kernel fell over
        try:
            sys.meta_path.insert(0, broken)
            signal.alarm(SECONDS)
            why = look()
        finally:
            os.write(writing, why.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        why = stream.read()
    _, status = os.waitpid(child, 0)
    return "time" if status else why


def _pytest(tests: list[str]) -> str:
    import pytest

    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    # In this process: the broken kernel lives in its memory alone.
    code = pytest.main(["-x", "-q", "-n0", "--tb=no", "-p", "no:cacheprovider", "-p", "no:terminalreporter", *tests])
    return "" if code in (0, 5) else "tests"  # 5: none was chosen


def _tested(tests: list[str], change: str) -> str:
    why = _pytest(tests[-1:]) or _pytest(["-k", f"not ({SLOW})", *tests]) or _pytest(["-k", SLOW, *tests])
    if not why and ("_lower" in change or "_upper" in change):
        why = _pytest(["-k", "safe_side", "tests/kernel/test_mutants.py"])
    return why


def source_of(module: str) -> Path:
    """The module's file."""
    (path,) = (ROOT / "kvverify" / "kernel").rglob(f"{module}.py")
    return path


def rules_of(module: str, source: str) -> set[str]:
    """The rules that the module defines, or that alone use it; none where all do."""
    found = {
        str(node.value)
        for item in ast.parse(source).body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id == "RULES"
        for node in (item.value.keys if isinstance(item.value, ast.Dict) else ())
        if isinstance(node, ast.Constant)
    }
    extra = {"packed": {"attention-row"}, "precondition": {"determinant"}, "tensors": {"attention-row"}}
    return found or extra.get(module, set())


def results(module: str) -> dict[tuple[int, int, str], dict[str, str]]:
    """{mutant: {"documents" or "tests": what noticed it}}."""
    out = BUILD / f"{module}.jsonl"
    found: dict[tuple[int, int, str], dict[str, str]] = {}
    for line in out.read_text().splitlines() if out.exists() else ():
        row = json.loads(line)
        found.setdefault(tuple(row["key"]), {})[row["by"]] = row["killed"]
    return found


def run(module: str, share: int, by: str, documents: list[Any]) -> None:
    """All mutants of a module that have no result yet; by the tests only those that the documents let pass."""
    path = source_of(module)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    source, known = path.read_text(), results(module)
    rules = rules_of(module, source)
    tests = [f"tests/kernel/test_{t}.py" for t in (*TESTS[module].split(), "survivors")]
    tests = [t for t in tests if (ROOT / t).exists()]

    for index, mutant in enumerate(mutants(source)):
        key = (index, mutant.line, mutant.change)
        before = known.get(key, {})
        if index % share or by in before or (by == "tests" and before.get("documents", "unknown")):
            continue
        look = partial(noticed, documents, rules) if by == "documents" else partial(_tested, tests, mutant.change)
        why = tried(Broken(name, path, code_of(mutant.tree, path)), look)
        with (BUILD / f"{module}.jsonl").open("a") as stream:
            stream.write(json.dumps({"key": key, "by": by, "killed": why}) + "\n")
        if not why:
            print(f"not noticed by the {by}: {module}.py:{mutant.line} {mutant.change}", flush=True)


def table() -> str:
    """What became of the mutants, module by module."""
    head = ("module", "mutants", "tried", "killed by documents", "the rest, tried by tests", "killed", "survived")
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    sums = [0] * (len(head) - 1)
    for module in TESTS:
        if rows := list(results(module).values()):
            seen = sum(bool(row.get("documents")) for row in rows)
            tested = [row["tests"] for row in rows if "tests" in row]
            made = sum(1 for _ in mutants(source_of(module).read_text()))
            counts = [made, len(rows), seen, len(tested), sum(map(bool, tested)), tested.count("")]
            sums = [a + b for a, b in zip(sums, counts, strict=True)]
            lines.append(f"| {module} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join([*lines, "| all | " + " | ".join(map(str, sums)) + " |"])


def main(arguments: list[str]) -> int:
    """Try the modules' mutants, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", choices=[[], *TESTS], metavar="MODULE")
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument("--by", choices=["documents", "tests"], default="documents")
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(ROOT))
    BUILD.mkdir(parents=True, exist_ok=True)
    if options.render:
        from attack_kernel import put_part

        put_part("mutation", table())
        return 0
    stored = BUILD / "suite.pickle"
    if not stored.exists() and (child := os.fork()) == 0:
        suite(stored)
        os._exit(0)
    elif not stored.exists():
        os.waitpid(child, 0)
    documents = pickle.loads(stored.read_bytes())
    for name in ("numpy", "flint", "pytest", "hypothesis", "_pytest.assertion.rewrite"):  # loaded once for all children
        importlib.import_module(name)
    assert not any(name.startswith("kvverify.kernel") for name in sys.modules)
    for module in options.modules:
        run(module, options.share, options.by, documents)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
