"""Tensor attention a second time: rows of pairs by listing words, orders by arrays, patterns by difference constraints.

``state_holds`` builds the instance end to end: factor rows, product keys, scores of all pairs, answers that never meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from flint import arb

from tests.kernel.families import Keys, family, require, small
from tests.kernel.real import at_most, ball, exp, fano, log2, precision

Node = dict[str, Any]
SIZES = ("tokens", "head_dim", "value_dim", "kv_heads", "state_bits_at_least")
ORDERS = ("four_cache", "two_cache", "re_associated")
CACHES = ("k1", "k2", "v1", "v2")


@dataclass(frozen=True)
class Problem:
    """A statement's fields, and its numbers."""

    node: Node
    number: dict[str, Fraction]


def statement(node: Node) -> Problem:
    number = {name: Fraction(value) for name, value in node.items() if name != "claim"}
    require(all(number[name] >= (name in SIZES[:4]) for name in SIZES), "sizes")
    require(all(number.get(name, 1) > 0 for name in ("scale", "max_logit", "max_query")), "range")
    require(0 <= number["failure"] < 1 and ("tolerance" in number) != ("relative" in number), "promise")
    require("relative" in number or 0 < number["tolerance"] < 1, "tolerance")
    require("tolerance" in number or 0 <= number["relative"] < 1, "relative")
    return Problem(node, number)


def keys(problem: Problem, step: Node, facts: Node, folder: object) -> Keys:
    rule = "hypercube" if "dimension" in step["given"] else "linear-code"
    return family({**step, "rule": rule}, "cube", "real")


def leak(problem: Problem, step: Node, facts: Node, folder: object) -> tuple[int, Fraction, Fraction]:
    """Each half's row written out, word by word."""
    words = facts[step["uses"]["keys"]]
    uses, given = step["uses"], {name: int(x) for name, x in step["given"].items()}
    both, number = "held" in uses, problem.number
    tokens, payload, length = int(number["tokens"]), given["payload"], words.dim
    targets = given["sentinels"] if both else tokens
    require(payload >= 1 and targets >= 1 and payload <= words.size - both, "payload")
    require(payload + (targets if both else 0) <= tokens and length * (1 + both) <= number["head_dim"], "sizes")
    (e, z), (f, y) = facts[uses["read"]], facts[uses["held"]] if both else (Fraction(0), Fraction(1))
    stated = {name: Fraction(step["gives"][f"{name}_at_most"]) for name in ("off_target", "rest", "logit")}
    require(length * (e + f) <= 2 * stated["logit"] and stated["logit"] <= number["max_logit"], "logit")
    require("max_query" not in number or max(e, f) * number["scale"] <= 2 * number["max_query"], "query")
    off, rest = masses(words, tokens, payload, targets, z, y, both=both)
    require(off <= stated["off_target"] and at_most(rest, stated["rest"]), "masses")
    return payload * (1 + both), stated["off_target"], stated["rest"]


def masses(
    words: Keys, tokens: int, payload: int, targets: int, z: Fraction, y: Fraction, *, both: bool
) -> tuple[Fraction, arb]:
    """Off-target and rest over the targets: a row of the read half times a row of the held one."""
    weights = sorted(int((row < 0).sum()) for row in words.keys)[1:]
    heaviest = weights[-payload:] if both else []
    row = [Fraction(1), *(z**w for w in weights[: payload - 1 + both])]
    row += [z ** heaviest[0]] * (targets - 1) if both else []
    column = [Fraction(1)] * targets + [y**w for w in heaviest]
    own = (tokens + 1) ** 2 - (payload + targets if both else payload) * (payload + targets if both else tokens)
    rest = own * (ball(z) * ball(y)).sqrt() ** words.dim / targets
    return (sum(row, Fraction(0)) * sum(column, Fraction(0)) - targets) / targets, rest


