"""Explicit inputs: two evaluations that agree on them, two inputs whose answers lie apart. Proofs:
docs/proofs/instances.md.

Source: the claims are those of Haris and Onak (COLT 2025) as recorded; the evaluation by a running sum is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, integer, integers, rational, strings, text
from kvverify.kernel.facts import Fact, Goal, need
from kvverify.kernel.numbers import exp_lower, exp_upper

MAX_ENTRIES = 1 << 14  # of a matrix
MAX_ENTRY_BITS = 320
MAX_POWER_BITS = 1 << 14  # of base^score over the least weight
_EXP_WORK = 1 << 13
_EXP_BITS = 192

Row = tuple[int, ...]
Rows = tuple[Row, ...]
Weight = tuple[int, int]  # from below and from above, in a common unit; equal where exact


@dataclass(frozen=True)
class Windowed:
    """A stream of queries, keys and values; weights base^score; a token sees the ``window`` last, itself among them."""

    base: Fraction
    window: int
    queries: Rows
    keys: Rows
    values: Rows


@dataclass(frozen=True)
class Run:
    """One evaluation: per step the numerators and the denominator; the most words kept between steps, counters apart.

    A word is one coordinate of a key or of a value, or a sum of value coordinates.
    """

    answers: list[tuple[list[int], int]]
    words: int


@dataclass(frozen=True)
class Agreement(Fact):
    """Two evaluations give the same answers at every step; ``words``: what they keep between steps at most."""

    left: str
    right: str
    words: tuple[int, int]


@dataclass(frozen=True)
class Identity(Goal):
    """Evaluations ``left`` and ``right`` agree exactly on the inputs, and ``right`` keeps at most ``right_words``."""

    left: str
    right: str
    inputs: Windowed
    right_words: int

    def said(self) -> str:
        """The evaluations, and the words."""
        many = len(self.inputs.keys)
        return f"{self.left} = {self.right} at each of {many} tokens, the latter with {self.right_words} words of state"

    def met_by(self, last: Fact) -> None:
        """The last step gives this agreement, with no more words."""
        need(isinstance(last, Agreement), "the last step gives an agreement of two evaluations")
        assert isinstance(last, Agreement)
        need((last.left, last.right) == (self.left, self.right), "the last step is about these evaluations")
        words = last.words[1]
        need(words <= self.right_words, "words kept between steps <= right_words_at_most", words, self.right_words)


@dataclass(frozen=True)
class Input:
    """One query over rows of keys and values, integers."""

    query: Row
    keys: Rows
    values: Rows

    def entries(self) -> dict[str, int]:
        """Every number under its name: "query 0", "keys 1 0", "values 1 0"."""
        found = {f"query {j}": x for j, x in enumerate(self.query)}
        for name, rows in (("keys", self.keys), ("values", self.values)):
            found |= {f"{name} {i} {j}": x for i, row in enumerate(rows) for j, x in enumerate(row)}
        return found


@dataclass(frozen=True)
class Answers(Fact):
    """The exact answers of the first and the second input lie between these bounds."""

    first: tuple[Fraction, Fraction]
    second: tuple[Fraction, Fraction]


@dataclass(frozen=True)
class TwoInputs(Goal):
    """Two inputs that agree but for the entries of ``may_differ``, with no answer within (1 +- relative) of both.

    Weights are base^score (e^score where ``base`` is None), score = <q, k> / scale. With ``states`` the state of a
    deterministic compressor is given for every 0/1 value matrix, bit i of its number being entry i in reading order;
    both inputs have the same.
    """

    base: Fraction | None
    scale: Fraction
    relative: Fraction
    coordinate: int
    inputs: tuple[Input, Input]
    may_differ: frozenset[str]
    states: Row

    def said(self) -> str:
        """How many entries may differ, and how far the answers are apart."""
        same = ", of one state," if self.states else ""
        return (
            f"two inputs of {len(self.inputs[0].keys)} tokens{same} that differ in {len(self.may_differ)} listed "
            f"entries at most: no answer is within (1 +- {self.relative}) of both"
        )

    def met_by(self, last: Fact) -> None:
        """The last step's bounds keep the two intervals apart, strictly."""
        need(isinstance(last, Answers), "the last step gives the two answers")
        assert isinstance(last, Answers)
        low, high = sorted((last.first, last.second))
        top, bottom = self._moved(low[1], up=True), self._moved(high[0], up=False)
        need(top < bottom, "the lower answer's interval ends before the higher one's begins", top, bottom)

    def _moved(self, answer: Fraction, *, up: bool) -> Fraction:
        """The end of the interval |o - answer| <= relative |answer|."""
        return answer + (1 if up else -1) * self.relative * abs(answer)


