"""Break the kernel one place at a time; its tests must notice: ``python scripts/mutate_kernel.py [MODULE ...]``.

MODULE: a file of the kernel without its ending, as ``volume``; all of them where none is named. What is done to a place
says kernel_mutants.py, and it is done in memory only. A broken kernel is killed where a test of ``tests/kernel`` fails,
of those that execute the broken statement (all, where it is outside of functions). First come those that promise a kill
in the least time: by what they killed before, and what they take. Another run goes on from there:

    --seconds S   no more tests of a mutant than take S seconds of a processor on the whole kernel
    --share N     every N-th mutant only
    --again       those that lived through all their tests, too: as after new ones were written
    --render      no run: the table of docs/attack.md

The tests are collected once, and a run of them under coverage, kept for later, says what each executes. A mutant is a
fork of that process in which one function has other code, or a constant another value; where it is neither, the fork
imports and collects anew. Results gather in build/mutate/MODULE.jsonl, one line each, the last one counts, and hold for
this source of the module.
"""

from __future__ import annotations

import argparse
import ast
import copy
import functools
import gc
import hashlib
import itertools
import json
import logging
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import coverage
import pytest
from hypothesis import Phase, settings
from kernel_mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parent.parent
KERNEL, TESTS, BUILD = ROOT / "kvverify" / "kernel", ROOT / "tests" / "kernel", ROOT / "build" / "mutate"
MODULES = {path.stem: path for path in sorted(KERNEL.rglob("*.py")) if path.stem != "__init__"}
OPTIONS = ["-q", "-s", "-n0", "--tb=no", "--timeout=0"]
OPTIONS += [f"-pno:{plugin}" for plugin in ("cacheprovider", "terminalreporter", "faulthandler", "logging")]
ADDED, TIMES = 5, 20  # a test has failed after so many times its seconds, and so many more; of a processor
ASLEEP, MEMORY = 900, 6 << 30  # seconds of a mutant, whatever the machine does; bytes
BOTH = ("exp_lower", "exp_upper", "log2_lower", "log2_upper")
COLUMNS = ("made", "tried", "fails", "time", "done", "whole")


def code_of(tree: ast.Module, path: Path) -> CodeType:
    """The module's code, with imports of both directions of exp and log2."""
    tree = copy.deepcopy(tree)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "kvverify.kernel.numbers":
            there = {alias.name for alias in node.names}
            node.names += [ast.alias(name) for name in BOTH if name not in there]
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


def name_of(path: Path) -> str:
    """The module's, as it is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def forget() -> None:
    """Empty what the kernel's functions remember: it is of another kernel, or of another test."""
    for name, module in list(sys.modules.items()):
        if name.startswith("kvverify.kernel"):
            for value in vars(module).values():
                getattr(value, "cache_clear", int)()


def function_of(tree: ast.Module, line: int) -> ast.FunctionDef | None:
    """The outermost function whose body has that line."""
    for node in ast.walk(tree):  # from the outside to the inside
        if isinstance(node, ast.FunctionDef) and node.body[0].lineno <= line <= (node.end_lineno or 0):
            return node
    return None


@functools.cache
def functions() -> dict[tuple[str, str, int], FunctionType]:
    """Those of this process, by file, name and first line."""
    found = [f for f in gc.get_objects() if isinstance(f, FunctionType)]
    return {(f.__code__.co_filename, f.__code__.co_qualname, f.__code__.co_firstlineno): f for f in found}


def plain(value: object) -> bool:
    """Whether two such values are equal just where they are the same."""
    if isinstance(value, dict):
        return all(map(plain, (*value, *value.values())))
    return isinstance(value, int | str | Fraction) or (isinstance(value, tuple | set) and all(map(plain, value)))


def exchanged(mutant: Mutant, path: Path) -> bool:
    """Break this process' kernel: one function has new code, or a constant another value wherever it was imported.

    False: what is broken is neither, and the module must be imported anew.
    """
    function, code, module = (
        function_of(mutant.tree, mutant.line),
        code_of(mutant.tree, path),
        sys.modules[name_of(path)],
    )
    if function is None:
        new: dict[str, Any] = {"__name__": name_of(path), "__file__": str(path)}
        try:
            exec(code, new)
        except Exception as error:
            raise ImportError from error
        old = {name: value for name, value in vars(module).items() if plain(value) and new.get(name, value) != value}
        for other in list(sys.modules.values()):
            for name in old.keys() & vars(other).keys():
                if other.__name__.startswith(("kvverify.kernel", "tests.")) and vars(other)[name] == old[name]:
                    vars(other)[name] = new[name]
        forget()
        return bool(old)
    first = min([function.lineno, *(node.lineno for node in function.decorator_list)])
    codes = [code]
    for code in codes:  # of the module, its classes, its functions
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
    (code,) = (c for c in codes if (c.co_name, c.co_firstlineno) == (function.name, first))
    live = functions()[str(path), code.co_qualname, first]
    if code.co_freevars != live.__code__.co_freevars:
        return False
    for name in BOTH:
        vars(module).setdefault(name, getattr(sys.modules["kvverify.kernel.numbers"], name))
    live.__code__ = code
    forget()
    return True


