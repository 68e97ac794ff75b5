"""Certificates about pyramids of token maps: how many tokens there are at the cut, and how many of them are free.

What each of them proves of a claim: docs/proofs/ledger.md. The pyramid itself, its kernels and edge rules:
``kvverify.attention.visual``. Source: Chen, Li, Ke, Liang, Shi and Song (arXiv 2503.14881) as recorded; counts ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from kvverify.attention.visual import Row, Scales, axis, parse_scales, rank, tokens_before
from kvverify.attention.visual import tokens as all_tokens
from kvverify.bounds.visual_search import visual_bound
from kvverify.claims.evidence import arithmetic
from kvverify.claims.evidence.attention import TENTH, state
from kvverify.claims.evidence.program import Node, Relation, comparison, equal, term, total, within
from kvverify.errors import Incomplete, UsageError

_MOST_SCALES = 64  # terms of one sum
_MOST_SIDE = 24  # of a map whose interpolation is inverted entry by entry


def cache(scales: str = "var") -> Node:
    """VAR-1: the tokens of the pyramid, and those before its last scale, as sums of h_i w_i. Raises UsageError."""
    found = _scales(scales)
    sizes = [term(scale.height) * scale.width for scale in found]
    return comparison(
        *equal(total(sizes), all_tokens(found)), *equal(total(sizes[:-1]), tokens_before(found, len(found) - 1))
    )


def left_inverses(scales: str = "var", kernel: str = "bicubic", edge: str = "clamp") -> Node:
    """VAR-1: each axis of each interpolation has full column rank: a matrix times it is the identity, entry by entry.

    Both axes of full rank make an interpolation h w -> h' w' of rank h w. Raises UsageError where the edge rule gives
    no value, where a rank is smaller, and for sides above 24.
    """
    found = _scales(scales)
    pairs = [((a.height, b.height), (a.width, b.width)) for a, b in pairwise(found)]
    axes = dict.fromkeys(pair for both in pairs for pair in both)
    within(bool(axes), "two scales", scales)
    longest = max(target for _, target in axes)
    within(longest <= _MOST_SIDE, f"sides of at most {_MOST_SIDE}", longest)
    return comparison(*(relation for pair in axes for relation in _is_inverted(*pair, kernel, edge)))


def _is_inverted(source: int, target: int, kernel: str, edge: str) -> Iterator[Relation]:
    rows = axis(source, target, kernel, edge)
    for i, inverse in enumerate(_inverse(rows, source)):
        for j in range(source):
            parts = [term(b) * rows[k][j] for k, b in inverse.items() if j in rows[k]]
            yield from equal(total(parts), int(i == j))


def ratio_pyramid(side: int = 64, ratio: int = 2) -> Node:
    """VAR-3: sides 1, a, a^2, .. n have (n^2 - 1)/(a^2 - 1) tokens before the last scale, at least n^2/a^2.

    Raises UsageError where ``side`` is no power of ``ratio``, or is 1.
    """
    within(ratio >= 2, "a ratio of at least 2", ratio)
    sides = [1]
    while sides[-1] < side:
        sides.append(sides[-1] * ratio)
    within(sides[-1] == side > 1, f"a side that is a power of {ratio}, above 1", side)
    before = total(term(x) ** 2 for x in sides[:-1])
    square = term(side) ** 2
    return comparison(*equal(before, (square - 1) / (ratio**2 - 1)), square / ratio**2 <= before)


def every_side(largest: int = 16) -> Node:
    """VAR-3: sides 1, 2, 3, .. n have (n - 1) n (2n - 1)/6 tokens before the last scale, more than n^2 from n = 5 on.

    Raises UsageError below 5.
    """
    within(5 <= largest <= _MOST_SCALES, f"5 <= largest side <= {_MOST_SCALES}", largest)
    before = total(term(x) ** 2 for x in range(1, largest))
    return comparison(*equal(before, term((largest - 1) * largest * (2 * largest - 1)) / 6), largest**2 < before)


def free(scales: str = "var", kernel: str = "bicubic", edge: str = "clamp", cut: str = "between-steps") -> Node:
    """VAR-3: tokens at the cut, and how many of them can be chosen freely: h_1 w_1, and h_{i-1} w_{i-1} at scale i > 1.

    Free are the first map and, at each later scale, the map before it that is interpolated. Raises UsageError where the
    edge rule gives no value, or the interpolation has a smaller rank.
    """
    found = _scales(scales)
    within(cut in ("between-steps", "all-keys"), "a cut of between-steps or all-keys", cut)
    kept = found if cut == "all-keys" else found[:-1]
    within(bool(kept), "an earlier scale at the cut between steps", scales)
    for before, after in pairwise(kept):
        full = rank(before, after, kernel, edge) == before.tokens
        within(full, f"an interpolation {before} -> {after} of full rank", kernel)
    sizes = [scale.tokens for scale in (kept[0], *kept[:-1])]
    return comparison(*equal(total(sizes), sum(sizes)), term(sum(sizes)) <= all_tokens(kept))


def multi_index(a: int = 4, b: int = 4, c: int = 4, failure: Fraction = TENTH) -> Node:
    """VAR-2: the least whole number of bits that a position of a x b x c bits needs: INDEX on a b c of them.

    Raises UsageError.
    """
    within(min(a, b, c) >= 1, "sizes of at least 1", (a, b, c))
    return arithmetic.index_bits(a * b, c, failure)


def tokens_carry(
    scales: str = "var", cut: str = "between-steps", head_dim: int = 64, relative: Fraction = Fraction(1, 2),
    failure: Fraction = TENTH, max_logit: Fraction | None = None,
) -> Node:  # fmt: skip
    """VAR-3, VAR-4: (1 - H(failure)) bits for every token at the cut and coordinate, Q, K and V free.

    Keys are corners of the cube, as many as there are tokens. Raises UsageError that names the hypothesis.
    """
    found = _scales(scales)
    within(cut in ("between-steps", "all-keys"), "a cut of between-steps or all-keys", cut)
    many = all_tokens(found) if cut == "all-keys" else tokens_before(found, len(found) - 1)
    within(many >= 2, "at least 2 tokens at the cut", many)
    keys = f"hypercube({(many - 1).bit_length()})"
    return state(keys, many, head_dim=head_dim, relative=relative, failure=failure, max_logit=max_logit)


def realisable(
    scales: str = "1,2,3,4,6,8", kernel: str = "bicubic", cut: str = "between-steps", head_dim: int = 64,
    model_dim: int = 256, relative: Fraction = Fraction(0), failure: Fraction = TENTH,
    max_logit: Fraction = Fraction(32),
) -> Node:  # fmt: skip
    """VAR-3, VAR-4: (1 - H(failure)) bits for every free token at the cut and coordinate, by a stream that an
    interpolated pyramid produces, keys, queries and values being coordinates of one map.

    Raises UsageError that names the hypothesis.
    """
    found = _scales(scales)
    try:
        return visual_bound(
            found, kernel, cut, model_dim=model_dim, key_dim=head_dim, value_dim=head_dim, max_logit=max_logit,
            relative=relative, failure=failure,
        )  # fmt: skip
    except Incomplete as reason:
        raise UsageError(str(reason)) from None


def _scales(text: str) -> Scales:
    found = parse_scales(text)
    within(len(found) <= _MOST_SCALES, f"at most {_MOST_SCALES} scales", len(found))
    return found


def _inverse(rows: tuple[Row, ...], columns: int) -> list[Row]:
    """A left inverse of the matrix, in exact numbers: elimination that keeps its combinations of rows."""
    pivots: dict[int, tuple[Row, Row]] = {}
    for number, row in enumerate(rows):
        left, made = dict(row), {number: Fraction(1)}
        for column, (pivot, combination) in pivots.items():
            factor = left.get(column, Fraction(0))
            left, made = _less(left, factor, pivot), _less(made, factor, combination)
        if left:
            lead = min(left)
            pivot, combination = ({k: x / left[lead] for k, x in part.items()} for part in (left, made))
            for column, (other, how) in pivots.items():
                factor = other.get(lead, Fraction(0))
                pivots[column] = _less(other, factor, pivot), _less(how, factor, combination)
            pivots[lead] = pivot, combination
    if len(pivots) < columns:
        raise UsageError(f"an interpolation of full rank is needed, {len(pivots)} of {columns} was found")
    return [pivots[column][1] for column in range(columns)]


def _less(row: Row, factor: Fraction, other: Row) -> Row:
    """row - factor other, without zeros."""
    found = {k: row.get(k, Fraction(0)) - factor * other.get(k, Fraction(0)) for k in (*row, *other)}
    return {k: x for k, x in found.items() if x}
