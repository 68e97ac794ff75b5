"""Controls: one small certificate for every rule, and more, that the kernel must accept.

Every number in them is the strongest that is true in a short rational, so that the smallest step beyond it is false.
"""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kvverify.codes import by_name
from kvverify.codes.base import bit_string
from kvverify.codes.recipes import linear_by_name
from kvverify.kernel import document
from tests.kernel import oracle
from tests.kernel.families import counted, distances, family
from tests.kernel.oracle import ROUNDING, Leak, determinant_bound, leak_sums, least_errors
from tests.kernel.real import ball, divergence, down, exp, fano, precision, up

Node = dict[str, Any]
UNIT = 32  # stated bounds are multiples of 2^-32
LEAK = ("off_target_at_most", "off_target_squares_at_most", "rest_at_most")


@dataclass(frozen=True, eq=False)
class Control:
    """A certificate that is VALID; ``files`` are written beside it."""

    name: str
    tree: Node
    files: tuple[tuple[str, bytes], ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def rules(self) -> list[str]:
        return [step["rule"] for step in self.tree["steps"]]


def rebuild(tree: Node) -> Node:
    """The tree with its digest computed anew."""
    return {**tree, "digest": document.digest(tree)}


def statement(**changes: object) -> Node:
    """The statement of a small problem; ``tolerance=None`` leaves the field out."""
    node: Node = {
        "claim": "state-bits", "attention": "softmax", "tokens": 4, "key_dim": 8, "value_dim": 2, "kv_heads": 1,
        "layers": 1, "body": "cube", "budget": "class", "inputs": "real", "max_logit": 8, "tolerance": Fraction(1, 100),
        "failure": Fraction(1, 10), "state_bits_at_least": 0,
    }  # fmt: skip
    node.update(changes)
    return {k: v if isinstance(v, dict) else str(v) for k, v in node.items() if v is not None}


def step(name: str, rule: str, uses: Node, given: Node, gives: Node) -> Node:
    def text(value: object) -> object:
        return value if isinstance(value, list | dict) else str(value)

    return {
        "id": name, "rule": rule, "uses": uses,
        "given": {k: text(v) for k, v in given.items()}, "gives": {k: text(v) for k, v in gives.items()},
    }  # fmt: skip


Ending = Callable[[Node, Leak], list[Node]]


@precision()
def in_class(name: str, keys: Node, ending: Ending, *, payload: int | None = None, **changes: object) -> Control:
    """Keys, decay, budget, leak and an ending, every number tight, at the largest scale that the logit allows."""
    problem = statement(**changes)
    steps, leak = chain(keys, problem, payload)
    if "relative" in problem:  # the largest below (1 - sigma) / (1 + sigma), strictly
        off_target = leak.off_target
        problem["relative"] = str(down((1 - off_target) / (1 + off_target) - Fraction(1, 1 << 64), UNIT))
    return finish(name, problem, [{**keys, "id": "keys", "uses": {}}, *steps, *ending(problem, leak)])


def chain(
    keys: Node, problem: Node, payload: int | None, *, pool: str = "", strength: Fraction = Fraction(0)
) -> tuple[list[Node], Leak]:
    """Decay, budget and leak of one pool of reads, beside a step "tilt" where it has a strength."""
    found = family(keys, problem["body"], problem["inputs"])
    payload = payload or min(found.size, int(problem["tokens"]))
    exponent = (Fraction(problem["max_logit"]) - strength) / found.unit
    z = up(exp(-exponent), 48)
    sums = [up(x, UNIT) for x in leak_sums(found, z, payload, int(problem["tokens"]))]
    uses = {"keys": "keys", "decay": f"decay{pool}"} | ({"tilt": "tilt"} if strength else {})
    steps = [
        step(f"decay{pool}", "exp-bound", {}, {"exponent": exponent}, {"exp_minus_at_most": z}),
        step(f"budget{pool}", "budget", uses, {"payload": payload}, {"logit_at_most": problem["max_logit"]}),
        step(f"leak{pool}", "leak", {"budget": f"budget{pool}"}, {}, dict(zip(LEAK, sums, strict=True))),
    ]
    return steps, Leak(payload, *sums)


def finish(name: str, problem: Node, steps: list[Node], files: tuple[tuple[str, bytes], ...] = ()) -> Control:
    """The largest claim that the last step allows."""
    bits = Fraction(steps[-1]["gives"]["bits_at_least"])
    assert bits >= 1, f"{name}: the control proves {float(bits)} bits"
    return Control(name, document.build({**problem, "state_bits_at_least": str(int(bits))}, steps), files)


def _coordinates(problem: Node) -> int:
    return int(problem["value_dim"]) * int(problem["kv_heads"]) * int(problem["layers"])


def volume(form: str) -> Ending:
    """The determinant in that form, and the volume rule."""

    def ending(problem: Node, leak: Leak) -> list[Node]:
        det = down(determinant_bound(form, leak), UNIT)
        eps = Fraction(problem["tolerance"]) + (ROUNDING if problem["inputs"] == "bf16" else 0)
        gain = leak.payload * divergence(eps, Fraction(problem["failure"]))
        bits = down(_coordinates(problem) * (ball(det) + gain), UNIT)
        return [
            step("det", "determinant", {"leak": "leak"}, {"form": form}, {"log2_det_at_least": det}),
            step("bits", "volume", {"determinant": "det"}, {}, {"bits_at_least": bits}),
        ]

    return ending


def reading(last: str) -> Ending:
    """Levels or separation, as the tolerance says, with the largest alphabet, then ``last``."""

    def ending(problem: Node, leak: Leak) -> list[Node]:
        alphabet, rule = 2, "separation"
        if "tolerance" in problem:
            rule, gaps = "levels", 1
            for more in range(2, 2000):
                exact = more & (more - 1) == 0 and more <= 512
                eps = Fraction(problem["tolerance"])
                eps += ROUNDING if problem["inputs"] == "bf16" and not exact else 0
                if Fraction(1, more) > eps * (1 + leak.off_target + leak.rest) + leak.off_target:
                    gaps = more
            alphabet = gaps + 1
        delta, symbols = Fraction(problem["failure"]), leak.payload * _coordinates(problem)
        if last == "counting":
            bits: Fraction | int = 1
            while least_errors(alphabet, symbols, (2 << int(bits)) - 1) > delta:
                bits = int(bits) + 1
        else:
            bits = (
                down(symbols * fano(alphabet, delta), UNIT)
                if delta or alphabet & (alphabet - 1)
                else Fraction(symbols * (alphabet.bit_length() - 1))
            )
        return [
            step("reading", rule, {"leak": "leak"}, {}, {"alphabet": alphabet}),
            step("bits", last, {"reading": "reading"}, {}, {"bits_at_least": bits}),
        ]  # fmt: skip

    return ending


def safetensors(name: str, dtype: str, shape: list[int], data: bytes) -> bytes:
    """A safetensors file with one tensor."""
    header = json.dumps({name: {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


ROW_KEYS = [[4, 0, 0], [0, 4, 0], [0, 0, 4], [-1, -1, 0]]
ROW_QUERIES = ["6 1 0", "0 6 1", "1 0 6"]


@precision()
def own_keys(
    name: str, dtype: str, ending: Ending, *, head: bool = False, loose: bool = False, **changes: object
) -> Control:
    """Four keys of a file, the first three with values; logits are multiples of 1/4, which the rule's grid holds.

    ``loose``: logit and sums have room, so that the determinant is the first to feel a changed query.
    """
    flat = [x / 4 for row in ROW_KEYS for x in row]
    form = {"F32": "f", "F64": "d", "F16": "e"}
    if dtype == "BF16":
        data = b"".join(struct.pack("<f", x)[2:] for x in flat)
    else:
        data = struct.pack(f"<{len(flat)}{form[dtype]}", *flat)
    shape = [4, 3]
    if head:
        data, shape = bytes(len(data)) + data, [2, 4, 3]
    content = safetensors("keys", dtype, shape, data)
    file: Node = {"name": "keys.safetensors", "sha256": hashlib.sha256(content).hexdigest(), "tensor": "keys"}
    if head:
        file["head"] = "1"
    own: Node = {"tokens": 4, "key_dim": 3, "body": "given", "budget": "own-keys", "max_logit": 9 if loose else 6}
    problem = statement(**own, keys=file, **changes)
    given = {"payload": "0 1 2", "queries": ROW_QUERIES, "query_scale": 1}
    row = step("leak", "attention-row", {}, given, dict.fromkeys(LEAK, 1000))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "keys.safetensors").write_bytes(content)
        found = oracle.attention_row(oracle.statement(problem), row, {}, Path(folder))
    squares = [exp(Fraction(2 * (x - 6))) for query in ROW_QUERIES for x in sorted(map(int, query.split()))[:2]]
    sums = [max(up(off, UNIT) for off, _ in found.rows), up(sum(squares, ball(0)) / 3, UNIT)]
    sums.append(max(up(rest, UNIT) for _, rest in found.rows))
    sums = [Fraction(10**6)] * 3 if loose else sums
    row["gives"] = {k: str(v) for k, v in zip(LEAK, sums, strict=True)}
    leak = Leak(3, sums[0], sums[1], sums[2], found.rows, found.log2_det)
    return finish(name, problem, [row, *ending(problem, leak)], (("keys.safetensors", content),))


def keys(name: str) -> Node:
    """The keys step of a family, as its producer writes it."""
    return by_name(name).step()


def union(generator: list[str], representatives: list[str]) -> Node:
    """A union of cosets, with the least histogram that dominates every row."""
    step = {"rule": "coset-union", "given": {"generator": generator, "representatives": representatives}}
    words = np.array([[int(c) for c in r] for r in representatives])
    for row in generator:
        words = np.concatenate([words, words ^ np.array([int(c) for c in row])])
    return {**step, "gives": {"weights": least_dominating([counted(row) for row in distances(words)])}}


def explicit(rows: list[list[int]]) -> Node:
    """Integer keys, with the least histogram that dominates every row."""
    gram = np.array(rows) @ np.array(rows).T
    exponents = [Counter(np.delete(row, i).tolist()) for i, row in enumerate(np.diag(gram)[:, None] - gram)]
    texts = [" ".join(map(str, row)) for row in rows]
    return {"rule": "explicit-keys", "given": {"keys": texts}, "gives": {"exponents": least_dominating(exponents)}}


def least_dominating(rows: Sequence[Mapping[int, int]]) -> dict[str, str]:
    """Up to every exponent the most that any row counts."""
    found, before = {}, 0
    for e in sorted({e for row in rows for e in row}):
        most = max(sum(n for x, n in row.items() if x <= e) for row in rows)
        if most > before:
            found[str(e)], before = str(most - before), most
    return found


def with_parity(name: str) -> Node:
    """A linear code that is counted through its dual."""
    code = linear_by_name(name)
    node = code.step()
    node["given"]["parity"] = [bit_string(row, code.length) for row in code.dual().rows]
    return node


POINTS = [[3, 0], [0, 3], [-2, -2], [1, -4]]
LOOSE = ["00000000", "11110000", "11001100", "00000111"]


@cache
def controls() -> tuple[Control, ...]:
    """All of them."""
    near, levels, counts = volume("near-identity"), reading("random-access-code"), reading("counting")
    golay, rm = "golay(24) subcode 4", "reed-muller(1,3)"
    exact = {"tolerance": None, "relative": 0}
    return (
        in_class("golay, volume", keys(golay), near, tokens=16, key_dim=24),
        in_class("golay, pads", keys(golay), near, tokens=23, key_dim=30, payload=11, kv_heads=2, layers=3),
        in_class("odd length, pads", keys("hypercube(3)"), near, tokens=19, payload=7, max_logit=9),
        in_class("rm, levels", keys(rm), levels, tokens=16, max_logit=12, inputs="bf16"),
        in_class("rm, parity, ball, bf16", with_parity(rm), near, tokens=16, body="ball", inputs="bf16", max_logit=9),
        in_class("bch, parity, levels", with_parity("extended-bch(4,5)"), levels, tokens=32, key_dim=16, max_logit=20),
        in_class("rm, separation", keys(rm), levels, tokens=16, **exact),
        in_class("rm, sparse rows", keys(rm), levels, tokens=16, max_logit=14, top_mass_at_least=Fraction(4, 5)),
        in_class("hypercube 2, sparse rows", keys("hypercube(2)"), counts, top_mass_at_least=Fraction(3, 4), **exact),
        in_class("hypercube 3, ostrowski", keys("hypercube(3)"), volume("ostrowski"), tokens=8),
        in_class("hypercube 1", keys("hypercube(1)"), near, tokens=2, failure=0),
        in_class("hypercube 2, counting", keys("hypercube(2)"), counts, value_dim=3, max_logit=14),
        in_class("hypercube 4, levels", keys("hypercube(4)"), levels, tokens=16, failure=0, max_logit=30),
        in_class("hypercube 5, separation", keys("hypercube(5)"), levels, tokens=40, max_logit=11, **exact),
        in_class("hypercube 6, ball", keys("hypercube(6)"), near, tokens=70, payload=9, body="ball", max_logit=11),
        in_class("one token", keys("hypercube(3)"), near, tokens=1, payload=1, max_logit=3),
        in_class("one token, ostrowski", keys("hypercube(1)"), volume("ostrowski"), tokens=3, payload=1),
        in_class("paraboloid 2 2", keys("paraboloid(2,2)"), near, tokens=2),
        in_class("paraboloid 3 2, ball", keys("paraboloid(3,2)"), levels, tokens=5, max_logit=60, body="ball"),
        in_class("paraboloid 2 3, counting", keys("paraboloid(2,3)"), counts, max_logit=31, failure=Fraction(1, 9)),
        in_class("paraboloid 4 2", keys("paraboloid(4,2)"), volume("ostrowski"), max_logit=160),
        in_class("paraboloid 5 3", keys("paraboloid(5,3)"), levels, tokens=25, max_logit=1500, payload=7, **exact),
        in_class("explicit, volume", explicit(POINTS), near, max_logit=20),
        in_class("explicit, ball, bf16", explicit(POINTS), levels, max_logit=90, body="ball", inputs="bf16"),
        in_class("explicit, bf16", explicit(POINTS[:3]), counts, tokens=5, max_logit=30, inputs="bf16"),
        in_class("explicit, ball", explicit(POINTS), volume("ostrowski"), max_logit=20, body="ball"),
        in_class("kerdock 16", keys("kerdock(16)"), near, tokens=16, key_dim=16),
        in_class("union, ostrowski", union([], LOOSE), volume("ostrowski")),
        in_class("union, ball, bf16", union(["11110000"], LOOSE[2:]), near, body="ball", inputs="bf16", max_logit=11),
        in_class("union, separation, counting", union([], LOOSE), counts, max_logit=6, **exact),
        in_class("reed-muller 2 5", keys("counted-reed-muller(2,5,3,0)"), near, tokens=16, key_dim=29),
        in_class("reed-muller, dual", keys("counted-reed-muller(2,4,1,1)"), levels, tokens=9, key_dim=14, max_logit=20),
        in_class(
            "reed-muller, ball, bf16, pads",
            keys("counted-reed-muller(1,3,1,0)"),
            near,
            tokens=9,
            payload=8,
            body="ball",
            inputs="bf16",
            max_logit=11,
        ),
        in_class(
            "reed-muller, separation", keys("counted-reed-muller(1,4,0,3)"), levels, tokens=32, key_dim=16, **exact
        ),
        own_keys("rows, exact", "F32", volume("exact")),
        own_keys("rows, exact, loose", "F32", volume("exact"), loose=True, tolerance=Fraction(1, 10)),
        own_keys("rows, near-identity", "BF16", near, inputs="bf16"),
        own_keys("rows, ostrowski", "F64", volume("ostrowski"), failure=0),
        own_keys("rows, levels", "F16", levels, head=True),
    )