def lines_of(tree: ast.Module, line: int) -> set[int]:
    """The lines of the innermost statement there, its head only where it has a body."""
    spans: list[range] = [
        range(node.lineno, node.body[0].lineno if hasattr(node, "body") else (node.end_lineno or 0) + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt)
    ]
    here = [span for span in spans if line in span] or [range(line, line + 1)]
    return set(min(here, key=lambda span: len([*span])))


@dataclass(frozen=True)
class Seen:
    """What the tests do: the seconds of each, and by file and line those that execute it."""

    seconds: dict[str, float]
    tests: dict[str, dict[int, list[str]]]

    def of(self, path: Path, lines: Iterable[int]) -> list[str]:
        """The tests that execute one of those lines."""
        there = self.tests.get(str(path), {})
        return sorted({test for line in lines for test in there.get(line, ())} - {""})


def meet(tests: list[pytest.Item], before: Callable[[pytest.Item], None]) -> bool:
    """Whether a test fails; the later ones are not run."""
    for test, following in zip(tests, [*tests[1:], None], strict=False):
        before(test)
        test.ihook.pytest_runtest_protocol(item=test, nextitem=following)
        if test.session.testsfailed:
            return True
    return False


def scan(tests: list[pytest.Item]) -> Seen:
    """Run them all on the kernel as it is, under coverage."""
    watch = coverage.Coverage(data_file=None, include=[f"{KERNEL}/*"], config_file=False)
    marks: list[tuple[str, float]] = []

    def mark(test: pytest.Item) -> None:
        forget()
        watch.switch_context(test.nodeid)
        marks.append((test.nodeid, time.process_time()))

    watch.start()
    failed = meet(tests, mark)
    watch.stop()
    assert not failed, f"{marks[-1][0]} fails on the kernel as it is"
    marks.append(("", time.process_time()))
    seconds = {name: after - at for (name, at), (_, after) in itertools.pairwise(marks)}
    data = watch.get_data()
    return Seen(seconds, {file: data.contexts_by_lineno(file) for file in data.measured_files()})


def _scan(tests: list[pytest.Item], stored: Path, _: object) -> None:
    stored.write_bytes(pickle.dumps(scan(tests)))


def scanned(tests: list[pytest.Item]) -> Seen:
    """What is stored of a scan of these tests, and a scan of the files of which nothing is, each in its own process."""
    whole, common = Seen({}, {}), digest(sorted({*KERNEL.rglob("*.py"), *TESTS.glob("*.py")} - {*TESTS.glob("test_*")}))
    for file, items in itertools.groupby(tests, key=lambda test: test.path):
        stored = BUILD / f"{file.stem}-{digest([file])}-{common}.pickle"
        if not stored.exists():
            child(functools.partial(_scan, list(items), stored))
        seen: Seen = pickle.loads(stored.read_bytes())
        whole.seconds.update(seen.seconds)
        for source, lines in seen.tests.items():
            for line, names in lines.items():
                whole.tests.setdefault(source, {}).setdefault(line, []).extend(names)
    return whole


class Warm:
    """A plugin of pytest: once the tests are collected, ``work`` has them in place of the usual run."""

    def __init__(self, work: Callable[[pytest.Session], object]) -> None:
        self.work = work

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """The same examples in every run, and no time for the smallest one. After tests/conftest.py has its say."""
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutate", deadline=None, derandomize=True, database=None, phases=phases)
        settings.load_profile("mutate")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of pytest's own."""
        self.work(session)
        return True


def child(work: Callable[[Callable[[str], object]], object]) -> list[str]:
    """What ``work`` says in a process of its own, silent and within bounds; "done" comes last where it returns."""
    reading, writing = os.pipe()
    folder = tempfile.mkdtemp()
    if (number := os.fork()) == 0:
        try:
            tempfile.tempdir = folder
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            signal.alarm(ASLEEP)
            silent = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1):
                os.dup2(silent, stream)
            work(lambda line: os.write(writing, f"{line}\n".encode()))
            os.write(writing, b"done\n")
        except ImportError:  # of a module that is broken where it is imported
            os.write(writing, b"fails\n")
        except Exception:  # a fault of this script, or of pytest
            logging.exception("a mutant was not tried")
            os.write(writing, b"fault\n")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        said = lines.read().splitlines()
    os.waitpid(number, 0)
    shutil.rmtree(folder, ignore_errors=True)
    assert said[-1:] != ["fault"]
    return said


