"""Results of audits as files hold them, read one by one: a long file costs time, and no more memory than a page.

JSON lines of a sweep, its Parquet table, objects of ``audit --json``, quickstart's ``audits.json``, and lines of
{source, method, audit} as the field guide keeps them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kvverify.errors import UsageError
from kvverify.report.site_command import of_audit, of_request
from kvverify.report.site_fields import AUDIT, STATUSES, audit, status, text, words

SWEEP = "kvverify-sweep/1"
_MOST_BYTES = 1 << 24
"""Of a line, and of a file that is one object."""
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class Played:
    """One audit: what it is called and where from, its settings, what became of it, and what plays it again.

    ``audit`` is the checked object, None where no game began.
    """

    name: str
    source: str
    settings: Mapping[str, str]
    status: str
    reason: str | None
    audit: Mapping[str, Any] | None
    command: str

    @property
    def label(self) -> str:
        """What tells it from others: its name, with the settings where the name is the compressor's alone."""
        named = self.audit is not None and self.name != self.audit["compressor"]
        return " ".join([self.name, *(() if named else (f"{key}={value}" for key, value in self.settings.items()))])


@dataclass
class Results:
    """What was read: the first audits whole, and counts of all of them."""

    files: list[str] = field(default_factory=list)
    shown: list[Played] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def read(self) -> int:
        """All audits."""
        return self.statuses.total()

    def add(self, played: Played, most: int) -> None:
        """Count it, and keep it where there is room."""
        self.statuses[played.status] += 1
        self.flags.update(played.audit["flags"] if played.audit else ())
        if len(self.shown) < most:
            self.shown.append(played)

    def counts(self) -> dict[str, int]:
        """Audits by status, in the order of STATUSES."""
        return {name: self.statuses[name] for name in STATUSES if self.statuses[name]}


def read_results(paths: Iterable[Path], most: int) -> Results:
    """The audits of all files, of which ``most`` are kept. Raises UsageError, OSError where a file cannot be read."""
    found = Results()
    for path in paths:
        before = found.read
        for place, tree in _objects(path, found.notes):
            try:
                for played in _audits(tree):
                    found.add(played, most)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{place}: no result of audits ({error}); {_NEEDED}") from None
        if found.read == before:
            raise UsageError(f"{path}: holds no result; {_NEEDED}")
        found.files.append(path.name)
    return found


_NEEDED = "files of `kvverify audit --json`, of a sweep or of quickstart (audits.json) are needed"


def _objects(path: Path, notes: list[str]) -> Iterator[tuple[str, Any]]:
    """(place, object) of everything that a file holds."""
    with path.open("rb") as stream:
        start = stream.read(len(_PARQUET))
        if start == _PARQUET:
            yield from _parquet(path)
            return
        line = start + stream.readline(_MOST_BYTES)
        try:
            first = _parsed(line)
        except (ValueError, RecursionError):  # one object over many lines
            whole = line + stream.read(_MOST_BYTES)
            yield str(path), _strict(whole, str(path))
            return
        number = 1
        yield f"{path}, line 1", first
        while line := stream.readline(_MOST_BYTES):
            number += 1
            try:
                tree = _strict(line, f"{path}, line {number}") if line.strip() else None
            except UsageError:
                if line.endswith(b"\n") or len(line) == _MOST_BYTES:
                    raise
                notes.append(f"The last line of {path.name} has no end, as a kill leaves it; it was left out.")
                return
            if tree is not None:
                yield f"{path}, line {number}", tree


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    """The column ``line`` of a sweep's table, in pieces."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise UsageError(f"{path} is Parquet, which needs pyarrow: pip install 'kvverify[sweep]'") from None
    try:
        pieces = pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=64, columns=["line"])
        number = 0
        for piece in pieces:
            for line in piece.column("line").to_pylist():
                number += 1
                yield f"{path}, row {number}", _strict(str(line).encode(), f"{path}, row {number}")
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        raise UsageError(f"{path}: no table of a sweep ({error}); {_NEEDED}") from None


def _strict(raw: bytes, place: str) -> Any:
    if len(raw) >= _MOST_BYTES:
        raise UsageError(f"{place}: longer than {_MOST_BYTES} bytes; {_NEEDED}")
    try:
        return _parsed(raw)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place}: not JSON ({error}); {_NEEDED}") from None


def _parsed(raw: bytes) -> Any:
    return json.loads(raw, parse_constant=_refuse)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _audits(tree: Any) -> Iterator[Played]:
    """The audits of one object. Raises ValueError where it is none of the known kinds."""
    if not isinstance(tree, dict):
        raise ValueError("no object")
    if tree.get("schema") == AUDIT:
        yield _played(tree)
    elif tree.get("schema") == SWEEP:
        yield _of_sweep(tree)
    elif isinstance(tree.get("audit"), dict) and "method" in tree:
        yield _played(tree["audit"], text(tree["method"]), text(tree.get("source", "")))
    elif tree and all(isinstance(one, dict) and one.get("schema") == AUDIT for one in tree.values()):
        yield from (_played(one, text(name)) for name, one in tree.items())
    else:
        raise ValueError("an object of another kind")


def _played(tree: Any, name: str | None = None, source: str = "") -> Played:
    found = audit(tree)
    return Played(
        name or found["compressor"], source, found["settings"]["parameters"], found["status"], found["reason"], found,
        of_audit(found),
    )  # fmt: skip


def _of_sweep(line: Mapping[str, Any]) -> Played:
    asked, told = line.get("request"), line.get("audit")
    if not isinstance(asked, dict):
        raise ValueError("no request")
    reason = None if line.get("reason") is None else text(line["reason"])
    return Played(
        text(asked.get("target")), "", words(asked.get("settings")), status(line.get("status")), reason,
        None if told is None else audit(told), of_request(asked),
    )  # fmt: skip
