"""What a command says: its answer to standard output, all else to standard error, files whole or not at all."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kvverify.errors import UsageError

if TYPE_CHECKING:
    from kvverify.bounds import Bound
    from kvverify.bounds.attention import AttentionBound
    from kvverify.bounds.ceiling import Ceiling

CLOSED_PIPE = 141  # as a shell counts it: 128 and the signal's number
_LINE = 600


def show(answer: dict[str, Any] | str) -> None:
    """Print and flush, so that a full disk is an error of ours; a reader that went away is none."""
    try:
        print(answer if isinstance(answer, str) else json.dumps(answer, allow_nan=False), flush=True)
    except BrokenPipeError:
        raise typer.Exit(CLOSED_PIPE) from None


def say(line: str) -> None:
    """A line for people, to standard error."""
    print(line, file=sys.stderr, flush=True)


def progress(stage: str, done: float) -> None:
    """How far a long command is: ``done`` from 0 to 1."""
    say(f"{done:>4.0%} {stage}")


def fail(line: str, code: int) -> int:
    """The one line of a failure, cut where it is too long to read; returns ``code``."""
    line = " ".join(line.split())
    shown = line if len(line) <= _LINE else f"{line[: _LINE // 2]} ... {line[-_LINE // 2 :]}"
    print(f"kvverify: {shown}", file=sys.stderr)
    return code


def close_output() -> None:
    """After a closed pipe or a full disk nothing more goes there, or the interpreter would complain on its way out."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_certificate(found: Bound | Ceiling | AttentionBound, output: Path | None) -> Path | None:
    """Write the certificate where there is one and a place was given, after the files that it refers to."""
    from kvverify.bounds.witness import FileBound

    if output is None or found.certificate is None:
        return None
    if isinstance(found, FileBound):
        for name, data in found.files.items():
            save(output.parent / name, data)
    save(output, found.certificate)
    return output


def apart(output: Path | None, *read: Path | None) -> None:
    """Nothing is written over what the command reads. Raises UsageError."""
    for path in read:
        if output is not None and path is not None and (output == path or _same_file(output, path)):
            raise UsageError(f"{output} is another file of this command, which would be lost: give a name of its own")


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def save(path: Path, content: dict[str, Any] | bytes) -> None:
    """Write a file, whole or not at all. Raises UsageError, in the name that was given, where that cannot be."""
    from kvverify.kernel.document import write, write_bytes

    try:
        if isinstance(content, bytes):
            write_bytes(path, content)
        else:
            write(path, content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
