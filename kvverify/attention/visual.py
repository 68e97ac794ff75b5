"""The pyramid of token maps of a visual autoregressive transformer, exactly: which tokens, and how many are free.

The transformer writes an image scale by scale. Step i appends the h_i w_i tokens of a map Y_i of size h_i x w_i to the
cache, tokens in reading order (row by row), and every token of Y_i attends to all tokens of Y_1 .. Y_i. The first map
is free, Y_1 = X_0; each later one is interpolated from a free map of the scale before, Y_{i+1} = phi_i(X_i), where X_i
has the size of Y_i and may be anything that the network made of Y_1 .. Y_i.

phi works on each channel by itself: the weight of source token (s, t) in target token (i, j) is a product of two
weights along the axes. With centres at half pixels the target index i stands at x = (i + 1/2) n/m - 1/2 of a source
axis of n tokens, m in the target, and source index s weighs k(x - s):

- ``nearest``: the index nearest to x, the higher one at a tie (what torch calls "nearest-exact"; its "nearest" takes
  floor(i n/m), another convention, which for m a multiple of n is the same);
- ``bilinear``: k(x) = 1 - |x| for |x| < 1;
- ``bicubic`` and ``catmull-rom``: Keys' cubic with a = -3/4 (torch's "bicubic") and a = -1/2. Weights may be negative:
  their absolute sum exceeds 1.

Edge rules say what an index outside of 0 .. n - 1 means: ``clamp`` (the border token, as in torch with
align_corners=False; always defined), ``reflect`` (the mirror image about the border token, as torch pads; undefined
where the map is smaller than the kernel reaches), ``none`` (as the definition is recorded: undefined unless all
indices of weight other than 0 are inside).

Everything is rational, so ranks are exact. Source of the pyramid: Chen, Li, Ke, Liang, Shi and Song (arXiv 2503.14881)
as recorded; Keys, Cubic convolution interpolation (1981).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import floor

from kvverify.errors import UsageError

KERNELS = ("nearest", "bilinear", "bicubic", "catmull-rom")
EDGES = ("clamp", "reflect", "none")
CUTS = ("between-steps", "all-keys")
MAX_TOKENS = 1 << 20  # of all scales together

Row = dict[int, Fraction]  # source index -> weight, no zeros
Map = Sequence[Sequence[Sequence[Fraction]]]  # h rows of w tokens of d numbers
_CUBIC = {"bicubic": Fraction(-3, 4), "catmull-rom": Fraction(-1, 2)}


@dataclass(frozen=True)
class Scale:
    """One map of the pyramid: ``height`` rows of ``width`` tokens."""

    height: int
    width: int

    @property
    def tokens(self) -> int:
        """How many tokens its step appends to the cache."""
        return self.height * self.width

    def __str__(self) -> str:
        return str(self.height) if self.height == self.width else f"{self.height}x{self.width}"


Scales = tuple[Scale, ...]

VAR_SCALES: Scales = tuple(Scale(n, n) for n in (1, 2, 3, 4, 5, 6, 8, 10, 13, 16))
"""The scales of the published model at 256 x 256 pixels: 680 tokens, 424 of them before the last scale."""


def doubling(largest: int) -> Scales:
    """The pyramid 1, 2, 4, .. up to ``largest``, a power of two. Raises UsageError."""
    if largest < 1 or largest & (largest - 1):
        raise UsageError(f"a doubling pyramid ends at a power of two, not at {largest}")
    return tuple(Scale(1 << i, 1 << i) for i in range(largest.bit_length()))


def parse_scales(text: str) -> Scales:
    """Scales as people write them: "1,2,3", "4x6,8x12" (height x width), or "var" for the published list.

    Raises UsageError for a list that is empty, shrinks or repeats itself, or is no list of sizes.
    """
    if text.strip() == "var":
        return VAR_SCALES
    words = [word.strip() for word in text.split(",")]
    if words == [""]:
        raise UsageError("no scales given: expected sizes such as 1,2,4 or 4x6,8x12, or var")
    return checked(tuple(_scale(word, text) for word in words))


def _scale(word: str, text: str) -> Scale:
    sides = word.split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and len(side) <= 6 for side in sides):
        raise UsageError(f"scales {text!r}: {word!r} is no size; expected sizes such as 1,2,4 or 4x6,8x12, or var")
    return Scale(int(sides[0]), int(sides[-1]))


def checked(scales: Sequence[Scale]) -> Scales:
    """The scales, which must grow: no side gets smaller, and at least one larger, from each to the next.

    Raises UsageError that names the two that do not.
    """
    if not scales:
        raise UsageError("no scales given: expected at least one, such as 1,2,4")
    for scale in scales:
        if min(scale.height, scale.width) < 1:
            raise UsageError(f"scale {scale}: a map has at least one row and one column")
    for before, after in pairwise(scales):
        if before == after:
            raise UsageError(f"scale {after} repeats: each scale must be larger than the one before it")
        if after.height < before.height or after.width < before.width:
            raise UsageError(
                f"scale {after} after {before} shrinks: no side may get smaller from one scale to the next"
            )
    if sum(scale.tokens for scale in scales) > MAX_TOKENS:
        raise UsageError(f"scales of {sum(scale.tokens for scale in scales)} tokens in all (at most {MAX_TOKENS})")
    return tuple(scales)


def tokens(scales: Sequence[Scale]) -> int:
    """All tokens of the pyramid, the sum of h_i w_i."""
    return sum(scale.tokens for scale in scales)


def tokens_before(scales: Sequence[Scale], index: int) -> int:
    """Tokens in the cache before the step of ``scales[index]``: those of the earlier scales."""
    return tokens(scales[:index])


def tokens_at(scales: Sequence[Scale], cut: str) -> int:
    """Tokens in the cache at the cut: ``between-steps`` those before the last scale's step, ``all-keys`` all."""
    _known(cut, CUTS, "cut")
    return tokens(scales) if cut == "all-keys" else tokens_before(scales, len(scales) - 1)


