"""From keys to reads: scale, tilt, logit budget, leak, rows of a file, readings. Inequalities of docs/format.md."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from operator import mul
from typing import Any

from gmpy2 import mpq

from tests.engines.facts import Decay, Keys, Leak, Node, Reading, Scaled, Tilt, premise
from tests.engines.interval import (
    Case,
    Interval,
    Undecided,
    bits_now,
    exp,
    interval,
    log2,
    log2_e,
    must,
    pi,
    sqrt,
    tanh,
)

SCORES = 1 << 14  # of an attention-row step
LEAST_RADIUS = mpq(1, 1 << 64)
_FORMATS = {"F64": (8, "d"), "F32": (4, "f"), "F16": (2, "e"), "BF16": (2, "f")}


def exp_bound(case: Case, uses: Node, given: Node, gives: Node) -> Decay:
    c, z = mpq(given["exponent"]), mpq(gives["exp_minus_at_most"])
    must(c > 0 and 0 < z <= 1, "exponent > 0 and 0 < exp_minus_at_most <= 1")
    case.at_most("e^-exponent <= exp_minus_at_most", lambda: (exp(-c), z))
    return Decay(c, z)


def tilt(case: Case, uses: Node, given: Node, gives: Node) -> Tilt:
    t, bound = mpq(given["strength"]), mpq(gives["tanh_half_at_least"])
    must(t > 0 and 0 < bound < 1, "strength > 0 and 0 < tanh_half_at_least < 1")
    case.at_most("tanh_half_at_least <= tanh(strength / 2)", lambda: (bound, tanh(t / 2)))
    return Tilt(t, lambda: (interval(t / bound - 1), log2(bound)))


def shrunk_keys(case: Case, uses: Node, given: Node, gives: Node) -> Keys:
    keys, share, beside = premise(uses, "keys", Keys), mpq(given["code_radius"]), mpq(gives["payload_radius"])
    must(case.problem.body == "ball", "the body is the ball")
    must(min(share, beside) >= LEAST_RADIUS, "both radii are at least 2^-64")
    must(not case.problem.bf16 or keys.signs, "in bf16 sign keys only")
    grown = beside * mpq(257, 256) if case.problem.bf16 else beside
    must(share**2 + grown**2 <= 1, "code_radius^2 + (f payload_radius)^2 <= 1")
    unit = mpq(keys.dim, 2) * mpq(128, 127) if case.problem.bf16 else keys.unit
    return replace(keys, unit=unit / share, beside=beside)


def ball_tilt(case: Case, uses: Node, given: Node, gives: Node) -> Tilt:
    """The unit ball's volume by V_d = V_(d-2) 2 pi / d."""
    b, radius, d = mpq(given["strength"]), mpq(given["radius"]), int(given["key_coordinates"])
    mean, entropy = mpq(gives["mean_at_most"]), mpq(gives["entropy_at_least"])
    must(b > 0 and LEAST_RADIUS <= radius < 1 and 1 <= d <= 4096, "strength, radius and key_coordinates in range")
    square = (b * radius) ** 2 / (d + 2)
    case.at_most("e^(s^2 / 2) <= mean_at_most", lambda: (exp(square / 2), mean))

    def most() -> Interval:
        volume = interval(2 if d % 2 else 1)
        for n in range(3 if d % 2 else 2, d + 1, 2):
            volume *= 2 * pi() / n
        return log2(radius) + log2(volume) / d + log2(b) - 2 - log2_e() * (square / 4)

    case.at_most("entropy_at_least <= the tilted ball's", lambda: (entropy, most()))
    return Tilt(b, lambda: (interval(mean), interval(entropy)), (radius, d))


def budget(case: Case, uses: Node, given: Node, gives: Node) -> Scaled:
    keys, decay, problem = premise(uses, "keys", Keys), premise(uses, "decay", Decay), case.problem
    lean = premise(uses, "tilt", Tilt) if "tilt" in uses else None
    payload, logit = int(given["payload"]), mpq(gives["logit_at_most"])
    must(problem.budget == "class" and keys.dim <= problem.key_dim, "keys of the class that fit the key dimension")
    must(1 <= payload <= min(keys.size, problem.tokens), "1 <= payload <= number of keys and of tokens")
    must(keys.bf16 or not problem.bf16, "keys exact in bf16")
    power = 2 if problem.body == "ball" else 1
    cost = (decay.exponent * keys.unit) ** power + (lean.strength**power if lean else 0)
    must(logit > 0 and cost <= logit**power, "logit of the queries <= logit_at_most")
    must(logit <= problem.max_logit, "logit_at_most <= max_logit")
    return Scaled(keys, decay, payload, lean)


