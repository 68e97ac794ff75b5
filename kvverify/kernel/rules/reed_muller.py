"""Reed-Muller codes, whose weights follow from formulas: exact histograms of codes that no walk reaches.

A word of RM(r, m) is the table of a polynomial of degree at most r in m variables over GF(2). Those of degree at most 2
fall into cosets of RM(1, m), one for each alternating bilinear form, and a coset's weights depend on the form's rank
alone; RM(m-1-r, m) is the dual of RM(r, m). Keys, queries and pads are those of codes.py.
Proofs: docs/proofs/reed_muller.md.
Source: MacWilliams and Sloane, The Theory of Error-Correcting Codes, ch. 13 and 15 (Sloane and Berlekamp 1970); for
removed letters the three-fold transitivity of the affine group, ch. 13.
"""

from __future__ import annotations

from collections import Counter
from math import comb, perm

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Node, OverLimit, counts, fields, integer
from kvverify.kernel.facts import Fact, need
from kvverify.kernel.rules.attention import Keys
from kvverify.kernel.rules.codes import MAX_LENGTH, macwilliams, same, sign_keys

MAX_ORDER = 2  # of the code or of its dual
MAX_REMOVED = 3  # the affine group of the binary cube moves any three letters to any other three, no four


def reed_muller(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """RM(order, variables) without some letters: for all its words c, A_w others lie at distance w from c.

    Of any ``shortened`` + ``punctured`` letters, at most three in all, the words that are 0 at the first kind are kept
    and the letters removed. A is the stated histogram; order or variables - 1 - order is at most 2.
    """
    fields(uses, "uses", set())
    names = ("order", "variables", "shortened", "punctured")
    node = fields(given, "given", set(names))
    order, m, shortened, punctured = (integer(node[name], name) for name in names)
    stated = counts(fields(gives, "gives", {"weights"})["weights"], "weights")
    need(0 <= order < m, "0 <= order < variables", order, m)
    need(shortened >= 0 and punctured >= 0, "numbers of removed letters are not negative")
    removed = shortened + punctured
    need(removed <= MAX_REMOVED, "at most three letters are removed", removed, MAX_REMOVED)
    if m >= MAX_LENGTH.bit_length():
        raise OverLimit(f"limit: length 2^{m} above {MAX_LENGTH}")
    length, low = 1 << m, min(order, m - 1 - order)
    need(removed < length, "fewer letters are removed than there are", removed, length)
    if low > MAX_ORDER:
        raise OverLimit(f"limit: RM({order}, {m}), neither it nor its dual of order at most {MAX_ORDER}")
    histogram = _weights(low, m)
    if order > low:
        histogram = macwilliams(context, length, histogram)
    histogram = _without(context, histogram, length, shortened, punctured)
    size = sum(histogram.values())
    need(histogram.pop(0) == 1, "exactly one codeword has weight 0")
    same(histogram, stated)
    return sign_keys(context, size, length - removed, histogram)


def _weights(order: int, m: int) -> Counter[int]:
    """{weight: words} of RM(order, m) for an order up to 2, by the ranks 2h of alternating forms."""
    half = 1 << m - 1
    if order == 0:
        return Counter({0: 1, 2 * half: 1})
    histogram: Counter[int] = Counter()
    forms = 1
    for h in range(m // 2 + 1 if order == 2 else 1):
        if h:
            forms = forms * ((1 << m - 2 * h + 2) - 1) * ((1 << m - 2 * h + 1) - 1) << 2 * h - 2
            forms //= (1 << 2 * h) - 1
        bent = forms << 2 * h
        histogram[half - (half >> h)] += bent
        histogram[half + (half >> h)] += bent
        histogram[half] += 2 * ((forms << m) - bent)
    return +histogram


def _without(context: Context, histogram: Counter[int], length: int, shortened: int, punctured: int) -> Counter[int]:
    """Of the A_w words of weight w, those that are 0 at the shortened letters, by their ones at the punctured."""
    context.charge(64 * len(histogram))
    removed = shortened + punctured
    result: Counter[int] = Counter()
    for weight, number in histogram.items():
        for ones in range(punctured + 1):
            placed = comb(punctured, ones) * perm(weight, ones) * perm(length - weight, removed - ones)
            quotient, remainder = divmod(number * placed, perm(length, removed))
            need(remainder == 0, f"words of weight {weight} spread evenly over the letters")
            result[weight - ones] += quotient
    return +result


RULES: dict[str, Rule] = {"reed-muller": reed_muller}
