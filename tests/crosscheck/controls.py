"""Certificates that are right, one or more for every rule, and a way to change one and sign it off anew."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import exp, floor, log2, prod
from pathlib import Path
from typing import Any

import numpy as np

from kvverify.bounds import best_bound
from kvverify.bounds.ceiling import ceiling
from kvverify.bounds.certificate import build
from kvverify.bounds.estimate import candidates
from kvverify.claims.evidence import instances, sampling
from kvverify.codes.base import KeyFamily
from kvverify.codes.counted_reed_muller import CountedReedMuller
from kvverify.codes.explicit import ExplicitKeys
from kvverify.codes.hypercube import Hypercube
from kvverify.codes.kerdock import kerdock
from kvverify.codes.paraboloid import Paraboloid
from kvverify.codes.reed_muller import reed_muller
from kvverify.kernel import document
from kvverify.problem import Problem
from tests.kernel import amplitude_controls, tensor_controls, visual_controls

Tree = dict[str, Any]


def problem(**changes: Any) -> Problem:
    """16 tokens of dimension 8 at logit 12, with ``changes``."""
    usual: Tree = {"tokens": 16, "key_dim": 8, "value_dim": 4, "max_logit": Fraction(12), "failure": Fraction(1, 10)}
    if "relative" not in changes:
        usual["tolerance"] = Fraction(1, 16)
    return Problem(**usual | changes)


def certificate(
    family: KeyFamily, method: str, asked: Problem, payload: int | None = None, strength: Fraction | None = None
) -> Tree:
    """The certificate of one family of keys by one method; a joint one with another strength where that is given."""
    chosen = next(c for c in candidates(family, [payload or asked.tokens], asked) if c.method == method)
    return build(replace(chosen, strength=strength or chosen.strength), asked)


def joint(family: KeyFamily, payload: int | None = None, strength: Fraction | None = None, **changes: Any) -> Tree:
    """Secrets in values and keys, four key coordinates beside the code."""
    asked = problem(**{"key_dim": family.dim + 4} | changes)
    return certificate(family, "joint", asked, payload, strength)


def keys_alone() -> Tree:
    """A joint bound whose value part is below 0, for rows that are said to hold much more than they do."""
    tree = joint(reed_muller(1, 3))
    next(step for step in tree["steps"] if step["id"] == "leak")["gives"]["rest_at_most"] = "1000"
    tree["steps"][-1]["gives"]["bits_at_least"] = joint(reed_muller(1, 3), value_dim=1)["steps"][-1]["gives"][
        "bits_at_least"
    ]
    return document.build({**tree["statement"], "state_bits_at_least": "1"}, tree["steps"])


def counted(asked: Problem, bits: int) -> Tree:
    """Separated levels of the (8, 4) code, their symbols counted without logarithms."""
    tree = certificate(reed_muller(1, 3), "levels" if asked.tolerance else "separation", asked)
    last = {"id": "bits", "rule": "counting", "uses": {"reading": "reading"}, "given": {}}
    steps = [*tree["steps"][:-1], {**last, "gives": {"bits_at_least": str(bits)}}]
    return document.build(asked.statement(bits), steps)


def in_ball() -> ExplicitKeys:
    """Eight signed pairs of coordinates: no two nearer than a right angle."""
    half = [[2 * (i == j) for j in range(8)] for i in range(4)]
    return ExplicitKeys(np.array(half + [[-x for x in row] for row in half], np.int64), "cross")


COUNTED = {1: 54, 2: 103}  # the most that counting gives at 1 and 2 streams
HALF = {"max_logit": Fraction(60), "tolerance": Fraction(1, 10)}
CONTROLS: dict[str, Callable[[], Tree]] = {
    "volume": lambda: certificate(reed_muller(1, 3), "volume", problem()),
    "volume-streams": lambda: certificate(reed_muller(1, 3), "volume", problem(kv_heads=3, layers=5)),
    "volume-bf16": lambda: certificate(reed_muller(1, 3), "volume", problem(inputs="bf16")),
    "volume-ball": lambda: certificate(reed_muller(1, 3), "volume", problem(body="ball")),
    "volume-ball-bf16": lambda: certificate(reed_muller(1, 3), "volume", problem(body="ball", inputs="bf16")),
    "volume-pads": lambda: certificate(reed_muller(1, 3), "volume", problem(tokens=21), 16),
    "volume-part": lambda: certificate(reed_muller(1, 3), "volume", problem(tokens=11)),
    "volume-single": lambda: certificate(reed_muller(1, 3), "volume", problem(tokens=1, failure=Fraction(0))),
    "levels": lambda: certificate(reed_muller(1, 3), "levels", problem()),
    "levels-bf16": lambda: certificate(reed_muller(1, 3), "levels", problem(inputs="bf16", failure=Fraction(0))),
    "separation": lambda: certificate(reed_muller(1, 3), "separation", problem(relative=Fraction(1, 10))),
    "parity": lambda: certificate(reed_muller(3, 5), "volume", problem(key_dim=32, tokens=1 << 26, **HALF)),
    "coset-union": lambda: certificate(kerdock(16), "volume", problem(tokens=256, key_dim=16)),
    "hypercube": lambda: certificate(Hypercube(8), "volume", problem(tokens=256, **HALF)),
    "reed-muller": lambda: certificate(
        CountedReedMuller(2, 7),
        "separation",
        problem(tokens=1 << 29, key_dim=128, max_logit=Fraction("22.4"), relative=Fraction(1, 10)),
    ),
    "explicit": lambda: certificate(in_ball(), "levels", problem(tokens=8)),
    "explicit-bf16": lambda: certificate(
        ExplicitKeys(in_ball().table, "cross", power_of_two=True), "volume", problem(tokens=8, inputs="bf16")
    ),
    "paraboloid": lambda: certificate(Paraboloid(4, 3), "volume", problem(max_logit=Fraction(1000))),
    "paraboloid-ball": lambda: certificate(
        Paraboloid(4, 3), "levels", problem(max_logit=Fraction(1000), body="ball", tokens=40), 16
    ),
    "counting": lambda: counted(problem(value_dim=1), COUNTED[1]),
    "counting-streams": lambda: counted(problem(value_dim=1, kv_heads=2), COUNTED[2]),
    "joint": lambda: joint(reed_muller(1, 3)),
    "joint-streams": lambda: joint(reed_muller(1, 3), kv_heads=3, layers=5),
    "joint-bf16": lambda: joint(reed_muller(1, 3), inputs="bf16"),
    "joint-pads": lambda: joint(reed_muller(1, 3), 16, tokens=21),
    "joint-part": lambda: joint(reed_muller(1, 3), tokens=11, key_dim=40),
    "joint-sure": lambda: joint(reed_muller(1, 3), tokens=1, failure=Fraction(0)),
    "joint-parity": lambda: joint(reed_muller(3, 5), tokens=1 << 26, kv_heads=2, **HALF),
    "joint-coset-union": lambda: joint(kerdock(16), tokens=256, max_logit=Fraction(20)),
    "joint-hypercube": lambda: joint(Hypercube(8), tokens=256, inputs="bf16", **HALF),
    "joint-explicit": lambda: joint(
        ExplicitKeys(in_ball().table, "cross", power_of_two=True), tokens=8, inputs="bf16", max_logit=Fraction(20)
    ),
    "joint-paraboloid": lambda: joint(Paraboloid(4, 3), max_logit=Fraction(1000)),
    "joint-one-value": lambda: joint(reed_muller(1, 3), value_dim=1),
    "joint-values-alone": lambda: joint(reed_muller(1, 3), strength=Fraction(1, 16)),
    "joint-keys-alone": keys_alone,
    "joint-ball": lambda: joint(reed_muller(1, 3), max_logit=Fraction(16), body="ball"),
    "joint-ball-bf16": lambda: joint(reed_muller(1, 3), max_logit=Fraction(20), body="ball", inputs="bf16"),
    "midpoints": lambda: enough("quantiser"),
    "midpoints-ball": lambda: enough("quantiser", body="ball", failure=Fraction(0)),
    "dithered": lambda: enough("dithered"),
    "dithered-streams": lambda: enough("dithered", kv_heads=2, layers=3, inputs="bf16"),
    "dithered-often": lambda: enough("dithered", failure=Fraction(1, 3)),
    "dithered-seldom": lambda: enough("dithered", failure=Fraction(1, 100)),
    "dithered-ball": lambda: enough("dithered", body="ball"),
    "amplitude": lambda: amplitude_controls.larger()[0].tree,
    "amplitude-streams": lambda: amplitude_controls.controls()[0].tree,
    "amplitude-bare": lambda: amplitude_controls.controls()[2].tree,
    "reservoir": sampling.reservoir_cell,
    "running-sum": instances.running_sum,
    "two-inputs": instances.unread_entry,
    "visual": lambda: visual_controls.controls()[1].tree,
    "visual-between": lambda: visual_controls.controls()[3].tree,
    "visual-relative": lambda: visual_controls.controls()[5].tree,
    "tensor": lambda: tensor_controls.controls()[1].tree,
    "tensor-skeleton": lambda: tensor_controls.controls()[3].tree,
    "tensor-orders": lambda: tensor_controls.controls()[5].tree,
    "tensor-patterns": lambda: tensor_controls.patterns(2, "threshold"),
    "searched": lambda: found(problem(tokens=300, key_dim=64, value_dim=64, tolerance=Fraction(1, 100))),
}


def enough(method: str, **changes: Any) -> Tree:
    """The ceiling of a problem by that method."""
    asked: dict[str, Any] = {"tokens": 300, "value_dim": 16, "tolerance": Fraction(1, 100), "failure": Fraction(1, 10)}
    tree = ceiling(problem(**(asked | changes)), method).certificate
    assert tree is not None
    return tree


def found(asked: Problem) -> Tree:
    """What the search certifies."""
    tree = best_bound(asked).certificate
    assert tree is not None
    return tree


@functools.cache
def _control(name: str) -> bytes:
    return document.canonical(CONTROLS[name]())


def control(name: str) -> Tree:
    """A fresh copy of a control's tree."""
    tree: Tree = json.loads(_control(name))
    return tree


