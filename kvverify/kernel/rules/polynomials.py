"""A polynomial in one variable is positive, or not negative, on an interval. Proofs: docs/proofs/polynomials.md.

Coefficients are rationals, in ascending order. The interval is closed and may be infinite at either end. Two forms:
``bernstein`` reads positivity off the coefficients in a basis that is not negative on each piece of the interval;
``sturm`` counts roots. Source: Bernstein 1915, Polya 1928, Sturm 1829; proved on the page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import comb, gcd, lcm

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integer, rational, short, strings, text
from kvverify.kernel.facts import Fact, Goal, need

MAX_DEGREE = 128
MAX_ELEVATION = 512
MAX_PIECES = 1024

End = Fraction | None  # of an interval; None is infinite


@dataclass(frozen=True)
class Polynomial(Goal):
    """The polynomial is > 0 (``strict``) or >= 0 at every real x with low <= x <= high."""

    coefficients: tuple[Fraction, ...]
    low: End
    high: End
    strict: bool

    def said(self) -> str:
        """The polynomial, leading term first."""
        terms = [f"{c} x^{i}" if i > 1 else f"{c} x" if i else f"{c}" for i, c in enumerate(self.coefficients) if c]
        interval = f"x from {self.low if self.low is not None else '-inf'}"
        interval += f" to {self.high if self.high is not None else 'inf'}"
        return f"{short(' + '.join(reversed(terms)), 120)} {'>' if self.strict else '>='} 0 for {short(interval)}"

    def met_by(self, last: Fact) -> None:
        """The last step must have proved it of the same polynomial and interval."""
        need(isinstance(last, Positive) and last.goal == self, "the last step is about the claim's polynomial")


@dataclass(frozen=True)
class Positive(Fact):
    """What the goal says is true."""

    goal: Polynomial


def parse(node: Node) -> Polynomial:
    """The claim ``polynomial``. Raises Malformed."""
    fields(node, "statement", {"claim", "coefficients", "relation"}, {"from", "to"})
    coefficients = _coefficients(node["coefficients"], "coefficients")
    if node["relation"] not in (">", ">="):
        raise Malformed(f"statement.relation: expected > or >=, found {short(str(node['relation']))!r}")
    low, high = (rational(node[name], name) if name in node else None for name in ("from", "to"))
    if low is not None and high is not None and low >= high:
        raise Malformed("statement: 'from' is below 'to'")
    return Polynomial(coefficients, low, high, node["relation"] == ">")


def _coefficients(value: object, where: str) -> tuple[Fraction, ...]:
    """At least one, the last of them not 0."""
    texts = strings(value, where)
    if len(texts) > MAX_DEGREE + 1:
        raise OverLimit(f"limit: {where} of a degree above {MAX_DEGREE}")
    found = tuple(rational(item, f"{where}[{i}]") for i, item in enumerate(texts))
    if not found or not found[-1]:
        raise Malformed(f"{where}: expected coefficients, the last of them not 0")
    return found


def positive_polynomial(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Positive:
    """By the form that is given; for >= after taking out a square, p = square^2 rest, as the step states both."""
    fields(uses, "uses", set())
    fields(gives, "gives", set())
    goal = context.about(Polynomial)
    form = text(given.get("form"), "form")
    extra = {"bernstein": {"cuts", "elevation"}, "sturm": set[str]()}.get(form)
    if extra is None:
        raise Malformed(f"form: expected bernstein or sturm, found {short(form)!r}")
    fields(given, "given", {"form"} | extra, {"square", "rest"})
    polynomial = _decisive(context, goal, given)
    if form == "sturm":
        _sturm(context, goal, polynomial)
    else:
        cuts = [rational(item, f"cuts[{i}]") for i, item in enumerate(strings(given["cuts"], "cuts"))]
        _bernstein(context, goal, polynomial, cuts, integer(given["elevation"], "elevation"))
    return Positive(goal)


def _decisive(context: Context, goal: Polynomial, given: Node) -> list[int]:
    """The factor whose sign decides, up to a positive factor: p itself, or the rest beside a square."""
    whole, common = _whole(context, goal.coefficients)
    if not {"square", "rest"} & given.keys():
        return whole
    need(not goal.strict, "a square is taken out of a polynomial that need not be positive")
    fields(given, "given", {"square", "rest"}, set(given))
    square, below = _whole(context, _coefficients(given["square"], "square"))
    rest, beside = _whole(context, _coefficients(given["rest"], "rest"))
    product = _times(context, _times(context, square, square), rest)
    context.charge(_cost(whole, [below * below * beside]) + _cost(product, [common]))
    claimed = [c * below * below * beside for c in whole]
    need(claimed == [c * common for c in product], "square^2 rest = the polynomial")
    return rest


def _whole(context: Context, coefficients: tuple[Fraction, ...]) -> tuple[list[int], int]:
    """Integers, and what the coefficients were multiplied by."""
    context.charge(1 + (sum(c.denominator.bit_length() for c in coefficients) >> 5) ** 2)
    common = lcm(*(c.denominator for c in coefficients))
    return [c.numerator * (common // c.denominator) for c in coefficients], common


def _times(context: Context, a: list[int], b: list[int]) -> list[int]:
    context.charge(_cost(a, b))
    return [
        sum(a[i] * b[k - i] for i in range(max(0, k - len(b) + 1), min(k + 1, len(a))))
        for k in range(len(a) + len(b) - 1)
    ]


def _cost(a: list[int], b: list[int]) -> int:
    """Of multiplying every one of a by every one of b."""
    lengths = [1 + (max(c.bit_length() for c in f) >> 6) for f in (a, b)]
    return len(a) * len(b) * (4 + (lengths[0] * lengths[1] >> 4))


def _bernstein(context: Context, goal: Polynomial, polynomial: list[int], cuts: list[Fraction], elevation: int) -> None:
    """On each piece no coefficient of (1 + u)^(n + elevation) p(x(u)), u >= 0, is negative.

    x(u) = (low + high u)/(1 + u) on a finite piece; on a half line x = low + u and p is multiplied by (1 + u)^elevation
    alone. For > the first coefficient, and on a finite piece the last one, are the values at the piece's ends.
    """
    need(elevation >= 0, "elevation >= 0", elevation, 0)
    if elevation > MAX_ELEVATION or len(cuts) >= MAX_PIECES:
        raise OverLimit(f"limit: an elevation above {MAX_ELEVATION}, or more than {MAX_PIECES} pieces")
    ends: list[End] = [goal.low, *cuts, goal.high]
    inner = [end for end in ends if end is not None]
    need(all(a < b for a, b in pairwise(inner)), "cuts grow, inside of the interval")
    need(len(inner) >= 1, "a cut, where the interval is the whole line")
    for i, (low, high) in enumerate(pairwise(ends)):
        found = _piece(context, polynomial, low, high, elevation)
        need(min(found) >= 0, f"piece {i}: coefficients are not negative", min(found), 0)
        at_ends = found[:1] if low is None or high is None else [found[0], found[-1]]
        need(not goal.strict or min(at_ends) > 0, f"piece {i}: positive at its ends", min(at_ends), 0)


def _piece(context: Context, polynomial: list[int], low: End, high: End, elevation: int) -> list[int]:
    """The coefficients of one piece, up to a positive factor; a half line to the left is turned round."""
    if low is None:
        assert high is not None
        return _piece(context, [-c if i % 2 else c for i, c in enumerate(polynomial)], -high, None, elevation)
    degree = len(polynomial) - 1
    width = high - low if high is not None else Fraction(1)
    bits = max(c.bit_length() for c in polynomial) + (degree + 1) * _bits(low, width) + degree + elevation
    context.charge((degree + 1) * (degree + elevation + 1) * (8 + (bits >> 4)))
    taylor = _shifted(polynomial, low)
    scaled = [c * width.numerator**i * width.denominator ** (degree - i) for i, c in enumerate(taylor)]
    above = [elevation + (degree - i if high is not None else 0) for i in range(degree + 1)]
    return [
        sum(scaled[i] * comb(above[i], j - i) for i in range(min(j, degree) + 1)) for j in range(degree + elevation + 1)
    ]


def _bits(*numbers: Fraction) -> int:
    return sum(x.numerator.bit_length() + x.denominator.bit_length() for x in numbers)


def _shifted(polynomial: list[int], point: Fraction) -> list[int]:
    """A positive multiple of p(point + y), in powers of y: Horner's scheme on t^n p(z / t), then z = s + t y."""
    s, t, degree = point.numerator, point.denominator, len(polynomial) - 1
    found = [c * t ** (degree - i) for i, c in enumerate(polynomial)]
    for start in range(degree):
        for i in range(degree - 1, start - 1, -1):
            found[i] += s * found[i + 1]
    return [c * t**i for i, c in enumerate(found)]


