"""The command line as a script uses it: words in; exit code, standard output and standard error out."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from kvverify.cli import main

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """One call of ``kvverify``."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one strict JSON object."""
        assert self.out.count("\n") == 1, self
        return strict(self.out)

    def refuses(self, code: int, *words: str) -> None:
        """The call failed in one line on standard error that has all these words, and printed nothing else."""
        assert self.code == code, self
        assert self.out == "", self
        *before, line = self.err.splitlines()
        assert all("%" in other for other in before), self  # progress
        assert line.startswith("kvverify: "), self
        assert len(line) < 700, self
        assert [word for word in words if word not in line] == [], self


def strict(text: str) -> dict[str, Any]:
    """A JSON object without NaN, and without integers that other readers of JSON round."""
    tree: dict[str, Any] = json.loads(text, parse_constant=_refuse, parse_int=_small)
    assert isinstance(tree, dict)
    return tree


def kvverify(*words: object) -> Done:
    """Call the entry point in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["kvverify", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as stop,
    ):
        main()
    assert isinstance(stop.value.code, int)
    return Done(stop.value.code, out.getvalue(), err.getvalue())


def process(*words: object, **options: Any) -> Done:
    """Call ``python -m kvverify`` in a process of its own, as a person does."""
    done = subprocess.run(
        [sys.executable, "-m", "kvverify", *map(str, words)],
        text=True, timeout=60, **{"capture_output": "stdout" not in options, "cwd": ROOT, **options},
    )  # fmt: skip
    return Done(done.returncode, done.stdout or "", done.stderr or "")


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def _small(word: str) -> int:
    assert abs(int(word)) <= 1 << 53, f"{word} is read as a float elsewhere"
    return int(word)
