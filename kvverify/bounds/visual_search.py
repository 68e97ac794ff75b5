"""Instances that a visual autoregressive pyramid can really produce, and the certificates of their bounds.

Every map is told by as many of its own tokens as its free map has: its *carriers*, a grid of rows and columns. All
other tokens are combinations C of these, with |C| <= 1 when the carriers along an axis are those of largest volume.

Keys of carriers say where a token stands: one coordinate for each row, each column and each map (for `nearest` binary
words will do where key_dim has no room), so a token between carriers has the key between theirs. The queries are
found by mirror descent: of all queries within the budget, the one that puts most attention on its carrier; a convex
problem. Floats rank and round, the kernel decides. Proofs: docs/proofs/visual.md. Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import ceil, floor, log2
from typing import TYPE_CHECKING

import numpy as np

from kvverify.attention.visual import CUTS, Scale, Scales, axis, checked, growth
from kvverify.errors import Incomplete, UsageError
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import Node, build

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

KEY_STEPS = 32  # keys are multiples of 1/32
QUERY_STEPS = 256  # queries of 1/256
ROUNDS = 300  # of mirror descent
_NOTICED = 2.0**-10  # less is no improvement


@dataclass(frozen=True)
class Design:
    """A hard instance: carriers, their keys and a query for each, all integers times a unit.

    ``down[m]``, ``across[m]``: rows and columns of the carriers of map m + 1 (the first map carries itself). Carriers
    are counted map by map, in reading order; ``keys`` and ``queries`` have a row for each.
    """

    scales: Scales
    kernel: str
    cut: str
    down: tuple[tuple[int, ...], ...]
    across: tuple[tuple[int, ...], ...]
    keys: tuple[tuple[int, ...], ...]
    queries: tuple[tuple[int, ...], ...]

    @property
    def held(self) -> Scales:
        """The scales whose tokens are in the cache at the cut."""
        return self.scales if self.cut == "all-keys" else self.scales[:-1]

    @property
    def columns(self) -> int:
        """Coordinates of a key that the instance uses."""
        return len(self.keys[0])


def visual_bound(
    scales: Sequence[Scale],
    kernel: str,
    cut: str,
    *,
    model_dim: int,
    key_dim: int,
    value_dim: int,
    max_logit: Fraction,
    kv_heads: int = 1,
    tolerance: Fraction | None = None,
    relative: Fraction | None = None,
    failure: Fraction = Fraction(0),
) -> Node:
    """The certificate's tree of a lower bound on the state at the cut, checked by the kernel.

    One of ``tolerance`` (additive) and ``relative``, for values in [-1, 1]; keys in the cube, |query|_1 <= max_logit.
    Raises UsageError where scales or sizes do not allow an instance, Incomplete where no bound was found.
    """
    if (tolerance is None) == (relative is None):
        raise UsageError("a visual bound takes one of tolerance and relative")
    found = design(scales, kernel, cut, key_dim, max_logit)
    wanted = 2 * found.columns + kv_heads * value_dim
    if wanted > model_dim:
        raise UsageError(
            f"model_dim {model_dim}: keys and queries of {found.columns} coordinates and {kv_heads} x {value_dim} "
            f"values, projections of one map, take {wanted}"
        )
    statement: Node = {
        "claim": "visual-state-bits", "scales": [str(scale) for scale in found.scales], "kernel": kernel,
        "edge": "clamp", "cut": cut, "model_dim": str(model_dim), "key_dim": str(key_dim),
        "value_dim": str(value_dim), "kv_heads": str(kv_heads), "max_logit": str(max_logit), "failure": str(failure),
        "inputs": "real",
    }  # fmt: skip
    statement |= {"relative": str(relative)} if tolerance is None else {"tolerance": str(tolerance)}
    log2_det, off_target = measured(found)
    if off_target >= 1:
        raise Incomplete(
            f"max_logit {max_logit} is too small for {len(found.keys)} free tokens of this pyramid: "
            f"a query leaves {off_target:.3g} times its own token's weight on others"
        )
    bound, most = _rounded(log2_det, floor), _rounded(off_target, ceil)
    number = len(found.keys)
    if tolerance is None:
        each = number * (1 - _entropy(float(failure)))
    else:
        each = float(bound) + number * _divergence(float(tolerance), float(failure))
    bits = max(Fraction(floor(kv_heads * value_dim * each * (1 - 1e-9) * 256 - 1), 256), Fraction(0))
    rows: Node = {
        "id": "rows", "rule": "visual-rows", "uses": {}, "given": written(found, kv_heads, value_dim),
        "gives": {"log2_det_at_least": str(bound), "off_target_at_most": str(most)},
    }  # fmt: skip
    last = "visual-symbols" if tolerance is None else "visual-volume"
    steps = [
        rows,
        {"id": "bits", "rule": last, "uses": {"rows": "rows"}, "given": {}, "gives": {"bits_at_least": str(bits)}},
    ]
    tree = build(statement | {"state_bits_at_least": str(floor(bits))}, steps)
    result = check(tree)
    if result.verdict is not Verdict.VALID:
        raise Incomplete(f"no bound for this pyramid: {result.reason}")
    return tree


def written(found: Design, kv_heads: int, value_dim: int) -> Node:
    """The design as what the rule ``visual-rows`` is given; a token is (key, query, values of head 1, ..)."""
    columns = found.columns
    first = range(2 * columns, 2 * columns + kv_heads * value_dim, value_dim)
    return {
        "down": [_row(row) for row in found.down],
        "across": [_row(row) for row in found.across],
        "keys": [_row(row) for row in found.keys],
        "key_unit": str(Fraction(1, KEY_STEPS)),
        "queries": [_row(row) for row in found.queries],
        "query_unit": str(Fraction(1, QUERY_STEPS)),
        "projections": {
            "keys": _row(range(columns)),
            "queries": _row(range(columns, 2 * columns)),
            "values": [_row(range(start, start + value_dim)) for start in first],
        },
    }


def design(scales: Sequence[Scale], kernel: str, cut: str, key_dim: int, max_logit: Fraction) -> Design:
    """The instance of these scales. Raises UsageError for bad scales or where key_dim has no room for its keys."""
    scales = checked(scales)
    if cut not in CUTS:
        raise UsageError(f"unknown cut {cut!r}: expected one of {', '.join(CUTS)}")
    held = scales if cut == "all-keys" else scales[:-1]
    if not held:
        raise UsageError(f"one scale only, {scales[0]}: between steps nothing is in the cache before the last scale")
    growth(held, kernel)  # refuses an unknown kernel
    down, across = (
        tuple(carriers(*sides, kernel) for sides in pairwise(found))
        for found in ([scale.height for scale in held], [scale.width for scale in held])
    )
    bare = Design(scales, kernel, cut, down, across, (), ())
    keys = _keys(bare, key_dim)
    queries = _queries(bare, np.array(keys, dtype=float) / KEY_STEPS, float(max_logit))
    return Design(scales, kernel, cut, down, across, keys, queries)


@lru_cache(maxsize=256)
def carriers(source: int, target: int, kernel: str) -> tuple[int, ...]:
    """Target indices that carry an axis: as many as source indices, of locally largest volume, so that |C| <= 1."""
    phi = _phi(source, target, kernel)
    left, chosen = phi.copy(), []
    for column in range(source):
        pivot = int(np.argmax(np.abs(left[:, column])))
        chosen.append(pivot)
        left -= np.outer(left[:, column] / left[pivot, column], left[pivot])
        left[pivot] = 0
    while True:
        combined = phi @ np.linalg.inv(phi[chosen])
        index, place = np.unravel_index(int(np.argmax(np.abs(combined))), combined.shape)
        if abs(combined[index, place]) <= 1 + 1e-9:
            return tuple(sorted(chosen))
        chosen[place] = int(index)


def combinations(found: Design) -> list[tuple[Array, Array]]:
    """(C_down, C_across) of every map in the cache: tokens as combinations of carriers, along both axes."""
    first = found.held[0]
    pairs = [(np.eye(first.height), np.eye(first.width))]
    for (before, after), rows, columns in zip(pairwise(found.held), found.down, found.across, strict=True):
        axes = ((before.height, after.height, rows), (before.width, after.width, columns))
        one, other = (_combined(source, target, found.kernel, chosen) for source, target, chosen in axes)
        pairs.append((one, other))
    return pairs


def free_keys(found: Design) -> list[Array]:
    """The free maps X_0, X_1, .. (h, w, columns) whose pyramid has these keys at the carriers."""
    keys, first, maps = np.array(found.keys, dtype=float) / KEY_STEPS, 0, []
    sizes = (found.held[0], *found.held[:-1])
    for size, after, rows, columns in zip(sizes, found.held, (None, *found.down), (None, *found.across), strict=True):
        carried = keys[first : first + size.tokens].reshape(size.height, size.width, -1)
        first += size.tokens
        if rows is not None and columns is not None:
            down = np.linalg.inv(_phi(size.height, after.height, found.kernel)[list(rows)])
            over = np.linalg.inv(_phi(size.width, after.width, found.kernel)[list(columns)])
            carried = np.einsum("si,tj,ijd->std", down, over, carried)
        maps.append(carried)
    return maps


def value_scales(found: Design) -> list[Fraction]:
    """For each free map the largest size of its values at which no token of the interpolated map leaves [-1, 1]."""
    scales = [Fraction(1)]
    for before, after in pairwise(found.held):
        sides = ((before.height, after.height), (before.width, after.width))
        one, other = (max(sum(map(abs, row.values())) for row in axis(*side, found.kernel)) for side in sides)
        scales.append(Fraction(1) / (one * other))
    return scales


def measured(found: Design) -> tuple[float, float]:
    """(log2 |det| from secrets to answers, worst off-target weight) in floats, with room for rounding."""
    pairs = combinations(found)
    keys, queries = np.array(found.keys) / KEY_STEPS, np.array(found.queries) / QUERY_STEPS
    scores, first = [], 0
    for pair in pairs:
        size = pair[0].shape[1] * pair[1].shape[1]
        scores.append(_spread(pair, queries @ keys[first : first + size].T))
        first += size
    top = np.max(np.concatenate(scores, axis=1), axis=1, keepdims=True)
    weights = [np.exp(each - top) for each in scores]
    own = _own(found)
    masses = sum(each.sum(axis=1) for each in weights) + own * np.exp(-np.abs(queries).sum(axis=1) - top[:, 0])
    mixed = np.concatenate([_gather(pair, each) for pair, each in zip(pairs, weights, strict=True)], axis=1)
    target = np.diagonal(mixed).copy()
    if target.min() <= 0:
        return -np.inf, np.inf
    mixed /= target[:, None]
    np.fill_diagonal(mixed, 0)
    rows = np.abs(mixed).sum(axis=1)
    worst = float(rows.max()) * (1 + 1e-6) + 2.0**-40
    if worst >= 1:
        return -np.inf, worst
    ratio = sum(worst ** (k - 2) / k for k in range(2, 32)) + worst**30 / (32 * (1 - worst))
    near = float((mixed**2).sum()) * ratio / np.log(2)
    ostrowski = -float(np.log2(1 - rows).sum())
    bound = _log2_volume(found) - float(np.log2(masses / target).sum()) - min(near, ostrowski)
    return bound - 1e-6 * (1 + len(rows)), worst


def _own(found: Design) -> int:
    """Tokens of the last map that come after the cut."""
    return 0 if found.cut == "all-keys" else found.scales[-1].tokens


def _log2_volume(found: Design) -> float:
    total = 0.0
    for (before, after), rows, columns, scale in zip(
        pairwise(found.held), found.down, found.across, value_scales(found)[1:], strict=True
    ):
        axes = ((before.height, after.height, rows, before.width), (before.width, after.width, columns, before.height))
        for source, target, chosen, times in axes:
            total += times * float(np.linalg.slogdet(_phi(source, target, found.kernel)[list(chosen)])[1]) / np.log(2)
        total += before.tokens * log2(scale)
    return total


def _phi(source: int, target: int, kernel: str) -> Array:
    """The weights along an axis, (target, source)."""
    phi = np.zeros((target, source))
    for i, row in enumerate(axis(source, target, kernel)):
        for s, weight in row.items():
            phi[i, s] = float(weight)
    return phi


def _combined(source: int, target: int, kernel: str, chosen: Sequence[int]) -> Array:
    phi = _phi(source, target, kernel)
    combined: Array = phi @ np.linalg.inv(phi[list(chosen)])
    return combined


def _spread(pair: tuple[Array, Array], carried: Array) -> Array:
    """Rows over the carriers of a map to rows over its tokens."""
    down, across = pair
    cut = carried.reshape(len(carried), down.shape[1], across.shape[1])
    tokens: Array = np.einsum("is,jt,rst->rij", down, across, cut, optimize=True)
    return tokens.reshape(len(carried), -1)


def _gather(pair: tuple[Array, Array], weights: Array) -> Array:
    """Rows over the tokens of a map to what they weigh in its carriers."""
    down, across = pair
    cut = weights.reshape(len(weights), down.shape[0], across.shape[0])
    mixed: Array = np.einsum("is,jt,rij->rst", down, across, cut, optimize=True)
    return mixed.reshape(len(weights), -1)


def _keys(found: Design, key_dim: int) -> tuple[tuple[int, ...], ...]:
    """One key for each carrier: words of its row, its column and its map, in steps of 1/32; see `design`."""
    pairs = combinations(found)
    counts = [max(pair[k].shape[1] for pair in pairs) for k in (0, 1)] + [len(pairs)]
    binary = sum(counts) > key_dim
    needed = sum(max(1, (count - 1).bit_length()) for count in counts) if binary else sum(counts)
    if binary and found.kernel != "nearest":
        raise UsageError(f"key_dim {key_dim}: this pyramid's keys take {sum(counts)}, one for each row, column and map")
    if needed > key_dim:
        raise UsageError(f"key_dim {key_dim}: this pyramid's keys take {needed}, words for each row, column and map")
    low = min(float(side.min()) for pair in pairs for side in pair)
    high = max(float(side.max()) for pair in pairs for side in pair)
    on, off = _levels(min(low, 0.0), high)
    rows, columns, maps = (_binary(count) if binary else _one_hot(count, on, off) for count in counts)
    return tuple(
        (*rows[i], *columns[j], *maps[m])
        for m, pair in enumerate(pairs)
        for i in range(pair[0].shape[1])
        for j in range(pair[1].shape[1])
    )


def _levels(low: float, high: float) -> tuple[int, int]:
    """(on, off), integers far apart such that off + (on - off) c stays within +-32 for c in [low, high]."""
    for step in range(floor(2 * KEY_STEPS / (high - low) + 1e-9), 0, -1):
        off = ceil(-KEY_STEPS - low * step - 1e-9)
        if off + step * high <= KEY_STEPS + 1e-9:
            return off + step, off
    raise UsageError("this pyramid's tokens are too far outside of its carriers")


def _one_hot(count: int, on: int, off: int) -> list[tuple[int, ...]]:
    return [tuple(on if i == j else off for j in range(count)) for i in range(count)]


def _binary(count: int) -> list[tuple[int, ...]]:
    width = max(1, (count - 1).bit_length())
    return [tuple(KEY_STEPS if i >> bit & 1 else -KEY_STEPS for bit in range(width)) for i in range(count)]


def _queries(found: Design, keys: Array, max_logit: float) -> tuple[tuple[int, ...], ...]:
    """For each carrier the query that leaves least attention elsewhere, by exponentiated gradients on the l1 ball."""
    pairs, parts, first = combinations(found), [], 0
    for pair in pairs:
        size = pair[0].shape[1] * pair[1].shape[1]
        parts.append(_spread(pair, keys[first : first + size].T).T)
        first += size
    everything = np.concatenate(parts)
    columns, own = keys.shape[1], _own(found)
    pushed = 0.1 * np.concatenate([keys, -keys], axis=1)
    best, least = np.zeros_like(keys), np.full(len(keys), np.inf)
    for turn in range(ROUNDS):
        shares = np.exp(pushed - pushed.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        queries = max_logit * (shares[:, :columns] - shares[:, columns:])
        scores = queries @ everything.T
        top = scores.max(axis=1, keepdims=True)
        weights = np.exp(scores - top)
        reached = (queries * keys).sum(axis=1, keepdims=True)
        others = own * np.exp(-reached - top)  # of the last map, at most
        mass = weights.sum(axis=1, keepdims=True) + others
        lost = (np.log(mass) + top - reached)[:, 0]
        better = lost < least * (1 - _NOTICED) - _NOTICED**3  # so that rounding chooses nothing
        least[better], best[better] = lost[better], queries[better]
        slope = (weights @ everything - others * keys) / mass - keys
        pushed -= 2 / np.sqrt(turn + 1) * np.concatenate([slope, -slope], axis=1)
    return tuple(tuple(int(x) for x in row) for row in np.trunc(best * QUERY_STEPS * (1 - _NOTICED**3)))


def _row(entries: Sequence[int]) -> str:
    return " ".join(map(str, entries))


def _rounded(x: float, way: Callable[[float], int]) -> Fraction:
    """The next multiple of 2^-20 that way: the last digits of floats are not the same on all machines."""
    return Fraction(way(x * 2.0**20), 1 << 20)


def _entropy(p: float) -> float:
    return 0.0 if p in (0.0, 1.0) else -p * log2(p) - (1 - p) * log2(1 - p)


def _divergence(eps: float, delta: float) -> float:
    return (1 - delta) * log2((1 - delta) / eps) + (delta * log2(delta / (1 - eps)) if delta else 0.0)
