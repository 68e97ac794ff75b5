"""What the bounds need to know of a family of keys: how many there are, and how far apart they lie.

Scores are ``<q_i, k_l> = c * query_unit * <queries[i], keys[l]>`` for a scale c > 0 that the bound chooses, and every
weight relative to the target's is a power of one number: ``W_il / W_ii = exp(-c * e_il)`` with integer exponents
``e_il >= 1`` off the target. A family is untrusted: its ``step`` states what it claims, and the kernel proves it anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from kvverify.errors import UsageError


class KeyFamily(Protocol):
    """Distinct keys in the cube (after one common scaling) together with the query that reads each of them."""

    @property
    def name(self) -> str:
        """Human and machine readable: ``kvverify.codes.by_name`` builds the family again from it."""

    @property
    def size(self) -> int:
        """Number of distinct keys."""

    @property
    def dim(self) -> int:
        """Key coordinates used."""

    @property
    def unit(self) -> Fraction:
        """Logit budget at scale 1: ``max |q|_1 * max |k|_inf``; at scale c it is ``c * unit``."""

    @property
    def query_unit(self) -> Fraction:
        """Factor u of the score ``c * u * <queries[i], keys[l]>``: 1/2 for sign keys, 1 elsewhere."""

    @property
    def own_exponent(self) -> int:
        """Least exponent of Bob's own token with key ``own_keys[i]``, over all i."""

    @property
    def bf16_exact(self) -> bool:
        """Whether the keys are exact in bf16 after the scaling into the cube."""

    def exponents(self) -> dict[int, int]:
        """Dominating histogram off the target: for all i and e, #{l != i: e_il <= e} <= sum of counts up to e."""

    def keys(self, tokens: int) -> np.ndarray:
        """(tokens, dim) integers: the first ``tokens`` keys before the scaling. Raises UsageError above ``size``."""

    def queries(self, tokens: int) -> np.ndarray:
        """(tokens, dim) integers: the direction of the query that reads key i, at scale 1."""

    def own_keys(self, tokens: int) -> np.ndarray:
        """(tokens, dim) integers: key of Bob's own token for read i, on the scale of ``keys``."""

    def step(self) -> dict[str, Any]:
        """The certificate step ``{"rule", "given", "gives"}``; every number is a decimal string."""


class SignKeys(ABC):
    """Keys ``(-1)^c`` for words c of one length: exponents are Hamming distances, the query is c/2 times the key."""

    length: int
    query_unit = Fraction(1, 2)
    bf16_exact = True

    @property
    @abstractmethod
    def name(self) -> str:
        """See KeyFamily."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of words."""

    @abstractmethod
    def words(self, tokens: int) -> list[int]:
        """The first ``tokens`` words; bit j is letter j."""

    @abstractmethod
    def exponents(self) -> dict[int, int]:
        """{distance: words}, dominating, off the target."""

    @abstractmethod
    def step(self) -> dict[str, Any]:
        """See KeyFamily."""

    @property
    def dim(self) -> int:
        """One key coordinate a letter."""
        return self.length

    @property
    def unit(self) -> Fraction:
        """The query has 1-norm c/2 * length."""
        return Fraction(self.length, 2)

    @property
    def own_exponent(self) -> int:
        """The complement of a word is ``length`` away from it."""
        return self.length

    def keys(self, tokens: int) -> np.ndarray:
        """(tokens, length) int8 of +-1."""
        require_size(self, tokens)
        width = -(-self.length // 8)
        packed = b"".join(word.to_bytes(width, "little") for word in self.words(tokens))
        octets = np.frombuffer(packed, np.uint8).reshape(tokens, width)
        bits = np.unpackbits(octets, axis=1, count=self.length, bitorder="little")
        return 1 - 2 * bits.astype(np.int8)

    def queries(self, tokens: int) -> np.ndarray:
        """The keys."""
        return self.keys(tokens)

    def own_keys(self, tokens: int) -> np.ndarray:
        """The negated keys."""
        return -self.keys(tokens)


def require_size(family: KeyFamily, tokens: int) -> None:
    """Raise UsageError unless the family has that many keys."""
    if not 1 <= tokens <= family.size:
        raise UsageError(f"{family.name} has {family.size} keys: {tokens} tokens asked for")


def bit_string(word: int, length: int) -> str:
    """Letter j of the string is bit j of the word."""
    return format(word, f"0{length}b")[::-1] if length else ""


def decimal(histogram: Mapping[int, int]) -> dict[str, str]:
    """The histogram as it stands in a certificate."""
    return {str(exponent): str(histogram[exponent]) for exponent in sorted(histogram) if histogram[exponent]}
