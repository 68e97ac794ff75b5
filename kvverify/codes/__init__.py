"""Families of keys whose distances are known: what the bounds choose from. One file a family."""

from __future__ import annotations

from collections.abc import Iterator

from kvverify.codes.base import KeyFamily
from kvverify.codes.catalogue import catalogue
from kvverify.codes.counted_reed_muller import too_large_to_walk
from kvverify.codes.hypercube import Hypercube
from kvverify.codes.kerdock import kerdock
from kvverify.codes.paraboloid import Paraboloid
from kvverify.codes.recipes import by_name

__all__ = ["KeyFamily", "by_name", "families"]


def families(tokens: int, key_dim: int) -> Iterator[KeyFamily]:
    """Every candidate with at least that many keys in at most that many coordinates.

    Fewer tokens or more coordinates never lose a candidate of the catalogue, a Reed-Muller code, a Kerdock code or a
    hypercube; of the paraboloids the smallest is given in each of a few dimensions.
    """
    for entry in catalogue():
        if entry.size >= tokens and entry.length <= key_dim:
            yield entry
    yield from too_large_to_walk(tokens, key_dim)
    for length in (16, 64, 256):
        if length**2 >= tokens and length <= key_dim:
            yield kerdock(length)
    for dimension in range(max(1, (tokens - 1).bit_length()), min(key_dim, 128) + 1):
        yield Hypercube(dimension)
    for dim in (2, 3, 4, 5, 9, 17, 33, 65):
        if dim <= key_dim:
            yield Paraboloid(_root(tokens, dim - 1), dim)


def _root(tokens: int, power: int) -> int:
    """Least side >= 2 with side^power >= tokens."""
    side: int = max(2, round(tokens ** (1 / power)) - 1)
    while side**power < tokens:
        side += 1
    return side
