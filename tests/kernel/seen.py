"""Visual streams a second time: maps by `kvverify.attention.visual`, which agrees with torch, and answers by Arb.

The carriers' combinations come from solving for the free maps, one system for a whole map, and interpolating these.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from flint import arb, arb_mat, fmpq, fmpq_mat, fmpz_mat

from kvverify.attention import visual
from kvverify.attention.visual import Scale, Scales
from kvverify.errors import UsageError
from tests.kernel.families import Wrong, require, small
from tests.kernel.real import at_most, ball, divergence, down, fano, log2, log_ratio, precision, up

Node = dict[str, Any]


@dataclass(frozen=True)
class Pyramid:
    """The statement's numbers and scales."""

    node: Node
    scales: Scales
    number: dict[str, Fraction]

    @property
    def held(self) -> Scales:
        return self.scales if self.node["cut"] == "all-keys" else self.scales[:-1]

    @property
    def columns(self) -> Fraction:
        return self.number["kv_heads"] * self.number["value_dim"]


@dataclass(frozen=True)
class Mixed:
    carriers: int
    log2_det: Fraction
    off_target: Fraction


@dataclass(frozen=True)
class Held:
    bits: Fraction


def statement(node: Node) -> Pyramid:
    words = {"claim", "scales", "kernel", "edge", "cut", "inputs"}
    number = {name: Fraction(value) for name, value in node.items() if name not in words}
    try:
        scales = visual.parse_scales(",".join(node["scales"]))
    except UsageError as error:
        raise Wrong(str(error)) from None
    require(len(scales) > 1 or node["cut"] == "all-keys", "a scale before the last")
    require(min(number[name] for name in ("model_dim", "key_dim", "value_dim", "kv_heads")) >= 1, "sizes")
    require(number["state_bits_at_least"] >= 0 and number["max_logit"] > 0 and 0 <= number["failure"] < 1, "range")
    require("tolerance" not in number or 0 < number["tolerance"] < 1, "tolerance")
    require("relative" not in number or 0 <= number["relative"] < 1, "relative")
    return Pyramid(node, scales, number)


def rows(problem: Pyramid, step: Node, facts: Node, folder: object) -> Mixed:
    given = step["given"]
    keys, queries = (_integers(given[name]) for name in ("keys", "queries"))
    units = Fraction(given["key_unit"]), Fraction(given["query_unit"])
    maps = _maps(problem, given)
    carriers = sum(told.nrows() for told, _ in maps)
    require(len(keys) == len(queries) == carriers and len(keys[0]) == len(queries[0]), "a row for each carrier")
    _projections(problem, given["projections"], len(keys[0]))
    require(units[1] > 0, "unit")
    sizes = [units[1] * sum(map(abs, query)) for query in queries]
    require(max(sizes) <= problem.number["max_logit"], "budget")
    require(all(abs(x) <= 1 for x in _token_keys(problem, given).entries()), "the cube")
    stated = Mixed(
        carriers, Fraction(step["gives"]["log2_det_at_least"]), Fraction(step["gives"]["off_target_at_most"])
    )
    off = off_targets(problem, given)
    require(all(x >= 0 and at_most(x, stated.off_target) for x in off), "off target")
    require(all(at_most(x, 1) for x in off), "off target below 1")
    require(any(at_most(stated.log2_det, bound) for bound in log2_dets(problem, given)), "determinant")
    return stated


def volume(problem: Pyramid, step: Node, facts: Node, folder: object) -> Held:
    mixed, bits = facts[step["uses"]["rows"]], Fraction(step["gives"]["bits_at_least"])
    require("tolerance" in problem.number, "additive")
    require(problem.number["failure"] <= 1 - problem.number["tolerance"], "failure")
    require(at_most(bits, volume_bits(problem, mixed)), "bits")
    return Held(bits)


def volume_bits(problem: Pyramid, mixed: Mixed) -> arb:
    with precision():
        each = divergence(problem.number["tolerance"], problem.number["failure"])
        return ball(problem.columns) * (ball(mixed.log2_det) + mixed.carriers * each)


def symbols(problem: Pyramid, step: Node, facts: Node, folder: object) -> Held:
    mixed, bits = facts[step["uses"]["rows"]], Fraction(step["gives"]["bits_at_least"])
    require("relative" in problem.number and problem.number["failure"] <= Fraction(1, 2), "failure")
    eta = problem.number["relative"]
    require((1 - eta) * (1 - mixed.off_target) > (1 + eta) * mixed.off_target, "told apart")
    require(at_most(bits, symbol_bits(problem, mixed)), "bits")
    return Held(bits)


