"""The wire: a message as bytes, and back, without pickle.

Layout, little-endian: ``b"KVW1"``, 4 bytes header length, JSON header, raw tensor bytes in the order of the header.
The header is ``[root, nodes]``; a node refers to earlier nodes only, as ``[index]``, so that reading is one pass
without recursion. What is written is what can be read: a view as its elements, never its storage; an expanded
dimension once; a tensor that is reached twice once. Tensor subclasses go through ``__tensor_flatten__``.

Code is public, state is not: classes and functions travel as ``module:qualname`` and the reader accepts only those
whose module is under a prefix of the allow-list *and already loaded*; of their code only ``__tensor_unflatten__`` of
tensor subclasses runs, no constructor. Bytes that no writer makes raise `WireError`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from kvverify.compressors.wire.common import LIMIT_BYTES, MAGIC, WireError
from kvverify.compressors.wire.read import Reader, parse
from kvverify.compressors.wire.write import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

__all__ = [
    "LIMIT_BYTES",
    "Part",
    "Size",
    "WireError",
    "allowed",
    "blank",
    "blob_bits",
    "decode",
    "encode",
    "header_bits",
    "measure",
    "tensors",
]


@dataclass(frozen=True)
class Part:
    """One tensor of a message: where it is, and its bits; a storage counts for the first part that reaches it."""

    path: str
    allocated_bits: int
    readable_bits: int


@dataclass(frozen=True)
class Size:
    """What a message holds, in bits: every distinct storage once, and the elements that can be read."""

    allocated_bits: int
    readable_bits: int
    parts: tuple[Part, ...]


def allowed(compressor: object) -> tuple[str, ...]:
    """Module prefixes that a compressor's message may name: its attribute ``allow``, and its own module."""
    return (*getattr(compressor, "allow", ()), type(compressor).__module__)


def encode(message: object, allow: Sequence[str] = ()) -> bytes:
    """The bytes of a message; raises `WireError` with the path of what cannot be sent."""
    root, writer = walk(message, allow)
    header = json.dumps([root, writer.nodes], separators=(",", ":")).encode()
    if len(header) >= 1 << 32:
        raise WireError(f"message: {len(header)} bytes of Python objects are too many: send tensors")
    parts = [MAGIC, len(header).to_bytes(4, "little"), header, *(leaf.raw() for leaf in writer.leaves)]
    return b"".join(parts)


def decode(data: bytes, allow: Sequence[str] = ()) -> Any:
    """The message that `encode` wrote; raises `WireError` on anything else."""
    root, nodes, ends = parse(data)
    reader = Reader(data, ends, tuple(allow))
    try:
        for node in nodes:
            reader.made.append(reader.build(node))
        return reader.get(root)
    except WireError:
        raise
    except Exception as error:  # whatever a class that the bytes name does with wrong fields
        raise WireError(f"message: malformed ({type(error).__name__}: {error})") from error


def measure(message: object) -> Size:
    """Bits that a message holds; Python scalars are counted on the wire, not here."""
    seen: set[tuple[str, int]] = set()
    parts = []
    for leaf in walk(message, None)[1].leaves:
        key, storage_bytes = leaf.storage
        parts.append(Part(leaf.path, 0 if key in seen else 8 * storage_bytes, 8 * leaf.readable.nbytes))
        seen.add(key)
    return Size(sum(p.allocated_bits for p in parts), sum(p.readable_bits for p in parts), tuple(parts))


def tensors(message: object) -> Iterator[tuple[str, torch.Tensor]]:
    """Path and readable elements of every tensor, in the order in which the wire carries them."""
    return ((leaf.path, leaf.readable) for leaf in walk(message, None)[1].leaves)


def blob_bits(data: bytes) -> tuple[int, ...]:
    """Bits of each tensor that encoded bytes carry, in the order of `tensors`."""
    return tuple(8 * (end - start) for start, end in pairwise(parse(data)[2]))


def header_bits(data: bytes) -> int:
    """Bits of encoded bytes that are no tensor's: names, shapes, Python scalars."""
    return 8 * parse(data)[2][0]


def blank(data: bytes, index: int, allow: Sequence[str] = ()) -> Any:
    """The decoded message with tensor ``index`` overwritten: zeros, or ones (bytes 1) where it was all zeros."""
    start, end = parse(data)[2][index : index + 2]
    filler = b"\0" if any(data[start:end]) else b"\1"
    return decode(b"".join((data[:start], filler * (end - start), data[end:])), allow)
