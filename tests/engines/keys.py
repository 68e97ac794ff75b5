"""Steps that make keys: histograms are counts, not real numbers, and are taken as they are stated ("taken").

What follows from them in closed form (size, unit, own key, pad) is computed here, by the table of docs/format.md.
"""

from __future__ import annotations

from collections import Counter
from math import comb, isqrt

from gmpy2 import mpq

from tests.engines.facts import Keys, Node
from tests.engines.interval import Case, must


def _histogram(node: Node) -> dict[int, int]:
    return {int(e): int(n) for e, n in node.items()}


def _signs(case: Case, size: int, length: int, histogram: dict[int, int]) -> Keys:
    unit = mpq(length, 2)
    four = length & (length - 1) == 0 and length.bit_length() % 2 == 1
    if case.problem.body == "ball" and case.problem.bf16 and not four:
        unit *= mpq(128, 127)
    return Keys(size, length, histogram, unit, mpq(length, 2), length, True, True)


def linear_code(case: Case, uses: Node, given: Node, gives: Node) -> Keys:
    case.taken = True
    rows = given["generator"]
    return _signs(case, 1 << len(rows), len(rows[0]), _histogram(gives["weights"]))


def coset_union(case: Case, uses: Node, given: Node, gives: Node) -> Keys:
    case.taken = True
    words = given["representatives"]
    return _signs(case, len(words) << len(given["generator"]), len(words[0]), _histogram(gives["weights"]))


def reed_muller(case: Case, uses: Node, given: Node, gives: Node) -> Keys:
    case.taken = True
    histogram = _histogram(gives["weights"])
    length = (1 << int(given["variables"])) - int(given["shortened"]) - int(given["punctured"])
    return _signs(case, 1 + sum(histogram.values()), length, histogram)


def hypercube(case: Case, uses: Node, given: Node, gives: Node) -> Keys:
    """Binomials, so nothing is taken."""
    dim = int(given["dimension"])
    must(int(gives["size"]) == 1 << dim, "size = 2^dimension")
    return _signs(case, 1 << dim, dim, {w: comb(dim, w) for w in range(1, dim + 1)})


def explicit_keys(case: Case, uses: Node, given: Node, gives: Node) -> Keys:
    case.taken = True
    keys = [[int(x) for x in row.split(" ")] for row in given["keys"]]
    squares = [sum(x * x for x in key) for key in keys]
    largest, one_norm = max(abs(x) for key in keys for x in key), max(sum(map(abs, key)) for key in keys)
    bf16, ball = case.problem.bf16, case.problem.body == "ball"
    power = 1
    while power * power < max(squares) if ball else power < largest:
        power *= 2
    of_ball, of_cube = (power * power, power * one_norm) if bf16 else (max(squares), largest * one_norm)
    exact = all(abs(x) // (x & -x) < 256 for key in keys for x in key if x)
    shortest = min(squares)
    histogram = _histogram(gives["exponents"])
    return Keys(
        len(keys), len(keys[0]), histogram, mpq(of_ball if ball else of_cube), mpq(shortest), 2 * shortest, exact
    )


def paraboloid(case: Case, uses: Node, given: Node, gives: Node) -> Keys:
    """The theta product by convolution, one coordinate after the other."""
    side, dim, cutoff = (int(given[name]) for name in ("side", "dimension", "cutoff"))
    size, top = side ** (dim - 1), (dim - 1) * (side - 1) ** 2
    must(int(gives["size"]) == size, "size = side^(dimension - 1)")
    one = Counter(t * t for t in range(1 - side, side))
    product = Counter({0: 1})
    for _ in range(dim - 1):
        step: Counter[int] = Counter()
        for e, n in product.items():
            for f, m in one.items():
                if e + f <= cutoff:
                    step[e + f] += n * m
        product = step
    del product[0]
    further = size - 1 - sum(product.values())
    if further > 0:
        product[cutoff + 1] = further
    if case.problem.body == "ball":
        own, unit = isqrt(top + top * top), isqrt((4 * top + 1) * (top + top * top)) + 1
    else:
        own, unit = top, top * (2 * (dim - 1) * (side - 1) + 1)
    return Keys(size, dim, dict(product), mpq(unit), mpq(own), own, False)


RULES = {
    "linear-code": linear_code, "coset-union": coset_union, "reed-muller": reed_muller, "hypercube": hypercube,
    "explicit-keys": explicit_keys, "paraboloid": paraboloid,
}  # fmt: skip