def symbol_bits(problem: Pyramid, mixed: Mixed) -> arb | Fraction:
    many = problem.columns * mixed.carriers
    with precision():
        return ball(many) * fano(2, problem.number["failure"]) if problem.number["failure"] else many


def claimed(problem: Pyramid, last: Any) -> bool:
    return isinstance(last, Held) and problem.number["state_bits_at_least"] <= last.bits


def sharp(tree: Node) -> Node:
    """Steps and statement of a certificate with the strongest numbers, but for 2^-34 that the kernel may lose."""
    problem = statement(tree["statement"])
    first, last = tree["steps"]
    with precision():
        bound = max(down(x - ball(Fraction(1, 1 << 34)), 36) for x in log2_dets(problem, first["given"]))
        off = max(up(x + ball(Fraction(1, 1 << 38)), 38) for x in off_targets(problem, first["given"]))
    mixed = Mixed(len(first["given"]["keys"]), bound, off)
    bits = (volume_bits if last["rule"] == "visual-volume" else symbol_bits)(problem, mixed)
    stated = down(bits, 32)
    return {
        "statement": tree["statement"] | {"state_bits_at_least": str(int(stated))},
        "steps": [
            first | {"gives": {"log2_det_at_least": str(bound), "off_target_at_most": str(off)}},
            last | {"gives": {"bits_at_least": str(stated)}},
        ],
    }


def holds(tree: Node) -> bool:
    """The instance end to end: every answer as what it gains from each carrier, and their determinant."""
    problem = statement(tree["statement"])
    given, delta = tree["steps"][0]["given"], problem.number["failure"]
    answers = _answers(problem, given)
    count = len(answers)
    with precision():
        if "relative" in problem.number:
            eta = ball(problem.number["relative"])
            for j, row in enumerate(answers):  # values 0 and 1 at the carriers, whatever the others are
                high = sum((x for i, x in enumerate(row) if i != j and x > 0), arb(0))
                low = sum((x for i, x in enumerate(row) if i != j and not x > 0), arb(0))
                if not (1 - eta) * (row[j] + low) > (1 + eta) * high:
                    return False
            bits: arb | Fraction = problem.columns * count
            if delta:
                bits = ball(bits) * fano(2, delta)
        else:
            each = log2(abs(arb_mat(answers).det()) * ball(_secret(problem, given)))
            bits = ball(problem.columns) * (each + count * divergence(problem.number["tolerance"], delta))
        return at_most(problem.number["state_bits_at_least"], bits)


def _answers(problem: Pyramid, given: Node) -> list[list[arb]]:
    """What answer j gains from carrier i of value 1."""
    return _known(json.dumps([problem.node, given]))


@lru_cache(maxsize=256)
def _known(text: str) -> list[list[arb]]:
    node, given = json.loads(text)
    problem = statement(node)
    unit = _rational(Fraction(given["query_unit"]))
    queries = fmpq_mat(fmpz_mat(_integers(given["queries"])))
    scores = (queries * _token_keys(problem, given).transpose()).tolist()
    own = problem.scales[-1].tokens if problem.node["cut"] == "between-steps" else 0
    with precision():
        found = []
        for query, row in zip(queries.tolist(), scores, strict=True):
            weights = [arb(unit * score).exp() for score in row]
            mass = sum(weights, arb(0)) + own * arb(-unit * sum(map(abs, query))).exp()
            found.append([weight / mass for weight in weights])
        gained: list[list[arb]] = (arb_mat(found) * arb_mat(_combined(problem, given))).tolist()
        return gained


def off_targets(problem: Pyramid, given: Node) -> list[arb]:
    """Of each row what other carriers weigh, signs aside, relative to its own."""
    with precision():
        return [
            sum((abs(x) for i, x in enumerate(row) if i != j), arb(0)) / row[j]
            for j, row in enumerate(_answers(problem, given))
        ]