def symbols(problem: Problem, step: Node, facts: Node, folder: object) -> Fraction:
    rows, off, rest = facts[step["uses"]["leak"]]
    alphabet, bits, number = int(step["gives"]["alphabet"]), Fraction(step["gives"]["bits_at_least"]), problem.number
    require(2 <= alphabet <= 2**64, "alphabet")
    if "relative" in number:
        require(alphabet == 2 and (1 + number["relative"]) * off < 1 - number["relative"], "separation")
    else:
        require((number["tolerance"] * (1 + off + rest) + off) * (alphabet - 1) < 1, "levels")
    require(number["failure"] <= 1 - Fraction(1, alphabet), "failure")
    many = rows * number["value_dim"] * number["kv_heads"]
    require(at_most(bits, whole(alphabet, number["failure"], many)), "bits")
    return bits


def whole(alphabet: int, failure: Fraction, symbols: Fraction) -> Fraction | arb:
    """Bits of so many symbols; a rational where it is one."""
    if not failure and not alphabet & (alphabet - 1):
        return symbols * (alphabet.bit_length() - 1)
    return ball(symbols) * (fano(alphabet, failure) if failure else log2(alphabet))


def claimed(problem: Problem, last: Any) -> bool:
    return isinstance(last, Fraction) and problem.number["state_bits_at_least"] <= last


@precision()
def state_holds(tree: Node) -> bool:
    """Whether the instance is in the class and every secret entry can be read from it, for all values of the others."""
    problem = statement(tree["statement"])
    steps = {step["id"]: step for step in tree["steps"]}
    number, held = problem.number, steps.get("held")
    words = keys(problem, steps["keys"], {}, None)
    e = Fraction(steps["read"]["given"]["exponent"])
    f = Fraction(held["given"]["exponent"]) if held else Fraction(0)
    order = sorted(words.keys.tolist(), key=lambda row: -sum(x < 0 for x in row))
    payload = int(steps["leak"]["given"]["payload"])
    ones = int(steps["leak"]["given"]["sentinels"]) if held else 0
    rows = order[:payload] + [[1] * words.dim] * ones
    tokens, length, dim = int(number["tokens"]), words.dim, int(number["head_dim"])
    if len(rows) > tokens or length * (2 if held else 1) > dim or (held and [1] * length in order[:payload]):
        return False
    k1, k2 = np.zeros((tokens + 1, dim), np.int64), np.zeros((tokens + 1, dim), np.int64)
    if held:
        k1[: len(rows), :length], k1[: len(rows), length : 2 * length] = rows, 1
        k2[: len(rows), :length], k2[: len(rows), length : 2 * length] = 1, rows
    else:
        k1[: len(rows), :length], k2[:tokens, :length] = rows, 1
    alphabet = int(steps["bits"]["gives"]["alphabet"])
    if number["failure"] > 1 - Fraction(1, alphabet):
        return False
    second = set(range(payload, len(rows))) if held else set(range(tokens))
    for i in range(payload):
        turned = [e / 2 * x for x in rows[i]] + [f / 2] * (length if held else 0)
        query = [x * number["scale"] for x in turned]
        if sum(map(abs, query)) > number["max_logit"] * number["scale"]:
            return False
        if "max_query" in number and max(map(abs, query)) > number["max_query"]:
            return False
        products = k1[:, None] * k2[None]
        units = np.stack([products[..., :length] @ rows[i], products[..., length : 2 * length].sum(axis=2)], axis=2)
        weight = _weights(units.tolist(), e / 2, f / 2)
        live = range(len(rows) if held else tokens)
        target = sum((weight[i, s] for s in second), arb(0))
        others = sum((weight[a, b] for a in range(len(rows)) for b in live), arb(0)) - target
        if not _readable(number, alphabet, target, others, sum(weight.flat, arb(0))):
            return False
    many = payload * (2 if held else 1) * number["value_dim"] * number["kv_heads"]
    return at_most(number["state_bits_at_least"], whole(alphabet, number["failure"], many))


