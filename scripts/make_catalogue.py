"""Search good binary linear codes for kvverify/codes/catalogue.json: ``python scripts/make_catalogue.py [FILE]``.

Known codes are shortened, punctured and cut by the support of a light word of the dual (construction Y1 of MacWilliams
and Sloane, chapter 18), each time at the letters that leave the fewest light words. What is kept is not dominated:
an entry falls to another of at most its length and at least its dimension whose off-target mass
``sum A_w exp(-2 rho w / length)`` is no larger, within a small tolerance, at every logit budget rho of a grid.
Everything is integers or plain IEEE sums and products in a fixed order, so every run writes the same bytes.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kvverify.codes.bch import dimensions, extended_bch
from kvverify.codes.cyclic import cyclic
from kvverify.codes.golay import golay
from kvverify.codes.linear import WALK, LinearCode, span
from kvverify.codes.quadratic_residue import quadratic_residue
from kvverify.codes.reed_muller import reed_muller

LONGEST = 256
LARGEST = 40
"""Dimensions above it serve no context length."""

HEADS = (16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256)
"""Head sizes: at these lengths entries are kept for the smallest gain; elsewhere a shorter code may be a little worse,
since every letter saved holds a payload of bits."""

BUDGETS = np.array([*np.arange(1, 24, 0.5), *np.arange(24, 65, 1.0)])
ROUNDS = 8


@dataclass(frozen=True)
class Candidate:
    """``base`` without the letters ``short`` (shortened) and ``cut`` (punctured), both as letters of the base."""

    base: LinearCode
    short: frozenset[int] = frozenset()
    cut: frozenset[int] = frozenset()

    @cached_property
    def code(self) -> LinearCode:
        """Built by its recipe."""
        left = [j for j in range(self.base.length) if j not in self.short]
        code = self.base.shorten(sorted(self.short)) if self.short else self.base
        return code.puncture([i for i, j in enumerate(left) if j in self.cut]) if self.cut else code

    @cached_property
    def letters(self) -> list[int]:
        """The base's letter at each position of the code."""
        return [j for j in range(self.base.length) if j not in self.short | self.cut]

    @cached_property
    def mass(self) -> np.ndarray:
        """Off-target mass at each budget."""
        length = self.code.length
        z = np.array([math.ceil(65536 * math.exp(-2 * rho / length)) / 65536 for rho in BUDGETS])
        total = np.zeros_like(z)
        for weight in range(length, 0, -1):
            total = (total + float(self.code.weights.get(weight, 0))) * z
        clipped: np.ndarray = np.clip(total, 1e-5, 1.5)
        return clipped

    def shortened(self, positions: list[int]) -> Candidate:
        """Without the words that are not zero at these positions of the code."""
        return Candidate(self.base, self.short | {self.letters[i] for i in positions}, self.cut)

    def punctured(self, position: int) -> Candidate:
        """Without that position of the code."""
        return Candidate(self.base, self.short, self.cut | {self.letters[position]})


CYCLIC = (
    (33, 8673), (35, 73621), (39, 14481), (43, 21653), (43, 64959), (51, 139975), (51, 978005), (55, 3897129),
    (57, 935463), (57, 2872053), (63, 525547), (63, 2409043), (65, 15663), (69, 5451879), (73, 395011), (73, 1007357),
)  # fmt: skip
"""Length and check polynomial of cyclic codes of dimension 13 to 22 whose distance is large for their size and that the
other families do not give."""


def bases() -> list[LinearCode]:
    """Codes to start from, each with the leading subcodes of the nested families."""
    codes = [golay(24), *(quadratic_residue(n) for n in (18, 24, 32, 42, 48, 72, 74, 80, 90, 98, 104, 114, 128))]
    codes += [cyclic(length, check) for length, check in CYCLIC]
    codes += [reed_muller(order, m) for m in range(2, 8) for order in range(1, m)]
    for m in range(3, 9):
        for k in dimensions(m):
            code = extended_bch(m, k)
            # Of length 256 the large codes are worse than shorter ones wherever they can be walked.
            if m < 8 or k <= 45:
                codes.append(code)
            if k <= WALK:
                smaller = max((j for j in dimensions(m) if j < k), default=0)
                codes += [code.subcode(j) for j in range(smaller + 1, k)]
    return [code for code in codes if code.length <= LONGEST]


def walkable(code: LinearCode) -> bool:
    """Whether its weights can be counted, here and by the kernel."""
    return min(code.dimension, code.length - code.dimension) <= WALK


def light(code: LinearCode, kinds: int = 2) -> list[np.ndarray]:
    """For each of the least nonzero weights, how many of its words have a one at each position."""
    weights = sorted(weight for weight in code.weights if weight)[:kinds]
    low, high = code.rows[:16], code.rows[16:]
    table, heads = span(code.length, low), span(code.length, high)
    counts = [np.zeros(code.length, np.int64) for _ in weights]
    for head in heads.T:
        words = table ^ head[:, None]
        weight_of = np.bitwise_count(words).sum(axis=0, dtype=np.int64)
        for weight, count in zip(weights, counts, strict=True):
            chosen = np.ascontiguousarray(words[:, weight_of == weight].T)
            bits = np.unpackbits(chosen.view(np.uint8), axis=1, bitorder="little", count=code.length)
            count += bits.sum(axis=0, dtype=np.int64)
    return counts


