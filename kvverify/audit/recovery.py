"""Where along the stream, and in which heads, reads came back wrong: counts of bounded size, whatever the length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 64


@dataclass(frozen=True)
class Recovery:
    """Reads by their token's place in the stream (the oldest first), and by head.

    ``first_tokens``: where each bin begins; ``reads_asked``, ``wrong_reads``: reads of the bin, over all heads and
    value coordinates; ``wrong_reads_by_head``: (layers, kv_heads), over the whole stream.
    """

    first_tokens: tuple[int, ...]
    reads_asked: tuple[int, ...]
    wrong_reads: tuple[int, ...]
    wrong_reads_by_head: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """``recovery`` of the audit's object."""
        return {
            "first_tokens": list(self.first_tokens),
            "reads_asked": list(self.reads_asked),
            "wrong_reads": list(self.wrong_reads),
            "wrong_reads_by_head": [list(layer) for layer in self.wrong_reads_by_head],
        }


def recovery(wrong: np.ndarray, read: np.ndarray, asked: np.ndarray, tokens: int) -> Recovery:
    """Count ``wrong`` ones of ``read`` (layers, kv_heads, len(asked), value_dim; booleans) by the tokens ``asked``."""
    bins = min(BINS, tokens)
    where = asked * bins // tokens  # so bin b begins at ceil(b * tokens / bins)

    def by_bin(counted: np.ndarray) -> tuple[int, ...]:
        by_read = np.count_nonzero(counted, axis=(0, 1, 3))
        return tuple(np.bincount(where, weights=by_read, minlength=bins).astype(int).tolist())

    return Recovery(
        first_tokens=tuple(-(-number * tokens // bins) for number in range(bins)),
        reads_asked=by_bin(read),
        wrong_reads=by_bin(wrong),
        wrong_reads_by_head=tuple(tuple(layer) for layer in np.count_nonzero(wrong, axis=(2, 3)).tolist()),
    )
