"""Extended quadratic residue codes (Gleason and Prange): dimension half the length, distance at least its root."""

from __future__ import annotations

from kvverify.codes.linear import LinearCode, independent
from kvverify.errors import UsageError


def quadratic_residue(length: int) -> LinearCode:
    """The extended code of length p + 1 for a prime p = +-1 mod 8: shifts of the idempotent, and a parity letter."""
    p = length - 1
    if p < 7 or p % 8 not in (1, 7) or any(p % q == 0 for q in range(3, int(p**0.5) + 1, 2)):
        raise UsageError(f"a quadratic residue code has length p + 1 for a prime p = +-1 mod 8, not {length}")
    residues = {i * i % p for i in range(1, p)}
    if len(residues) % 2 == 0:
        residues.add(0)  # an odd word, so that the code is the one with the all-one word
    shifts = (sum(1 << (r + i) % p for r in residues) | 1 << p for i in range(p))
    return LinearCode(length, independent(shifts), f"quadratic-residue({length})")
