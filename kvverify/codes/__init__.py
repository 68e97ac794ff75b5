"""Families of keys whose distances are known: what the bounds choose from. One file a family."""

from __future__ import annotations
