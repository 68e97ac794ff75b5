"""Haris and Onak, Compression Barriers for Autoregressive Transformers (arXiv 2502.15955, COLT 2025): HO-1 to HO-10."""

from __future__ import annotations

from kvverify.claims.haris_onak_space import SPACE
from kvverify.claims.haris_onak_windows import WINDOWS

PAPER = "Haris and Onak, Compression Barriers for Autoregressive Transformers (arXiv 2502.15955, COLT 2025)"
CLAIMS = (*SPACE, *WINDOWS)
