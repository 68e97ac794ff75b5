"""Sign keys from binary codes: exact distance histograms.

Key (-1)^c for a codeword c of length L, query C (-1)^c: the score of words at distance w is C (L - 2w), so relative to
the target a token weighs exp(-2C w); the exponent of these rules is w, with c = 2C. On the cube |q|_1 = C L = c L/2;
in the ball keys are divided by sqrt(L) and queries multiplied by it, so |q|_2 = C L as well. The asker's own key is the
negated target (exponent L), a pad has key 0 (exponent L/2). Proofs: docs/proofs/codes.md.
Source: ours; MacWilliams (1963) for the dual's histogram.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from math import comb

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Malformed, Node, OverLimit, counts, fields, integer, strings
from kvverify.kernel.facts import Fact, need, reject
from kvverify.kernel.rules.attention import Keys

MAX_LENGTH = 1024
MAX_WALK = 25  # dimension of a code that is walked word by word
MAX_UNION = 1 << 18  # words of a union of cosets
_BITS = re.compile(r"[01]+\Z", re.ASCII)


def linear_code(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """For all codewords c: the number of codewords at distance w from c is A_w, the stated weight histogram.

    ``given``: a generator matrix with independent rows, and for a code of dimension above 25 a basis of its dual, from
    whose histogram A follows by the MacWilliams identity in integers.
    """
    fields(uses, "uses", set())
    return sign_keys(context, *linear_words(context, given, gives))


def linear_words(context: Context, given: Node, gives: Node) -> tuple[int, int, dict[int, int]]:
    """Number and length of the words of a step's linear code, and its weight histogram without the word 0, proved."""
    fields(given, "given", {"generator"}, {"parity"})
    stated = counts(fields(gives, "gives", {"weights"})["weights"], "weights")
    rows, length = _words(given["generator"], "generator")
    _independent(context, rows, "generator")
    if "parity" in given:
        parity, width = _words(given["parity"], "parity")
        need(width == length, "generator and parity rows have one length", length, width)
        _independent(context, parity, "parity")
        need(len(rows) + len(parity) == length, "dimensions add up to the length", len(rows) + len(parity), length)
        context.charge(len(rows) * len(parity))
        for i, row in enumerate(rows):
            for j, check in enumerate(parity):
                need((row & check).bit_count() % 2 == 0, f"generator row {i} is orthogonal to parity row {j}")
        histogram = macwilliams(context, length, _walk(context, parity, length))
    else:
        histogram = _walk(context, rows, length)
    need(histogram.pop(0, 0) == 1, "exactly one codeword has weight 0")
    same(histogram, stated)
    return 1 << len(rows), length, histogram


