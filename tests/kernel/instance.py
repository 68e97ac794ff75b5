"""The hard instance itself, end to end: from a certificate's keys to the bits that its reduction really proves.

No dominating histogram, no stated bound on the way: keys and queries as vectors, logits over the whole body, softmax
with pads and the asker's own token, the determinant or the gaps between answers, and then the last inequality.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from flint import arb, arb_mat

from tests.kernel import amplitude, compared, covered, explicit, sampled, seen, tensored
from tests.kernel.ball import BallTilt, Shrunk, exactly, shrunk
from tests.kernel.families import Keys, family
from tests.kernel.oracle import least_errors, statement
from tests.kernel.own_files import own_scores
from tests.kernel.quantised import upper_claim_holds
from tests.kernel.real import at_most, ball, divergence, exp, fano, log2, precision

Node = dict[str, Any]

OTHERS = {"sampling": sampled.holds, "comparison": compared.holds, "polynomial": compared.holds, **explicit.HOLDS}
OTHERS |= tensored.HOLDS
OTHERS["visual-state-bits"] = seen.holds


@precision()
def claim_holds(tree: Node, folder: Path | None = None) -> bool:
    """Whether the instance that the certificate describes proves its claim."""
    if tree["statement"]["claim"] == "cover":
        return covered.claim_holds(tree["statement"])
    if other := OTHERS.get(tree["statement"]["claim"]):
        return other(tree)
    problem = statement(tree["statement"])
    if tree["statement"]["claim"] == "state-bits-enough":
        return upper_claim_holds(problem, tree)
    claim = int(problem.number["state_bits_at_least"])
    rule = {step["rule"]: step for step in tree["steps"]}
    if "amplitude" in rule:
        return amplitude.claim_holds(problem, tree)
    if "joint" in rule:
        return secrets_hold(problem, tree)
    weights = _own_weights(tree, rule, folder) if "attention-row" in rule else _read_weights(problem, rule)
    if weights is None:
        return False
    payload, rows = weights
    delta, number = problem.number["failure"], problem.number
    symbols = int(len(payload) * problem.coordinates)
    if "volume" in rule:
        eps = number["tolerance"] + problem.rounding
        if eps >= 1 or delta > 1 - eps:
            return False
        det = arb_mat([[row[j] / sum(row, arb(0)) for j in payload] for row in rows]).det()
        per_coordinate = log2(abs(det)) + len(payload) * divergence(eps, delta)
        return bool(ball(claim) <= ball(problem.coordinates) * per_coordinate)
    reading = rule.get("levels") or rule["separation"]
    alphabet = int(reading["gives"]["alphabet"])
    if delta > 1 - Fraction(1, alphabet) or not all(
        _readable(problem, alphabet, i, row, payload) for i, row in zip(payload, rows, strict=True)
    ):
        return False
    if "counting" in rule:
        return least_errors(alphabet, symbols, (1 << claim) - 1) > delta if claim else True
    if not delta:
        return bool(alphabet**symbols >= 1 << claim)
    return at_most(claim, symbols * fano(alphabet, delta))


def _readable(problem: Any, alphabet: int, i: int, row: list[arb], payload: list[int]) -> bool:
    """Whether neighbouring values of token i give answers that never meet, whatever the other payload values are."""
    total = sum(row, arb(0))
    others = sum((row[j] for j in payload if j != i), arb(0))
    if "relative" in problem.number:
        eta = problem.number["relative"]
        return alphabet == 2 and bool(ball(1 - eta) * row[i] > ball(1 + eta) * others)
    exact = (alphabet - 1) & (alphabet - 2) == 0 and alphabet <= 513  # m/256, m odd below 256: 8 significant bits
    eps = problem.number["tolerance"] + (0 if exact else problem.rounding)
    step = Fraction(2, alphabet - 1)
    return bool((ball(step) * row[i] - 2 * others) / total > ball(2 * eps))


def _read_weights(problem: Any, rule: dict[str, Node]) -> tuple[list[int], list[list[arb]]] | None:
    """(payload, rows of weights) of the only pool of reads."""
    c, payload = Fraction(rule["exp-bound"]["given"]["exponent"]), int(rule["budget"]["given"]["payload"])
    rows = class_weights(problem, keys_of(rule), c, payload)
    return None if rows is None else (list(range(payload)), rows)


def keys_of(rule: dict[str, Node]) -> Node:
    return next(rule[name] for name in rule if "keys" in name or name in _FAMILIES)


def class_weights(
    problem: Any,
    keys_step: Node,
    c: Fraction,
    payload: int,
    *,
    beside: int = 0,
    strength: Fraction = Fraction(0),
    shrink: Node | None = None,
) -> list[list[arb]] | None:
    """Rows of weights over payload, pads and own token; None where the instance is not in the class.

    ``beside``: key coordinates beside the code, one of them under a query of that strength; ``shrink``: the step that
    makes room for them in a ball.
    """
    keys = family(keys_step, problem.node["body"], problem.node["inputs"])
    keys = shrunk(keys, problem, shrink) if shrink else keys
    tokens = int(problem.number["tokens"])
    if not (keys.dim + beside <= problem.number["key_dim"] and 1 <= payload <= min(tokens, keys.size)):
        return None
    if not _in_body(keys, problem) or not _within_budget(keys, problem, c, strength):
        return None
    scores = keys.queries @ np.concatenate([keys.keys[:payload], keys.pad_key[None, :]]).T
    owns = (keys.queries * keys.own_keys).sum(axis=1)
    found = np.unique(np.concatenate([scores.ravel(), owns]))
    power = {int(s): exp(c * keys.half * int(s)) for s in found}  # a code has few distances
    rows = []
    for i in range(payload):
        *row, pad = (power[int(s)] for s in scores[i])
        rows.append([*row, pad * (tokens - payload), power[int(owns[i])]])
    return rows


def secrets_hold(problem: Any, tree: Node) -> bool:
    """Both secrets, each in its own pool of reads.

    A key read has the target's own code part as the asker's key: X_i = sum of a_il u_l and of pads. On the cube u_l is
    in [(1 - T)/(1 + T), (1 + T)/(1 - T)] such that (u - 1)/(u + 1) is uniform, in the ball e^(b y_l), y uniform in a
    ball; E 1/(1 + u_i) = 1/2, and by Jensen E log2 (1 + X_i)/(1 + u_i) <= log2 (1 + (sum over l != i of a_il E u +
    pads) / 2).
    """
    steps = {step["id"]: step for step in tree["steps"]}
    end, keys = steps["bits"], keys_of({step["rule"]: step for step in tree["steps"]})
    beside, dim = int(end["given"]["key_coordinates"]), problem.number["value_dim"]
    lean, shrink = steps["tilt"], steps.get("shrunk")
    t, reach = Fraction(lean["given"]["strength"]), Fraction(1)
    if problem.node["body"] == "ball":
        radius, d = Fraction(lean["given"]["radius"]), int(lean["given"]["key_coordinates"])
        if shrink is None or d != beside or radius > Fraction(shrink["gives"]["payload_radius"]):
            return False
        mean, entropy = exactly(t, radius, d)
        reach = BallTilt(t, t, t, radius, d).reach
    else:
        half = Fraction(lean["gives"]["tanh_half_at_least"])
        if shrink is not None or not at_most(half, ball(t / 2).tanh()):
            return False
        mean, entropy = ((1 + ball(half)) / (1 - ball(half))).log() / ball(half) - 1, log2(half)
    pools = []
    for pool, strength in (("", Fraction(0)), ("-keys", t)):
        c = Fraction(steps[f"decay{pool}"]["given"]["exponent"])
        payload = int(steps[f"budget{pool}"]["given"]["payload"])
        pools.append(class_weights(problem, keys, c, payload, beside=beside, strength=strength, shrink=shrink))
    delta, h = problem.number["failure"], problem.rounding
    eps = problem.number["tolerance"] + h
    eps_keys = ball(eps - h) + 2 * ball(t * reach * h / 4).tanh() if h else eps
    if beside < 1:
        return False
    if pools[0] is None or pools[1] is None or delta > 1 - eps or not at_most(delta, 1 - eps_keys):
        return False
    r = len(pools[0])
    relative = [[x / row[i] for x in row[:-1]] for i, row in enumerate(pools[1])]
    key = log2(abs(arb_mat([row[:r] for row in relative]).det()))
    for row in relative:
        crowd = 1 + ((sum(row[:r], arb(0)) - 1) * mean + row[r]) / 2
        key += entropy + divergence(eps_keys, delta) - 2 * log2(crowd)
    value = log2(abs(arb_mat([[x / sum(row, arb(0)) for x in row[:r]] for row in pools[0]]).det()))
    value += r * divergence(eps, delta)
    total = ball(problem.streams) * (ball(dim - 1) * value.max(arb(0)) + beside * key.max(arb(0)))
    return bool(ball(problem.number["state_bits_at_least"]) <= total)


_FAMILIES = ("linear-code", "coset-union", "hypercube", "reed-muller", "paraboloid")


def _in_body(keys: Keys, problem: Any) -> bool:
    """Every key, pad and own key, divided by the scale, lies in the body, and in bf16 where that is asked for.

    In a ball so do they with a secret beside them, rounded to bf16.
    """
    everything = np.concatenate([keys.keys, keys.own_keys, keys.pad_key[None, :]])
    if problem.node["body"] == "cube":
        fits = int(abs(everything).max()) ** 2 <= keys.scale_squared
    else:
        growth = Fraction(257, 256) if problem.node["inputs"] == "bf16" else 1
        beside = keys.beside * growth if isinstance(keys, Shrunk) else Fraction(0)
        fits = int((everything**2).sum(axis=1).max()) <= keys.scale_squared * (1 - beside**2)
    if problem.node["inputs"] == "real":
        return fits
    if keys.scale is None:
        return False
    entries = {Fraction(int(x)) / keys.scale for x in everything.flat}
    return fits and all(_bf16(x) for x in entries)


def _bf16(x: Fraction) -> bool:
    """Whether x has at most 8 significant bits."""
    odd = abs(x.numerator)
    while odd and odd % 2 == 0:
        odd //= 2
    return x.denominator & (x.denominator - 1) == 0 and odd < 256


def _within_budget(keys: Keys, problem: Any, c: Fraction, strength: Fraction) -> bool:
    """The largest logit of a query on the whole body: its dual norm, at a corner of the cube or on the sphere."""
    half, rho = c * keys.half, problem.number["max_logit"]
    if rho < strength:
        return False
    if problem.node["body"] == "cube":
        rho -= strength
        corner = np.sign(keys.queries)
        largest = int((keys.queries * corner).sum(axis=1).max())
        return bool((half * largest) ** 2 * keys.scale_squared <= rho**2)
    longest = int((keys.queries**2).sum(axis=1).max())
    return bool(half**2 * longest * keys.scale_squared + strength**2 <= rho**2)


def _own_weights(tree: Node, rule: dict[str, Node], folder: Path | None) -> tuple[list[int], list[list[arb]]]:
    """The asker's own key, plus or minus one of the file, has minus the largest absolute score."""
    assert folder is not None
    payload, scores = own_scores(tree["statement"], rule["attention-row"], folder)
    return payload, [[exp(s) for s in (*row, -max(map(abs, row)))] for row in scores]
