"""The question turned around: the smallest tolerance that any compressor of a given size can promise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from kvverify.bounds.search import Bound, best_bound, ranked
from kvverify.problem import Problem

_FINEST = 48  # powers of two below 1 that are tried
_DIGITS = 7  # halvings of the last interval: the answer is within 1 % of the largest tolerance that is excluded


@dataclass(frozen=True)
class Floor:
    """No compressor of ``bits_per_token`` promises an error of ``tolerance``, so it must promise a larger one.

    ``bound`` is the proof: it asks for more than the given size at ``tolerance``. ``tolerance`` is None where the size
    excludes nothing that was tried; then ``bound`` is the last one.
    """

    bits_per_token: Fraction
    tolerance: Fraction | None
    bound: Bound


def tolerance_floor(problem: Problem, bits_per_token: Fraction) -> Floor:
    """The largest tolerance (to 1 %) whose bound exceeds ``bits_per_token``, a total over heads and layers.

    ``problem`` says the rest of the class; its own tolerance is not read. Floats choose, the kernel has the last word.
    """

    def needed(tolerance: Fraction) -> float:
        """Bits a token that the search hopes for at this tolerance."""
        best = ranked(replace(problem, tolerance=tolerance))[0]
        return best.bits * problem.streams / problem.tokens

    limit = 1 - problem.failure
    grid = [Fraction(1, 1 << j) for j in range(1, _FINEST + 1) if Fraction(1, 1 << j) <= limit]
    low = 0  # the first place of the grid whose bound exceeds the size, by bisection
    high = len(grid)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if needed(grid[middle]) > bits_per_token else (middle + 1, high)
    if low == len(grid):
        return Floor(bits_per_token, None, best_bound(replace(problem, tolerance=grid[-1])))
    inside, step = grid[low], grid[low]
    for _ in range(_DIGITS):
        step /= 2
        if inside + step <= limit and needed(inside + step) > bits_per_token:
            inside += step
    while True:
        found = best_bound(replace(problem, tolerance=inside))
        if found.bits > bits_per_token * problem.tokens:
            return Floor(bits_per_token, inside, found)
        # A float promised a hair more than the kernel gives: back off, in steps that soon reach the end.
        inside, step = inside - step, 2 * step
        if inside <= 0:
            return Floor(bits_per_token, None, found)
