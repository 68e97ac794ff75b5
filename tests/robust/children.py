"""``kvverify`` in a process that is hurt at the moment when a file is written."""

from __future__ import annotations

import resource
import subprocess
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

from kvverify.bounds import best_bound
from kvverify.problem import Problem
from tests.cli.command import ROOT, Done

# The signal comes when all bytes of the file are there and its name is not yet.
_HURT = """
import os, signal, sys
def hurt(handle):
    os.kill(os.getpid(), {signal})
os.fsync = hurt
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs deaf to it
sys.argv[0] = "kvverify"
from kvverify.cli import main
main()
"""
_PLAIN = "from kvverify.cli import main; main()"


def hurt(signal: int, *words: object) -> Done:
    """A command that gets a signal in the middle of its first write."""
    return _run(_HURT.format(signal=int(signal)), words)


def confined(size: int, *words: object) -> Done:
    """A command none of whose files may grow beyond so many bytes, as on a disk that fills up."""
    return _run(_PLAIN, words, size)


def started(*words: object) -> subprocess.Popen[str]:
    """A command that runs beside others."""
    return subprocess.Popen(
        [sys.executable, "-c", _PLAIN, *map(str, words)], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _run(code: str, words: tuple[object, ...], size: int | None = None) -> Done:
    def limit() -> None:
        if size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, preexec_fn=limit,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


@cache
def certificate() -> dict[str, object]:
    """A small certificate."""
    found = best_bound(Problem(64, 16, 16, Fraction(24), Fraction(1, 10), tolerance=Fraction(1, 100))).certificate
    assert found is not None
    return found


def names(folder: Path) -> set[str]:
    """What is in a folder, hidden files too."""
    return {path.name for path in folder.iterdir()}