@dataclass(frozen=True)
class Step:
    """One step of the pyramid: its scale, the tokens in the cache before and after it, and the rank of its map.

    ``free``: tokens that can be chosen freely in Y_i, the rank of the interpolation that it comes from.
    """

    scale: Scale
    before: int
    after: int
    free: int


def growth(scales: Sequence[Scale], kernel: str, edge: str = "clamp") -> tuple[Step, ...]:
    """How the cache grows, step by step. Raises UsageError where the edge rule gives no value."""
    steps, total = [], 0
    for i, scale in enumerate(checked(scales)):
        free = scale.tokens if i == 0 else rank(scales[i - 1], scale, kernel, edge)
        steps.append(Step(scale, total, total + scale.tokens, free))
        total += scale.tokens
    return tuple(steps)


def free_tokens(scales: Sequence[Scale], cut: str, kernel: str, edge: str = "clamp") -> int:
    """How many tokens of the cache at the cut can be chosen freely: the exact rank of (X_0, X_1, ..) -> (Y_1, Y_2, ..).

    Each map has a free map of its own, so the ranks of the steps add up.
    """
    _known(cut, CUTS, "cut")
    steps = growth(scales, kernel, edge)
    return sum(step.free for step in (steps if cut == "all-keys" else steps[:-1]))


@lru_cache(maxsize=256)
def axis(source: int, target: int, kernel: str, edge: str = "clamp") -> tuple[Row, ...]:
    """The weights along one axis: for each of ``target`` indices the source indices that it reads, with weights.

    Raises UsageError where the edge rule gives no value.
    """
    _known(kernel, KERNELS, "kernel")
    _known(edge, EDGES, "edge rule")
    rows = []
    for i in range(target):
        row: Row = {}
        for index, weight in _taps(Fraction((2 * i + 1) * source, 2 * target) - Fraction(1, 2), kernel):
            inside = _inside(index, source, edge)
            if inside is None:
                raise UsageError(
                    f"{source} -> {target}: the edge rule {edge!r} gives index {index} of a side of {source} no value "
                    f"under the kernel {kernel!r}; 'clamp' always does"
                )
            row[inside] = row.get(inside, Fraction(0)) + weight
        rows.append({index: weight for index, weight in row.items() if weight})
    return tuple(rows)


def _taps(x: Fraction, kernel: str) -> list[tuple[int, Fraction]]:
    """Indices and their weights at the place x, none of weight 0."""
    if kernel == "nearest":
        return [(floor(x + Fraction(1, 2)), Fraction(1))]
    reach = 1 if kernel == "bilinear" else 2
    found = ((index, _weight(abs(x - index), kernel)) for index in range(floor(x) - reach + 1, floor(x) + reach + 1))
    return [(index, weight) for index, weight in found if weight]


