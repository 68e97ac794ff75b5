"""What writer and reader share: the alphabet of the header, and names that are looked up without running code."""

from __future__ import annotations

import enum
import sys
import types
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b"KVW1"
LIMIT_BYTES = 1 << 36
"""Largest message, and largest tensor after its expanded dimensions are restored, in bytes."""

DTYPES = {
    str(value)[6:]: value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype) and not str(value).startswith(("torch.q", "torch.bits"))
}
PUBLIC_TYPES = {
    f"{t.__module__}:{t.__qualname__}": t
    for t in (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, OrderedDict)
}
SCALARS = (type(None), bool, int, float, str, bytes, enum.Enum, type, torch.dtype, torch.device)


class WireError(ValueError):
    """A message that cannot be sent, or bytes that no writer made."""


EMPTY = torch.empty(0, dtype=torch.uint8)
CONTAINERS: dict[str, Any] = {
    "l": list,
    "t": tuple,
    "D": dict,
    "O": OrderedDict,
    "s": set,
    "z": torch.Size,
    "q": frozenset,
    "b": bytes,
    "y": bytearray,
}


def checked_shape(sizes: Any) -> tuple[int, ...]:
    """The shape that a header gives, in at most 64 dimensions, as PyTorch has it."""
    sane = type(sizes) is list and len(sizes) <= 64
    if not sane or not all(type(size) is int and 0 <= size <= LIMIT_BYTES for size in sizes):
        raise WireError(f"message: {str(sizes)[:40]} is no shape")
    return tuple(sizes)


def hashable(key: Any, path: str) -> Any:
    """Keys and set elements are scalars or flat tuples: the hash of a nested one can take exponential time."""
    if all(isinstance(part, SCALARS) for part in (key if type(key) is tuple else (key,))):
        return key
    raise WireError(f"{path}: a {qualified(type(key))} cannot be a key or a set element of a message")


def qualified(item: Any) -> str:
    """How a class or function is named on the wire."""
    return f"{item.__module__}:{item.__qualname__}"


def slot_names(kind: type) -> set[str]:
    """Attributes that a class and its bases keep outside of the instance dictionary."""
    declared = (vars(base).get("__slots__", ()) for base in kind.__mro__)
    names = {name for slots in declared for name in ((slots,) if isinstance(slots, str) else slots)}
    return names - {"__dict__", "__weakref__"}


def resolve(name: str, allow: Sequence[str]) -> Any:
    """The class or function of that name, if it is allowed; looked up without running any code."""
    if name in PUBLIC_TYPES:
        return PUBLIC_TYPES[name]
    module, _, qualname = name.partition(":")
    if not any(module == prefix or module.startswith(f"{prefix}.") for prefix in allow):
        raise WireError(f"{name} is not among the modules that may be named ({', '.join(allow) or 'none'})")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = vars(found).get(part) if isinstance(found, type | types.ModuleType) else None
    named = isinstance(found, type | types.FunctionType | types.BuiltinFunctionType)
    if not named or qualified(found) != name:
        raise WireError(f"{name} cannot be found by that name")
    return found
