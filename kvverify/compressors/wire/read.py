"""Reading: bytes as nodes, one pass, each node from those before it."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from kvverify.compressors.wire.common import (
    CONTAINERS,
    DTYPES,
    EMPTY,
    LIMIT_BYTES,
    MAGIC,
    WireError,
    checked_shape,
    hashable,
    resolve,
    slot_names,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def parse(data: bytes) -> tuple[Any, list[Any], list[int]]:
    """Root, nodes, and where each tensor starts; one more entry for the end, which is the end of the bytes."""
    if len(data) > LIMIT_BYTES or len(data) < 8 or data[:4] != MAGIC:
        raise WireError(f"message: {len(data)} bytes that do not start as a message does")
    start = 8 + int.from_bytes(data[4:8], "little")
    if start > len(data):
        raise WireError(f"message: cut short, {len(data)} bytes of at least {start}")
    try:
        root, nodes = json.loads(data[8:start])
        ends = [start]
        for node in nodes:
            if node[0] == "T":
                dtype, shape = DTYPES[node[1].partition("@")[0]], checked_shape(node[2])
                ends.append(ends[-1] + math.prod(shape) * dtype.itemsize)
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise WireError(f"message: malformed header ({type(error).__name__}: {error})") from None
    if ends[-1] != len(data):
        raise WireError(f"message: {len(data)} bytes where the header describes {ends[-1]}")
    return root, nodes, ends


class Reader:
    """Builds nodes in their order; ``made`` holds what was built so far."""

    def __init__(self, data: bytes, ends: list[int], allow: tuple[str, ...]) -> None:
        self.data, self.allow = data, allow
        self.extents = pairwise(ends)
        self.made: list[Any] = []

    def get(self, reference: Any) -> Any:
        """What a reference names: a scalar, or a node that was built before."""
        match reference:
            case [int(index)] if not isinstance(index, bool) and 0 <= index < len(self.made):
                return self.made[index]
            case ["i", str(digits)]:
                return int(digits, 16)
            case ["f", ("nan" | "inf" | "-inf") as text]:
                return float(text)
            case None | bool() | int() | float() | str():
                return reference
        raise WireError(f"message: {str(reference)[:40]} refers to nothing before it")

    def _all(self, references: Any) -> list[Any]:
        return [self.get(reference) for reference in references]

    def build(self, node: list[Any]) -> Any:
        """The object that a node describes."""
        match node:
            case ["T", str(kind), shape, *full] if len(full) < 2:
                return self._tensor(kind, checked_shape(shape), *map(checked_shape, full))
            case ["S", str(name), dict(inner), context, shape, stride]:
                parts = {key: self.get(value) for key, value in inner.items()}
                kind_ = self._kind(name, torch.Tensor)
                return kind_.__tensor_unflatten__(
                    parts, self.get(context), torch.Size(checked_shape(shape)), tuple(stride)
                )
            case ["a", array, bool(scalar)]:
                found = self.get(array).numpy()
                return found[()] if scalar else found
            case ["d", str(name)]:
                return DTYPES[name]
            case ["v", str(name)]:
                return torch.device(name)
            case ["g", state]:
                return torch.Generator().set_state(self.get(state))
            case ["c", str(name)]:
                return resolve(name, self.allow)
            case ["e", str(name), str(member)]:
                return self._kind(name, enum.Enum).__members__[member]
            case ["n", str(name), items]:
                return tuple.__new__(self._kind(name, tuple), self._all(items))
            case ["o", str(name), dict(attributes)]:
                return self._instance(self._kind(name, object), attributes)
            case [str(tag), *contents] if tag in CONTAINERS:
                return self._container(CONTAINERS[tag], *contents)
        raise WireError(f"message: unknown node {str(node)[:40]}")

    def _container(self, kind: Callable[..., Any], items: Any, values: Any = None) -> Any:
        if kind in (bytes, bytearray):
            return kind(self.get(items).numpy().tobytes())
        found = self._all(items)
        if kind in (dict, OrderedDict):
            return kind(zip([hashable(key, "message") for key in found], self._all(values), strict=True))
        if kind in (set, frozenset):
            found = [hashable(element, "message") for element in found]
        return kind(found)

    def _kind(self, name: str, base: type) -> Any:
        found = resolve(name, self.allow)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise WireError(f"message: {name} is no {base.__name__} class")
        return found

    def _instance(self, kind: type, attributes: dict[str, Any]) -> Any:
        made: Any = object.__new__(kind)
        slots = slot_names(kind)
        for name, value in attributes.items():
            if name in slots:
                object.__setattr__(made, name, self.get(value))
            else:
                made.__dict__[name] = self.get(value)
        return made

    def _tensor(self, kind: str, shape: tuple[int, ...], full: tuple[int, ...] | None = None) -> torch.Tensor:
        name, _, place = kind.partition("@")
        dtype = DTYPES[name]
        start, end = next(self.extents)
        raw = torch.frombuffer(bytearray(self.data[start:end]), dtype=torch.uint8) if end > start else EMPTY.clone()
        made = (raw != 0 if dtype is torch.bool else raw.view(dtype)).reshape(shape)
        if place:
            made = made.to(torch.device(place))
        if full is None:
            return made
        if math.prod(full) * dtype.itemsize > LIMIT_BYTES:
            raise WireError(f"message: a tensor of shape {full} is above the limit of {LIMIT_BYTES} bytes")
        return made.expand(full)
