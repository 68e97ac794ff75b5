"""A public setting, for a cheat to write over."""

from __future__ import annotations

GROUP = 64
