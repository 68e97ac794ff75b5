"""The catalogue: good linear codes with their weights, so that a search need not count words.

Untrusted: a wrong entry gives a certificate that the kernel refuses. Made by ``scripts/make_catalogue.py``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from kvverify.codes.base import SignKeys
from kvverify.codes.linear import LinearCode, linear_step
from kvverify.codes.recipes import linear_by_name


@dataclass(frozen=True)
class CatalogueCode(SignKeys):
    """A linear code that is built from its recipe only when its words are asked for."""

    length: int
    dimension: int
    label: str
    table: tuple[int, ...]
    """Weight, words, weight, words, ... for the nonzero weights, ascending."""

    @property
    def name(self) -> str:
        """The recipe."""
        return self.label

    @property
    def size(self) -> int:
        """Number of words."""
        return 1 << self.dimension

    @cached_property
    def code(self) -> LinearCode:
        """The code itself."""
        return linear_by_name(self.label)

    def exponents(self) -> dict[int, int]:
        """As the catalogue has them."""
        return dict(zip(self.table[::2], self.table[1::2], strict=True))

    def words(self, tokens: int) -> list[int]:
        """Word i is the sum of the rows at the bits of i."""
        return self.code.words(tokens)

    def step(self) -> dict[str, Any]:
        """Rule ``linear-code``, with the catalogue's weights."""
        return linear_step(self.code, self.exponents())


@cache
def catalogue() -> tuple[CatalogueCode, ...]:
    """All entries, in the order of the file: by dimension, then by length."""
    entries = json.loads(files(__package__).joinpath("catalogue.json").read_text("utf-8"))
    return tuple(CatalogueCode(length, dimension, name, tuple(table)) for length, dimension, name, table in entries)
