"""Explicit inputs a second time: windows and running sums as formulas, answers as fractions or Arb balls."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb

from tests.kernel.families import require, small
from tests.kernel.real import at_most, ball, exp

Node = dict[str, Any]
Rows = list[list[int]]
BOUNDS = ("first_at_least", "first_at_most", "second_at_least", "second_at_most")


def rows(value: list[str]) -> Rows:
    found = [[int(x) for x in row.split(" ")] for row in value]
    require(len({len(row) for row in found}) == 1, "rows")
    return found


def dot(a: list[int], b: list[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


@dataclass(frozen=True)
class Window:
    node: Node
    base: Fraction
    window: int
    queries: Rows
    keys: Rows
    values: Rows


def window(node: Node) -> Window:
    """The statement of an identity; Wrong where it is out of range."""
    stream = node["stream"]
    queries, keys, values = (rows(stream[name]) for name in ("queries", "keys", "values"))
    require({node["left"], node["right"]} == {"masked-window", "running-sum"}, "names")
    require(len(queries) == len(keys) == len(values) and len(queries[0]) == len(keys[0]), "sizes")
    require(Fraction(stream["base"]) > 0 and int(stream["window"]) >= 1, "range")
    return Window(node, Fraction(stream["base"]), int(stream["window"]), queries, keys, values)


def running_sum(problem: Window, step: Node, facts: Node, folder: object) -> dict[str, int]:
    """Both sides as sums over tokens, and the words by counting what the next step cannot do without."""
    for i in range(len(problem.keys)):
        require(masked(problem, i) == summed(problem, i), f"step {i}")
    many, value = len(problem.keys), len(problem.values[0])
    token = len(problem.keys[0]) + value
    words = {"masked-window": many * token, "running-sum": value}
    words["running-sum"] += token * len([j for j in range(many) if many - problem.window < j])
    for side in ("left", "right"):
        require(words[problem.node[side]] <= int(step["gives"][f"{side}_words_at_most"]), side)
    return {side: int(step["gives"][f"{side}_words_at_most"]) for side in ("left", "right")}


def masked(problem: Window, i: int) -> list[Fraction]:
    """Softmax over all tokens up to i, scores beyond the window set to 0."""
    scores = [dot(problem.queries[i], problem.keys[j]) if i - j < problem.window else 0 for j in range(i + 1)]
    small(max(map(abs, scores)) < 1 << 12)
    weights = [problem.base**score for score in scores]
    return _mean(weights, problem.values[: i + 1])


def summed(problem: Window, i: int) -> list[Fraction]:
    """The window's tokens, and one token more of the weight and the mean value of all before it."""
    start = max(0, i - problem.window + 1)
    weights = [problem.base ** dot(problem.queries[i], key) for key in problem.keys[start : i + 1]]
    values = [[Fraction(x) for x in row] for row in problem.values[start : i + 1]]
    if start:
        weights.append(Fraction(start))
        values.append([Fraction(sum(column), start) for column in zip(*problem.values[:start], strict=True)])
    return _mean(weights, values)


def _mean(weights: list[Fraction], values: Any) -> list[Fraction]:
    columns = zip(*values, strict=True)
    return [sum((w * x for w, x in zip(weights, c, strict=True)), Fraction(0)) / sum(weights) for c in columns]


def agreed(problem: Window, last: Any) -> bool:
    return isinstance(last, dict) and last["right"] <= int(problem.node["right_words_at_most"])


def identity_holds(tree: Node) -> bool:
    """All steps agree, and a state of the claimed words is run: it forgets whatever is over them."""
    problem = window(tree["statement"])
    if problem.node["right"] == "masked-window":
        return int(problem.node["right_words_at_most"]) >= sum(map(len, problem.keys + problem.values))
    room = (int(problem.node["right_words_at_most"]) - len(problem.values[0])) // (
        len(problem.keys[0]) + len(problem.values[0])
    )
    held: list[int] = []
    forgotten = [0] * len(problem.values[0])
    for i, query in enumerate(problem.queries):
        held.append(i)
        weights = [problem.base ** dot(query, problem.keys[j]) for j in held] + [Fraction(1)]
        values = [*(problem.values[j] for j in held), forgotten]
        total = sum(weights) - 1 + i + 1 - len(held)
        answers = [
            sum((w * x for w, x in zip(weights, c, strict=True)), Fraction(0)) / total
            for c in zip(*values, strict=True)
        ]
        if answers != masked(problem, i):
            return False
        while len(held) > min(room, problem.window - 1):
            forgotten = [a + b for a, b in zip(forgotten, problem.values[held.pop(0)], strict=True)]
    return True