def tried(mutant: Mutant, path: Path, session: pytest.Session, order: list[str], seen: Seen) -> list[str]:
    """The tests that a broken kernel met, "fails" behind the last where it noticed, "done" where none did; neither
    where it took too long.
    """

    def work(say: Callable[[str], object]) -> None:
        def before(test: pytest.Item) -> None:
            signal.setitimer(signal.ITIMER_PROF, ADDED + TIMES * seen.seconds[test.nodeid])
            say(test.nodeid)

        def run(found: pytest.Session) -> None:
            by_name = {test.nodeid: test for test in found.items}
            if found.testsfailed or meet([by_name[name] for name in order if name in by_name], before):
                say("fails")
                os._exit(0)

        if exchanged(mutant, path):
            run(session)
            return
        signal.setitimer(signal.ITIMER_PROF, 10 * ADDED)
        for name in list(sys.modules):
            if name.partition(".")[0] in ("kvverify", "tests"):
                del sys.modules[name]
        plain, broken = SourceFileLoader.get_code, code_of(mutant.tree, path)
        codes: Any = SourceFileLoader
        codes.get_code = lambda self, name: broken if name == name_of(path) else plain(self, name)
        files = list(dict.fromkeys(name.partition("::")[0] for name in order))
        if pytest.main([*OPTIONS, *files], plugins=[Warm(run)]) != 0:
            say("fails")
            os._exit(0)

    return child(work)


def results(path: Path) -> dict[tuple[int, int, str], dict[str, Any]]:
    """{mutant: what became of it}, of the module as it is."""
    out = BUILD / f"{path.stem}.jsonl"
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    return {tuple(row["key"]): row for row in rows if row["source"] == digest([path])}


def digest(paths: Iterable[Path]) -> str:
    """The first digits of the sha256 of the files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def attack(path: Path, session: pytest.Session, seen: Seen, options: argparse.Namespace) -> None:
    """All mutants of a module that have no final result yet."""
    source, known = path.read_text(), results(path)
    whole = ast.parse(source)
    kills = Counter(name for row in known.values() for name in {row["by"], row["by"].partition("[")[0]} - {""})
    for index, mutant in enumerate(mutants(source)):
        key = (index, mutant.line, mutant.change)
        before = known.get(key, {"end": "none", "left": 1})
        if index % options.share or before["end"] in ("fails", "time") or not (before["left"] or options.again):
            continue
        lines = lines_of(whole, mutant.line)
        order = seen.of(path, lines) if function_of(whole, mutant.line) else list(seen.seconds)
        order.sort(key=seen.seconds.__getitem__)
        turns: Counter[str] = Counter()
        worth = {}  # seconds for a kill: by what it and its like killed before, and less hope for each further example
        for name in order:
            like = name.partition("[")[0]
            turns[like] += 1
            worth[name] = seen.seconds[name] * turns[like] / (1 + 4 * kills[name] + kills[like])
        order.sort(key=worth.__getitem__)
        spent, few = 0.0, list[str]()
        for name in order:
            spent += seen.seconds[name]
            few += [name] if spent <= options.seconds or not few else []
        begun = time.monotonic()
        said = tried(mutant, path, session, few, seen)
        end = said[-1] if said and said[-1] in ("fails", "done") else "time"
        met = [name for name in said if name not in ("fails", "done")]
        by = met[-1] if met and end != "done" else ""
        kills.update({by, by.partition("[")[0]})
        row = {"key": key, "end": end, "by": by, "met": len(met), "left": len(order) - len(few)}
        row |= {"seconds": round(time.monotonic() - begun, 2), "source": digest([path])}
        with (BUILD / f"{path.stem}.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        if end == "done":
            print(f"{path.name}:{mutant.line} {mutant.change}   lived through {len(met)} of {len(order)}", flush=True)


def table() -> str:
    """What became of the mutants, module by module, where any was tried."""
    head = ("module", "mutants", "tried", "killed by a test", "killed by time", "survived", "of these all tests met")
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    sums: Counter[str] = Counter()
    for module, path in MODULES.items():
        if rows := results(path).values():
            counts = Counter(row["end"] for row in rows)
            counts["made"], counts["tried"] = sum(1 for _ in mutants(path.read_text())), len(rows)
            counts["whole"] = sum(row["end"] == "done" and not row["left"] for row in rows)
            sums += counts
            lines.append(f"| {module} | " + " | ".join(str(counts[name]) for name in COLUMNS) + " |")
    lines.append("| all | " + " | ".join(str(sums[name]) for name in COLUMNS) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Try the modules' mutants, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", choices=[[], *MODULES], metavar="MODULE")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of a processor, for each mutant")
    parser.add_argument("--share", type=int, default=1, metavar="N", help="every N-th mutant only")
    parser.add_argument("--again", action="store_true", help="those that lived, too")
    parser.add_argument("--render", action="store_true", help="write the table of docs/attack.md, run nothing")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(ROOT))
    BUILD.mkdir(parents=True, exist_ok=True)
    if options.render:
        from attack_kernel import put_part

        put_part("mutation", table())
        return 0

    def work(session: pytest.Session) -> None:
        seen = scanned(session.items)
        functions()
        gc.freeze()
        for module in options.modules or MODULES:
            attack(MODULES[module], session, seen, options)

    os.chdir(ROOT)
    return pytest.main([*OPTIONS, str(TESTS)], plugins=[Warm(work)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
