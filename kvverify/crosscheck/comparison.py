"""Comparisons of real numbers, decided anew: rationals where all is rational, else Arb's balls of growing precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import add, mul

from flint import arb, ctx, fmpq, fmpz

from kvverify.crosscheck.facts import Rule
from kvverify.crosscheck.goal import Fact, Goal, must
from kvverify.crosscheck.settle import Case, within
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integer, rational, strings

_LINES = 1 << 13
_LARGE = 1 << 20  # bits of a rational that is still computed
_COUNT = 1 << 15  # of binomials and factorials


@dataclass(frozen=True)
class Reference:
    """The value of an earlier line."""

    line: int


_OPERANDS = {
    "sum": None, "product": None, "difference": 2, "quotient": 2, "power": 2, "binomial": 2, "binomial-tail": 2,
    "factorial": 1, "exp": 1, "ln": 1, "log2": 1, "sqrt": 1,
}  # fmt: skip
_REAL: dict[str, Callable[[arb], arb]] = {
    "exp": arb.exp, "ln": arb.log, "log2": lambda x: x.log() / arb.const_log2(), "sqrt": arb.sqrt,
}  # fmt: skip


@dataclass(frozen=True)
class Comparison(Goal):
    """Every pair of ``claims`` stands in its relation; ``lines`` are (operation, operands)."""

    lines: tuple[tuple[str, tuple[fmpq | Reference, ...]], ...]
    claims: tuple[tuple[fmpq | Reference, str, fmpq | Reference], ...]

    def met_by(self, last: Fact) -> None:
        """The last step is about these comparisons."""
        must(isinstance(last, Compared) and last.goal is self, "the last step is about the claim's comparisons")


@dataclass(frozen=True)
class Compared(Fact):
    """They hold."""

    goal: Comparison


@dataclass
class _Program:
    """Values of the lines: exact ones where they are rational and not too long, and balls at each precision."""

    goal: Comparison
    exact: list[fmpq | None] = field(default_factory=list)
    balls: dict[int, list[arb]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for operation, operands in self.goal.lines:
            known = [self.value(x) for x in operands]
            self.exact.append(_rational(operation, [x for x in known if x is not None]) if None not in known else None)

    def value(self, operand: fmpq | Reference) -> fmpq | None:
        return self.exact[operand.line] if isinstance(operand, Reference) else operand

    def ball(self, operand: fmpq | Reference) -> arb:
        """At the present precision."""
        if not isinstance(operand, Reference):
            return arb(operand)
        found = self.balls.setdefault(ctx.prec, [])
        for i in range(len(found), len(self.goal.lines)):
            operation, operands = self.goal.lines[i]
            known = self.exact[i]
            found.append(arb(known) if known is not None else self._real(operation, operands, found))
        return found[operand.line]

    def sides(self, left: fmpq | Reference, right: fmpq | Reference) -> tuple[arb, arb]:
        """Both balls."""
        return self.ball(left), self.ball(right)

    def _real(self, operation: str, operands: tuple[fmpq | Reference, ...], found: list[arb]) -> arb:
        x = [found[o.line] if isinstance(o, Reference) else arb(o) for o in operands]
        match operation:
            case "sum":
                return reduce(add, x)
            case "product":
                return reduce(mul, x)
            case "difference":
                return x[0] - x[1]
            case "quotient":
                return x[0] / x[1]
            case "power":
                exponent = self.value(operands[1])
                within(exponent is not None and exponent.q == 1, "an exponent that is a known integer")
                assert exponent is not None
                return x[0] ** int(exponent.p)
            case "binomial" | "binomial-tail" | "factorial":
                within(False, f"{operation} of numbers that are not known, or too large")
        must(operation == "exp" or not x[0] < 0, f"{operation} of a number that is not negative")
        return _REAL[operation](x[0])


def _rational(operation: str, x: list[fmpq]) -> fmpq | None:
    """The exact value; None where it is irrational or too long."""
    size = sum(int(v.p).bit_length() + int(v.q).bit_length() for v in x)
    match operation:
        case "sum" | "product":
            return reduce(add if operation == "sum" else mul, x) if size <= _LARGE else None
        case "difference":
            return x[0] - x[1]
        case "quotient":
            must(x[1] != 0, "a divisor that is not 0")
            return x[0] / x[1]
        case "power":
            must(x[1].q == 1, "an integer exponent")
            must(x[0] != 0 or x[1] >= 0, "no negative power of 0")
            return x[0] ** int(x[1].p) if size * abs(int(x[1].p)) <= _LARGE else None
        case "exp":
            return fmpq(1) if x[0] == 0 else None
        case "ln" | "log2":
            must(x[0] > 0, "a logarithm of a positive number")
            return fmpq(0) if x[0] == 1 else _binary(x[0]) if operation == "log2" else None
        case "sqrt":
            must(x[0] >= 0, "a root of a number >= 0")
            above, below = fmpz(x[0].p).isqrt(), fmpz(x[0].q).isqrt()
            return fmpq(above, below) if above**2 == x[0].p and below**2 == x[0].q else None
    return _counted(operation, x)


def _binary(x: fmpq) -> fmpq | None:
    """k where x = 2^k."""
    power = int(x.p).bit_length() - int(x.q).bit_length()
    return fmpq(power) if x == fmpq(2) ** power else None


def _counted(operation: str, x: list[fmpq]) -> fmpq | None:
    """Binomials by products of their prime powers (flint's own), tails from the other side."""
    must(all(v.q == 1 for v in x) and x[0] >= 0, f"{operation} of integers, the first >= 0")
    n, k = int(x[0].p), int(x[-1].p)
    if operation == "factorial":
        return fmpq(fmpz.fac_ui(n)) if n <= _COUNT else None
    if not 0 <= k <= n:
        return fmpq(0) if k < 0 or operation == "binomial" else fmpq(2) ** n if n <= _COUNT else None
    if operation == "binomial":
        k = min(k, n - k)
        if n < 1 << 63:
            return fmpq(fmpz.bin_uiui(n, k)) if k * n.bit_length() <= _LARGE else None
        return fmpq(reduce(mul, (fmpz(n - j) for j in range(k)), fmpz(1)), fmpz.fac_ui(k)) if k <= 1 << 10 else None
    if n > _COUNT:
        return None
    term = rest = fmpz(1 if k < n else 0)
    for j in range(1, n - k):
        term = term * (n - j + 1) // j
        rest += term
    return fmpq(fmpz(2) ** n - rest)


def read(node: Node) -> Comparison:
    """The claim ``comparison``."""
    fields(node, "statement", {"claim", "program", "holds"})
    lines, claims = strings(node["program"], "program"), strings(node["holds"], "holds")
    if max(len(lines), len(claims)) > _LINES:
        raise OverLimit(f"limit: a program of {len(lines)} lines")
    read_lines = []
    for i, line in enumerate(lines):
        operation, *words = line.split(" ")
        if operation not in _OPERANDS or len(words) != (_OPERANDS[operation] or max(2, len(words))):
            raise Malformed(f"program[{i}]: unknown operation, or not as many operands as it takes")
        read_lines.append((operation, tuple(_operand(word, i) for word in words)))
    read_claims = []
    for claim in claims:
        left, relation, right = ([*claim.split(" "), "", ""])[:3]
        if claim != f"{left} {relation} {right}" or relation not in ("<", "<="):
            raise Malformed("holds: expected 'left < right' or 'left <= right'")
        read_claims.append((_operand(left, len(lines)), relation, _operand(right, len(lines))))
    if not claims:
        raise Malformed("holds: at least one comparison")
    return Comparison(tuple(read_lines), tuple(read_claims))


def _operand(word: str, lines: int) -> fmpq | Reference:
    if word[:1] == "@":
        line = integer(word[1:], "program")
        if not 0 <= line < lines:
            raise Malformed(f"program: a reference to line {line}, which is no earlier one")
        return Reference(line)
    value = rational(word, "program")
    return fmpq(value.numerator, value.denominator)


def comparison(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Compared:
    """Each comparison in turn; equalities only between rationals."""
    for node, name in ((uses, "uses"), (given, "given"), (gives, "gives")):
        fields(node, name, set())
    goal = case.about(Comparison)
    program = _Program(goal)
    for i, (left, relation, right) in enumerate(goal.claims):
        a, b, strict = program.value(left), program.value(right), relation == "<"
        if a is not None and b is not None:
            must(a < b or (a == b and not strict), f"holds[{i}]")
        else:
            case.at_most(f"holds[{i}]", partial(program.sides, left, right), strict=strict)
    return Compared(goal)


RULES: dict[str, Rule] = {"comparison": comparison}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"comparison": read}
