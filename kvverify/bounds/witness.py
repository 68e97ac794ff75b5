"""Bounds about files: what must be written beside a certificate, and the kernel's verdict before it is. Source: ours.

Queries and matrix factors that a certificate needs are kept in safetensors files named by their content, so that the
same bound writes the same files and no file is ever overwritten by another.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kvverify.bounds.key_files import KeyTensor, safetensors
from kvverify.bounds.search import Bound
from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.kernel.check import Result, check


@dataclass(frozen=True)
class FileBound(Bound):
    """A bound about given keys. ``payload`` tokens carry values, the other tokens were dropped and weigh as pads.

    ``files``: what the certificate refers to besides the user's own files, by name.
    """

    payload: int = 0
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """Tokens that carry no value in the bound."""
        return self.problem.tokens - self.payload


def write_bound(path: Path, found: Bound) -> None:
    """Write the certificate, and before it the files that it refers to, each whole or not at all. Raises OSError."""
    if found.certificate is None:
        raise ValueError("there is no certificate to write")
    if isinstance(found, FileBound):
        for name, data in found.files.items():
            document.write_bytes(path.parent / name, data)
    document.write(path, found.certificate)


def witness(kind: str, tensors: dict[str, np.ndarray]) -> tuple[str, str, bytes]:
    """(name, sha256, bytes) of a file of float32 matrices, named by what it holds."""
    data = safetensors(tensors)
    digest = hashlib.sha256(data).hexdigest()
    return f"{kind}-{digest[:16]}.safetensors", digest, data


def verdict(tree: dict[str, Any], sources: Iterable[KeyTensor], files: dict[str, bytes]) -> Result:
    """The kernel's verdict, from a temporary folder that holds the sources' files and ``files``.

    Raises UsageError where two sources are different files of one name, which no certificate can tell apart.
    """
    borrowed: dict[str, KeyTensor] = {}
    for source in sources:
        other = borrowed.setdefault(source.path.name, source)
        if other.reference["sha256"] != source.reference["sha256"]:
            raise UsageError(f"{source.path} and {other.path}: two files of one name; they must fit in one folder")
    folders = {source.folder for source in borrowed.values()}
    if not files and len(folders) == 1:
        return check(tree, folders.pop())
    with tempfile.TemporaryDirectory(prefix="kvverify-") as name:
        folder = Path(name)
        for file, source in borrowed.items():
            _borrow(source.path.resolve(), folder / file)
        for file, data in files.items():
            with (folder / file).open("xb") as stream:
                stream.write(data)
        return check(tree, folder)


def _borrow(source: Path, target: Path) -> None:
    """The same bytes under another name, which is not taken: a hard link where the file system can, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        with source.open("rb") as data, target.open("xb") as copy:
            shutil.copyfileobj(data, copy)