def running_sum(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Agreement:
    """Windowed attention whose masked scores are 0 equals its evaluation by a running sum, at every step of the stream.

    ``masked-window``: all tokens so far, those outside of the window with weight base^0 = 1, in the denominator too.
    ``running-sum``: the keys and values of the window - 1 tokens that the next step still sees, the sum of all values
    before them, and their number.
    """
    fields(uses, "uses", set())
    fields(given, "given", set())
    names = ["left_words_at_most", "right_words_at_most"]
    fields(gives, "gives", set(names))
    stated = integer(gives[names[0]], names[0]), integer(gives[names[1]], names[1])
    goal = context.about(Identity)
    left, right = (EVALUATIONS[name](context, goal.inputs) for name in (goal.left, goal.right))
    for i, ((above, below), (top, bottom)) in enumerate(zip(left.answers, right.answers, strict=True)):
        same = [x * bottom == y * below for x, y in zip(above, top, strict=True)]
        need(all(same), f"the two answers of step {i} are equal")
    for name, found, number in zip(names, (left.words, right.words), stated, strict=True):
        need(found <= number, f"words kept between steps <= {name}", found, number)
    return Agreement(goal.left, goal.right, stated)


def masked_window(context: Context, inputs: Windowed) -> Run:
    """Every step anew from all tokens so far."""
    weight = _power_table(context, inputs)
    answers = []
    for i, query in enumerate(inputs.queries):
        scores = [_dot(query, key) if i - j < inputs.window else 0 for j, key in enumerate(inputs.keys[: i + 1])]
        weights = [weight[score] for score in scores]
        columns = zip(*inputs.values[: i + 1], strict=True)
        answers.append(([sum(w * x for w, x in zip(weights, column, strict=True)) for column in columns], sum(weights)))
    return Run(answers, sum(map(len, inputs.keys)) + sum(map(len, inputs.values)))


def by_running_sum(context: Context, inputs: Windowed) -> Run:
    """A machine whose state is the window's keys and values, the sum of the values that left it, and their number."""
    weight = _power_table(context, inputs)
    window: list[tuple[Row, Row]] = []
    total, gone, words = [0] * len(inputs.values[0]), 0, 0
    answers = []
    for query, key, value in zip(inputs.queries, inputs.keys, inputs.values, strict=True):
        window.append((key, value))
        weights = [weight[_dot(query, k)] for k, _ in window]
        above = [weight[0] * x for x in total]
        for w, (_, v) in zip(weights, window, strict=True):
            above = [before + w * x for before, x in zip(above, v, strict=True)]
        answers.append((above, weight[0] * gone + sum(weights)))
        if len(window) == inputs.window:
            _, leaving = window.pop(0)
            total = [before + x for before, x in zip(total, leaving, strict=True)]
            gone += 1
        words = max(words, sum(len(k) + len(v) for k, v in window) + len(total))
    return Run(answers, words)


EVALUATIONS: dict[str, Callable[[Context, Windowed], Run]] = {
    "masked-window": masked_window,
    "running-sum": by_running_sum,
}


def two_inputs(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Answers:
    """The inputs agree where they must, and each answer, sum of w_l v_l / sum of w_l, lies within its stated bounds."""
    fields(uses, "uses", set())
    fields(given, "given", set())
    names = [f"{which}_{side}" for which in ("first", "second") for side in ("at_least", "at_most")]
    stated = [rational(fields(gives, "gives", set(names))[name], name) for name in names]
    goal = context.about(TwoInputs)
    scale = goal.scale.numerator.bit_length() + goal.scale.denominator.bit_length()
    context.charge((sum(map(len, (*goal.inputs[0].keys, *goal.inputs[0].values))) + 1) * (32 + scale // 4))
    first, second = (each.entries() for each in goal.inputs)
    differ = {name for name, x in first.items() if second[name] != x}
    need(differ <= goal.may_differ, "inputs differ in listed entries only", min(differ - goal.may_differ, default=""))
    if goal.states:
        one, other = (goal.states[sum(x << i for i, x in enumerate(sum(each.values, ())))] for each in goal.inputs)
        need(one == other, "both inputs have the same state", one, other)
    for i, each in enumerate(goal.inputs):
        low, high = _answer(context, goal, each)
        need(stated[2 * i] <= low, f"{names[2 * i]} is below the answer", stated[2 * i], low)
        need(high <= stated[2 * i + 1], f"{names[2 * i + 1]} is above the answer", high, stated[2 * i + 1])
    return Answers((stated[0], stated[1]), (stated[2], stated[3]))


def _answer(context: Context, goal: TwoInputs, each: Input) -> tuple[Fraction, Fraction]:
    """Bounds on one output coordinate; equal where weights are exact."""
    scores = [_dot(each.query, key) / goal.scale for key in each.keys]
    table = _exps(context, set(scores)) if goal.base is None else _exact(context, goal.base, set(scores))
    pairs = [(table[score], value[goal.coordinate]) for score, value in zip(scores, each.values, strict=True)]
    low = sum(v * w[v < 0] for w, v in pairs)
    high = sum(v * w[v > 0] for w, v in pairs)
    least, most = sum(w[0] for w, _ in pairs), sum(w[1] for w, _ in pairs)
    return Fraction(low, most if low > 0 else least), Fraction(high, least if high > 0 else most)


def _exps(context: Context, scores: set[Fraction]) -> dict[Fraction, Weight]:
    """e^score over the least of them, in units of 2^-192."""
    context.charge(len(scores) * _EXP_WORK)
    low = min(scores)
    return {s: (_units(exp_lower(s - low)), -_units(-exp_upper(s - low))) for s in scores}


def _units(x: Fraction) -> int:
    return (x.numerator << _EXP_BITS) // x.denominator


def _exact(context: Context, base: Fraction, scores: set[Fraction]) -> dict[Fraction, Weight]:
    """base^score, as ``_powers`` says; scores must be integers."""
    need(all(s.denominator == 1 for s in scores), "scores are integers where the base is rational")
    return {Fraction(s): (w, w) for s, w in _powers(context, base, {int(s) for s in scores}).items()}


def _powers(context: Context, base: Fraction, scores: set[int]) -> dict[int, int]:
    """base^score times a common factor that makes all of them integers: p^(s - least) q^(greatest - s)."""
    p, q, low, high = base.numerator, base.denominator, min(scores), max(scores)
    bits = (high - low) * max(p, q).bit_length()
    if bits > MAX_POWER_BITS:
        raise OverLimit(f"limit: weights that differ by more than {MAX_POWER_BITS} bits")
    context.charge(len(scores) * (64 + bits // 8))
    return {s: p ** (s - low) * q ** (high - s) for s in scores}


def _power_table(context: Context, inputs: Windowed) -> dict[int, int]:
    """The weights of all scores within the window, and of 0, in a common unit. Charges one evaluation."""
    many, width = len(inputs.keys), len(inputs.keys[0]) + len(inputs.values[0])
    context.charge(many * many * (width + 2))
    pairs = ((i, j) for i in range(many) for j in range(max(0, i + 1 - inputs.window), i + 1))
    scores = {0} | {_dot(inputs.queries[i], inputs.keys[j]) for i, j in pairs}
    found = _powers(context, inputs.base, scores)
    context.charge(many * (many + 16) * width * (max(found.values()).bit_length() // 256))
    return found


def _dot(query: Row, key: Row) -> int:
    return sum(a * b for a, b in zip(query, key, strict=True))


def identity(node: Node) -> Goal:
    """Read a statement of two evaluations that agree. Raises Malformed and OverLimit."""
    fields(node, "statement", {"claim", "left", "right", "right_words_at_most", "stream"})
    names = [text(node[side], f"statement.{side}") for side in ("left", "right")]
    _ranged(set(names) == EVALUATIONS.keys(), "left and right", f"expected {' and '.join(EVALUATIONS)}")
    stream = fields(node["stream"], "statement.stream", {"base", "window", "queries", "keys", "values"})
    queries, keys, values = (integer_rows(stream[name], f"stream.{name}") for name in ("queries", "keys", "values"))
    _ranged(len(queries) == len(keys) == len(values), "stream", "as many queries as keys and values")
    _ranged(len(queries[0]) == len(keys[0]), "stream", "queries and keys of one length")
    base, window = rational(stream["base"], "stream.base"), integer(stream["window"], "stream.window")
    _ranged(base > 0, "stream.base", "weights are positive")
    _ranged(window >= 1, "stream.window", "the window has at least the token itself")
    words = integer(node["right_words_at_most"], "statement.right_words_at_most")
    return Identity(names[0], names[1], Windowed(base, window, queries, keys, values), words)


def two(node: Node) -> Goal:
    """Read a statement of two inputs. Raises Malformed and OverLimit."""
    required = {"claim", "scale", "relative", "coordinate", "first", "second", "may_differ"}
    fields(node, "statement", required, {"base", "states"})
    base = rational(node["base"], "statement.base") if "base" in node else None
    scale, relative = (rational(node[name], f"statement.{name}") for name in ("scale", "relative"))
    _ranged(base is None or base > 0, "base", "weights are positive")
    _ranged(scale > 0, "scale", "above 0")
    _ranged(0 <= relative < 1, "relative", "at least 0 and below 1")
    first, second = (_input(node[which], f"statement.{which}") for which in ("first", "second"))
    names = first.entries().keys()
    _ranged(names == second.entries().keys(), "second", "an input of the first one's size")
    coordinate = integer(node["coordinate"], "statement.coordinate")
    _ranged(0 <= coordinate < len(first.values[0]), "coordinate", "one of the values' coordinates")
    listed = strings(node["may_differ"], "statement.may_differ")
    _ranged(len(listed) == len(set(listed)), "may_differ", "every entry once")
    _ranged(set(listed) <= names, "may_differ", "entries of the inputs, as 'keys 1 0', 'values 1 0' or 'query 0'")
    states = tuple(integers(node["states"], "statement.states")) if "states" in node else ()
    if states:
        _ranged(all(name.startswith("values ") for name in listed), "may_differ", "a state is one of value matrices")
        cells = [x for each in (first, second) for row in each.values for x in row]
        _ranged(set(cells) <= {0, 1}, "states", "values are 0 or 1")
        most = len(states).bit_length()
        _ranged(len(cells) < 2 * most and len(states) == 1 << len(cells) // 2, "states", "one for each value matrix")
    return TwoInputs(base, scale, relative, coordinate, (first, second), frozenset(listed), states)


def _input(value: object, where: str) -> Input:
    node = fields(value, where, {"query", "keys", "values"})
    (query,) = integer_rows([node["query"]], f"{where}.query")
    keys, values = (integer_rows(node[name], f"{where}.{name}") for name in ("keys", "values"))
    _ranged(len(keys) == len(values), where, "as many keys as values")
    _ranged(len(keys[0]) == len(query), where, "keys of the query's length")
    return Input(query, keys, values)


def integer_rows(value: object, where: str) -> Rows:
    """A matrix of integers, one row at least."""
    rows = tuple(tuple(integers(row, where)) for row in strings(value, where))
    _ranged(len({len(row) for row in rows}) == 1, where, "rows of one length, one at least")
    if len(rows) * len(rows[0]) > MAX_ENTRIES or max(abs(x) for row in rows for x in row) >> MAX_ENTRY_BITS:
        raise OverLimit(f"limit: more than {MAX_ENTRIES} entries, or one of more than {MAX_ENTRY_BITS} bits")
    return rows


def _ranged(condition: bool, name: str, meaning: str) -> None:
    if not condition:
        raise Malformed(f"statement.{name.removeprefix('statement.')}: {meaning}")


RULES: dict[str, Rule] = {"running-sum": running_sum, "two-inputs": two_inputs}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"identity": identity, "two-inputs": two}
