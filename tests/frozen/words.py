"""Histograms of keys as docs/format.md defines them: walks, MacWilliams, Reed-Muller codes, domination. Small ones."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from math import comb, perm
from typing import Any

Node = dict[str, Any]
Histogram = dict[int, int]
MOST = 1 << 13  # words or keys that are compared one by one


class TooMany(Exception):
    """More than this file walks."""


def holds(step: Node) -> bool:
    """Whether a step's stated histogram, or size, is what its row in section 5 asks for."""
    return RULES[step["rule"]](step["given"], step["gives"])


def linear_code(given: Node, gives: Node) -> bool:
    rows = given["generator"]
    length = len(rows[0])
    if "parity" in given:
        checks = given["parity"]
        dual = weights(checks)
        if dual[0] != 1 or len(rows) + len(checks) != length or any(_odd(r, c) for r in rows for c in checks):
            return False
        found = macwilliams(length, dual)
        independent = len(_pivots(rows)) == len(rows)
    else:
        found = weights(rows)
        independent = found[0] == 1
    return independent and found[0] == 1 and _rest(found) == stated(gives["weights"])


def coset_union(given: Node, gives: Node) -> bool:
    base = span(given["generator"])
    words = [int(r, 2) ^ word for r in given["representatives"] for word in base]
    if len(words) > MOST:
        raise TooMany
    if len(set(words)) < len(words):
        return False
    rows = [Counter((int(r, 2) ^ word).bit_count() for word in words) for r in given["representatives"]]
    return all(dominated(_rest(row), stated(gives["weights"])) for row in rows)


def hypercube(given: Node, gives: Node) -> bool:
    return int(gives["size"]) == 2 ** int(given["dimension"])


def reed_muller(given: Node, gives: Node) -> bool:
    r, m, s, p = (int(given[name]) for name in ("order", "variables", "shortened", "punctured"))
    n = 2**m
    if not (0 <= r < m and min(s, p) >= 0 and s + p <= 3 and s + p < n):
        return False
    if min(r, m - 1 - r) > 2:
        raise TooMany
    whole = closed_form(r, m) if r <= 2 else macwilliams(n, closed_form(m - 1 - r, m))
    left: Counter[int] = Counter()
    for w, number in whole.items():
        for j in range(p + 1):
            count = number * comb(p, j) * perm(w, j) * perm(n - w, s + p - j)
            if count:
                left[w - j] += count
    found = {v: count // perm(n, s + p) for v, count in left.items()}
    return found[0] == 1 and _rest(found) == stated(gives["weights"])


def explicit_keys(given: Node, gives: Node) -> bool:
    keys = [tuple(int(x) for x in row.split(" ")) for row in given["keys"]]
    if len({len(key) for key in keys}) != 1 or not all(map(any, keys)):
        return False

    def product(a: tuple[int, ...], b: tuple[int, ...]) -> int:
        return sum(x * y for x, y in zip(a, b, strict=True))

    for i, key in enumerate(keys):
        row = Counter(product(key, key) - product(key, other) for j, other in enumerate(keys) if j != i)
        if min(row, default=1) < 1 or not dominated(row, stated(gives["exponents"])):
            return False
    return True


def paraboloid(given: Node, gives: Node) -> bool:
    return int(gives["size"]) == int(given["side"]) ** (int(given["dimension"]) - 1)


def closed_form(r: int, m: int) -> Counter[int]:
    """RM(r, m), r <= 2, the word 0 counted."""
    n, found, forms = 2**m, Counter[int](), 1
    if r == 0:
        return Counter({0: 1, n: 1})
    for h in range(m // 2 + 1 if r == 2 else 1):
        if h:
            forms = forms * (2 ** (m - 2 * h + 2) - 1) * (2 ** (m - 2 * h + 1) - 1) * 4 ** (h - 1) // (4**h - 1)
        found[n // 2 - n // 2 ** (h + 1)] += forms * 4**h
        found[n // 2 + n // 2 ** (h + 1)] += forms * 4**h
        found[n // 2] += 2 * forms * (2**m - 4**h)
    return found


def macwilliams(length: int, dual: Histogram) -> Counter[int]:
    """A_j by the recurrence of K_j; an empty answer where a count is no integer >= 0."""
    size, found = sum(dual.values()), Counter[int]()
    values = {w: [1, length - 2 * w] for w in dual}
    for w, k in values.items():
        for j in range(1, length):
            k.append(((length - 2 * w) * k[j] - (length - j + 1) * k[j - 1]) // (j + 1))
    for j in range(length + 1):
        count, rest = divmod(sum(number * values[w][j] for w, number in dual.items()), size)
        if rest or count < 0:
            return Counter()
        if count:
            found[j] = count
    return found


def span(rows: list[str]) -> list[int]:
    """All sums of rows, with their repetitions."""
    if 1 << len(rows) > MOST:
        raise TooMany
    words = [0]
    for row in rows:
        words += [word ^ int(row, 2) for word in words]
    return words


def weights(rows: list[str]) -> Counter[int]:
    return Counter(word.bit_count() for word in span(rows))


def dominated(row: Histogram, bound: Histogram) -> bool:
    """For every t: the row's count up to t <= the histogram's."""
    places = sorted(row.keys() | bound.keys())
    return all(n >= 0 for n in accumulate(bound.get(e, 0) - row.get(e, 0) for e in places))


def stated(node: Node) -> Histogram:
    return {int(e): int(n) for e, n in node.items()}


def _rest(found: Histogram) -> Histogram:
    """All but the word itself."""
    return {w: n - (w == 0) for w, n in found.items() if n > (w == 0)}


def _odd(a: str, b: str) -> bool:
    return (int(a, 2) & int(b, 2)).bit_count() % 2 == 1


def _pivots(rows: list[str]) -> list[int]:
    """Leading places after elimination, one for each independent row."""
    found: dict[int, int] = {}
    for row in rows:
        word = int(row, 2)
        while word and word.bit_length() in found:
            word ^= found[word.bit_length()]
        if word:
            found[word.bit_length()] = word
    return list(found)


RULES = {
    "linear-code": linear_code, "coset-union": coset_union, "hypercube": hypercube, "reed-muller": reed_muller,
    "explicit-keys": explicit_keys, "paraboloid": paraboloid,
}  # fmt: skip
