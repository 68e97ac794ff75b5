"""Random sign keys from a seed, the same on every platform: bits of SHAKE-256."""

from __future__ import annotations

from hashlib import shake_256

from kvverify.codes.coset_union import CosetUnion
from kvverify.errors import UsageError


def random_signs(count: int, length: int, seed: int) -> CosetUnion:
    """``count`` independent words of ``length`` letters; fewer of them are the first ones of more."""
    if not (1 <= count <= 1 << 16 and 1 <= length <= 4096):
        raise UsageError(f"random signs: 1 to 65536 keys of 1 to 4096 letters, not {count} of {length}")
    width = -(-length // 8)
    stream = shake_256(f"random signs {length} {seed}".encode()).digest(count * width)
    mask = (1 << length) - 1
    words = [int.from_bytes(stream[i : i + width], "little") & mask for i in range(0, len(stream), width)]
    return CosetUnion(length, (), tuple(words), f"random-signs({count},{length},{seed})")
