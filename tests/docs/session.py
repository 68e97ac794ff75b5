"""A page's commands, run in a folder in the order of the page, each with the output that the page prints under it.

In a block ``console`` a line ``$ ...`` is a command, ``> ...`` goes on with it, and what follows is its standard
output, ``...`` standing for any text. A block ``python`` whose first line is ``# NAME.py`` is a file of that name. A
comment ``<!-- test: slow -->`` right before a block says that it takes long, ``<!-- test: slow, coqc -->`` that it
needs that program as well.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?:<!-- test: ([a-z0-9, ]+) -->\n)?^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")


@dataclass(frozen=True)
class Block:
    """A block of a page: what it asks for beside the package (``slow``, names of programs), its kind, its text."""

    asks: frozenset[str]
    kind: str
    text: str


@dataclass(frozen=True)
class Call:
    """A command of the page, and the output that is printed under it."""

    command: str
    printed: str


def blocks(page: str) -> Iterator[Block]:
    for asks, kind, text in BLOCK.findall(page):
        yield Block(frozenset(asks.replace(",", " ").split()), kind, text)


def calls(text: str) -> list[Call]:
    """The commands of a block ``console``."""
    found: list[Call] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append(Call(line[2:], ""))
        elif line.startswith(("> ", ">\n")) and not found[-1].printed:
            found[-1] = Call(found[-1].command + line[2:].rstrip("\n") + "\n", "")
        else:
            found[-1] = Call(found[-1].command, found[-1].printed + line)
    return found


def alike(printed: str, got: str) -> bool:
    return doctest.OutputChecker().check_output(printed, got, doctest.ELLIPSIS)


def run(page: Path, folder: Path, *, slow: bool) -> list[str]:
    """Every command of the page, in ``folder`` as in a clone of the project; what came out otherwise than printed."""
    for name in ("certificates", "instances", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    environment = _environment(folder)
    wrong, code, left_out = [], 0, {"slow"} - ({"slow"} if slow else set())
    for block in blocks(page.read_text()):
        if left_out & block.asks or any(shutil.which(name) is None for name in block.asks - {"slow"}):
            continue
        if block.kind == "python":
            if name := FILE.match(block.text):
                (folder / name[1]).write_text(block.text)
            continue
        for call in calls(block.text):
            script = f"(exit {code}); {call.command}"  # so that "echo $?" speaks of the command before
            done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
            code = done.returncode
            if not alike(call.printed, done.stdout):
                wrong.append(f"$ {call.command}--- printed\n{call.printed}--- came\n{done.stdout}{done.stderr}")
    return wrong


def _environment(folder: Path) -> dict[str, str]:
    """This interpreter's programs first, and ``kvverify`` from this checkout."""
    programs = folder / ".programs"
    programs.mkdir()
    (programs / "kvverify").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kvverify "$@"\n')
    (programs / "kvverify").chmod(0o755)
    return os.environ | {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTEST_ADDOPTS": "-p no:cacheprovider -p kvverify.pytest_plugin",
        "COLUMNS": "80",
    }
