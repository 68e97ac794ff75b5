"""Certificates about explicit inputs: windows by a running sum, unread entries, colliding states.

Proofs: docs/proofs/instances.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from random import Random

from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.kernel.document import Node

_MOST_BITS = 12  # of a value matrix whose states are listed


def running_sum(
    tokens: int = 7, window: int = 3, head_dim: int = 2, base: Fraction = Fraction(3, 2), seed: int = 0
) -> Node:
    """HO-7 (a): scores outside of the window (the current token and those before it, ``window`` in all) are masked to 0
    and stay in the denominator; a running sum gives the same answers with (2 min(window - 1, tokens) + 1) head_dim
    words between steps, and a counter.

    Raises UsageError for sizes below 1 and a base that is not above 0.
    """
    _sizes(tokens=tokens, window=window, head_dim=head_dim)
    if base <= 0:
        raise UsageError(f"base = {base}: expected a number above 0, weights are base^score")
    draw = Random(seed)
    queries, keys, values = ([[draw.randint(-2, 2) for _ in range(head_dim)] for _ in range(tokens)] for _ in range(3))
    right = (2 * min(window - 1, tokens) + 1) * head_dim
    stream = {
        "base": str(base), "window": str(window), "queries": _rows(queries), "keys": _rows(keys),
        "values": _rows(values),
    }  # fmt: skip
    statement = {
        "claim": "identity", "left": "masked-window", "right": "running-sum", "right_words_at_most": str(right),
        "stream": stream,
    }  # fmt: skip
    gives = {"left_words_at_most": str(2 * tokens * head_dim), "right_words_at_most": str(right)}
    return document.build(statement, [_step("equal", "running-sum", gives)])


def unread_entry(
    tokens: int = 3, head_dim: int = 2, relative: Fraction = Fraction(1, 2), entry: tuple[int, int] = (1, 0),
    weight: int | None = None,
) -> Node:  # fmt: skip
    """HO-9: two inputs that differ in one entry of the keys alone, with answers that no number is near to both of.

    Keys are 0, v_0 = e_1, other values 0, the query is all ones; in the second input the entry (i, j) of the keys, from
    0, i >= 1, is 1 and its token weighs ``weight`` (the least that is enough by default), others 1. The answers are
    1/n and 1/(weight + n - 1). Raises UsageError where a hypothesis is violated.
    """
    _sizes(head_dim=head_dim)
    if tokens < 2:
        raise UsageError(f"tokens = {tokens}: expected at least 2, one token holds the value and another the entry")
    _relative(relative)
    row, column = entry
    if not (1 <= row < tokens and 0 <= column < head_dim):
        raise UsageError(f"entry {entry}: expected a row 1 to {tokens - 1} and a column 0 to {head_dim - 1}")
    least = tokens * (1 + relative) / (1 - relative) - tokens + 1
    chosen = int(least) + 1 if weight is None else weight
    if chosen <= least:
        raise UsageError(f"weight = {chosen}: expected above n (1 + eta) / (1 - eta) - n + 1 = {least}, strictly")
    plain = [[0] * head_dim for _ in range(tokens)]
    marked = [[int((i, j) == entry) for j in range(head_dim)] for i in range(tokens)]
    values = [[int(i == j == 0) for j in range(head_dim)] for i in range(tokens)]
    one = {"query": _row([1] * head_dim), "values": _rows(values)}
    statement = {
        "claim": "two-inputs", "base": str(chosen), "scale": "1", "relative": str(relative), "coordinate": "0",
        "first": {**one, "keys": _rows(plain)}, "second": {**one, "keys": _rows(marked)},
        "may_differ": [f"keys {row} {column}"],
    }  # fmt: skip
    return _answers(statement, Fraction(1, tokens), Fraction(1, chosen + tokens - 1))


def unread_entries(access: Collection[tuple[int, int]], tokens: int = 3, head_dim: int = 2) -> list[tuple[int, int]]:
    """The entries (i, j) of the keys, from 0, i >= 1, that a fixed set of read entries leaves out: for each of them
    ``unread_entry`` gives two inputs that look alike to who reads ``access`` and no more. Never empty where
    ``access`` has fewer than (tokens - 1) head_dim entries. Raises UsageError for entries that do not exist.
    """
    _sizes(tokens=tokens, head_dim=head_dim)
    for i, j in access:
        if not (0 <= i < tokens and 0 <= j < head_dim):
            raise UsageError(f"access to ({i}, {j}): expected rows 0 to {tokens - 1}, columns 0 to {head_dim - 1}")
    return [(i, j) for i in range(1, tokens) for j in range(head_dim) if (i, j) not in access]


def collision(
    states: Sequence[int] | None = None, tokens: int = 2, value_dim: int = 2, relative: Fraction = Fraction(1, 2),
    base: int = 7,
) -> Node:  # fmt: skip
    """C3: two 0/1 value matrices to which a deterministic compressor gives the same state, and a read that tells them
    apart. ``states[x]``: its state for the matrix whose entry b, in reading order, is bit b of x; by default all bits
    but the first are kept. Keys are (a, -a^2), queries (2 a, 1), weights base^score.

    Raises UsageError where all states differ, or the base does not separate: (1 - eta) W_ii > (1 + eta) sum of W_il.
    """
    _sizes(tokens=tokens, value_dim=value_dim)
    _relative(relative)
    bits = tokens * value_dim
    if bits > _MOST_BITS:
        raise UsageError(
            f"tokens times value_dim = {bits}: expected at most {_MOST_BITS}, all value matrices are listed"
        )
    known = [x >> 1 for x in range(1 << bits)] if states is None else list(states)
    if len(known) != 1 << bits:
        raise UsageError(f"{len(known)} states: expected 2^{bits}, one for each value matrix")
    _separated(tokens, relative, base)
    pair = next(_colliding(known), None)
    if pair is None:
        raise UsageError(f"all states differ: expected fewer than 2^{bits} states, else nothing collides")
    return separated_pair(*pair, states=known, tokens=tokens, value_dim=value_dim, relative=relative, base=base)


def separated_pair(
    one: int, other: int, *, states: Sequence[int] = (), tokens: int = 2, value_dim: int = 2,
    relative: Fraction = Fraction(1, 2), base: int = 7,
) -> Node:  # fmt: skip
    """The value matrices of these numbers, read where they first differ; see ``collision``. Raises UsageError."""
    bits = tokens * value_dim
    if one == other or min(one, other) < 0 or max(one, other) >= 1 << bits:
        raise UsageError(f"matrices {one} and {other}: expected two different numbers from 0 to {(1 << bits) - 1}")
    _separated(tokens, relative, base)
    place = next(b for b in range(bits) if (one ^ other) >> b & 1)
    row, column = divmod(place, value_dim)
    keys = [[a, -a * a] for a in range(tokens)]
    query = [2 * row, 1]
    matrices = [[[x >> i * value_dim + j & 1 for j in range(value_dim)] for i in range(tokens)] for x in (one, other)]
    weights = [Fraction(base) ** (2 * row * a - a * a) for a in range(tokens)]
    mass = sum(weights, Fraction(0))
    read = [sum((w * v[column] for w, v in zip(weights, m, strict=True)), Fraction(0)) / mass for m in matrices]
    first, second = ({"query": _row(query), "keys": _rows(keys), "values": _rows(matrix)} for matrix in matrices)
    statement: Node = {
        "claim": "two-inputs", "base": str(base), "scale": "1", "relative": str(relative), "coordinate": str(column),
        "first": first, "second": second,
        "may_differ": [f"values {b // value_dim} {b % value_dim}" for b in range(bits) if (one ^ other) >> b & 1],
    }  # fmt: skip
    if states:
        statement["states"] = _row(states)
    return _answers(statement, *read)


def _colliding(states: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pairs of places with equal states."""
    places: dict[int, list[int]] = defaultdict(list)
    for x, state in enumerate(states):
        places[state].append(x)
    for same in places.values():
        yield from combinations(same, 2)


