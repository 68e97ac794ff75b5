"""Which tokens carry values: the set whose determinant and row sums leave the most bits. Floats; source: ours.

A token of the payload brings g bits a coordinate less log2 of its row sum, and spoils other rows by the mass that they
put on it. As a pad it weighs in the row sums only.
"""

from __future__ import annotations

import numpy as np

_EDGE = 2.0**-20  # rows with less than this left of the target's weight are priced by a steep line, and never kept
_CAP = 2.0**40
_BATCH = 16  # a round drops at most one part in so many; what was dropped too much comes back


def choose(relative: np.ndarray, gain: float) -> tuple[np.ndarray, float]:
    """(indices of the payload, ascending; bits a coordinate) by Ostrowski's bound: none where no token gives anything.

    ``relative`` (n, n + 1): weights relative to the target's, 1 on the diagonal, the asker's own last. ``gain``: g.
    """
    weights = np.minimum(relative[:, :-1], _CAP)
    np.fill_diagonal(weights, 0.0)
    single = gain - np.log2(1 + weights.sum(axis=1) + np.minimum(relative[:, -1], _CAP))
    order = np.argsort(-single)
    few = _add(weights, single, np.zeros(len(single), dtype=bool), order)
    many = _add(weights, single, _drop(weights, single), order)
    total, best = max(((_total(weights, single, chosen), chosen) for chosen in (few, many)), key=lambda pair: pair[0])
    return (np.flatnonzero(best), total) if total > 0 else (np.zeros(0, dtype=int), 0.0)


def choose_by_determinant(relative: np.ndarray, gain: float, most: int) -> np.ndarray:
    """Indices of the payload, ascending, by the determinant itself: without row and column j it is det W (W^-1)_jj."""
    sums = np.minimum(relative, _CAP).sum(axis=1)
    chosen = np.sort(np.argsort(sums)[:most])
    while len(chosen):
        matrix = np.minimum(relative[np.ix_(chosen, chosen)], _CAP) / sums[chosen, None]
        try:
            inverse = np.linalg.inv(matrix)
        except np.linalg.LinAlgError:
            return np.zeros(0, dtype=int)
        excess = np.log2(np.maximum(np.abs(np.diag(inverse)), 1e-300)) - gain
        if not np.isfinite(inverse).all() or excess.max() <= 0:
            break
        worst = np.argsort(-excess)[: max(1, len(chosen) // (4 * _BATCH))]
        chosen = np.delete(chosen, worst[excess[worst] > 0])
    return chosen


def _left(off: np.ndarray) -> np.ndarray:
    """log2(1 - off), and far below where that is not above the edge: concave, finite everywhere."""
    room = 1 - off
    bits: np.ndarray = np.log2(np.maximum(room, _EDGE)) + np.minimum(room - _EDGE, 0) / (_EDGE * np.log(2))
    return bits


def _total(weights: np.ndarray, single: np.ndarray, chosen: np.ndarray) -> float:
    off = weights[np.ix_(chosen, chosen)].sum(axis=1)
    if (off >= 1 - 2 * _EDGE).any():
        return 0.0
    return float((single[chosen] + _left(off)).sum())


def _drop(weights: np.ndarray, single: np.ndarray) -> np.ndarray:
    """Mask of what is left of all tokens after dropping, round by round, those whose absence raises the total."""
    chosen = np.arange(len(single))
    while len(chosen):
        block = weights[np.ix_(chosen, chosen)]
        off = block.sum(axis=1)
        left = _left(off)
        relief = _left(off[:, None] - block).sum(axis=0) - left.sum()
        gains = relief - single[chosen] - left
        worst = np.argsort(-gains)[: max(1, len(chosen) // _BATCH)]
        if gains[worst[0]] <= 0:
            break
        chosen = np.delete(chosen, worst[gains[worst] > 0])
    mask = np.zeros(len(single), dtype=bool)
    mask[chosen] = True
    return mask


def _add(weights: np.ndarray, single: np.ndarray, chosen: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The mask with every token, best first, whose presence raises the total."""
    chosen = chosen.copy()
    off = weights @ chosen
    for j in order:
        if chosen[j]:
            continue
        before, spoilt = off[chosen], off[chosen] + weights[chosen, j]
        if single[j] + _left(off[j]) + (_left(spoilt) - _left(before)).sum() > 0:
            chosen[j] = True
            off += weights[:, j]
    return chosen
