"""For a problem: the best lower bound found, as a certificate that the kernel accepted."""

from __future__ import annotations

from kvverify.bounds.search import Bound, best_bound, instance_bound

__all__ = ["Bound", "best_bound", "instance_bound"]