def leak(case: Case, uses: Node, given: Node, gives: Node) -> Leak:
    scaled = premise(uses, "budget", Scaled)
    keys, z, payload = scaled.keys, scaled.decay.z, scaled.payload
    stated = _stated(gives, payload)
    nearest, left = [], payload - 1
    for e, n in sorted(keys.histogram.items()):
        nearest.append((e, min(n, left)))
        left -= nearest[-1][1]

    def power_sum(times: int) -> Interval:
        return reduce(Interval.__add__, (interval(z) ** (times * e) * n for e, n in nearest if n), interval(0))

    case.at_most("off-target mass <= off_target_at_most", lambda: (power_sum(1), stated.off))
    case.at_most("off-target squares <= off_target_squares_at_most", lambda: (power_sum(2), stated.squares))
    pads, twice = case.problem.tokens - payload, int(2 * keys.pad)

    def rest() -> Interval:
        return interval(z) ** keys.own + pads * sqrt(z) ** twice

    case.at_most("mass of pads and own token <= rest_at_most", lambda: (rest(), stated.rest))
    return replace(stated, scaled=scaled)


def _stated(gives: Node, payload: int) -> Leak:
    found = [mpq(gives[f"{name}_at_most"]) for name in ("off_target", "off_target_squares", "rest")]
    must(min(found) >= 0, "masses are not negative")
    return Leak(payload, *found)


