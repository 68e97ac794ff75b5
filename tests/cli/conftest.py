"""Folders that cannot be written to, also where the tests run as root."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIBC = ctypes.CDLL(None, use_errno=True)
_VERSION = 0x20080522
_PASSES_OVER_MODES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def _capabilities(call: str, words: ctypes.Array[ctypes.c_uint32]) -> None:
    """capget or capset of this thread: (effective, permitted, inheritable) twice."""
    if getattr(_LIBC, call)((ctypes.c_uint32 * 2)(_VERSION, 0), words):
        raise OSError(ctypes.get_errno(), call)


@pytest.fixture
def sealed() -> Iterator[Path]:
    """An empty folder; ``seal`` it when it holds what it shall hold."""
    folder = Path(tempfile.mkdtemp(prefix="kvverify-sealed-"))
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


class Seal:
    """Within it the folder is read-only for this process: root gives up what lets it pass over a folder's mode."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._words = (ctypes.c_uint32 * 6)()

    def __enter__(self) -> None:
        self._folder.chmod(0o555)
        _capabilities("capget", self._words)
        less = (ctypes.c_uint32 * 6)(*self._words)
        less[0] &= ~_PASSES_OVER_MODES
        _capabilities("capset", less)

    def __exit__(self, *_: object) -> None:
        _capabilities("capset", self._words)
        self._folder.chmod(0o755)
