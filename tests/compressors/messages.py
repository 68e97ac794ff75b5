"""Objects that a message of somebody else's compressor may hold; the wire's tests name them by this module."""

from __future__ import annotations

import collections
import enum
from typing import Any

import torch


class Layer:
    """A holder of state with a dictionary."""

    def __init__(self) -> None:
        raise AssertionError("the reader must not run a constructor")


class Slotted:
    __slots__ = ("kept", "missing")


class Colour(enum.Enum):
    RED = "red"


Pair = collections.namedtuple("Pair", "left right")


def policy() -> None:
    """A function that a message may name."""


class Halves(torch.Tensor):
    """A tensor subclass of two inner tensors, as quantised weights are."""

    @staticmethod
    def __new__(cls, high: Any, low: Any) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, high.shape, dtype=high.dtype)

    def __init__(self, high: Any, low: Any) -> None:
        self.high, self.low = high, low

    def __tensor_flatten__(self) -> Any:
        return ["high", "low"], {"name": "halves"}

    @classmethod
    def __tensor_unflatten__(cls, inner: Any, context: Any, size: Any, stride: Any) -> Any:
        assert context == {"name": "halves"}
        return cls(inner["high"], inner["low"])

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError(op)


def layer(**attributes: Any) -> Layer:
    made = object.__new__(Layer)
    made.__dict__.update(attributes)
    return made
