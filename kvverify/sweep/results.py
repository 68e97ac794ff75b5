"""The results of a sweep: a file of JSON lines, one a finished audit, each on the disk before the next one counts.

A kill leaves at most one line without its end, which is dropped when the sweep goes on. Nothing else is ever removed.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from kvverify.batch import append
from kvverify.errors import UsageError
from kvverify.sweep.plan import Job

SCHEMA = "kvverify-sweep/1"
_BEGIN = f'{{"schema": "{SCHEMA}", "key": "'.encode()


class Results:
    """The file of a sweep's results, held by one sweep at a time (context manager). ``lines``: key -> line."""

    def __init__(self, path: Path, jobs: Iterable[Job]) -> None:
        """Open or begin the file. Raises UsageError where it is not this sweep's, or another process writes to it."""
        self.path = path
        self._stream: IO[bytes] = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.lines, end = _parsed(path, jobs)
            self._stream.truncate(end)
        except BlockingIOError:
            self._stream.close()
            raise UsageError(f"{path}: another sweep is writing to it; choose another --output") from None
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def add(self, job: Job, result: dict[str, Any]) -> None:
        """One write for a line. Raises OSError where it does not fit as a whole; the file is then as before."""
        line = {"schema": SCHEMA, "key": job.key, "request": dict(job.request), **result}
        append(self.path, self._stream, line)
        self.lines[job.key] = line


def read_results(path: Path, jobs: Iterable[Job]) -> dict[str, dict[str, Any]]:
    """The lines that a file holds of a sweep, by key; none where there is no file. Raises UsageError as ``Results``."""
    return _parsed(path, jobs)[0] if path.exists() else {}


def _parsed(path: Path, jobs: Iterable[Job]) -> tuple[dict[str, dict[str, Any]], int]:
    """The lines by key, and where the last whole one ends."""
    held = path.read_bytes()
    end = held.rfind(b"\n") + 1
    torn = held[end:]
    try:
        if torn[: len(_BEGIN)] != _BEGIN[: len(torn)]:
            raise ValueError
        lines = {_key(line): line for line in map(json.loads, held[:end].splitlines())}
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UsageError(f"{path}: not the results of a sweep; choose another --output") from None
    if others := lines.keys() - {job.key for job in jobs}:
        first = lines[min(others)]["request"]["target"]
        raise UsageError(
            f"{path}: holds {len(others)} audit(s), the first of {first}, that this sweep does not ask for (or whose "
            "files have changed); choose another --output, or delete these lines"
        )
    return lines, end


def _key(line: dict[str, Any]) -> str:
    if line["schema"] != SCHEMA or not isinstance(line["request"]["target"], str):
        raise ValueError
    return str(line["key"])
