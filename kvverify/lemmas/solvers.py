"""z3 and cvc5 as processes: a time limit on each question, a memory limit, and a fresh process after a failure."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

SOLVERS = ("z3", "cvc5")
_MEMORY = 4 << 30  # bytes of address space
_START = 60.0  # seconds that loading a solver may take
_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Answer:
    """What a solver said: sat, unsat, unknown, or failed; ``reason`` where it said nothing of use.

    ``model``: to each variable one rational, or two around an irrational value.
    """

    said: str
    seconds: float = 0.0
    reason: str = ""
    model: dict[str, tuple[Fraction, ...]] = field(default_factory=dict)


@contextmanager
def running(names: Sequence[str] = SOLVERS, seconds: float = 20.0) -> Iterator[list[Solver]]:
    """Solvers, each with ``seconds`` for a question; their processes end with the block."""
    engines = [Solver(name, seconds) for name in names]
    try:
        yield engines
    finally:
        for engine in engines:
            engine.close()


class _Gone(Exception):
    """No answer came: the process ended or time was up."""


class Solver:
    """One solver by its name; ``ask`` never raises for what the solver does."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self.version = name, ""
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def ask(self, text: str) -> Answer:
        """The answer to SMT-LIB assertions."""
        if importlib.util.find_spec(self.name) is None:
            return Answer("failed", reason=f"{self.name} is not installed: pip install 'kvverify[lemmas]'")
        started = time.monotonic()
        try:
            process = self._started()
            started = time.monotonic()
            found = self._talk(process, text)
            model = {name: tuple(map(Fraction, ends)) for name, ends in found.get("model", {}).items()}
        except (_Gone, OSError, ValueError, ZeroDivisionError) as error:
            self.close()
            return Answer("failed", time.monotonic() - started, f"{self.name} {error}")
        said, seconds = str(found.get("answer")), time.monotonic() - started
        return Answer(said, seconds, f"{self.name} does not know" if said == "unknown" else "", model)

    def _talk(self, process: subprocess.Popen[bytes], text: str) -> dict[str, Any]:
        logic = re.search(r"\(set-logic (\w+)\)", text)
        assert process.stdin is not None
        question = {"text": text, "logic": logic[1] if logic else "ALL"}
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
        return self._line(process, self._seconds)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER), self.name, str(_MEMORY)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self._unread = b""
            self.version = str(self._line(self._process, _START)["version"])
        return self._process

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
        assert process.stdout is not None
        end = time.monotonic() + seconds
        while b"\n" not in self._unread:
            if not select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise _Gone(f"did not answer within {seconds:g} s")
            piece = os.read(process.stdout.fileno(), 1 << 16)
            if not piece:
                raise _Gone(f"ended with code {process.wait()}")
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise _Gone(f"answered {line[:80]!r}")
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
