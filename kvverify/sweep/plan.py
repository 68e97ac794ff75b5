"""The file of a sweep, and the audits that it asks for.

A TOML file of three parts: ``[audit]`` (options of every audit), ``[[compressor]]`` and ``[[instance]]``. Keys are the
options of ``kvverify audit``. Every value may be a list; the audits are the product of all choices.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from kvverify.audit.claim import WORDS, check_words
from kvverify.audit.instances import check_options
from kvverify.errors import UsageError
from kvverify.problem import number, whole

MAX_AUDITS = 100_000
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Job:
    """One audit of a sweep: ``request``, whole and in JSON's types, from files in ``folder``; ``key`` is its hash."""

    key: str
    request: Mapping[str, Any]
    folder: Path

    def __str__(self) -> str:
        """The audit in a line, as it was written."""
        asked = self.request
        chosen = " ".join(f"{name}={value}" for name, value in asked["settings"].items())
        shape = asked["certificate"] or asked["keys"] or f"{asked['tokens']} tokens, head-dim {asked['head_dim']}"
        shape = f"{asked['instance']}, {shape}" if asked["instance"] else shape
        secret = "fresh secret" if asked["seed"] is None else f"seed {asked['seed']}"
        return f"{asked['target']}{' ' if chosen else ''}{chosen}, {shape}, {secret}"


def read_plan(path: Path) -> tuple[Job, ...]:
    """The audits of a file, each once, in its order. Raises UsageError, OSError where it cannot be read."""
    with path.open("rb") as stream:
        raw = stream.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise UsageError(f"{path}: more than {_MAX_BYTES} bytes; the file of a sweep is shorter")
    try:
        document = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    try:
        for part, needed in (("compressor", "target"), ("instance", "tokens")):
            if part not in document:
                raise UsageError(f"no [[{part}]]; at least one is needed, with its {needed}")
        jobs = (_job(choice, path.parent) for choice in _choices(document, _FILE, ""))
        found = {job.key: job for job in jobs}
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    digests = {name: _digest(path.parent / name) for name in {n for job in found.values() for n in _files(job.request)}}
    for job in found.values():
        for name in _INSTANCE_FILES:
            if (file := job.request[name]) is not None and digests[file] is None:
                raise UsageError(f"{path}: instance.{name}: {file} given, which is no file")
    return tuple(_with_files(job, digests) for job in found.values())


def _job(choice: Mapping[str, Any], folder: Path) -> Job:
    """One audit, by the names of the report's JSON, with every default written out."""
    compressor, instance = dict(choice["compressor"]), choice["instance"]
    if "target" not in compressor:
        raise UsageError("compressor: no target; a built-in name, module:name or path/file.py:name is needed")
    try:
        check_options(
            {name.replace("-", "_") for name in instance} - {"heads"},
            instance.get("instance"),
            instance.get("attention"),
        )
    except UsageError as error:
        raise UsageError(f"instance: {error}") from None
    claim = {**choice.get("audit", {}), **compressor}.get("claim")
    if claim is not None:
        check_words(claim)
    words = {
        "target": compressor.pop("target"), "settings": dict(sorted(compressor.pop("set", {}).items())),
        **dict.fromkeys(_INSTANCE), **instance, **_DEFAULTS, **choice.get("audit", {}), **compressor,
    }  # fmt: skip
    request = {name.replace("-", "_"): value for name, value in words.items()}
    return Job(_key(request), request, folder)


def _with_files(job: Job, digests: Mapping[str, str | None]) -> Job:
    """The audit with the hashes of the files that it names: of other files it would be another audit."""
    request = {**job.request, "files": {name: digests[name] for name in _files(job.request)}}
    return replace(job, key=_key(request), request=request)


def _files(request: Mapping[str, Any]) -> Iterator[str]:
    place, _, _ = request["target"].rpartition(":")
    if place.endswith(".py"):
        yield place
    for name in _INSTANCE_FILES:
        if request[name] is not None:
            yield request[name]


def _digest(path: Path) -> str | None:
    """SHA-256, or None where there is no such file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _key(request: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:32]


def _choices(table: object, known: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Every way to choose one value for each key of a table. ``known``: how each is read, a table by a table."""
    if not isinstance(table, dict):
        raise UsageError(f"{where}: {table!r} given, a table is needed")
    found: dict[str, list[Any]] = {}
    for name, value in table.items():
        at = f"{where}.{name}" if where else name
        read = known.get(name, known.get("*"))
        if read is None:
            raise UsageError(f"{at}: an unknown key; {', '.join(known)} are known")
        choices = found[name] = []
        for item in value if isinstance(value, list) else [value]:
            choices += _choices(item, read, at) if isinstance(read, dict) else [read(item, at)]
        if not choices:
            raise UsageError(f"{at}: an empty list; a value, or a list of values, is needed")
    if (size := prod(map(len, found.values()))) > MAX_AUDITS:
        raise UsageError(f"{where or 'sweep'}: {size} audits; at most {MAX_AUDITS} are played")
    return [dict(zip(found, chosen, strict=True)) for chosen in itertools.product(*found.values())]


def _word(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{where}: {value!r} given, a word is needed")
    return value


def _one_of(*words: str) -> Callable[[object, str], str]:
    def read(value: object, where: str) -> str:
        if value not in words:
            raise UsageError(f"{where}: {value!r} given, {' or '.join(words)} is needed")
        return str(value)

    return read


def _integer(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{where}: {value!r} given, an integer is needed")
    return value


def _plain(value: object, where: str) -> str:
    """A number or a word, as on the command line."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{where}: {value!r} given, a number or a word is needed")
    return str(value)


def _count(value: object, where: str) -> int:
    return whole(_plain(value, where), where)


def _number(value: object, where: str) -> str:
    return str(number(_plain(value, where), where))


def _amount(value: object, where: str) -> float:
    amount = number(_plain(value, where), where)
    if not 0 < amount <= 10**6:
        raise UsageError(f"{where}: {value} given, a number above 0 and at most 10^6 is needed")
    return float(amount)


_CLAIM = {**dict.fromkeys(WORDS, _number), "compression": _plain}
_AUDIT = {
    "schedule": _word, "payload": _one_of("continuous", "discrete"), "alphabet": _count,
    "dtype": _one_of("bfloat16", "float32"), "claim": _CLAIM, "reads": _count, "seed": _integer,
    "device": _one_of("cpu", "cuda"), "timeout": _amount, "memory": _amount,
    "isolation": _one_of("strongest", "landlock", "namespaces", "none"),
}  # fmt: skip
_DEFAULTS = {
    **dict.fromkeys(_AUDIT), "alphabet": 2, "dtype": "bfloat16", "device": "cpu",
    "timeout": 600.0, "memory": 16.0, "isolation": "strongest",
}  # fmt: skip
_INSTANCE = {
    "instance": _word, "certificate": _word, "tokens": _count, "head-dim": _count, "value-dim": _count,
    "attention": _word, "scales": _word, "kernel": _word, "cut": _word,
    "kv-heads": _count, "heads": _count, "layers": _count, "max-logit": _number, "keys": _word, "layer": _integer,
    "head": _integer, "query-head": _integer, "rehearsals": _count,
}  # fmt: skip
_INSTANCE_FILES = ("certificate", "keys")
_FILE = {"audit": _AUDIT, "compressor": {"target": _word, "set": {"*": _plain}, **_AUDIT}, "instance": _INSTANCE}
