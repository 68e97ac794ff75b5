"""How small can a KV cache be? Bounds with proofs, a checker that one can read, and an audit of real compressors.

The public surface is ``bound``, ``enough``, ``certify``, ``check``, ``audit`` and ``Problem``. Each is loaded when it
is first used, so that importing the package costs nothing and ``python -m kvverify.kernel`` works where nothing is
installed.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvverify.api import audit, bound, certify, check, enough
    from kvverify.problem import Problem

__version__ = "0.1.0"
__all__ = ["Problem", "__version__", "audit", "bound", "certify", "check", "enough"]

_HOMES = {
    "Problem": "kvverify.problem",
    "audit": "kvverify.api",
    "bound": "kvverify.api",
    "certify": "kvverify.api",
    "check": "kvverify.api",
    "enough": "kvverify.api",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kvverify' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """The package, on which a submodule never hides a public name: ``kvverify.audit`` is the function.

    Python binds every imported submodule on its package; the folder ``audit/`` is still there for
    ``from kvverify.audit import ...``.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
