"""Comparisons of real numbers that a short program computes. Proofs: docs/proofs/comparison.md. Source: textbook.

A program is a list of lines "operation operand operand ..": an operand is a rational, or @i for the value of line i,
counted from 0, of an earlier line. A value is kept as two rationals low <= x <= high: exactly (low = high) where the
operation is exact and the numbers short, else rounded outwards. What enclosures leave open is INCOMPLETE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import comb, factorial, isqrt
from typing import NoReturn

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integer, rational, short, strings
from kvverify.kernel.facts import Fact, Goal, need
from kvverify.kernel.numbers import exp_lower, exp_upper, log2_lower, log2_upper

MAX_LINES = 4096  # of a program; as many comparisons
MAX_OPERANDS = 64
EXACT_BITS = 1 << 16  # of numerator and denominator together; a longer number is rounded
MAX_MAGNITUDE = 1 << 16  # |log2| of an enclosure's ends
PRECISION = 256  # significant bits of a rounded number
MAX_FACTORIAL = 4096
MAX_TAIL = 1 << 14
_FUNCTION_WORK = 1 << 10

# ln 2 is the sum of 1 / (k 2^k); what follows term 299 is less than that term.
_LN2_LOWER = sum((Fraction(1, k << k) for k in range(1, 300)), Fraction(0))
_LN2_UPPER = _LN2_LOWER + Fraction(1, 299 << 299)


@dataclass(frozen=True)
class At:
    """The value of a line."""

    line: int


Operand = At | Fraction


@dataclass(frozen=True)
class Enclosure:
    """low <= x <= high; the number itself where the two are equal."""

    low: Fraction
    high: Fraction

    @property
    def exact(self) -> bool:
        """Whether the value is known."""
        return self.low == self.high


@dataclass(frozen=True)
class Line:
    """One operation."""

    operation: str
    operands: tuple[Operand, ...]


@dataclass(frozen=True)
class Comparison(Goal):
    """Every one of ``holds``, (left, "<" or "<=", right), is true of the values that the program's lines define."""

    program: tuple[Line, ...]
    holds: tuple[tuple[Operand, str, Operand], ...]

    def said(self) -> str:
        """All comparisons in the usual notation; what is long stays @i."""
        texts: list[str] = []

        def said(operand: Operand) -> str:
            return texts[operand.line] if isinstance(operand, At) else short(str(operand), 40)

        for i, line in enumerate(self.program):
            text = _infix(line.operation, [said(operand) for operand in line.operands])
            texts.append(text if len(text) <= 100 else f"@{i}")
        return ", ".join(f"{said(left)} {relation} {said(right)}" for left, relation, right in self.holds[:8])

    def met_by(self, last: Fact) -> None:
        """The last step must have decided these comparisons."""
        need(isinstance(last, Compared) and last.goal == self, "the last step decides the claim's comparisons")


@dataclass(frozen=True)
class Compared(Fact):
    """All of these comparisons hold."""

    goal: Comparison


def parse(node: Node) -> Comparison:
    """The claim ``comparison``. Raises Malformed, also for a line that nothing uses."""
    fields(node, "statement", {"claim", "program", "holds"})
    lines, claims = strings(node["program"], "program"), strings(node["holds"], "holds")
    if max(len(lines), len(claims)) > MAX_LINES:
        raise OverLimit(f"limit: a program of more than {MAX_LINES} lines, or as many comparisons")
    program = tuple(_line(text, i) for i, text in enumerate(lines))
    holds = tuple(_claim(text, f"holds[{i}]", len(lines)) for i, text in enumerate(claims))
    if not holds:
        raise Malformed("holds: expected at least one comparison")
    used = {o for line in program for o in line.operands} | {o for left, _, right in holds for o in (left, right)}
    for i in range(len(program)):
        if At(i) not in used:
            raise Malformed(f"program[{i}]: a line that nothing uses")
    return Comparison(program, holds)