def log2_dets(problem: Pyramid, given: Node) -> list[arb]:
    """Two lower bounds on log2 |det| from secrets to answers: by Ostrowski, and by near-identity."""
    answers, off = _answers(problem, given), off_targets(problem, given)
    with precision():
        own = log2(_secret(problem, given)) + sum((log2(row[j]) for j, row in enumerate(answers)), arb(0))
        ostrowski = sum((log2(1 - x) for x in off), arb(0))
        worst = up(max(off, key=lambda x: float(x.mid())), 300)
        squares = sum(((x / row[j]) ** 2 for j, row in enumerate(answers) for i, x in enumerate(row) if i != j), arb(0))
        return [own + ostrowski, own - log_ratio(worst) * squares / arb(2).log()]


def _secret(problem: Pyramid, given: Node) -> Fraction:
    """|det| from secrets in [-1, 1] to the carriers: each free map as large as its interpolation allows."""
    found = Fraction(1)
    for told, phi in _maps(problem, given)[1:]:
        largest = max(sum(map(abs, row)) for row in phi.tolist())
        determinant = abs(told.det()) / largest ** told.nrows()
        found *= Fraction(int(determinant.p), int(determinant.q))
    return found


def _token_keys(problem: Pyramid, given: Node) -> fmpq_mat:
    """All tokens' keys."""
    return (
        _combined(problem, given)
        * fmpq_mat(fmpz_mat(_integers(given["keys"])))
        * _rational(Fraction(given["key_unit"]))
    )


def _combined(problem: Pyramid, given: Node) -> fmpq_mat:
    """Every token as a combination of the carriers: interpolated from the free maps that these determine."""
    maps = _maps(problem, given)
    total, line = sum(told.nrows() for told, _ in maps), 0
    found, first = fmpq_mat(sum(phi.nrows() for _, phi in maps), total), 0
    for told, phi in maps:
        part = phi * told.inv()
        for i in range(phi.nrows()):
            for j in range(told.nrows()):
                found[line + i, first + j] = part[i, j]
        line, first = line + phi.nrows(), first + told.nrows()
    return found


def _maps(problem: Pyramid, given: Node) -> list[tuple[fmpq_mat, fmpq_mat]]:
    """Of every map (rows of the carriers, all rows) of its interpolation from the free map."""
    small(visual.tokens(problem.held) <= 64)
    down_, across = ([[int(x) for x in row.split(" ")] for row in given[name]] for name in ("down", "across"))
    require(len(down_) == len(across) == len(problem.held) - 1, "carriers of every map")
    size = problem.held[0].tokens
    whole = fmpq_mat(fmpz_mat(size, size, [int(i == j) for i in range(size) for j in range(size)]))
    found = [(whole, whole)]
    for before, after, high, wide in zip(problem.held, problem.held[1:], down_, across, strict=False):
        require(len(high) == before.height and len(wide) == before.width, "carriers of each source index")
        require(high == sorted(set(high)) and wide == sorted(set(wide)), "carriers grow")
        require(min(*high, *wide) >= 0 and max(high) < after.height and max(wide) < after.width, "carriers inside")
        phi = _dense(before, after, problem.node["kernel"])
        told = fmpq_mat([phi.tolist()[i * after.width + j] for i in high for j in wide])
        require(told.det() != 0, "determined")
        found.append((told, phi))
    return found


@lru_cache(maxsize=64)
def _dense(before: Scale, after: Scale, kernel: str) -> fmpq_mat:
    rows = visual.weights(before, after, kernel)
    return fmpq_mat([[_rational(row.get(i, Fraction(0))) for i in range(before.tokens)] for row in rows])


def _rational(x: Fraction) -> fmpq:
    return fmpq(x.numerator, x.denominator)


def _projections(problem: Pyramid, node: Node, columns: int) -> None:
    heads = [row.split(" ") for row in node["values"]]
    require(len(heads) == problem.number["kv_heads"], "heads")
    require(all(len(head) == problem.number["value_dim"] for head in heads), "values")
    keys, queries = node["keys"].split(" "), node["queries"].split(" ")
    require(len(keys) == len(queries) == columns <= problem.number["key_dim"], "keys and queries")
    used = [int(x) for row in (*heads, keys, queries) for x in row]
    require(len(used) == len(set(used)) and min(used) >= 0 and max(used) < problem.number["model_dim"], "coordinates")


def _integers(lines: list[str]) -> list[list[int]]:
    found = [[int(x) for x in line.split(" ")] for line in lines]
    require(len({len(row) for row in found}) == 1, "rows of one length")
    return found
