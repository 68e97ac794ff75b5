"""Keys and queries of a safetensors file: one head of a tensor, exact as float64, with how a statement names it.

Nothing here is trusted: the kernel reads the same file anew, by its digest. Source: ours.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kvverify.errors import Incomplete, UsageError

MAX_TOKENS, MAX_DIM = 4096, 1024
MAX_BYTES = 1 << 28
_HEADER = 1 << 20
_FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class KeyTensor:
    """One head's keys or queries (tokens, dim) as float64, exact, and how a statement names them."""

    values: np.ndarray
    dtype: str
    reference: dict[str, str]
    folder: Path

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self.folder / self.reference["name"]


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file, read as far as its header: tensors by name, where their bytes begin, the whole's digest."""

    path: Path
    header: dict[str, Any]
    start: int
    sha256: str

    def heads(self, layer: int, kind: str) -> int:
        """How many heads ``layers.{layer}.{kind}`` has. Raises UsageError where there is no such tensor."""
        return _shape(self.path, name := self._chosen(layer, kind), self.header[name])[0]

    def layers(self, kind: str) -> list[int]:
        """The layers that have keys, or queries."""
        found = (re.fullmatch(rf"layers\.(\d{{1,6}})\.{kind}", name) for name in self.header)
        return sorted(int(match[1]) for match in found if match)

    def tensor(self, layer: int | None, head: int | None, kind: str = "keys") -> KeyTensor:
        """One head of ``layers.I.keys`` or ``layers.I.queries`` (heads, tokens, dim), or the one matrix of the file.

        Raises UsageError where there is none or it holds no finite floats, Incomplete where it is too large.
        """
        return self.named(self._chosen(layer, kind), head, kind)

    def named(self, name: str, head: int | None, kind: str = "keys") -> KeyTensor:
        """The same, of the tensor of that name."""
        if name not in self.header:
            raise UsageError(f"{self.path}: there is no tensor {name!r}")
        shape, dtype = _shape(self.path, name, self.header[name]), self.header[name].get("dtype")
        if dtype not in _FORMATS:
            raise UsageError(f"{self.path}: {name} is {dtype}; {kind} are one of {', '.join(_FORMATS)}")
        if len(shape) not in (2, 3) or 0 in shape:
            raise UsageError(f"{self.path}: {name} has shape {shape}; (tokens, dim) or (heads, tokens, dim) is needed")
        reference = {"name": self.path.name, "sha256": self.sha256, "tensor": name}
        if len(shape) == 3:
            if head is None or not 0 <= head < shape[0]:
                given = "none" if head is None else head
                raise UsageError(f"{self.path}: --head: {given} given, {name} has heads 0 to {shape[0] - 1}")
            reference["head"] = str(head)
        elif head is not None:
            raise UsageError(f"{self.path}: --head: {head} given, but {name} is one matrix of shape {tuple(shape)}")
        if shape[-2] > MAX_TOKENS or shape[-1] > MAX_DIM:
            raise Incomplete(
                f"{self.path}: {shape[-2]} {kind} of dimension {shape[-1]}; "
                f"up to {MAX_TOKENS} of dimension {MAX_DIM} are certified from a file"
            )
        values = self._read(name, shape, dtype, head or 0)
        if not np.isfinite(values).all():
            raise UsageError(f"{self.path}: {name} holds NaN or infinity; {kind} must be finite")
        return KeyTensor(values, dtype, reference, self.path.parent)

    def _chosen(self, layer: int | None, kind: str) -> str:
        """The name of the tensor that was asked for."""
        some = ", ".join(sorted(self.header)[:5]) or "no tensor"
        if layer is not None:
            if (name := f"layers.{layer}.{kind}") not in self.header:
                raise UsageError(f"{self.path}: --layer {layer} given, but there is no tensor {name!r}; it has {some}")
            return name
        matrices = [name for name, entry in self.header.items() if len(_shape(self.path, name, entry)) == 2]
        if len(matrices) != 1:
            raise UsageError(
                f"{self.path}: it has {some}; choose by --layer and --head, or give a file with one matrix"
            )
        return matrices[0]

    def _read(self, name: str, shape: list[int], dtype: str, head: int) -> np.ndarray:
        """(tokens, dim) of one head as float64."""
        form = np.dtype(_FORMATS[dtype])
        width, part = form.itemsize * math.prod(shape), form.itemsize * math.prod(shape[-2:])
        with self.path.open("rb") as stream:
            match self.header[name].get("data_offsets"):
                case [int(start), int(end)] if 0 <= start <= end and end - start == width:
                    stream.seek(self.start + start + head * part)
                    data = stream.read(part)
                case _:
                    data = b""
        if len(data) != part:
            raise UsageError(
                f"{self.path}: not a whole safetensors file ({name} needs {width} bytes that are not there)"
            )
        raw = np.frombuffer(data, form)
        if dtype == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float64).reshape(shape[-2:])


def open_tensors(path: Path) -> TensorFile:
    """Read a safetensors file's header and its digest. Raises UsageError or Incomplete, each with one clear line."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", path.name):
        raise UsageError(f"{path}: a certificate names its files by letters, digits and . _ - only; rename it")
    with path.open("rb") as stream:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise Incomplete(f"{path}: {size} bytes; files of up to {MAX_BYTES} bytes are certified")
        length = int.from_bytes(stream.read(8), "little")
        try:
            if not 2 <= length <= min(_HEADER, size - 8):
                raise ValueError("cut short")
            header = json.loads(stream.read(length).decode(), object_pairs_hook=_once)
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        except (ValueError, AttributeError, RecursionError) as error:
            raise UsageError(f"{path}: not a safetensors file ({error})") from None
        stream.seek(0)
        return TensorFile(path, tensors, 8 + length, hashlib.file_digest(stream, "sha256").hexdigest())


def read_keys(path: Path, layer: int | None, head: int | None) -> KeyTensor:
    """Keys of a KV head, from ``layers.I.keys`` (kv_heads, tokens, dim), or the one matrix of the file."""
    return open_tensors(path).tensor(layer, head)


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """The bytes of a safetensors file of float32 matrices."""
    return _file({name: ("F32", array.shape, array.astype("<f4").tobytes()) for name, array in tensors.items()})


def bf16_matrix(values: np.ndarray) -> tuple[KeyTensor, bytes]:
    """Keys (tokens, dim) that are exact in bf16 as the one matrix of a file, named by its content; and its bytes."""
    raw = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    data = _file({"keys": ("BF16", values.shape, raw)})
    sha256 = hashlib.sha256(data).hexdigest()
    reference = {"name": f"keys-{sha256[:16]}.safetensors", "sha256": sha256, "tensor": "keys"}
    return KeyTensor(values, "BF16", reference, Path()), data


def _file(tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    """A safetensors file of (dtype, shape, bytes) by name."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    start = 0
    for name, (dtype, shape, raw) in sorted(tensors.items()):
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, start + len(raw)]}
        parts.append(raw)
        start += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    node = dict(pairs)
    if len(node) != len(pairs):
        raise ValueError("a name stands twice in the header")
    return node


def _shape(path: Path, name: str, entry: Any) -> list[int]:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise UsageError(f"{path}: not a safetensors file ({name} has no shape)")
    return shape
