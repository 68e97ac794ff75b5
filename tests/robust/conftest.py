"""Folders that cannot be written to, as the command line's tests have them."""

from __future__ import annotations

from tests.cli.conftest import sealed

__all__ = ["sealed"]