def shorter(candidate: Candidate) -> Candidate:
    """Shortened at the letter that most light words use; the last letter where the code is too large to walk."""
    code = candidate.code
    if code.dimension > WALK:
        return candidate.shortened([code.length - 1])
    first, *rest = light(code)
    key = [(int(first[i]), *(int(r[i]) for r in rest), i) for i in range(code.length)]
    return candidate.shortened([max(key)[-1]])


def thinner(candidate: Candidate) -> Candidate:
    """Punctured at the letter that the fewest light words use."""
    first, *rest = light(candidate.code)
    key = [(int(first[i]), *(int(r[i]) for r in rest), i) for i in range(candidate.code.length)]
    return candidate.punctured(min(key)[-1])


def cut_by_dual(candidate: Candidate) -> Candidate | None:
    """Shortened on the support of a lightest word of the dual, which costs one dimension less than letters."""
    dual = candidate.code.dual()
    if not 1 <= dual.dimension <= 20 or candidate.code.dimension > WALK:
        return None
    words = span(dual.length, dual.rows)
    weight = np.bitwise_count(words).sum(axis=0, dtype=np.int64)
    weight[0] = dual.length + 1
    word = words[:, int(weight.argmin())]
    bits = np.unpackbits(word.view(np.uint8), bitorder="little", count=dual.length)
    return candidate.shortened(np.flatnonzero(bits).tolist())


def chain(base: LinearCode) -> Iterator[Candidate]:
    """The base and its shortenings that can be walked, of any useful dimension."""
    aim = LARGEST if base.length - base.dimension <= WALK else WALK
    candidate = Candidate(base)
    while (surplus := candidate.code.dimension - aim) > 0:
        length = candidate.code.length
        candidate = candidate.shortened(list(range(length - surplus, length)))
    while candidate.code.dimension and candidate.code.weights.keys() != {0}:
        yield candidate
        candidate = shorter(candidate)


def moves(candidate: Candidate) -> Iterator[Candidate]:
    """One step away."""
    if candidate.code.dimension <= WALK:
        found = [shorter(candidate), thinner(candidate), cut_by_dual(candidate)]
        yield from (step for step in found if step and step.code.dimension and walkable(step.code))


def trimmed(candidate: Candidate) -> Iterator[Candidate]:
    """A code of some head's size punctured down to the smaller ones, not below half of it."""
    full = candidate.code.length
    if full in HEADS and candidate.code.dimension <= 17:
        while (candidate := thinner(candidate)).code.length >= full / 2:
            if candidate.code.length in HEADS:
                yield candidate


def pruned(candidates: list[Candidate]) -> list[Candidate]:
    """Those that no other dominates, by dimension and then by length."""
    kept: list[Candidate] = []
    order = sorted(candidates, key=lambda c: (-c.code.dimension, c.code.length, c.mass.tolist(), c.code.name))
    lengths: list[int] = []
    masses: list[np.ndarray] = []
    for candidate in order:
        length = candidate.code.length
        if masses:
            saved = length - np.array(lengths)
            slack = 1e-4 + (0 if length in HEADS else 2e-3) * saved
            worse = (1 + np.array(masses)) <= (1 + candidate.mass) * (1 + slack[:, None])
            if bool((worse.all(axis=1) & (saved >= 0)).any()):
                continue
        kept.append(candidate)
        lengths.append(length)
        masses.append(candidate.mass)
    return sorted(kept, key=lambda c: (c.code.dimension, c.code.length, c.mass.tolist(), c.code.name))


def search() -> list[Candidate]:
    """All chains and what is trimmed to the size of a head, then rounds of moves from what survives."""
    pool = pruned([candidate for base in bases() if base.dimension for candidate in chain(base)])
    pool = pruned(pool + [step for candidate in pool for step in trimmed(candidate)])
    done: set[Candidate] = set()
    for turn in range(ROUNDS):
        fresh = [candidate for candidate in pool if candidate not in done]
        print(f"round {turn}: {len(pool)} kept, {len(fresh)} new, {time.process_time():.0f} s", file=sys.stderr)
        done.update(fresh)
        pool = pruned(pool + [step for candidate in fresh for step in moves(candidate)])
    return pool


def main() -> None:
    """Write the catalogue, one entry a line: length, dimension, recipe, weights and their words in turn."""
    default = Path(__file__).parent.parent / "kvverify" / "codes" / "catalogue.json"
    lines = []
    for candidate in search():
        code = candidate.code
        table = [number for pair in sorted(code.exponents().items()) for number in pair]
        lines.append(json.dumps([code.length, code.dimension, code.name, table], separators=(",", ":")))
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")
    print(f"{len(lines)} codes, {path.stat().st_size} bytes, {time.process_time():.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
