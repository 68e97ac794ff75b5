"""Queries that read the given keys: whitened directions, then gradient descent on the mass that is off target.

For one key the best query solves a convex problem: least log-sum-exp of the scores relative to the target's, every
score at most the logit budget in absolute value. The scale always spends the whole budget, so the search is over
directions; it runs in coordinates in which the keys are white, for all keys at once. Floats, not trusted. Source: ours.
"""

from __future__ import annotations

import math
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_BLOCK = 1024  # queries that are improved together: a block's scores stay below 32 MB
_STEPS = 240
_RATE = 0.3
_DONE = math.log(2.0**-13)  # less mass than this costs under 2^-12 bits a coordinate
_LOOK = 30  # steps in which a row's mass must fall by a part of _GAIN, or the row is left as it is
_GAIN = 1 / 200


def whitened(keys: np.ndarray, max_logit: float) -> np.ndarray:
    """(n, d) queries: the inverse covariance times the centred key, scaled to the whole budget on the keys (n, d)."""
    centred = keys - keys.mean(axis=0)
    covariance = centred.T @ centred / len(keys)
    ridge = max(np.trace(covariance) / len(covariance) * 1e-4, 1e-300)
    directions = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), centred.T).T
    return _scaled(directions, keys, max_logit)


def search(
    keys: np.ndarray,
    max_logit: float,
    *,
    carries: np.ndarray | None = None,
    start: np.ndarray | None = None,
    seconds: float = 20.0,
    device: str = "cpu",
) -> np.ndarray:
    """(n, d) queries for keys (n, d) of size about 1, each within ``max_logit`` on every key.

    ``carries`` (n,) says which keys hold values: their mass counts double, since it enters the determinant as well as
    the row sum. No query has more such mass than that of ``start`` (whitened directions). Without torch that is all.
    """
    begin = whitened(keys, max_logit) if start is None else start
    if find_spec("torch") is None or len(keys) == 1:
        return begin
    weights = np.ones(len(keys)) if carries is None else np.where(carries, 1.0, 0.5)
    improved = _scaled(_ascend(keys, begin, max_logit, weights, seconds, device), keys, max_logit)
    better = _log_mass(keys, improved, weights) < _log_mass(keys, begin, weights)
    kept: np.ndarray = np.where(better[:, None], improved, begin)
    return kept


def own_score(scores: np.ndarray) -> np.ndarray:
    """(rows, 1) the score of the asker's own key: minus the largest absolute score of each row."""
    lowest: np.ndarray = -np.abs(scores).max(axis=1, keepdims=True)
    return lowest


def _scaled(directions: np.ndarray, keys: np.ndarray, max_logit: float) -> np.ndarray:
    reach = np.abs(directions @ keys.T).max(axis=1, keepdims=True)
    scaled: np.ndarray = directions / np.where(reach > 0, reach, 1) * max_logit
    return scaled


def _log_mass(keys: np.ndarray, queries: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n,) log of the weighted mass off target, relative to the target's."""
    scores = queries @ keys.T
    target, own = np.diag(scores).copy(), own_score(scores)[:, 0]
    scores += np.log(weights)
    np.fill_diagonal(scores, own + math.log(0.5))
    top = scores.max(axis=1)
    mass: np.ndarray = top - target + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return mass


def _ascend(
    keys: np.ndarray, start: np.ndarray, max_logit: float, weights: np.ndarray, seconds: float, device: str
) -> np.ndarray:
    """Directions (n, d), improved block by block, each with its share of the time."""
    import torch

    values, vectors = np.linalg.eigh(keys.T @ keys / len(keys))
    root = np.sqrt(np.maximum(values, max(values.max() * 1e-13, 1e-300)))
    white = torch.tensor(keys @ (vectors / root), dtype=torch.float32, device=device)
    begin = torch.tensor(start @ (vectors * root), dtype=torch.float32, device=device)
    begin = begin / begin.norm(dim=1, keepdim=True).clamp_min(1e-30)
    offsets = torch.tensor(np.log(weights), dtype=torch.float32, device=device)
    blocks = torch.split(torch.arange(len(keys), device=device), _BLOCK)
    end = time.monotonic() + seconds
    found = []
    for i, block in enumerate(blocks):
        share = (end - time.monotonic()) / (len(blocks) - i)
        found.append(_improve(white, begin[block], block, offsets, max_logit, time.monotonic() + share))
    directions = torch.cat(found).double().cpu().numpy()
    back: np.ndarray = directions @ (vectors / root).T
    return back


def _improve(
    keys: torch.Tensor,
    directions: torch.Tensor,
    targets: torch.Tensor,
    offsets: torch.Tensor,
    max_logit: float,
    end: float,
) -> torch.Tensor:
    """The best direction seen for each target (rows of ``keys``): Adam on the unit sphere, one step size a row.

    Rows whose mass is small enough leave the batch.
    """
    import torch

    best, least = directions.clone(), torch.full((len(targets),), math.inf, device=keys.device)
    active = torch.arange(len(targets), device=keys.device)
    state = (directions, torch.zeros_like(directions), torch.zeros(len(targets), 1, device=keys.device))
    before = least.clone()
    for step in range(1, _STEPS + 1):
        unit, mean, square = state
        mass, slope = _slope(keys, unit, targets[active], offsets, max_logit)
        better = mass < least[active]
        least[active[better]], best[active[better]] = mass[better], unit[better]
        going = mass > _DONE
        if step % _LOOK == 0:
            going &= before[active] - least[active] > _GAIN
            before = least.clone()
        if not going.any() or time.monotonic() > end:
            break
        slope = slope - (slope * unit).sum(1, keepdim=True) * unit
        mean = 0.9 * mean + 0.1 * slope
        square = 0.99 * square + 0.01 * slope.square().mean(1, keepdim=True)
        rate = _RATE * 0.5 * (1 + math.cos(math.pi * step / _STEPS)) / math.sqrt(keys.shape[1])
        size = (square / (1 - 0.99**step)).sqrt().clamp_min(1e-20)
        unit = unit - rate * mean / (1 - 0.9**step) / size
        unit = unit / unit.norm(dim=1, keepdim=True).clamp_min(1e-30)
        active = active[going]
        state = (unit[going], mean[going], square[going])
    return best


def _slope(
    keys: torch.Tensor, unit: torch.Tensor, targets: torch.Tensor, offsets: torch.Tensor, max_logit: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(log mass off target, its subgradient in the direction), the scale spending the whole budget."""
    import torch

    rows = torch.arange(len(targets), device=keys.device)
    raw = unit @ keys.T
    top, place = raw.abs().max(1)
    scale = max_logit / top.clamp_min(1e-30)
    own = raw[rows, targets] * scale
    relative = raw * scale[:, None] - own[:, None] + offsets
    relative[rows, targets] = -max_logit - own + math.log(0.5)  # the asker's own token
    mass = torch.logsumexp(relative, 1)
    share = torch.exp(relative - mass[:, None])
    share[rows, targets] = -1.0  # each other's slope less the target's; the own score is fixed by the budget
    along = (share * raw).sum(1) * scale / top.clamp_min(1e-30)
    share = share * scale[:, None]
    share[rows, place] -= along * raw[rows, place].sign()
    return mass, share @ keys
