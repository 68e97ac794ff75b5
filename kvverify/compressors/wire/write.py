"""Writing: an object graph as nodes and tensors."""

from __future__ import annotations

import enum
import math
import types
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kvverify.compressors.wire.common import CONTAINERS, EMPTY, WireError, hashable, qualified, resolve, slot_names

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Leaf:
    """A tensor on its way to the wire: its readable elements, and the storage that it keeps allocated."""

    path: str
    readable: torch.Tensor
    storage: tuple[tuple[str, int], int]

    def raw(self) -> bytes:
        """The elements in row-major order."""
        flat = self.readable.contiguous().cpu().reshape(-1)
        if flat.numel() == 1:  # PyTorch calls it contiguous whatever its stride is
            flat = flat.as_strided((1,), (1,))
        return flat.view(torch.uint8).numpy().tobytes()


def walk(message: object, allow: Sequence[str] | None) -> tuple[Any, Writer]:
    """The root's reference and the writer that holds its nodes; raises `WireError` for what cannot be sent."""
    writer = Writer(None if allow is None else tuple(allow))
    try:
        return writer.reference(message, "message"), writer
    except RecursionError:
        raise WireError("message: nested too deeply to be sent") from None


class Writer:
    """Turns an object graph into nodes, children first; ``allow`` None names anything (for measuring)."""

    def __init__(self, allow: tuple[str, ...] | None) -> None:
        self.allow = allow
        self.nodes: list[Any] = []
        self.leaves: list[Leaf] = []
        self.indices: dict[tuple[Any, ...], int | None] = {}
        self.alive: list[object] = []  # or an id in `indices` could be given again to another object

    def reference(self, item: Any, path: str) -> Any:
        """How a node names ``item``: a JSON scalar, or the index of the node that holds it."""
        kind = type(item)
        if item is None or kind is bool or kind is str:
            return item
        if kind is int:
            return item if item.bit_length() < 64 else ["i", hex(item)]
        if kind is float:
            return item if math.isfinite(item) else ["f", repr(item)]
        key = _identity(item)
        if key in self.indices:
            index = self.indices[key]
            if index is None:
                raise WireError(f"{path}: refers to itself; a message must be a tree or a graph without cycles")
            return [index]
        self.indices[key] = None
        self.alive.append(item)
        node = self._node(item, path)
        self.indices[key] = len(self.nodes)
        self.nodes.append(node)
        return [len(self.nodes) - 1]

    def _node(self, item: Any, path: str) -> list[Any]:
        if isinstance(item, torch.Tensor):
            return self._subclass(item, path) if hasattr(item, "__tensor_flatten__") else self._tensor(item, path)
        if isinstance(item, np.ndarray | np.generic):
            self.nodes.append(self._array(item, path))
            return ["a", [len(self.nodes) - 1], isinstance(item, np.generic)]
        if isinstance(item, torch.dtype):
            return ["d", str(item)[6:]]
        if isinstance(item, torch.device):
            return ["v", str(item)]
        if isinstance(item, torch.Generator):
            return ["g", self.reference(item.get_state(), f"{path}.state")]
        if isinstance(item, type | types.FunctionType | types.BuiltinFunctionType):
            return ["c", self._name(item, path)]
        if isinstance(item, enum.Enum):
            return ["e", self._name(type(item), path), item.name]
        for tag, kind in CONTAINERS.items():
            if type(item) is kind:
                return [tag, *self._contents(item, kind, path)]
        if isinstance(item, tuple) and hasattr(item, "_fields"):
            return ["n", self._name(type(item), path), self._sequence(item, path)]
        return ["o", self._name(type(item), path), self._attributes(item, path)]

    def _contents(self, item: Any, kind: type, path: str) -> list[Any]:
        if kind in (bytes, bytearray):
            return [self.reference(torch.frombuffer(bytearray(item), dtype=torch.uint8) if item else EMPTY, path)]
        if kind in (dict, OrderedDict):
            return [
                self._sequence([hashable(key, path) for key in item], f"{path}.keys()"),
                [self.reference(value, f"{path}[{key!r}]") for key, value in item.items()],
            ]
        if kind in (set, frozenset):
            item = sorted((hashable(element, path) for element in item), key=repr)  # their order is no state
        return [self._sequence(item, path)]

    def _sequence(self, items: Any, path: str) -> list[Any]:
        return [self.reference(item, f"{path}[{position}]") for position, item in enumerate(items)]

    def _attributes(self, item: object, path: str) -> dict[str, Any]:
        """State of a Python object: its dictionary and its slots. State in C (a partial, a lock) cannot be seen."""
        try:
            object.__new__(type(item))
        except TypeError:
            raise WireError(f"{path}: cannot send a {qualified(type(item))}") from None
        found = {name: getattr(item, name) for name in slot_names(type(item)) if hasattr(item, name)}
        found.update(getattr(item, "__dict__", {}))
        return {name: self.reference(value, f"{path}.{name}") for name, value in found.items()}

    def _subclass(self, item: Any, path: str) -> list[Any]:
        names, context = item.__tensor_flatten__()
        inner = {name: self.reference(getattr(item, name), f"{path}.{name}") for name in names}
        outer = [list(item.shape), list(item.stride())]
        return ["S", self._name(type(item), path), inner, self.reference(context, f"{path}.context"), *outer]

    def _tensor(self, item: torch.Tensor, path: str) -> list[Any]:
        if item.layout is not torch.strided or item.is_quantized or item.is_meta or item.is_nested:
            raise WireError(f"{path}: cannot send a {item.layout} tensor of dtype {item.dtype} on {item.device}")
        readable = item.detach().resolve_conj().resolve_neg()
        for axis, stride in enumerate(item.stride()):
            if stride == 0 and item.shape[axis] > 1:  # expanded: the same element again carries nothing
                readable = readable.narrow(axis, 0, 1)
        store = item.untyped_storage()
        self.leaves.append(Leaf(path, readable, ((str(item.device), store.data_ptr()), store.nbytes())))
        place = "" if item.device.type == "cpu" else f"@{item.device}"
        node: list[Any] = ["T", str(item.dtype)[6:] + place, list(readable.shape)]
        return node if readable.shape == item.shape else [*node, list(item.shape)]

    def _array(self, item: Any, path: str) -> list[Any]:
        try:
            elements = torch.from_numpy(np.array(item, order="C"))
        except TypeError:
            raise WireError(f"{path}: cannot send a numpy array of dtype {item.dtype}") from None
        owner = item
        while isinstance(getattr(owner, "base", None), np.ndarray):
            owner = owner.base
        self.leaves.append(Leaf(path, elements, (("numpy", id(owner)), owner.nbytes)))
        return ["T", str(elements.dtype)[6:], list(elements.shape)]

    def _name(self, item: Any, path: str) -> str:
        name = qualified(item)
        if self.allow is not None:
            try:
                resolve(name, self.allow)
            except WireError as error:
                raise WireError(f"{path}: {error}") from None
        return name


def _identity(item: Any) -> tuple[Any, ...]:
    """Equal for two references to one object, or two tensors over the same elements of one storage."""
    if isinstance(item, torch.Tensor) and not hasattr(item, "__tensor_flatten__") and item.layout is torch.strided:
        where = (item.untyped_storage().data_ptr(), item.storage_offset(), item.shape, item.stride())
        return (*where, item.dtype, item.device, item.is_conj(), item.is_neg())
    return ("object", id(item))