def _weights(units: list[list[list[int]]], read: Fraction, held: Fraction) -> np.ndarray:
    """e^score of all pairs, where a query is ``read`` times a row on one half and ``held`` on the other."""
    found = {(a, b): exp(read * a + held * b) for row in units for a, b in row}
    return np.array([[found[a, b] for a, b in row] for row in units], dtype=object)


def _readable(number: dict[str, Fraction], alphabet: int, target: arb, others: arb, total: arb) -> bool:
    if "relative" in number:
        eta = number["relative"]
        return alphabet == 2 and bool(ball(1 + eta) * others < ball(1 - eta) * target)
    gap = ball(Fraction(2, alphabet - 1)) * target
    return bool(gap - 2 * others > 2 * ball(number["tolerance"]) * total)


# explicit inputs


def rows(value: list[str]) -> np.ndarray:
    found = [[int(x) for x in row.split(" ")] for row in value]
    require(len({len(row) for row in found}) == 1, "rows")
    return np.array(found, dtype=object)


@dataclass(frozen=True)
class Explicit:
    node: Node
    query: np.ndarray
    caches: tuple[np.ndarray, ...]


def explicit(node: Node) -> Explicit:
    caches = tuple(rows(node[name]) for name in CACHES)
    query = rows([node["query"]])[0]
    require(caches[0].shape == caches[1].shape and caches[2].shape == caches[3].shape, "shapes")
    require(len(caches[0]) == len(caches[2]) and len(query) == caches[0].shape[1], "shapes")
    require(Fraction(node["base"]) > 0 and 1 <= int(node["word_bits"]) <= 320, "range")
    return Explicit(node, query, caches)


def answer(problem: Explicit, caches: tuple[np.ndarray, ...]) -> list[Fraction]:
    """All product rows."""
    k1, k2, v1, v2 = caches
    scores = (k1[:, None] * k2[None] * problem.query).sum(axis=-1)
    small(max(map(abs, scores.flat)) < 1 << 12)
    weights = np.array([[Fraction(problem.node["base"]) ** int(s) for s in row] for row in scores], dtype=object)
    return list((weights[:, :, None] * v1[:, None] * v2[None]).sum(axis=(0, 1)) / weights.sum())


def orders(problem: Explicit, step: Node, facts: Node, folder: object) -> dict[str, int]:
    k1, k2, v1, v2 = problem.caches
    scores = (k1 * problem.query) @ k2.T
    small(max(map(abs, scores.flat)) < 1 << 12)
    weights = np.array([[Fraction(problem.node["base"]) ** int(s) for s in row] for row in scores], dtype=object)
    require(list(((weights @ v2) * v1).sum(axis=0) / weights.sum()) == answer(problem, problem.caches), "one answer")
    stated = {name: int(step["gives"][name]) for name in (*ORDERS, "state_bits_at_most")}
    both, n = k1.shape[1] + v1.shape[1], len(k1)
    formed = (n * n, sum(1 for i in range(n) for j in range(n) if n - 1 in (i, j)), n)
    require(all(stated[name] == (n * n + new) * both for name, new in zip(ORDERS, formed, strict=True)), "counts")
    bits, least = int(problem.node["word_bits"]), int(problem.node["word_from"])
    require(all(least <= x < least + 2**bits for cache in problem.caches for x in cache.flat), "words")
    require(bits * sum(cache.size for cache in problem.caches) <= stated["state_bits_at_most"], "bits")
    return stated


def agreed(problem: Explicit, last: Any) -> bool:
    claims = {name: int(problem.node[name]) for name in (*ORDERS, "state_bits_at_most")}
    same = isinstance(last, dict) and all(last[name] == claims[name] for name in ORDERS)
    return same and last["state_bits_at_most"] <= claims["state_bits_at_most"]


