"""Chen, Li, Liang, Shi, Song and Tian, tensor attention (arXiv 2503.11108): TA-1 to TA-7."""

from __future__ import annotations

from kvverify.claims.tensor_space import SPACE
from kvverify.claims.tensor_time import TIME

PAPER = "Chen, Li, Liang, Shi, Song and Tian, Limits of KV Cache Compression for Tensor Attention (arXiv 2503.11108)"
CLAIMS = (*SPACE, *TIME)