def _weight(x: Fraction, kernel: str) -> Fraction:
    """k(x) for 0 <= x <= 2."""
    if kernel == "bilinear":
        return max(1 - x, Fraction(0))
    a = _CUBIC[kernel]
    return ((a + 2) * x - (a + 3)) * x * x + 1 if x <= 1 else a * (((x - 5) * x + 8) * x - 4)


def _inside(index: int, source: int, edge: str) -> int | None:
    """The index that is meant, or None."""
    if 0 <= index < source or edge == "none":
        return index if 0 <= index < source else None
    if edge == "clamp":
        return max(0, min(index, source - 1))
    mirrored = -index if index < 0 else 2 * (source - 1) - index
    return mirrored if 0 <= mirrored < source else None


def weights(source: Scale, target: Scale, kernel: str, edge: str = "clamp") -> tuple[Row, ...]:
    """phi as sparse rows: for each target token (reading order) the source tokens that it is made of, exactly.

    Weights of a row sum to 1. Raises UsageError where the edge rule gives no value, or the kernel is unknown.
    """
    down, across = (
        axis(source.height, target.height, kernel, edge),
        axis(source.width, target.width, kernel, edge),
    )
    return tuple(
        {s * source.width + t: a * b for s, a in row.items() for t, b in col.items()} for row in down for col in across
    )


def rank(source: Scale, target: Scale, kernel: str, edge: str = "clamp") -> int:
    """The exact rank of phi: the product of its axes' ranks, as phi is their Kronecker product."""
    return _rank(axis(source.height, target.height, kernel, edge)) * _rank(
        axis(source.width, target.width, kernel, edge)
    )


def _rank(rows: Sequence[Row]) -> int:
    """The rank over the rationals, by elimination of sparse rows."""
    pivots: dict[int, Row] = {}
    for row in rows:
        left = dict(row)
        while left:
            lead = min(left)
            if lead not in pivots:
                pivots[lead] = left
                break
            factor = left[lead] / pivots[lead][lead]
            for index, weight in pivots[lead].items():
                left[index] = left.get(index, Fraction(0)) - factor * weight
            left = {index: weight for index, weight in left.items() if weight}
    return len(pivots)


def size(image: Map) -> Scale:
    """The scale of a map. Raises UsageError where its rows differ in length."""
    widths = {len(row) for row in image}
    if len(widths) != 1 or 0 in widths:
        raise UsageError("a map has rows of one length, at least one token each")
    return Scale(len(image), widths.pop())


def interpolate(image: Map, target: Scale, kernel: str, edge: str = "clamp") -> list[list[list[Fraction]]]:
    """phi(image): ``target.height`` rows of ``target.width`` tokens, each channel by itself, exactly.

    Raises UsageError for a ragged map or where the edge rule gives no value.
    """
    source = size(image)
    flat = [token for row in image for token in row]
    channels = range(len(flat[0]))
    if any(len(token) != len(channels) for token in flat):
        raise UsageError("a map's tokens have one number of channels")
    found = [
        [sum((weight * flat[index][c] for index, weight in row.items()), Fraction(0)) for c in channels]
        for row in weights(source, target, kernel, edge)
    ]
    return [found[i * target.width : (i + 1) * target.width] for i in range(target.height)]


def pyramid(free: Sequence[Map], scales: Sequence[Scale], kernel: str, edge: str = "clamp") -> list[list[Fraction]]:
    """All tokens of all maps in the order of the cache, vectors of d numbers, from the free maps X_0 .. X_{N-1}.

    X_0 has the size of the first scale, and X_i that of scale i, i = 1 .. N - 1. Raises UsageError for other sizes.
    """
    scales = checked(scales)
    if [size(image) for image in free] != [scales[0], *scales[:-1]]:
        wanted = ", ".join(map(str, (scales[0], *scales[:-1])))
        raise UsageError(f"free maps of sizes {', '.join(str(size(image)) for image in free)}: expected {wanted}")
    maps = [[[list(token) for token in row] for row in free[0]]]
    maps += [interpolate(image, target, kernel, edge) for image, target in zip(free[1:], scales[1:], strict=True)]
    return [token for image in maps for row in image for token in row]


def _known(word: str, words: Sequence[str], what: str) -> None:
    if word not in words:
        raise UsageError(f"unknown {what} {word!r}: expected one of {', '.join(words)}")
