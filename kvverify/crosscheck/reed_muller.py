"""Reed-Muller codes: weights from the canonical form of each quadratic coset, letters taken away one by one."""

from __future__ import annotations

from collections import Counter

from kvverify.crosscheck import weights
from kvverify.crosscheck.facts import Keys, Rule
from kvverify.crosscheck.goal import Fact, must
from kvverify.crosscheck.keys import sign_keys
from kvverify.crosscheck.settle import Case, within
from kvverify.kernel.document import Node, counts, fields, integer

_VARIABLES = 10


def reed_muller(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """The whole weight distribution of RM(order, variables), shortened and punctured."""
    fields(given, "given", {"order", "variables", "shortened", "punctured"})
    order, m, short, cut = (integer(given[name], name) for name in ("order", "variables", "shortened", "punctured"))
    stated = counts(fields(gives, "gives", {"weights"})["weights"], "weights")
    must(0 <= order < m and min(short, cut) >= 0, "an order below the number of variables, letters to remove")
    must(short + cut <= 3 and (m > 2 or short + cut < 1 << m), "at most three letters removed, and not all")
    within(m <= _VARIABLES, f"words of more than 2^{_VARIABLES} bits")
    within(order <= 2 or m - order <= 3, f"RM({order}, {m})")
    length = 1 << m
    found = _code_weights(min(order, m - 1 - order), m)
    if order > m - 1 - order:
        found = weights.macwilliams(length, found)
    for _ in range(short):  # transitive: each word is 0 at its share of the letters
        found = {w: a * (length - w) // length for w, a in found.items() if w < length}
        length -= 1
    for _ in range(cut):
        fewer: Counter[int] = Counter()
        for w, a in found.items():
            fewer[w] += a * (length - w) // length
            fewer[w - 1] += a * w // length
        found = {w: a for w, a in fewer.items() if a}
        length -= 1
    must(found[0] == 1, "one word is zero where letters are left")
    size = sum(found.values())
    for weight in sorted((found.keys() | stated.keys()) - {0}):
        left, right = found.get(weight, 0), stated.get(weight, 0)
        must(left == right, f"{left} codewords have weight {weight}, stated are {right}")
    return sign_keys(case, size, length, {w: a for w, a in found.items() if w and a})


def _code_weights(order: int, m: int) -> dict[int, int]:
    """By the sums of (-1)^f over all points, for f a sum of h products of variables and any affine function."""
    if order == 0:
        return {0: 1, 1 << m: 1}
    found: Counter[int] = Counter()
    for rank, forms in enumerate(_forms(m)[: 1 if order == 1 else None]):
        sums = Counter({1: 1, -1: 1})  # the constant
        for factor in [{2: 3, -2: 1}] * rank + [{2: 1, 0: 1}] * (m - 2 * rank):  # x y + a x + b y; a x
            product: Counter[int] = Counter()
            for s, a in sums.items():
                for t, b in factor.items():
                    product[s * t] += a * b
            sums = product
        for s, a in sums.items():
            found[((1 << m) - s) // 2] += forms * a
    return {w: a for w, a in found.items() if a}


def _forms(m: int) -> list[int]:
    """Alternating m x m matrices of rank 0, 2, ..: a new row in the span of the others keeps the rank, others add 2."""
    numbers = [1]
    for size in range(1, m):
        longer = [*numbers, 0]
        for h in range(len(longer)):
            kept = numbers[h] << 2 * h if h < len(numbers) else 0
            longer[h] = kept + (numbers[h - 1] * ((1 << size) - (1 << 2 * h - 2)) if h else 0)
        numbers = longer[: (size + 1) // 2 + 1]
    return numbers


RULES: dict[str, Rule] = {"reed-muller": reed_muller}