def _separated(tokens: int, relative: Fraction, base: int) -> None:
    if base < 2:
        raise UsageError(f"base = {base}: expected at least 2")
    for i in range(tokens):
        others = sum(Fraction(1, base ** (i - a) ** 2) for a in range(tokens) if a != i)
        if 1 - relative <= (1 + relative) * others:
            raise UsageError(f"base = {base}: expected (1 - eta) W_ii > (1 + eta) sum of other W_il, row {i} fails")


def _relative(relative: Fraction) -> None:
    if not 0 <= relative < 1:
        raise UsageError(f"relative = {relative}: expected at least 0 and below 1")


def _sizes(**sizes: int) -> None:
    for name, number in sizes.items():
        if number < 1:
            raise UsageError(f"{name} = {number}: expected at least 1")


def _answers(statement: Node, first: Fraction, second: Fraction) -> Node:
    bounds = {"first_at_least": first, "first_at_most": first, "second_at_least": second, "second_at_most": second}
    return document.build(statement, [_step("answers", "two-inputs", {name: str(x) for name, x in bounds.items()})])


def _step(name: str, rule: str, gives: Node) -> Node:
    return {"id": name, "rule": rule, "uses": {}, "given": {}, "gives": gives}


def _row(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def _rows(rows: Iterable[Sequence[int]]) -> list[str]:
    return [_row(row) for row in rows]