def _line(text: str, index: int) -> Line:
    where = f"program[{index}]"
    operation, *words = text.split(" ")
    if operation not in OPERATIONS:
        raise Malformed(f"{where}: unknown operation {short(operation)!r}")
    if len(words) > MAX_OPERANDS:
        raise OverLimit(f"limit: {where} with more than {MAX_OPERANDS} operands")
    arity = OPERATIONS[operation][0]
    if len(words) != arity if arity else len(words) < 2:
        raise Malformed(f"{where}: {operation} takes {arity or 'two or more'} operands, found {len(words)}")
    return Line(operation, tuple(_operand(word, where, index) for word in words))


def _claim(text: str, where: str, lines: int) -> tuple[Operand, str, Operand]:
    words = text.split(" ")
    if len(words) != 3 or words[1] not in ("<", "<="):
        raise Malformed(f"{where}: expected 'left < right' or 'left <= right', found {short(text)!r}")
    return _operand(words[0], where, lines), words[1], _operand(words[2], where, lines)


def _operand(word: str, where: str, known: int) -> Operand:
    if not word.startswith("@"):
        return rational(word, where)
    line = integer(word[1:], where)
    if not 0 <= line < known:
        raise Malformed(f"{where}: @{short(word[1:])} is no earlier line")
    return At(line)


