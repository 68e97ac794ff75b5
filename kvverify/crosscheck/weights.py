"""Weights of binary words by other ways than a walk: one Walsh-Hadamard transform, polynomials, packed popcounts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flint import fmpz_poly, nmod_mat

_BLOCK = 1 << 20


def code_weights(generator: np.ndarray) -> dict[int, int]:
    """{weight: messages u} of u G over all 2^k messages, for (k, L) bits.

    With f(x) = number of columns of G equal to x, the transform sum over x of f(x) (-1)^(u.x) is L - 2 wt(u G). Rows
    are independent if and only if one message has weight 0. Memory: 6 bytes for each message.
    """
    k, length = generator.shape
    columns, multiplicity = np.unique((1 << np.arange(k, dtype=np.int64)) @ generator, return_counts=True)
    spectrum = np.zeros(1 << k, np.int16)  # |entries| <= L <= 1,024 throughout
    spectrum[columns] = multiplicity
    for _ in range(k):
        even, odd = spectrum[0::2], spectrum[1::2]
        spectrum = np.concatenate((even + odd, even - odd))
    counts = np.zeros(length + 1, np.int64)
    for start in range(0, len(spectrum), _BLOCK):
        counts += np.bincount((length - spectrum[start : start + _BLOCK]) // 2, minlength=length + 1)
    return {w: int(n) for w, n in enumerate(counts) if n}


def macwilliams(length: int, dual: dict[int, int]) -> dict[int, int]:
    """Weights of a code from those B_w of its dual: sum of A_j x^j = 2^-r sum of B_w (1 - x)^w (1 + x)^(L - w)."""
    below, above = fmpz_poly([1, -1]), fmpz_poly([1, 1])
    total, power = fmpz_poly([0]), fmpz_poly([1])
    for w in range(length, -1, -1):  # Horner in 1 - x; the power of 1 + x grows as w falls
        total = total * below + dual.get(w, 0) * power
        power *= above
    size = sum(dual.values())
    return {j: int(a) // size for j, a in enumerate(total.coeffs()) if a}


def rank(bits: np.ndarray) -> int:
    """Rank over the field of two elements."""
    return int(nmod_mat(*bits.shape, bits.ravel().tolist(), 2).rank())


def orthogonal(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether every row of one is orthogonal to every row of the other, modulo 2."""
    products = first.astype(np.int64) @ second.astype(np.int64).T
    return not (products % 2).any()


def pack(bits: np.ndarray) -> np.ndarray:
    """(rows, limbs) of 64 bits each."""
    padded = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 64)))
    return np.packbits(padded, axis=1).view(np.uint64)


def union(generator: np.ndarray, representatives: np.ndarray) -> np.ndarray:
    """All words r + (combination of the generator's rows), packed; repeated where they are not distinct."""
    words = pack(representatives)
    for row in pack(generator):
        words = np.concatenate((words, words ^ row))
    return words


def distances(words: np.ndarray, origins: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """For each origin the number of words at distance 0 .. length."""
    for origin in origins:
        weights = np.bitwise_count(words ^ origin).sum(axis=1, dtype=np.int64)
        yield np.bincount(weights, minlength=length + 1)
