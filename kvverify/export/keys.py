"""Key families as the certificate states them: sizes, histograms, costs. That they are true is the kernel's to say."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import comb, isqrt

from flint import fmpz_series

from kvverify.export.expression import Expression, Number, at_most
from kvverify.export.facts import Case, Fact, Keys
from kvverify.kernel.document import Malformed, OverLimit, counts, integers, strings

_LENGTH = 1024
_SHORT = Fraction(128, 127)  # what numbers of 8 significant bits may cost a query


def linear_code(case: Case) -> Fact:
    """2^rows words, at the stated distances."""
    rows, length = _words(case, "generator")
    case.kept("the stated weights are those of the code that the generator spans, whose rows are independent")
    return sign_keys(case, 1 << rows, length, _histogram(case, "weights"))


def coset_union(case: Case) -> Fact:
    """Representatives times 2^rows words, no nearer than the stated distances."""
    size, length = _words(case, "representatives")
    rows = len(strings(case.step.given.get("generator"), "generator"))
    if rows > _LENGTH:
        raise OverLimit(f"limit: a generator of more than {_LENGTH} rows")
    case.kept("the words are distinct, and the stated weights dominate every row of their distances")
    return sign_keys(case, size << rows, length, _histogram(case, "weights"))


def hypercube(case: Case) -> Fact:
    """All sign vectors: binomial coefficients."""
    dimension = case.count("dimension")
    if dimension > _LENGTH:
        raise OverLimit(f"limit: dimension above {_LENGTH}")
    case.kept("the binomial coefficients count the sign vectors at each distance, 2^dimension in all")
    histogram = {w: comb(dimension, w) for w in range(1, dimension + 1)}
    return sign_keys(case, 1 << dimension, dimension, histogram)


def reed_muller(case: Case) -> Fact:
    """As many words as the stated weights count, and the zero word."""
    variables, removed = case.count("variables"), case.count("shortened") + case.count("punctured")
    if variables >= _LENGTH.bit_length():
        raise OverLimit(f"limit: length 2^{variables} above {_LENGTH}")
    if removed >= 1 << variables:
        raise Malformed("given: expected fewer removed letters than there are")
    histogram = _histogram(case, "weights")
    case.kept("the stated weights are those of the Reed-Muller code without the removed letters")
    return sign_keys(case, 1 + sum(histogram.values()), (1 << variables) - removed, histogram)


def explicit_keys(case: Case) -> Fact:
    """Integer keys with queries along themselves."""
    keys = [integers(row, "keys") for row in strings(case.step.given.get("keys"), "keys")]
    if not keys or not any(map(any, keys)):
        raise Malformed("given.keys: expected keys that are not all 0")
    case.kept("every key scores highest with its own query, and the stated exponents dominate every row")
    squares = [sum(x * x for x in key) for key in keys]
    shortest, largest = min(squares), max(abs(x) for key in keys for x in key)
    if case.statement.body == "ball":
        divisor = _power_above(isqrt(max(squares) - 1) + 1) ** 2 if case.statement.bf16 else max(squares)
        cost = Number(Fraction(divisor)) ** 2
    else:
        divisor = _power_above(largest) if case.statement.bf16 else largest
        cost = Number(Fraction(divisor)) * max(sum(map(abs, key)) for key in keys)
    _exact(case)
    histogram = _histogram(case, "exponents")
    return Keys(len(keys), len(keys[0]), tuple(sorted(histogram.items())), cost, 2 * shortest, 2 * shortest)


def paraboloid(case: Case) -> Fact:
    """Keys (a, -|a|^2): the theta product up to the cutoff, all further keys just beyond it."""
    side, dim, cutoff = case.count("side"), case.count("dimension"), case.count("cutoff")
    if dim > _LENGTH or cutoff > _LENGTH or side.bit_length() > 64:
        raise OverLimit(f"limit: dimension or cutoff above {_LENGTH}, or side of over 64 bits")
    if side < 2 or dim < 2:
        raise Malformed("given: expected side and dimension of at least 2")
    theta = [0] * (cutoff + 1)
    for t in range(min(side - 1, isqrt(cutoff)) + 1):
        theta[t * t] = 2 if t else 1
    product = fmpz_series(theta, prec=cutoff + 1) ** (dim - 1)
    histogram = {e: n for e in range(1, cutoff + 1) if (n := int(product[e]))}
    size = side ** (dim - 1)
    further = size - 1 - sum(histogram.values())
    if further > 0:
        histogram[cutoff + 1] = further
    case.kept("the theta product counts the points at each distance, side^(dimension - 1) in all")
    top = (dim - 1) * (side - 1) ** 2
    if case.statement.body == "ball":
        own, cost = isqrt(top + top * top), Number(Fraction(4 * top + 1)) * (top + top * top)
    else:
        own, cost = top, Number(Fraction(top)) * (2 * (dim - 1) * (side - 1) + 1)
    _exact(case)
    return Keys(size, dim, tuple(histogram.items()), cost, 2 * own, own)


def shrunk_keys(case: Case) -> Fact:
    """Room in the ball beside the keys: both norms' squares add up to 1 at most."""
    keys = case.premise("keys", Keys)
    share, beside = case.given("code_radius"), case.gives("payload_radius")
    least = Fraction(1, 1 << 64)
    case.leaf("code", "code_radius >= 2^-64", at_most(least, share))
    case.leaf("payload", "payload_radius >= 2^-64", at_most(least, beside))
    grown = Number(beside) * Fraction(257, 256) if case.statement.bf16 else Number(beside)
    case.leaf("norm", "code_radius^2 + payload_radius^2 <= 1", at_most(Number(share) ** 2 + grown**2, 1))
    if case.statement.bf16:
        case.kept("keys that are shrunk in bf16 are sign keys")
        cost = (Number(Fraction(keys.dim)) / 2 * _SHORT) ** 2
        return replace(keys, cost=cost / Number(share) ** 2, beside=beside)
    return replace(keys, cost=keys.cost / Number(share) ** 2, beside=beside)


def sign_keys(case: Case, size: int, length: int, histogram: dict[int, int]) -> Keys:
    """Sign vectors with queries along themselves: half a logit a coordinate at scale 1."""
    unit: Expression = Number(Fraction(length)) / 2
    if case.statement.body == "ball":
        power_of_four = length & (length - 1) == 0 and length.bit_length() % 2
        unit = (unit * _SHORT if case.statement.bf16 and not power_of_four else unit) ** 2
    return Keys(size, length, tuple(sorted(histogram.items())), unit, length, length, signs=True)


def _words(case: Case, name: str) -> tuple[int, int]:
    """How many words, and their length."""
    words = strings(case.step.given.get(name), f"given.{name}")
    if not words or len({len(word) for word in words}) != 1 or not words[0]:
        raise Malformed(f"given.{name}: expected words of one length")
    if len(words[0]) > _LENGTH or len(words) > 1 << 18:
        raise OverLimit(f"limit: words of more than {_LENGTH} bits, or more than 2^18 of them")
    return len(words), len(words[0])


def _histogram(case: Case, name: str) -> dict[int, int]:
    return counts(case.step.gives.get(name), f"gives.{name}")


def _exact(case: Case) -> None:
    if case.statement.bf16:
        case.kept("the keys are exact in bf16")


def _power_above(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()
