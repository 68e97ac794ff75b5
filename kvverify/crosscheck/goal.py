"""What a certificate claims, what ends in it, and how the second opinion says no."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from flint import fmpq

_NOTHING = fmpq(0)


class Contrary(Exception):
    """Proved: what the step states is false, or more than its premises give."""


class Fact:
    """What a step states, taken at its word by the steps that use it."""


class Goal(ABC):
    """What a certificate claims."""

    @abstractmethod
    def met_by(self, last: Fact) -> None:
        """Raises Contrary unless the last step states at least as much."""


@dataclass(frozen=True)
class StateBits(Fact):
    """All streams together have at least 2^bits states. ``top``: mass on one token in every causal row, if known."""

    bits: fmpq
    top: fmpq = _NOTHING


@dataclass(frozen=True)
class Enough(Fact):
    """Some compressor has at most 2^bits states, of all streams together."""

    bits: int


def must(condition: bool, test: str) -> None:
    """Raise Contrary unless the condition, decided exactly, holds."""
    if not condition:
        raise Contrary(test)