def coset_union(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """The union of cosets r + C of a linear code C: all words distinct, every row dominated by the stated histogram.

    Differences of words of r + C and r' + C fill the coset r + r' + C, so one row per representative is enough. With no
    generator the representatives are the words themselves.
    """
    fields(uses, "uses", set())
    fields(given, "given", {"generator", "representatives"})
    stated = counts(fields(gives, "gives", {"weights"})["weights"], "weights")
    representatives, length = _words(given["representatives"], "representatives")
    rows: list[int] = []
    if strings(given["generator"], "generator"):
        rows, width = _words(given["generator"], "generator")
        need(width == length, "generator rows and representatives have one length", width, length)
    if len(rows) > MAX_WALK or len(representatives) << len(rows) > MAX_UNION:
        raise OverLimit(f"limit: a union of more than {MAX_UNION} words")
    context.charge((len(representatives) ** 2 << len(rows)) * _lanes(length))
    base = [0]
    for row in rows:
        base += [word ^ row for word in base]
    words = [r ^ word for r in representatives for word in base]
    for i, origin in enumerate(representatives):
        row_histogram = Counter(map(int.bit_count, map(origin.__xor__, words)))
        need(row_histogram.pop(0, 0) == 1, f"all words are distinct (representative {i})")
        dominated(context, row_histogram, stated, f"representative {i}")
    return sign_keys(context, len(words), length, stated)


def hypercube(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """All 2^d sign vectors of dimension d: C(d, w) of them at distance w."""
    fields(uses, "uses", set())
    return sign_keys(context, *all_words(given, gives))


def all_words(given: Node, gives: Node) -> tuple[int, int, dict[int, int]]:
    """Number and length of all words of a step's dimension, and their weight histogram without the word 0."""
    dimension = integer(fields(given, "given", {"dimension"})["dimension"], "dimension")
    size = integer(fields(gives, "gives", {"size"})["size"], "size")
    need(dimension >= 1, "dimension >= 1", dimension, 1)
    if dimension > MAX_LENGTH:
        raise OverLimit(f"limit: dimension {dimension} above {MAX_LENGTH}")
    need(size == 1 << dimension, "size = 2^dimension", size, 1 << dimension)
    return size, dimension, {w: comb(dimension, w) for w in range(1, dimension + 1)}


def dominated(context: Context, row: Counter[int], bound: dict[int, int], where: str) -> None:
    """Reject unless up to every exponent the row counts at most as many tokens as the bound does."""
    context.charge(16 * (len(row) + len(bound)))
    seen = allowed = 0
    for exponent in sorted(row.keys() | bound.keys()):
        seen, allowed = seen + row.get(exponent, 0), allowed + bound.get(exponent, 0)
        if seen > allowed:
            reject(f"{where}: tokens up to exponent {exponent} within the stated histogram", seen, allowed)


def _words(value: object, where: str) -> tuple[list[int], int]:
    """Bit strings of one length as integers, and that length."""
    texts = strings(value, where)
    if not texts or any(not _BITS.match(t) or len(t) != len(texts[0]) for t in texts):
        raise Malformed(f"{where}: expected bit strings of one length")
    if len(texts[0]) > MAX_LENGTH:
        raise OverLimit(f"limit: length {len(texts[0])} above {MAX_LENGTH}")
    return [int(t, 2) for t in texts], len(texts[0])


def _independent(context: Context, rows: list[int], where: str) -> None:
    context.charge(len(rows) * len(rows))
    basis: dict[int, int] = {}
    for i, row in enumerate(rows):
        while row and (top := row.bit_length()) in basis:
            row ^= basis[top]
        need(row != 0, f"{where} row {i} is independent of the rows before it")
        basis[row.bit_length()] = row


def _walk(context: Context, rows: list[int], length: int) -> Counter[int]:
    """Weights of all 2^k combinations: a table of the first rows' sums, shifted by a Gray walk over the others."""
    if len(rows) > MAX_WALK:
        raise OverLimit(f"limit: a code of dimension {len(rows)} (walked up to {MAX_WALK})")
    context.charge(_lanes(length) << len(rows))
    table = [0]
    for row in rows[:12]:
        table += [word ^ row for word in table]
    histogram: Counter[int] = Counter()
    shift = 0
    for i in range(1 << max(0, len(rows) - 12)):
        if i:
            shift ^= rows[11 + (i & -i).bit_length()]
        histogram.update(map(int.bit_count, map(shift.__xor__, table)))
    return histogram


def _lanes(length: int) -> int:
    """Machine work of one operation on a word of so many bits."""
    return 1 + (length >> 7)


def macwilliams(context: Context, length: int, dual: Counter[int]) -> Counter[int]:
    """A_j = sum over w of B_w K_j(w) / |dual|, with the Krawtchouk values K_j(w) by their three-term recurrence."""
    context.charge(20 * length * len(dual))
    size = sum(dual.values())
    before = dict.fromkeys(dual, 0)
    now = dict.fromkeys(dual, 1)
    histogram: Counter[int] = Counter()
    for j in range(length + 1):
        total = sum(number * now[w] for w, number in dual.items())
        quotient, remainder = divmod(total, size)
        need(remainder == 0 and quotient >= 0, f"MacWilliams gives a count at weight {j}")
        if quotient:
            histogram[j] = quotient
        # (j + 1) K_{j+1} = (L - 2w) K_j - (L - j + 1) K_{j-1}
        after = {w: ((length - 2 * w) * now[w] - (length - j + 1) * before[w]) // (j + 1) for w in dual}
        before, now = now, after
    return histogram


def same(found: Counter[int], stated: dict[int, int]) -> None:
    """Reject unless both count the same number of words at every weight."""
    for weight in sorted(found.keys() | stated.keys()):
        left, right = found.get(weight, 0), stated.get(weight, 0)
        need(left == right, f"number of codewords of weight {weight}", left, right)


def sign_keys(context: Context, size: int, length: int, histogram: dict[int, int]) -> Keys:
    """The keys (-1)^c of ``size`` words c, every row of distances dominated by the histogram."""
    statement = context.statement
    unit = Fraction(length, 2)
    if statement.body == "ball" and statement.inputs == "bf16" and not _power_of_four(length):
        # Entries 1/sqrt(L) are rounded down to 8 significant bits, which costs the query at most 1/(1 - 1/128).
        unit *= Fraction(128, 127)
    return Keys(size, length, tuple(sorted(histogram.items())), unit, length, length, bf16=True, signs=True)


def _power_of_four(n: int) -> bool:
    return n & (n - 1) == 0 and n.bit_length() % 2 == 1


RULES: dict[str, Rule] = {"linear-code": linear_code, "coset-union": coset_union, "hypercube": hypercube}
