"""The binary Golay codes (Golay 1949): [23,12,7] from its generator polynomial, [24,12,8] by a parity letter."""

from __future__ import annotations

from kvverify.codes.linear import LinearCode
from kvverify.errors import UsageError

_GENERATOR = 0b101011100011  # x^11 + x^9 + x^7 + x^6 + x^5 + x + 1


def golay(length: int) -> LinearCode:
    """``golay(24)`` or ``golay(23)``, dimension 12."""
    if length not in (23, 24):
        raise UsageError(f"the Golay codes have length 23 and 24, not {length}")
    rows = [_GENERATOR << i for i in range(12)]
    if length == 24:
        rows = [row | (row.bit_count() & 1) << 23 for row in rows]
    return LinearCode(length, tuple(rows), f"golay({length})")
