"""Covering numbers of balls and spheres from both sides, as certificates. Proofs: docs/proofs/covering.md, nets.md."""

from __future__ import annotations

from kvverify.covering.best import Bounds, best_cover
from kvverify.covering.question import Question

__all__ = ["Bounds", "Question", "best_cover"]