def identity_holds(tree: Node) -> bool:
    """A state of the claimed bits is written and read again, and answers."""
    problem = explicit(tree["statement"])
    bits, least = int(problem.node["word_bits"]), int(problem.node["word_from"])
    state = "".join(format(x - least, f"0{bits}b") for cache in problem.caches for x in cache.flat)
    if len(state) > int(problem.node["state_bits_at_most"]) or "-" in state:
        return False
    words = iter([int(state[i : i + bits], 2) + least for i in range(0, len(state), bits)])
    again = tuple(
        np.array([next(words) for _ in range(cache.size)], object).reshape(cache.shape) for cache in problem.caches
    )
    both, n = problem.caches[0].shape[1] + problem.caches[2].shape[1], len(problem.caches[0])
    counts = [both * (n * n + new) for new in (n * n, 2 * n - 1, n)]
    return answer(problem, again) == answer(problem, problem.caches) and counts == [
        int(problem.node[x]) for x in ORDERS
    ]


@dataclass(frozen=True)
class Patterns:
    node: Node
    tokens: int


def pattern_statement(node: Node) -> Patterns:
    require(int(node["tokens"]) >= 1 and node["form"] in ("binary", "threshold"), "range")
    return Patterns(node, int(node["tokens"]))


def patterns(problem: Patterns, step: Node, facts: Node, folder: object) -> int:
    stated = int(step["gives"]["reachable"])
    small(problem.tokens <= (4 if problem.node["form"] == "binary" else 3))
    require(stated == count(problem.tokens, problem.node["form"]), "patterns")
    return stated


@cache
def count(tokens: int, form: str) -> int:
    if form == "binary":
        bits = list(product((0, 1), repeat=tokens))
        return len({tuple(a * b for a in x for b in y) for x in bits for y in bits})
    cells = product((0, 1), repeat=tokens * tokens)
    return sum(solvable(np.array(pattern).reshape(tokens, tokens)) for pattern in cells)


def solvable(pattern: np.ndarray) -> bool:
    """Signs, and logarithms a_i + b_j >= 1 where there is a 1 and <= -1 where there is a 0 between equal signs."""
    n = len(pattern)
    for signs in product((0, 1), repeat=2 * n - 1):
        one, other = (0, *signs[: n - 1]), signs[n - 1 :]
        if any(pattern[i, j] and one[i] != other[j] for i in range(n) for j in range(n)):
            continue
        arcs = []  # x_to <= x_from + length, nodes a_0 .. a_(n-1), -b_0 .. -b_(n-1)
        for i, j in product(range(n), repeat=2):
            if one[i] == other[j]:
                arcs.append((i, n + j, -1) if pattern[i, j] else (n + j, i, -1))
        if not _negative_cycle(2 * n, arcs):
            return True
    return False


def _negative_cycle(nodes: int, arcs: list[tuple[int, int, int]]) -> bool:
    least = [0] * nodes
    for _ in range(nodes):
        changed = False
        for start, end, length in arcs:
            if least[start] + length < least[end]:
                least[end], changed = least[start] + length, True
        if not changed:
            return False
    return True


def counted(problem: Patterns, last: Any) -> bool:
    return bool(last == int(problem.node["reachable"]))


def patterns_hold(tree: Node) -> bool:
    node = tree["statement"]
    return count(int(node["tokens"]), node["form"]) == int(node["reachable"])


RULES = {
    "tensor-keys": keys, "tensor-leak": leak, "tensor-symbols": symbols, "tensor-orders": orders,
    "tensor-patterns": patterns,
}  # fmt: skip
CLAIMS = {
    "tensor-state-bits": (statement, claimed), "tensor-identity": (explicit, agreed),
    "tensor-patterns": (pattern_statement, counted),
}  # fmt: skip
HOLDS = {"tensor-state-bits": state_holds, "tensor-identity": identity_holds, "tensor-patterns": patterns_hold}
