"""Explicit inputs, decided anew: windows by matrices and prefix sums, answers by rationals or balls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from flint import arb, fmpq, fmpz_mat

from kvverify.crosscheck.facts import Rule
from kvverify.crosscheck.goal import Fact, Goal, must
from kvverify.crosscheck.settle import Case, within
from kvverify.crosscheck.statement import number
from kvverify.kernel.document import Malformed, Node, fields, integer, integers, strings

_BITS, _TOKENS = 1 << 14, 1 << 10
_WORDS = ("left_words_at_most", "right_words_at_most")
_EVALUATIONS = ("masked-window", "running-sum")

Matrix = list[list[int]]


@dataclass(frozen=True)
class Agreement(Fact):
    """The claim's evaluations agree, keeping so many words between steps."""

    words: dict[str, int]


@dataclass(frozen=True)
class Identity(Goal):
    """The two evaluations of windowed attention on these inputs; ``words`` of the right one."""

    left: str
    right: str
    base: fmpq
    window: int
    queries: Matrix
    keys: Matrix
    values: Matrix
    words: int

    def met_by(self, last: Fact) -> None:
        """No more words than claimed."""
        must(isinstance(last, Agreement), "the last step states an agreement")
        assert isinstance(last, Agreement)
        must(last.words[_WORDS[1]] <= self.words, "no more words than claimed")


@dataclass(frozen=True)
class Answers(Fact):
    """The bounds that a step states: first from below and above, second from below and above."""

    bounds: list[fmpq]


@dataclass(frozen=True)
class TwoInputs(Goal):
    """Two inputs as objects of matrices; ``base`` None is e."""

    base: fmpq | None
    scale: fmpq
    relative: fmpq
    coordinate: int
    inputs: list[dict[str, Matrix]]
    may_differ: set[str]
    states: list[int]

    def met_by(self, last: Fact) -> None:
        """Outputs o with |o - Z| <= relative |Z| for the first Z of the stated bounds, and for the second: none."""
        must(isinstance(last, Answers), "the last step states two answers")
        assert isinstance(last, Answers)
        ends = [
            min(x * (1 - self.relative), x * (1 + self.relative)) if i % 2 == 0
            else max(x * (1 - self.relative), x * (1 + self.relative))
            for i, x in enumerate(last.bounds)
        ]  # fmt: skip
        must(ends[1] < ends[2] or ends[3] < ends[0], "the two answers' intervals are disjoint")


