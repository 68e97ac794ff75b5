"""The secret of a game: drawn after the commit, laid out at random positions, the same again from its seed.

The seed is 32 bytes from the operating system; SHAKE-256 in counter mode expands it. A fast generator would not do: its
own state is a few words, which Alice could recover from the values that she sees and send instead of them.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kvverify.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvverify.instances.hard import HardInstance

SEED_BYTES = 32
MAX_ALPHABET = 256
_BLOCK = 1 << 20  # bytes of one SHAKE-256 call


@dataclass(frozen=True)
class Secret:
    """``values`` (layers, kv_heads, tokens, value_dim), float64 in [-1, 1]; ``symbols`` of the same shape, if discrete.

    A continuous value is the middle of a cell of width 2^-52: what is uniform on [-1, 1] is the value plus a part of
    its cell that nobody was told, at most CELL away.
    """

    values: np.ndarray
    symbols: np.ndarray | None


CELL = 2.0**-53


def fresh_seed() -> bytes:
    """A seed from the operating system's randomness."""
    return os.urandom(SEED_BYTES)


def seed_from(number: int) -> bytes:
    """The seed of a repeatable experiment. Not fresh: whoever knows the number knows the secret."""
    return hashlib.sha256(b"kvverify secret %d" % number).digest()


def draw(seed: bytes, shape: tuple[int, int, int, int], alphabet: int | None) -> Secret:
    """The secret of ``seed``: uniform on [-1, 1], or uniform among ``alphabet`` equally spaced levels of it.

    Raises UsageError for an alphabet outside 2..256.
    """
    size = int(np.prod(shape))
    if alphabet is None:
        words = np.frombuffer(b"".join(_expand(seed, 8 * size)), dtype="<u8")
        odd = ((words >> np.uint64(11)) << np.uint64(1)).astype(np.int64) + 1
        return Secret((odd - (1 << 53)).astype(np.float64).reshape(shape) / 2.0**53, None)
    if not 2 <= alphabet <= MAX_ALPHABET:
        raise UsageError(f"an alphabet has 2..{MAX_ALPHABET} letters, not {alphabet}")
    symbols = _uniform(seed, size, alphabet).reshape(shape)
    return Secret(levels(symbols, alphabet), symbols)


def levels(symbols: np.ndarray, alphabet: int) -> np.ndarray:
    """Symbols 0..alphabet-1 as equally spaced values from -1 to 1."""
    return 2.0 * symbols.astype(np.float64) / (alphabet - 1) - 1.0


def nearest(values: np.ndarray, alphabet: int) -> np.ndarray:
    """The symbol whose level is nearest; -1 where the value is not a number."""
    inside = np.clip(np.nan_to_num(values, nan=0.0), -1.0, 1.0)
    scaled = np.rint((inside + 1.0) * (alphabet - 1) / 2.0)
    return np.where(np.isnan(values), -1, scaled).astype(np.int64)


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Values of at least 2^-126 (or 0) rounded to bf16, ties to even, as float64."""
    mantissa, exponent = np.frexp(values)
    rounded: np.ndarray = np.ldexp(np.rint(mantissa * 256.0), exponent - 8)
    return rounded


def scatter(instance: HardInstance, public: bytes) -> HardInstance:
    """The instance with its tokens in an order drawn from ``public``: no position of the stream is special.

    Rows and columns of W move together, so |det W| and the leak stay. An instance in its own order stays as it is.
    """
    if instance.in_order:
        return instance
    order = np.random.default_rng(list(public)).permutation(instance.tokens)
    keys = instance.keys[..., order, :]
    if instance.payload is None:
        return replace(instance, keys=keys, queries=instance.queries[order], own_keys=instance.own_keys[order])
    return replace(instance, keys=keys, payload=tuple(int(place) for place in np.argsort(order)[instance.targets]))


def _uniform(seed: bytes, size: int, alphabet: int) -> np.ndarray:
    """Exactly uniform symbols: 16-bit words, those past the last full round of the alphabet thrown away."""
    limit = alphabet * ((1 << 16) // alphabet)
    kept: list[np.ndarray] = []
    missing = size
    for block in _blocks(seed):
        words = np.frombuffer(block, dtype="<u2")
        kept.append((words[words < limit][:missing] % alphabet).astype(np.uint8))
        missing -= kept[-1].size
        if not missing:
            break
    return np.concatenate(kept)


def _expand(seed: bytes, size: int) -> Iterator[bytes]:
    for block in _blocks(seed):
        yield block[:size]
        size -= len(block)
        if size <= 0:
            return


def _blocks(seed: bytes) -> Iterator[bytes]:
    counter = 0
    while True:
        yield hashlib.shake_256(seed + counter.to_bytes(8, "little")).digest(_BLOCK)
        counter += 1