def matrix(case: Case, named: Node) -> tuple[list[list[int]], Any, str]:
    """A matrix of a safetensors file: integers, the power of two that they are over, and its dtype."""
    path = case.folder / named["name"]
    if not path.is_file():
        raise Undecided("a file is not there")
    data = path.read_bytes()
    must(hashlib.sha256(data).hexdigest() == named["sha256"], "digest of the file")
    (length,) = struct.unpack("<Q", data[:8])
    tensor = json.loads(data[8 : 8 + length])[named["tensor"]]
    start, end = (8 + length + offset for offset in tensor["data_offsets"])
    width, letter = _FORMATS[tensor["dtype"]]
    raw, shape = data[start:end], tensor["shape"]
    if len(shape) == 3:
        each = shape[1] * shape[2] * width
        raw, shape = raw[int(named["head"]) * each : (int(named["head"]) + 1) * each], shape[1:]
    if tensor["dtype"] == "BF16":
        raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
    ratios = [x.as_integer_ratio() for x in struct.unpack(f"<{shape[0] * shape[1]}{letter}", raw)]
    below = max(q for _, q in ratios)
    flat = [p * (below // q) for p, q in ratios]
    return [flat[i : i + shape[1]] for i in range(0, len(flat), shape[1])], mpq(1, below), tensor["dtype"]


def attention_row(case: Case, uses: Node, given: Node, gives: Node) -> Leak:
    """Over the limit its numbers are taken as stated, and the step is left open."""
    problem, payload = case.problem, [int(word) for word in given["payload"].split(" ")]
    must(problem.budget in ("own-keys", "own-queries"), "the budget is own-keys or own-queries")
    must(len(set(payload)) == len(payload), "distinct tokens")
    stated = _stated(gives, len(payload))
    if len(payload) * problem.tokens > SCORES:
        case.open.append(f"limit: more than {SCORES} scores")
        return replace(stated, unread=True)
    stated = replace(stated, **_rows(_scores(case, given, payload), payload))
    assert stated.rows is not None
    assert stated.matrix is not None
    rows, weights = stated.rows, stated.matrix
    for i in range(len(payload)):
        case.at_most(f"off-target mass of row {i}", lambda i=i: (rows()[i][0], stated.off))
        case.at_most(f"other mass of row {i}", lambda i=i: (rows()[i][1], stated.rest))

    def squares() -> Interval:
        each = (weight**2 for i, row in enumerate(weights()) for j, weight in enumerate(row) if j != i)
        return reduce(Interval.__add__, each, interval(0)) / len(payload)

    case.at_most("mean off-target squares", lambda: (squares(), stated.squares))
    return stated


def _scores(case: Case, given: Node, payload: list[int]) -> list[list[Any]]:
    """<query, key> of all payload tokens' queries on all keys, within the budget."""
    problem = case.problem
    keys, unit, dtype = matrix(case, problem.node["keys"])
    must((len(keys), len(keys[0])) == (problem.tokens, problem.key_dim), "the file's shape")
    must(dtype == "BF16" or not problem.bf16, "keys exact in bf16")
    must(set(payload) <= set(range(len(keys))), "tokens of the file")
    scale, source = mpq(given["query_scale"]), problem.node.get("queries", given.get("queries"))
    must(scale > 0 and (scale == 1 or problem.budget == "own-keys"), "query_scale")
    if isinstance(source, list):
        queries = [[int(word) for word in row.split(" ")] for row in source]
    else:
        recorded, more, _ = matrix(case, source)
        lines = [int(word) for word in given["rows"].split(" ")]
        must(min(lines) >= 0 and max(lines) < len(recorded), "rows of the queries' file")
        scale, queries = scale * more, [recorded[i] for i in lines]
    must([len(query) for query in queries] == [problem.key_dim] * len(payload), "one query a payload token")
    scores = [[scale * unit * sum(map(mul, query, key)) for key in keys] for query in queries]
    must(max(abs(x) for row in scores for x in row) <= problem.max_logit, "logits on the keys <= max_logit")
    return scores


def _rows(scores: list[list[Any]], payload: list[int]) -> dict[str, Callable[[], Any]]:
    """Masses of rows and the matrix of weights, kept for each precision."""
    known: dict[int, tuple[list[list[Interval]], list[tuple[Interval, Interval]]]] = {}

    def found() -> tuple[list[list[Interval]], list[tuple[Interval, Interval]]]:
        bits = bits_now()
        if bits not in known:
            weights, masses, chosen = [], [], set(payload)
            for a, row in enumerate(scores):
                line = [exp(x - row[payload[a]]) for x in row]
                weights.append([line[token] for token in payload])
                off = reduce(Interval.__add__, (w for j, w in enumerate(weights[-1]) if j != a), interval(0))
                own = exp(-max(map(abs, row)) - row[payload[a]])
                outside = (w for token, w in enumerate(line) if token not in chosen)
                masses.append((off, reduce(Interval.__add__, outside, own)))
            known[bits] = weights, masses
        return known[bits]

    return {"rows": lambda: found()[1], "matrix": lambda: found()[0]}


def separation(case: Case, uses: Node, given: Node, gives: Node) -> Reading:
    leaked, eta = premise(uses, "leak", Leak), case.problem.relative
    must(eta is not None and int(gives["alphabet"]) == 2, "a relative tolerance, and two values")
    must(1 - eta > (1 + eta) * leaked.off, "1 - relative > (1 + relative) off_target")
    return Reading(2, leaked.payload, _top(case, leaked))


def _top(case: Case, leaked: Leak) -> Any:
    return 1 / (1 + leaked.off + leaked.rest) if leaked.payload == case.problem.tokens else 0


def levels(case: Case, uses: Node, given: Node, gives: Node) -> Reading:
    leaked, alphabet, eps = premise(uses, "leak", Leak), int(gives["alphabet"]), case.problem.additive
    must(2 <= alphabet <= 1 << 64, "2 <= alphabet <= 2^64")
    if case.problem.bf16 and alphabet - 1 not in {1 << n for n in range(10)}:
        eps += mpq(1, 512)
    must(mpq(1, alphabet - 1) > eps * (1 + leaked.off + leaked.rest) + leaked.off, "levels are told apart")
    return Reading(alphabet, leaked.payload, _top(case, leaked))


RULES = {
    "exp-bound": exp_bound, "tilt": tilt, "shrunk-keys": shrunk_keys, "ball-tilt": ball_tilt, "budget": budget,
    "leak": leak, "attention-row": attention_row, "separation": separation, "levels": levels,
}  # fmt: skip