def comparison(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Compared:
    """Compute every line's enclosure in turn, then decide every comparison."""
    for node, name in ((uses, "uses"), (given, "given"), (gives, "gives")):
        fields(node, name, set())
    goal = context.about(Comparison)
    values: list[Enclosure] = []

    def value(operand: Operand) -> Enclosure:
        return values[operand.line] if isinstance(operand, At) else Enclosure(operand, operand)

    for line in goal.program:
        operands = [value(operand) for operand in line.operands]
        context.charge(_work(operands))
        values.append(OPERATIONS[line.operation][1](context, operands))
    undecided = 0
    for i, (left, relation, right) in enumerate(goal.holds):
        a, b, strict = value(left), value(right), relation == "<"
        context.charge(_work([a, b]))
        if a.high > b.low or (strict and a.high == b.low):
            false = a.low > b.high or (strict and a.low == b.high)
            need(not false, f"holds[{i}]: left {relation} right", a.low, b.high)
            undecided += 1
    if undecided:
        _undecided(f"{undecided} of {len(goal.holds)} comparisons")
    return Compared(goal)


def _undecided(what: str) -> NoReturn:
    raise OverLimit(f"undecided: enclosures of {PRECISION} bits do not settle {what}")


def _size(x: Fraction) -> int:
    return x.numerator.bit_length() + x.denominator.bit_length()


def _work(operands: list[Enclosure]) -> int:
    """Some products, quotients and greatest common divisors of the numbers at hand."""
    sizes = sum(_size(end) for x in operands for end in (x.low, x.high))
    return _FUNCTION_WORK + (sizes >> 6) ** 2


def _kept(low: Fraction, high: Fraction) -> Enclosure:
    """The enclosure, its ends rounded outwards unless it is exact and short."""
    if low == high and _size(low) <= EXACT_BITS:
        return Enclosure(low, high)
    return Enclosure(_rounded(low, up=False), _rounded(high, up=True))


def _rounded(x: Fraction, *, up: bool) -> Fraction:
    """x to PRECISION significant bits, downwards or upwards."""
    magnitude = x.numerator.bit_length() - x.denominator.bit_length()
    if abs(magnitude) > MAX_MAGNITUDE:
        raise OverLimit(f"limit: a number beyond 2^{MAX_MAGNITUDE} or below 2^-{MAX_MAGNITUDE}")
    shift = PRECISION - magnitude
    above, below = x.numerator << max(0, shift), x.denominator << max(0, -shift)
    units = -(-above // below) if up else above // below
    return Fraction(units << max(0, -shift), 1 << max(0, shift))


def _sum(_: Context, operands: list[Enclosure]) -> Enclosure:
    return _kept(sum((x.low for x in operands), Fraction(0)), sum((x.high for x in operands), Fraction(0)))


def _difference(_: Context, operands: list[Enclosure]) -> Enclosure:
    a, b = operands
    return _kept(a.low - b.high, a.high - b.low)


def _product(context: Context, operands: list[Enclosure]) -> Enclosure:
    result, *others = operands
    for other in others:
        context.charge(_work([result, other]))
        ends = [x * y for x in (result.low, result.high) for y in (other.low, other.high)]
        result = _kept(min(ends), max(ends))
    return result


def _quotient(_: Context, operands: list[Enclosure]) -> Enclosure:
    a, b = operands
    _apart_from_zero(b, "a divisor that is not 0")
    ends = [x / y for x in (a.low, a.high) for y in (b.low, b.high)]
    return _kept(min(ends), max(ends))


def _apart_from_zero(x: Enclosure, what: str) -> None:
    need(not (x.exact and x.low == 0), what)
    if x.low <= 0 <= x.high:
        _undecided(what)


def _power(context: Context, operands: list[Enclosure]) -> Enclosure:
    """x^k for an integer k; x^0 = 1."""
    x, exponent = operands[0], _whole(operands[1])
    if exponent < 0:
        _apart_from_zero(x, "a base that is not 0 under a negative exponent")
        x, exponent = _kept(1 / x.high, 1 / x.low), -exponent
    if exponent.bit_length() > 64:
        raise OverLimit("limit: an exponent of more than 64 bits")

    def ends(*, up: bool) -> list[Fraction]:
        signs = [-1 if end < 0 and exponent % 2 else 1 for end in (x.low, x.high)]
        ends = zip((x.low, x.high), signs, strict=True)
        return [sign * _ascend(context, abs(end), exponent, up=up == (sign > 0)) for end, sign in ends]

    inside = x.low < 0 < x.high and exponent % 2 == 0 and exponent > 0
    return _kept(Fraction(0) if inside else min(ends(up=False)), max(ends(up=True)))


def _ascend(context: Context, base: Fraction, exponent: int, *, up: bool) -> Fraction:
    """base^exponent for base >= 0: exactly where it is short, else by squaring with every product rounded."""
    if _size(base) * exponent <= EXACT_BITS:
        context.charge((_size(base) * exponent >> 6) ** 2)
        return base**exponent
    result = Fraction(1)
    while exponent and base:
        context.charge(_FUNCTION_WORK + (_size(base) >> 6) ** 2)
        if exponent & 1:
            result = _rounded(result * base, up=up)
        exponent >>= 1
        base = _rounded(base * base, up=up) if exponent else base
    return result if base else Fraction(0)


def _whole(x: Enclosure) -> int:
    """The value, which must be a known integer."""
    if not x.exact:
        _undecided("which integer a number is")
    need(x.low.denominator == 1, "an integer", x.low)
    return x.low.numerator


def _binomial(context: Context, operands: list[Enclosure]) -> Enclosure:
    """C(n, k), n >= 0; 0 where k is not from 0 to n."""
    n, k = map(_whole, operands)
    need(n >= 0, "C(n, k) of n >= 0", n)
    if not 0 <= k <= n:
        return Enclosure(Fraction(0), Fraction(0))
    if min(k, n - k) * n.bit_length() > EXACT_BITS:
        raise OverLimit(f"limit: a binomial of more than {EXACT_BITS} bits")
    context.charge((min(k, n - k) * n.bit_length() >> 6) ** 2)
    return Enclosure(found := Fraction(comb(n, k)), found)


def _binomial_tail(context: Context, operands: list[Enclosure]) -> Enclosure:
    """The sum of C(n, j) over 0 <= j <= k, n >= 0; 0 for k < 0, and 2^n for k >= n."""
    n, k = map(_whole, operands)
    need(n >= 0, "C(n, k) of n >= 0", n)
    if n > MAX_TAIL:
        raise OverLimit(f"limit: binomials of more than {MAX_TAIL}")
    context.charge(max(min(k, n), 0) * (2 + (n >> 7)))
    term, total = 1, 0
    for j in range(min(k, n) + 1):
        total += term
        term = term * (n - j) // (j + 1)
    return Enclosure(found := Fraction(total), found)


def _factorial(context: Context, operands: list[Enclosure]) -> Enclosure:
    n = _whole(operands[0])
    need(n >= 0, "n! of n >= 0", n)
    if n > MAX_FACTORIAL:
        raise OverLimit(f"limit: a factorial of a number above {MAX_FACTORIAL}")
    context.charge(n << 4)
    return Enclosure(found := Fraction(factorial(n)), found)


def _exp(_: Context, operands: list[Enclosure]) -> Enclosure:
    x = operands[0]
    return Enclosure(Fraction(1), Fraction(1)) if x.low == x.high == 0 else _kept(exp_lower(x.low), exp_upper(x.high))


def _log2(_: Context, operands: list[Enclosure]) -> Enclosure:
    """The binary logarithm; exact at powers of two."""
    x = operands[0]
    need(x.high > 0, "a logarithm of a positive number", x.high)
    if x.low <= 0:
        _undecided("a logarithm of a positive number")
    above, below = x.low.numerator, x.low.denominator
    if x.exact and above & (above - 1) == 0 and below & (below - 1) == 0:
        power = Fraction(above.bit_length() - below.bit_length())
        return Enclosure(power, power)
    return _kept(log2_lower(x.low), log2_upper(x.high))


def _ln(context: Context, operands: list[Enclosure]) -> Enclosure:
    return _product(context, [_log2(context, operands), Enclosure(_LN2_LOWER, _LN2_UPPER)])


def _sqrt(_: Context, operands: list[Enclosure]) -> Enclosure:
    """The square root of x >= 0; exact where it is rational and x is known."""
    x = operands[0]
    need(x.high >= 0, "a square root of a number >= 0", x.high)
    if x.low < 0:
        _undecided("a square root of a number >= 0")
    root = Fraction(isqrt(x.low.numerator), isqrt(x.low.denominator))
    if x.exact and root**2 == x.low:
        return Enclosure(root, root)
    return _kept(_root(x.low)[0], _root(x.high)[1])


def _root(x: Fraction) -> tuple[Fraction, Fraction]:
    """Bounds on the square root of x >= 0, one unit of its PRECISION bits apart."""
    shift = PRECISION - (x.numerator.bit_length() - x.denominator.bit_length()) // 2
    units = isqrt((x.numerator << 2 * max(0, shift)) // (x.denominator << 2 * max(0, -shift)))
    unit = Fraction(1 << max(0, -shift), 1 << max(0, shift))
    return units * unit, (units + 1) * unit


def _infix(operation: str, texts: list[str]) -> str:
    """The operation in the usual notation, operands that hold another operation in brackets."""
    sign = {"sum": " + ", "difference": " - ", "product": " * ", "quotient": " / ", "power": "^"}.get(operation)
    if sign is None:
        return f"{operation}({', '.join(texts)})"
    tight = " ^/-" if operation == "power" else " "
    return sign.join(f"({text})" if set(text) & set(tight) else text for text in texts)


# How many operands each takes (0: two or more), and what encloses its value.
OPERATIONS: dict[str, tuple[int, Callable[[Context, list[Enclosure]], Enclosure]]] = {
    "sum": (0, _sum), "difference": (2, _difference), "product": (0, _product), "quotient": (2, _quotient),
    "power": (2, _power), "binomial": (2, _binomial), "binomial-tail": (2, _binomial_tail),
    "factorial": (1, _factorial), "exp": (1, _exp), "ln": (1, _ln), "log2": (1, _log2), "sqrt": (1, _sqrt),
}  # fmt: skip
RULES: dict[str, Rule] = {"comparison": comparison}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"comparison": parse}