def signed(tree: Tree) -> Tree:
    """The tree with its digest made right again."""
    return document.build(tree["statement"], tree["steps"])


def changed(tree: Tree, where: str, new: Any) -> Tree:
    """A signed copy with another value at ``step/part/field``, or ``statement/field``; ``new`` may be a function."""
    other = copy.deepcopy(tree)
    head, *path = where.split("/")
    node = other["statement"] if head == "statement" else next(s for s in other["steps"] if s["id"] == head)
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = str(new(Fraction(node[path[-1]]))) if callable(new) else new
    return signed(other)


# --- a file of keys, and attention rows of its own queries ---

FLOATS = np.array([[1, 0.25], [-1, 0.5], [0.125, -1.5], [0.5, 1], [-0.75, -1.25]], np.float32)
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def write_keys(folder: Path, floats: np.ndarray = FLOATS, stored: str = "BF16", **entry: Any) -> Tree:
    """A safetensors file with the tensor ``k``, and how a statement names it; ``entry`` changes its header."""
    if stored == "BF16":
        raw = (floats.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    else:
        raw = floats.astype(DTYPES[stored]).tobytes()
    node = {"dtype": stored, "shape": list(floats.shape), "data_offsets": [0, len(raw)]} | entry
    header = json.dumps({"__metadata__": {"format": "pt"}, "k": node}).encode()
    data = len(header).to_bytes(8, "little") + header + raw
    (folder / "keys.safetensors").write_bytes(data)
    return {"name": "keys.safetensors", "sha256": hashlib.sha256(data).hexdigest(), "tensor": "k"}


def own_keys(folder: Path, form: str, slack: float = 2.0**-10, **changes: Any) -> Tree:
    """Floor 2 in small: four of the five keys of the file carry values; ``slack`` on masses and determinant."""
    payload, scale = [0, 1, 3, 4], Fraction(1, 4)
    queries = np.array([[30, -5], [-14, 24], [8, 16], [-13, -30]])
    masses, weights = row_masses(FLOATS, payload, queries * float(scale))
    up = [str(Fraction(x * (1 + slack)).limit_denominator(1 << 40)) for x in masses]
    determinant = log2_determinant(weights, masses, payload, form) - slack
    statement: Tree = {
        "claim": "state-bits", "attention": "softmax", "tokens": "5", "key_dim": "2", "value_dim": "3",
        "kv_heads": "1", "layers": "1", "body": "given", "budget": "own-keys", "max_logit": "14", "inputs": "bf16",
        "tolerance": "1/64", "failure": "1/20", "keys": write_keys(folder, **changes), "state_bits_at_least": "0",
    }  # fmt: skip
    eps, delta = 1 / 64 + 1 / 512, 1 / 20
    gain = (1 - delta) * log2((1 - delta) / eps) + delta * log2(delta / (1 - eps))
    bits = Fraction(floor((determinant + len(payload) * gain) * 3 * 1024) - 1, 1024)
    names = ("off_target_at_most", "off_target_squares_at_most", "rest_at_most")
    given = {
        "payload": " ".join(map(str, payload)),
        "queries": [" ".join(map(str, row)) for row in queries],
        "query_scale": str(scale),
    }
    steps = [
        {"id": "rows", "rule": "attention-row", "uses": {}, "given": given, "gives": dict(zip(names, up, strict=True))},
        {
            "id": "determinant", "rule": "determinant", "uses": {"leak": "rows"}, "given": {"form": form},
            "gives": {"log2_det_at_least": str(Fraction(determinant).limit_denominator(1 << 40))},
        },
        {
            "id": "bits", "rule": "volume", "uses": {"determinant": "determinant"}, "given": {},
            "gives": {"bits_at_least": str(bits)},
        },
    ]  # fmt: skip
    statement["state_bits_at_least"] = str(max(0, floor(bits)))
    return document.build(statement, steps)


def row_masses(keys: np.ndarray, payload: list[int], queries: np.ndarray) -> tuple[list[float], np.ndarray]:
    """(worst off-target mass, mean squares, worst other mass) in floats; and relative weights, own token last."""
    scores = queries @ keys.astype(float).T
    target = scores[np.arange(len(payload)), payload][:, None]
    own = -np.abs(scores).max(axis=1, keepdims=True)
    weights = np.exp(np.concatenate([scores, own], axis=1) - target)
    block = weights[:, payload] - np.eye(len(payload))
    rest = weights.sum(axis=1) - 1 - block.sum(axis=1)
    return [block.sum(axis=1).max(), (block**2).sum(axis=1).mean(), rest.max()], weights


def log2_determinant(weights: np.ndarray, masses: list[float], payload: list[int], form: str) -> float:
    """The bound of each form, in floats."""
    block, sums = weights[:, payload], weights.sum(axis=1)
    if form == "exact":
        return log2(abs(np.linalg.det(block))) - float(np.log2(sums).sum())
    if form == "ostrowski":
        return log2(prod(2 - block.sum(axis=1))) - float(np.log2(sums).sum())
    sigma, squares, rest = (x * (1 + 2.0**-9) for x in masses)
    ratio = (-sigma - float(np.log1p(-sigma))) / sigma**2
    return -len(payload) * (log2(1 + sigma + rest) + ratio * squares * log2(exp(1)))
