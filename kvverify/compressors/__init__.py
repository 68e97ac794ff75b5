"""Compressors under audit: the protocol, native ones one file each, adapters for other people's.

A target is named as on the command line: a built-in name (the file of that name in ``native/`` or ``adapters/``),
``module:name``, or ``path/file.py:name``. Nothing is imported before `find` is asked for it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvverify.compressors.parameters import complete
from kvverify.compressors.protocol import SOFTMAX
from kvverify.errors import Incomplete, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from kvverify.compressors.parameters import Parameter
    from kvverify.compressors.protocol import Compressor, Settings

__all__ = ["Target", "find", "names"]


@dataclass(frozen=True)
class Target:
    """What a name stands for: call it with settings for a fresh compressor.

    ``parameters`` are its declared settings; None when it declares none, and then any are handed to it as they are.
    """

    name: str
    factory: Callable[..., Any]
    parameters: tuple[Parameter, ...] | None

    @property
    def attention(self) -> tuple[str, ...]:
        """The kinds of attention that it answers."""
        return tuple(getattr(self.factory, "attention", SOFTMAX))

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters with their values; raises `UsageError` with the legal values for one that is not."""
        return dict(given) if self.parameters is None else complete(self.name, self.parameters, given)

    def __call__(self, settings: Settings) -> Compressor:
        """A fresh compressor; a cache with ``update`` (transformers' interface) comes wrapped in the adapter.

        The class of such a cache gets its settings by keyword; every other factory is called with ``settings``.

        Raises `UsageError` for illegal parameters, a kind of attention that it does not answer, or something that is
        neither.
        """
        if settings.attention not in self.attention:
            answers = " and ".join(self.attention)
            raise UsageError(f"{self.name} does not answer {settings.attention} attention, but {answers}")
        settings = replace(settings, parameters=self.complete(settings.parameters))
        if isinstance(self.factory, type) and _is_cache(self.factory):
            from kvverify.compressors.adapters._update import construct

            made = construct(self.factory, settings)
        else:
            made = self.factory(settings)
        if _is_cache(made):
            from kvverify.compressors.adapters._update import UpdateCache

            return UpdateCache(settings, made, self.factory.__module__)
        if not hasattr(made, "attend"):
            raise UsageError(f"{self.name} made a {type(made).__name__}; it must have attend (a compressor) or update")
        return made  # type: ignore[no-any-return]


def names() -> list[str]:
    """The built-in names, sorted."""
    return sorted(_built_in())


def find(name: str) -> Target:
    """The target of that name.

    Raises `UsageError` when there is none, `Incomplete` when its module fails while it is imported.
    """
    home, colon, attribute = name.rpartition(":")
    if colon:
        factory = _member(name, _load(home), attribute)
        return Target(name, factory, getattr(factory, "parameters", None))
    modules = _built_in()
    if name not in modules:
        nearest = sorted(modules, key=lambda known: -SequenceMatcher(None, name, known).ratio())
        ways = "or write module:name or path/file.py:name"
        raise UsageError(f"no compressor {name!r}; built in are {', '.join(nearest)}; {ways}")
    module = importlib.import_module(modules[name])
    factory = next(c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)
    return Target(name, factory, getattr(factory, "parameters", None))


def _built_in() -> dict[str, str]:
    """Name -> module: the stem of each file with dashes, in adapters/ without the ending ``_cache``."""
    found = {}
    for folder, ending in (("native", ""), ("adapters", "_cache")):
        for file in (Path(__file__).parent / folder).glob("[!_]*.py"):
            found[file.stem.removesuffix(ending).replace("_", "-")] = f"{__name__}.{folder}.{file.stem}"
    return found


def _is_cache(item: object) -> bool:
    return callable(getattr(item, "update", None)) and not hasattr(item, "attend")


def _load(home: str) -> ModuleType:
    """A module by its name, or by its file: then it is called ``kvverify_file_STEM``, in whichever process loads it."""
    try:
        if not home.endswith(".py"):
            return importlib.import_module(home)
        file = Path(home).resolve()
        if not file.is_file():
            raise UsageError(f"no file {home}")
        name = f"kvverify_file_{file.stem}"
        if getattr(sys.modules.get(name), "__file__", None) == str(file):
            return sys.modules[name]
        return _execute(name, file)
    except UsageError:
        raise
    except ModuleNotFoundError as error:
        raise UsageError(f"{home}: no module {error.name!r}; install it or name an importable module") from error
    except Exception as error:
        raise Incomplete(f"{home} failed while it was imported: {type(error).__name__}: {error}") from error


def _execute(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # so that it may import its neighbours
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _member(name: str, module: ModuleType, attribute: str) -> Callable[..., Any]:
    member = getattr(module, attribute, None)
    if not callable(member):
        callables = ", ".join(sorted(n for n, v in vars(module).items() if callable(v) and not n.startswith("_")))
        raise UsageError(f"{name}: {attribute!r} is not callable there; callables are {callables or 'none'}")
    return member  # type: ignore[no-any-return]