def running_sum(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Agreement:
    """All masked rows against the rows of the window and prefix sums, in common units."""
    must(not uses, "no premises")
    fields(given, "given", set())
    goal = case.about(Identity)
    fields(gives, "gives", set(_WORDS))
    stated = {name: integer(gives[name], name) for name in _WORDS}
    many, width = len(goal.keys), len(goal.keys[0]) + len(goal.values[0])
    within(many <= _TOKENS, f"{many} tokens")
    scores = fmpz_mat(goal.queries) * fmpz_mat(goal.keys).transpose()
    seen = [(i, j) for i in range(many) for j in range(i + 1) if i - j < goal.window]
    top = max([abs(int(scores[i, j])) for i, j in seen])
    within(top * max(int(goal.base.p), int(goal.base.q)).bit_length() <= _BITS, f"scores of {top}")
    unit = goal.base.p**top * goal.base.q**top
    masked = fmpz_mat([[int(unit) if j <= i else 0 for j in range(many)] for i in range(many)])
    band = fmpz_mat(many, many)
    for i, j in seen:
        band[i, j] = masked[i, j] = (goal.base ** int(scores[i, j]) * unit).p
    ones = fmpz_mat([[*row, 1] for row in goal.values])  # the last column is the denominator
    sums = [[0] * (len(goal.values[0]) + 1)]
    sums += accumulate(([*row, 1] for row in goal.values), lambda a, b: [x + y for x, y in zip(a, b, strict=True)])
    before = fmpz_mat([[x * int(unit) for x in sums[max(0, i + 1 - goal.window)]] for i in range(many)])
    must(masked * ones == band * ones + before, "equal numerators and denominators at every step")
    kept = {"masked-window": many * width, "running-sum": min(goal.window - 1, many) * width + len(goal.values[0])}
    for name, side in zip(_WORDS, (goal.left, goal.right), strict=True):
        must(kept[side] <= stated[name], f"{name} is at least what is kept")
    return Agreement(stated)


def two_inputs(case: Case, uses: dict[str, Fact], given: Node, gives: Node) -> Answers:
    """Differences as listed, one state, and answers within the stated bounds."""
    must(not uses, "no premises")
    fields(given, "given", set())
    names = ["first_at_least", "first_at_most", "second_at_least", "second_at_most"]
    fields(gives, "gives", set(names))
    stated = [number(gives, name) for name in names]
    goal = case.about(TwoInputs)
    first, second = goal.inputs
    for name, rows in first.items():
        for i, row in enumerate(rows):
            for j, x in enumerate(row):
                listed = f"{name} {j}" if name == "query" else f"{name} {i} {j}"
                must(x == second[name][i][j] or listed in goal.may_differ, f"{listed} does not differ")
    if goal.states:
        cells = [[x for row in each["values"] for x in row] for each in goal.inputs]
        places = [int("".join(map(str, reversed(bits))), 2) for bits in cells]
        must(goal.states[places[0]] == goal.states[places[1]], "one state")
    for i, each in enumerate(goal.inputs):
        _bounded(case, goal, each, stated[2 * i], stated[2 * i + 1])
    return Answers(stated)


def _bounded(case: Case, goal: TwoInputs, each: dict[str, Matrix], low: fmpq, high: fmpq) -> None:
    """low <= answer <= high."""
    (query,) = each["query"]
    scores = [fmpq(sum(a * b for a, b in zip(query, key, strict=True))) / goal.scale for key in each["keys"]]
    column = [row[goal.coordinate] for row in each["values"]]
    relative = [s - scores[0] for s in scores]
    base = fmpq(1) if not any(relative) else goal.base  # equal weights are rational whatever the base
    if base is not None:
        must(goal.base is None or all(s.q == 1 for s in scores), "whole scores")
        most = max(abs(int(s.p)) for s in relative) if base != 1 else 0
        within(most * max(int(base.p), int(base.q)).bit_length() <= _BITS, "weights")
        exact = [base ** int(s.p) if base != 1 else fmpq(1) for s in relative]
        answer = sum((w * v for w, v in zip(exact, column, strict=True)), fmpq(0)) / sum(exact, fmpq(0))
        must(low <= answer <= high, "the answer within its bounds")
        return

    def answered() -> arb:
        weights = [arb(s).exp() for s in relative]
        return sum((w * v for w, v in zip(weights, column, strict=True)), arb(0)) / sum(weights, arb(0))

    case.at_most("the lower bound <= the answer", lambda: (arb(low), answered()))
    case.at_most("the answer <= the upper bound", lambda: (answered(), arb(high)))


def identity(node: Node) -> Identity:
    """A statement of two evaluations. Raises Malformed."""
    fields(node, "statement", {"claim", "left", "right", "right_words_at_most", "stream"})
    _require({str(node["left"]), str(node["right"])} == set(_EVALUATIONS), "left and right")
    stream = fields(node["stream"], "stream", {"base", "window", "queries", "keys", "values"})
    base, window = number(stream, "base"), integer(stream["window"], "window")
    queries, keys, values = (_matrix(stream[name], name) for name in ("queries", "keys", "values"))
    _require(base > 0 and window > 0, "base or window")
    _require(len(queries) == len(keys) == len(values) and len(queries[0]) == len(keys[0]), "stream")
    words = integer(node["right_words_at_most"], "right_words_at_most")
    return Identity(node["left"], node["right"], base, window, queries, keys, values, words)


def two(node: Node) -> TwoInputs:
    """A statement of two inputs. Raises Malformed."""
    needed = {"claim", "scale", "relative", "coordinate", "first", "second", "may_differ"}
    fields(node, "statement", needed, {"base", "states"})
    base = number(node, "base") if "base" in node else None
    scale, relative = number(node, "scale"), number(node, "relative")
    _require((base is None or base > 0) and scale > 0 and 0 <= relative < 1, "base, scale or relative")
    inputs = []
    for name in ("first", "second"):
        each = fields(node[name], name, {"query", "keys", "values"})
        inputs.append(
            {
                "query": _matrix([each["query"]], "query"),
                "keys": _matrix(each["keys"], "keys"),
                "values": _matrix(each["values"], "values"),
            }
        )
        own = inputs[-1]
        _require(len(own["keys"]) == len(own["values"]) and len(own["keys"][0]) == len(own["query"][0]), name)
    shapes = [{part: (len(rows), len(rows[0])) for part, rows in each.items()} for each in inputs]
    _require(shapes[0] == shapes[1], "second")
    coordinate = integer(node["coordinate"], "coordinate")
    _require(0 <= coordinate < shapes[0]["values"][1], "coordinate")
    names = {f"query {j}" for j in range(shapes[0]["query"][1])}
    for part in ("keys", "values"):
        rows, columns = shapes[0][part]
        names |= {f"{part} {i} {j}" for i in range(rows) for j in range(columns)}
    listed = strings(node["may_differ"], "may_differ")
    _require(len(set(listed)) == len(listed) and set(listed) <= names, "may_differ")
    states = integers(node["states"], "states") if "states" in node else []
    if states:
        entries = shapes[0]["values"][0] * shapes[0]["values"][1]
        _require(not any(name.split()[0] != "values" for name in listed), "may_differ")
        _require(entries < 24 and len(states) == 2**entries, "states")
        _require(all(x in (0, 1) for each in inputs for row in each["values"] for x in row), "values")
    return TwoInputs(base, scale, relative, coordinate, inputs, set(listed), states)


def _matrix(value: object, name: str) -> Matrix:
    rows = [integers(row, name) for row in strings(value, name)]
    _require(len({len(row) for row in rows}) == 1, name)
    return rows


def _require(condition: bool, name: str) -> None:
    if not condition:
        raise Malformed(f"statement: {name} out of range")


RULES: dict[str, Rule] = {"running-sum": running_sum, "two-inputs": two_inputs}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"identity": identity, "two-inputs": two}