def _sturm(context: Context, goal: Polynomial, polynomial: list[int]) -> None:
    """No root between the ends, and positive there. For >= a root at an end is divided out first."""
    if not goal.strict:
        for end, sign in ((goal.low, 1), (goal.high, -1)):
            if end is not None and not _sign(context, polynomial, end):
                polynomial = [sign * c for c in _divided(context, polynomial, end)]
    for end in (goal.low, goal.high):
        if end is not None:
            value = _sign(context, polynomial, end)
            need(value > 0, f"the polynomial is positive at {short(str(end))}", value, 0)
    if goal.low is None and goal.high is None:
        need(polynomial[-1] > 0, "the leading coefficient is positive", polynomial[-1], 0)
    chain = _chain(context, polynomial)
    left, right = (
        _variations([_sign(context, f, end) if end is not None else _far(f, up=up) for f in chain])
        for end, up in ((goal.low, False), (goal.high, True))
    )
    need(left == right, "as many variations of sign at both ends: no root between them", left, right)


def _chain(context: Context, polynomial: list[int]) -> list[list[int]]:
    """p, p', and each time the negated remainder of the last two, all up to positive factors."""
    chain = [polynomial, [i * c for i, c in enumerate(polynomial)][1:]]
    while chain[-1]:
        divisor, rest = chain[-1], list(chain[-2])
        lead = divisor[-1]
        while len(rest) >= len(divisor):
            context.charge(_cost(rest, [lead]) + _cost(divisor, [rest[-1]]))
            top, shift = (rest[-1] if lead > 0 else -rest[-1]), len(rest) - len(divisor)
            rest = [abs(lead) * c for c in rest]
            for i, c in enumerate(divisor):
                rest[shift + i] -= top * c
            while rest and not rest[-1]:
                rest.pop()
        if rest:
            context.charge(len(rest) * (1 + (max(c.bit_length() for c in rest) >> 7)) ** 2)
        content = gcd(*rest)
        chain.append([-c // content for c in rest])
    return chain[:-1]


def _divided(context: Context, polynomial: list[int], root: Fraction) -> list[int]:
    """p / (x - root), where root is one, up to a positive factor."""
    return _whole(context, tuple(_horner(context, polynomial, root)[1:]))[0]


def _horner(context: Context, polynomial: list[int], point: Fraction) -> list[Fraction]:
    """The value at the point, then the coefficients of the quotient by x - point, lowest first."""
    bits = max(c.bit_length() for c in polynomial) + len(polynomial) * _bits(point)
    context.charge(len(polynomial) * (8 + (bits >> 7) ** 2))
    found = [Fraction(polynomial[-1])]
    for c in reversed(polynomial[:-1]):
        found.append(found[-1] * point + c)
    return found[::-1]


def _sign(context: Context, polynomial: list[int], point: Fraction) -> int:
    value = _horner(context, polynomial, point)[0]
    return (value > 0) - (value < 0)


def _far(polynomial: list[int], *, up: bool) -> int:
    """The sign at infinity, or at minus infinity."""
    turned = polynomial[-1] if up or len(polynomial) % 2 else -polynomial[-1]
    return (turned > 0) - (turned < 0)


def _variations(signs: list[int]) -> int:
    kept = [sign for sign in signs if sign]
    return sum(a != b for a, b in pairwise(kept))


RULES: dict[str, Rule] = {"positive-polynomial": positive_polynomial}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"polynomial": parse}
