"""Rows and columns of large volume: a square part of an attention matrix that leaves the most bits.

Elimination with complete pivoting, as far as a pivot brings more than it costs; then exchanges of single rows and
columns that raise the determinant, further pivots, and removals. Each move raises log2 |det| + g r. Floats. Source:
Goreinov, Tyrtyshnikov and Zamarashkin (pseudoskeletons of large volume) for the exchanges; the price g is ours.
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 6
_EXCHANGE = 1.02  # an exchange must raise the determinant by so much
_MOVES = 400  # exchanges in a round


def select(weights: np.ndarray, gain: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of W (m, n), as many of each, at most ``most``: log2 |det| + ``gain`` for each row is large."""
    rows, columns = _pivots(weights.copy(), gain, most)
    best = _value(weights, rows, columns, gain)
    for _ in range(_ROUNDS):
        if not len(rows):
            break
        new_rows = _exchanged(weights[:, columns], rows)
        new_columns = _exchanged(weights[new_rows].T, columns)
        more = _pivots(_residual(weights, new_rows, new_columns), gain, most - len(rows))
        new_rows, new_columns = np.append(new_rows, more[0]), np.append(new_columns, more[1])
        new_rows, new_columns = _removed(weights, new_rows, new_columns, gain)
        value = _value(weights, new_rows, new_columns, gain)
        if value <= best + 1e-3 * abs(best):
            break
        best, rows, columns = value, new_rows, new_columns
    return rows, columns


def _pivots(residual: np.ndarray, gain: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pivots above 2^-gain, in order. Overwrites ``residual``."""
    rows: list[int] = []
    columns: list[int] = []
    while len(rows) < most:
        i, j = divmod(int(np.abs(residual).argmax()), residual.shape[1])
        pivot = residual[i, j]
        if not abs(pivot) > 2.0**-gain:
            break
        rows.append(i)
        columns.append(j)
        residual -= np.outer(residual[:, j] / pivot, residual[i])
        residual[i], residual[:, j] = 0.0, 0.0
    return np.array(rows, dtype=int), np.array(columns, dtype=int)


def _residual(weights: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """W less what the chosen rows and columns explain of it."""
    part = np.linalg.solve(weights[np.ix_(rows, columns)], weights[rows])
    left: np.ndarray = weights - weights[:, columns] @ part
    left[rows], left[:, columns] = 0.0, 0.0
    return left


def _exchanged(tall: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of ``tall`` (m, r) after exchanges: replacing row j by row i multiplies the determinant by B_ij."""
    rows = rows.copy()
    ratio = np.linalg.solve(tall[rows].T, tall.T).T
    ratio[rows] = np.eye(len(rows))
    for _ in range(_MOVES):
        i, j = divmod(int(np.abs(ratio).argmax()), ratio.shape[1])
        if not abs(ratio[i, j]) > _EXCHANGE:
            break
        rows[j] = i
        change = ratio[i].copy()
        change[j] -= 1
        ratio -= np.outer(ratio[:, j] / ratio[i, j], change)
    return rows


def _removed(weights: np.ndarray, rows: np.ndarray, columns: np.ndarray, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Without the pairs whose absence raises the value: det times (W^-1)_ba without row a and column b."""
    while len(rows):
        inverse = np.linalg.inv(weights[np.ix_(rows, columns)])
        b, a = divmod(int(np.abs(inverse).argmax()), len(rows))
        if not abs(inverse[b, a]) > 2.0**gain * _EXCHANGE:
            break
        rows, columns = np.delete(rows, a), np.delete(columns, b)
    return rows, columns


def _value(weights: np.ndarray, rows: np.ndarray, columns: np.ndarray, gain: float) -> float:
    sign, log_det = np.linalg.slogdet(weights[np.ix_(rows, columns)]) if len(rows) else (1.0, 0.0)
    return float(log_det / np.log(2) + gain * len(rows)) if sign else -np.inf
