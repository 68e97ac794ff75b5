"""What is audited, by name: found and hashed by the referee (who never runs it), loaded by the players.

The name of a built-in compressor, ``module:name``, or ``path/file.py:name`` (kvverify.compressors.find).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvverify.compressors import find, names
from kvverify.errors import Incomplete, UsageError

_PACKAGE = Path(__file__).resolve().parents[1]
# Modules whose versions decide how a cache behaves, and the distributions that they come from.
_WATCHED = {
    "numpy": "numpy",
    "torch": "torch",
    "transformers": "transformers",
    "hqq": "hqq",
    "optimum.quanto": "optimum-quanto",
    "kvpress": "kvpress",
}


@dataclass(frozen=True)
class Target:
    """A compressor's code: ``folders`` for the players to read, ``files`` (name -> sha256), installed ``versions``."""

    name: str
    folders: tuple[str, ...]
    files: dict[str, str]
    versions: dict[str, str]

    @property
    def label(self) -> str:
        """The name without folders: the same wherever the file lies."""
        return self.name.rpartition("/")[2]


def locate(name: str) -> Target:
    """Find and hash a compressor's code. Raises UsageError where there is none, Incomplete for a missing module."""
    place, colon, attribute = name.rpartition(":")
    if not colon:
        if name not in names():
            find(name)  # says which names there are
        return Target(name, (), _hashes(_PACKAGE, "compressors"), _versions())
    if not attribute.isidentifier():
        raise UsageError(f"expected module:name or path/file.py:name, not {name!r}")
    if place.endswith(".py"):
        file = Path(place).resolve()
        if not file.is_file():
            raise UsageError(f"no file {place}: expected path/file.py:name")
        return Target(f"{file}:{attribute}", (str(file.parent),), _hashes(file.parent), _versions(*_installed()))
    root = _module_root(place)
    return Target(name, (str(root),), _hashes(root, place.partition(".")[0]), _versions(*_installed()))


def load(name: str, folders: tuple[str, ...]) -> Any:
    """The factory behind a located name; runs the compressor's code. Raises whatever that raises."""
    sys.path[1:1] = folders
    return find(name)


def loaded(compressor: object) -> list[str]:
    """Of the watched distributions those that this process has loaded, and those that the cache's classes come from."""
    found = [distribution for module, distribution in _WATCHED.items() if module in sys.modules]
    bases = type(getattr(compressor, "cache", compressor)).__mro__[:-1]
    homes = {base.__module__.partition(".")[0] for base in bases} - {*_WATCHED, _PACKAGE.name}
    homes = {home for home in homes if home not in sys.stdlib_module_names and not home.startswith("kvverify_file_")}
    owners = importlib.metadata.packages_distributions() if homes else {}
    return sorted({*found, *(owner for home in homes for owner in owners.get(home, ()))})


def _module_root(module: str) -> Path:
    """The folder from which a module's top-level package is imported; the package itself is not run."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ValueError, ImportError):
        spec = None
    if spec is None or spec.origin is None:
        raise Incomplete(f"the module {module!r} is not installed here")
    origin = Path(spec.origin).resolve()
    return origin.parents[1] if spec.submodule_search_locations else origin.parent


def _hashes(root: Path, only: str | None = None) -> dict[str, str]:
    """sha256 of the Python files of a folder: its own files, or one package (or module file) beneath it."""
    package = [] if only is None else sorted((root / only).rglob("*.py")) or [root / f"{only}.py"]
    files = package or sorted(root.glob("*.py"))
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _installed() -> list[str]:
    """Every installed distribution: a target may rest on any of them."""
    return sorted({str(one.metadata["Name"]) for one in importlib.metadata.distributions()})


def _versions(*more: str) -> dict[str, str]:
    """Installed versions of what matters; distributions that are not installed are left out."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in (*_WATCHED.values(), *more):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
