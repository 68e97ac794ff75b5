"""Folders that cannot be written to, also where the tests run as root."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@pytest.fixture
def sealed() -> Iterator[Path]:
    """An empty folder; ``seal`` it when it holds what it shall hold."""
    folder = Path(tempfile.mkdtemp(prefix="kvverify-sealed-"))
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


class Seal:
    """Within it the folder is read-only for this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._folder.chmod(0o555)
        if os.geteuid() == 0:
            os.seteuid(NOBODY)

    def __exit__(self, *_: object) -> None:
        if os.getuid() == 0:
            os.seteuid(0)
        self._folder.chmod(0o755)
