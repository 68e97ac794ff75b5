"""Integer keys with queries along themselves: explicit lists, and the paraboloid.

With query c k_i (c (2a, 1) for the paraboloid) a token l weighs exp(-c e_il) relative to the target, e_il an integer.
Keys are divided by a number that brings them into the body, queries multiplied by it: scores do not change, and the
logit on the whole body is |q|_1 (cube) or |q|_2 (ball) after that. Proofs: docs/proofs/codes.md.
Source: ours.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import isqrt
from operator import mul

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Node, OverLimit, counts, fields, integer, integers, strings
from kvverify.kernel.facts import Fact, need
from kvverify.kernel.rules.attention import Keys
from kvverify.kernel.rules.codes import dominated

MAX_ENTRY_BITS = 24  # squares of 1,024 entries stay below 2^60
MAX_CUTOFF = 512
MAX_DIMENSION = 1024


def explicit_keys(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """Integer keys k_i, queries c k_i, e_il = <k_i, k_i> - <k_i, k_l> >= 1: the stated histogram dominates every row.

    The asker's own key is -k_i (exponent 2 <k_i, k_i>), a pad has key 0 (exponent <k_i, k_i>).
    """
    fields(uses, "uses", set())
    fields(given, "given", {"keys"})
    stated = counts(fields(gives, "gives", {"exponents"})["exponents"], "exponents")
    texts = strings(given["keys"], "keys")
    need(len(texts) >= 1, "at least one key")
    keys = [integers(row, f"keys[{i}]") for i, row in enumerate(texts)]
    dim = len(keys[0])
    need(all(len(k) == dim for k in keys), "all keys have one dimension")
    largest = max(abs(x) for k in keys for x in k)
    if largest.bit_length() > MAX_ENTRY_BITS or dim > MAX_DIMENSION:
        raise OverLimit(
            f"limit: keys of more than {MAX_DIMENSION} entries, or an entry of more than {MAX_ENTRY_BITS} bits"
        )
    context.charge(len(keys) * len(keys) * (dim + 24))
    squares = [sum(map(mul, k, k)) for k in keys]
    for i, key in enumerate(keys):
        row = Counter(squares[i] - sum(map(mul, key, other)) for other in keys)
        row[0] -= 1  # the target itself
        closest = min(+row, default=1)
        need(closest >= 1, f"key {i} scores highest with its own query", closest, 1)
        dominated(context, +row, stated, f"key {i}")
    unit, exact = _unit(context, keys, largest, max(squares))
    shortest = min(squares)
    need(shortest >= 1, "no key is zero")
    return Keys(len(keys), dim, tuple(sorted(stated.items())), unit, 2 * shortest, 2 * shortest, bf16=exact)


def _unit(context: Context, keys: list[list[int]], largest: int, square: int) -> tuple[Fraction, bool]:
    """The logit on the body per unit of c, and whether the keys stay exact in bf16 after the division."""
    power = 1 << max(0, largest - 1).bit_length()
    short_entries = all((abs(x) // (x & -x)).bit_length() <= 8 for k in keys for x in k if x)
    bf16 = context.statement.inputs == "bf16"
    if context.statement.body == "ball":
        if not bf16:
            return Fraction(square), False
        power = 1 << max(0, isqrt(max(0, square - 1))).bit_length()
        return Fraction(power * power), short_entries
    divisor = power if bf16 else largest
    return Fraction(divisor * max(sum(map(abs, k)) for k in keys)), short_entries


def paraboloid(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """Keys (a, -|a|^2), a in {0..b-1}^(d-1), queries c (2a, 1): e = |a - a'|^2, so any number of keys at every d >= 2.

    Up to ``cutoff`` the histogram is that of the two-sided theta product (sum over |t| < b of x^(t^2))^(d-1); all
    further keys count at cutoff + 1. Own key and pad are the point (0, .., 0, -R), R = max |a|^2 (cube) or the floor of
    the largest key's norm (ball), so that their exponent is |a|^2 + R >= R.
    """
    fields(uses, "uses", set())
    fields(given, "given", {"side", "dimension", "cutoff"})
    side, dim, cutoff = (integer(given[name], name) for name in ("side", "dimension", "cutoff"))
    size = integer(fields(gives, "gives", {"size"})["size"], "size")
    need(side >= 2 and dim >= 2 and cutoff >= 1, "side >= 2, dimension >= 2, cutoff >= 1")
    if dim > MAX_DIMENSION or cutoff > MAX_CUTOFF or side.bit_length() > 64:
        raise OverLimit(f"limit: dimension above {MAX_DIMENSION}, cutoff above {MAX_CUTOFF} or side of over 64 bits")
    need(size == side ** (dim - 1), "size = side^(dimension - 1)", size, side ** (dim - 1))
    top = (dim - 1) * (side - 1) ** 2  # largest |a|^2
    if context.statement.body == "cube":
        unit, own = Fraction(top * (2 * (dim - 1) * (side - 1) + 1)), top
    else:
        own = isqrt(top + top * top)
        unit = Fraction(isqrt((4 * top + 1) * (top + top * top)) + 1)
    histogram = _theta(context, side, dim, cutoff)
    further = size - 1 - sum(histogram.values())
    if further > 0:
        histogram[cutoff + 1] = further
    return Keys(size, dim, tuple(sorted(histogram.items())), unit, 2 * own, own, bf16=False)


def _theta(context: Context, side: int, dim: int, cutoff: int) -> dict[int, int]:
    """Coefficients of x^1 .. x^cutoff of the theta product, by packing the polynomial into one integer."""
    width = (dim - 1) * (2 * side - 1).bit_length() + 1  # no coefficient reaches 2^width
    mask = (1 << width * (cutoff + 1)) - 1
    context.charge((width * (cutoff + 1) >> 6) ** 2 * 2 * dim.bit_length() // 64)
    base = 1 + sum(2 << width * t * t for t in range(1, min(side - 1, isqrt(cutoff)) + 1))
    product, power = 1, dim - 1
    while power:
        if power & 1:
            product = product * base & mask
        base = base * base & mask
        power >>= 1
    digits = (product >> width * s & ((1 << width) - 1) for s in range(1, cutoff + 1))
    return {s: n for s, n in enumerate(digits, 1) if n}


RULES: dict[str, Rule] = {"explicit-keys": explicit_keys, "paraboloid": paraboloid}
