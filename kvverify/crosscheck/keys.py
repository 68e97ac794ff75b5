"""Keys whose distances are known: codes, unions of cosets, the hypercube, integer keys, the paraboloid."""

from __future__ import annotations

from math import isqrt

import numpy as np
from flint import fmpq, fmpz, fmpz_poly, fmpz_series

from kvverify.crosscheck import weights
from kvverify.crosscheck.facts import Keys, Rule
from kvverify.crosscheck.goal import Fact, must
from kvverify.crosscheck.settle import Case, within
from kvverify.kernel.document import Malformed, Node, counts, fields, integer, integers, strings

_LENGTH = 1024
_WALK = 25
_UNION = 1 << 18
_PAIRS = 1 << 30  # 64-bit words of a union's rows, or products of a Gram matrix


def linear_code(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """A linear code's words as keys."""
    return sign_keys(case, *linear_words(given, gives))


def linear_words(given: Node, gives: Node) -> tuple[int, int, dict[int, int]]:
    """The whole weight distribution, by a transform of the columns; through the dual where the code is too large.

    Number and length of the words, and how many have each weight above 0.
    """
    fields(given, "given", {"generator"}, {"parity"})
    stated = _counts(gives, "weights")
    generator = _bits(given["generator"], "generator")
    k, length = generator.shape
    if k <= _WALK:
        found = weights.code_weights(generator)
    else:
        within("parity" in given, f"dimension {k} without a parity check")
        parity = _bits(given["parity"], "parity")
        within(len(parity) <= _WALK, f"dimensions {k} and {len(parity)}")
        must(parity.shape == (length - k, length), "the dual's dimension and the code's add up to the length")
        must(weights.rank(generator) == k, "the rows of the generator are independent")
        must(weights.orthogonal(generator, parity), "generator and parity check are orthogonal")
        dual = weights.code_weights(parity)
        must(dual[0] == 1, "the rows of the parity check are independent")
        found = weights.macwilliams(length, dual)
    must(found.pop(0) == 1, "exactly one message has the zero word")
    for weight in sorted(found.keys() | stated.keys()):
        left, right = found.get(weight, 0), stated.get(weight, 0)
        must(left == right, f"{left} codewords have weight {weight}, stated are {right}")
    return 1 << k, length, found


def coset_union(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """Words distinct, and from every representative no more words near than the stated histogram allows."""
    fields(given, "given", {"generator", "representatives"})
    stated = _counts(gives, "weights")
    representatives = _bits(given["representatives"], "representatives")
    length = representatives.shape[1]
    rows = strings(given["generator"], "generator")
    generator = _bits(rows, "generator") if rows else np.zeros((0, length), np.uint8)
    must(generator.shape[1] == length, "generator and representatives have one length")
    within(len(generator) <= _WALK and len(representatives) << len(generator) <= _UNION, f"a union over {_UNION} words")
    words = weights.union(generator, representatives)
    within(len(representatives) * words.size <= _PAIRS, f"{len(representatives)} rows of {len(words)} words")
    allowed = np.cumsum([0, *(min(stated.get(w, 0), _UNION) for w in range(1, length + 1))])
    origins = weights.pack(representatives)
    for i, row in enumerate(weights.distances(words, origins, length)):
        must(row[0] == 1, f"the words are distinct (representative {i})")
        near = np.cumsum(row) - 1
        must(bool((near <= allowed).all()), f"the histogram dominates the row of representative {i}")
    return sign_keys(case, len(words), length, stated)


def hypercube(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """All sign vectors as keys."""
    return sign_keys(case, *all_words(given, gives))


def all_words(given: Node, gives: Node) -> tuple[int, int, dict[int, int]]:
    """All words of a length: distances are counted by (1 + x)^d."""
    dimension = integer(fields(given, "given", {"dimension"})["dimension"], "dimension")
    size = integer(fields(gives, "gives", {"size"})["size"], "size")
    must(dimension >= 1, "dimension >= 1")
    within(dimension <= _LENGTH, f"dimension above {_LENGTH}")
    numbers = (fmpz_poly([1, 1]) ** dimension).coeffs()
    must(size == sum(map(int, numbers)), "size = sum of the binomials")
    return size, dimension, {w: int(n) for w, n in enumerate(numbers) if w}


def explicit_keys(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """The Gram matrix of integer keys: row by row, the j-th nearest token is no nearer than the stated j-th."""
    fields(given, "given", {"keys"})
    stated = _counts(gives, "exponents")
    rows = [integers(row, f"keys[{i}]") for i, row in enumerate(strings(given["keys"], "keys"))]
    must(len(rows) >= 1 and len({len(row) for row in rows}) == 1, "keys of one dimension, at least one")
    size, dim = len(rows), len(rows[0])
    within(8 * size * size * (dim + 8) <= _PAIRS and dim <= _LENGTH, f"{size} explicit keys of dimension {dim}")
    largest = max(abs(x) for row in rows for x in row)
    within(largest < 1 << 24, "a key entry of more than 24 bits")  # so that all that follows is below 2^60
    keys = np.array(rows, np.int64)
    squares = (keys * keys).sum(axis=1)
    ends = np.array(sorted(stated), np.int64)
    allowed = np.cumsum([0, *(min(stated[e], size) for e in sorted(stated))])
    for i in range(size):
        near = np.sort(np.delete(squares[i] - keys @ keys[i], i))
        must(bool((near >= 1).all()), f"key {i} scores highest under its own query")
        reached = allowed[np.searchsorted(ends, near, side="right")]
        must(bool((np.arange(1, size) <= reached).all()), f"the histogram dominates the row of key {i}")
    shortest = int(min(squares))
    must(shortest >= 1, "no key is zero")
    eight_bits = all((abs(x) // (x & -x)).bit_length() <= 8 for row in rows for x in row if x)
    square = _explicit_square(case, rows, largest, int(max(squares)))
    return Keys(size, dim, stated, square, 2 * shortest, 2 * shortest, eight_bits)


def _explicit_square(case: Case, rows: list[list[int]], largest: int, longest: int) -> fmpq:
    """Square of the largest logit at c = 1 after the division into the body, by a power of two for bf16."""
    if case.statement.body == "ball":
        divisor = longest if not case.statement.bf16 else _power_of_two(isqrt(longest - 1) + 1) ** 2
        return fmpq(divisor * longest)
    divisor = _power_of_two(largest) if case.statement.bf16 else largest
    return fmpq(divisor * max(sum(map(abs, row)) for row in rows)) ** 2


def _power_of_two(least: int) -> int:
    power = 1
    while power < least:
        power *= 2
    return power


def paraboloid(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Keys:
    """Keys (a, -|a|^2) under (2a, 1): exponents |a - a'|^2, counted by a power of a theta series up to the cutoff."""
    fields(given, "given", {"side", "dimension", "cutoff"})
    side, dim, cutoff = (integer(given[name], name) for name in ("side", "dimension", "cutoff"))
    size = integer(fields(gives, "gives", {"size"})["size"], "size")
    must(side >= 2 and dim >= 2 and cutoff >= 1, "side and dimension at least 2, cutoff at least 1")
    within(dim <= _LENGTH and cutoff <= 512 and side < 1 << 64, "dimension, cutoff or side of a paraboloid")
    must(size == int(fmpz(side) ** (dim - 1)), "size = side^(dimension - 1)")
    theta = [0] * (cutoff + 1)
    for t in range(-isqrt(cutoff), isqrt(cutoff) + 1):
        theta[t * t] += abs(t) < side
    product = fmpz_series([1], prec=cutoff + 1)
    for _ in range(dim - 1):
        product *= fmpz_series(theta, prec=cutoff + 1)
    near = {e: int(product[e]) for e in range(1, cutoff + 1) if product[e]}
    exponents = near | {cutoff + 1: max(0, size - 1 - sum(near.values()))}
    longest = (dim - 1) * (side - 1) ** 2
    norm = longest + longest**2  # of the longest key, squared
    if case.statement.body == "ball":
        own, square = isqrt(norm), fmpq((4 * longest + 1) * norm)
    else:
        own, square = longest, fmpq(longest * (2 * (dim - 1) * (side - 1) + 1)) ** 2
    return Keys(size, dim, exponents, square, 2 * own, own, bf16=False)


def sign_keys(case: Case, size: int, length: int, exponents: dict[int, int]) -> Keys:
    """Queries c/2 times the signs. In the ball an entry is 1/sqrt(L), for bf16 the 8-bit number a = m/2^s below it."""
    square = fmpq(length * length, 4)
    if case.statement.body == "ball" and case.statement.bf16:
        scale = 0
        while (entry := isqrt((1 << 2 * scale) // length)) < 128:
            scale += 1
        square = fmpq(length << 2 * scale, 4 * entry * entry)
    return Keys(size, length, exponents, square, length, length, bf16=True, signs=True)


def _counts(gives: Node, name: str) -> dict[int, int]:
    return counts(fields(gives, "gives", {name})[name], name)


def _bits(value: object, where: str) -> np.ndarray:
    """(rows, length) of 0 and 1."""
    texts = strings(value, where)
    if not texts or not texts[0] or any(len(t) != len(texts[0]) or set(t) - {"0", "1"} for t in texts):
        raise Malformed(f"{where}: expected bit strings of one length")
    within(len(texts[0]) <= _LENGTH, f"words of more than {_LENGTH} bits")
    return np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), -1) - 48


RULES: dict[str, Rule] = {
    "linear-code": linear_code, "coset-union": coset_union, "hypercube": hypercube,
    "explicit-keys": explicit_keys, "paraboloid": paraboloid,
}  # fmt: skip