@dataclass(frozen=True)
class Two:
    node: Node
    inputs: list[dict[str, Rows]]


def two(node: Node) -> Two:
    """The statement of two inputs; Wrong where it is out of range."""
    inputs = []
    for name in ("first", "second"):
        each = {part: rows(node[name][part]) for part in ("keys", "values")}
        each["query"] = rows([node[name]["query"]])
        require(len(each["keys"]) == len(each["values"]) and len(each["keys"][0]) == len(each["query"][0]), "sizes")
        inputs.append(each)
    require(all(_shape(inputs[0][part]) == _shape(inputs[1][part]) for part in inputs[0]), "shapes")
    require(Fraction(node.get("base", 1)) > 0 and Fraction(node["scale"]) > 0, "base and scale")
    require(0 <= Fraction(node["relative"]) < 1, "relative")
    require(0 <= int(node["coordinate"]) < len(inputs[0]["values"][0]), "coordinate")
    if "states" in node:
        cells = [x for each in inputs for row in each["values"] for x in row]
        require(set(cells) <= {0, 1} and len(node["states"].split(" ")) == 1 << len(cells) // 2, "states")
        require(all(entry.startswith("values") for entry in node["may_differ"]), "entries")
    return Two(node, inputs)


def _shape(matrix: Rows) -> tuple[int, int]:
    return len(matrix), len(matrix[0])


def differences(problem: Two) -> set[str]:
    """The entries in which the inputs differ, by name."""
    found = set()
    for part, matrix in problem.inputs[0].items():
        for i, row in enumerate(matrix):
            for j, x in enumerate(row):
                if x != problem.inputs[1][part][i][j]:
                    found.add(f"query {j}" if part == "query" else f"{part} {i} {j}")
    return found


def answer(problem: Two, which: int) -> Fraction | arb:
    """The exact answer, as a fraction where all weights are rational."""
    each, node = problem.inputs[which], problem.node
    scores = [dot(each["query"][0], key) / Fraction(node["scale"]) for key in each["keys"]]
    values = [row[int(node["coordinate"])] for row in each["values"]]
    small(max(map(abs, scores)) < 1 << 12)
    if "base" in node:
        require(all(score.denominator == 1 for score in scores), "whole scores")
        weights = [Fraction(node["base"]) ** score.numerator for score in scores]
    elif len(set(scores)) == 1:
        weights = [Fraction(1)] * len(scores)
    else:
        balls = [exp(score) for score in scores]
        return sum((w * v for w, v in zip(balls, values, strict=True)), arb(0)) / sum(balls, arb(0))
    return sum((w * v for w, v in zip(weights, values, strict=True)), Fraction(0)) / sum(weights, Fraction(0))


def same_state(problem: Two) -> bool:
    if "states" not in problem.node:
        return True
    states = problem.node["states"].split(" ")
    places = []
    for each in problem.inputs:
        bits = [x for row in each["values"] for x in row]
        places.append(sum(bit * 2**b for b, bit in enumerate(bits)))
    return int(states[places[0]]) == int(states[places[1]])


def two_inputs(problem: Two, step: Node, facts: Node, folder: object) -> list[Fraction]:
    """Differences, states, and the stated bounds against the answers."""
    require(differences(problem) <= set(problem.node["may_differ"]), "differences")
    require(same_state(problem), "states")
    stated = [Fraction(step["gives"][name]) for name in BOUNDS]
    for which in (0, 1):
        found = answer(problem, which)
        require(at_most(stated[2 * which], found) and at_most(found, stated[2 * which + 1]), "bounds")
    return stated


def apart(problem: Two, last: Any) -> bool:
    """Whether the outputs within the tolerance of the stated answers are disjoint."""
    if not isinstance(last, list):
        return False
    eta = Fraction(problem.node["relative"])
    ends = [x + sign * eta * abs(x) for x, sign in zip(last, (-1, 1, -1, 1), strict=True)]
    return bool(ends[1] < ends[2] or ends[3] < ends[0])


def two_hold(tree: Node) -> bool:
    """The statement itself, by the exact answers."""
    problem = two(tree["statement"])
    eta = ball(Fraction(problem.node["relative"]))
    low, high = sorted((ball(answer(problem, which)) for which in (0, 1)), key=lambda x: float(x.mid()))
    parted = bool(low + eta * abs(low) < high - eta * abs(high))
    return parted and differences(problem) <= set(problem.node["may_differ"]) and same_state(problem)


HOLDS = {"identity": identity_holds, "two-inputs": two_hold}
