"""Certificates that cost as much as the kernel's limits allow, by construction: for scripts/worst_case.py.

``CASES``: name -> what writes the certificate's JSON tree, given a folder for the files that it refers to. A name
begins with the rule that it is about.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from math import comb, gcd
from pathlib import Path

from kvverify.kernel import document
from kvverify.kernel.context import Context
from kvverify.kernel.document import MAX_BYTES, MAX_COUNTS, MAX_DIGITS, MAX_STEPS, Node
from kvverify.kernel.rules import codes, reed_muller
from kvverify.kernel.statement import parse

Steps = list[Node]
Build = Callable[[Path], Node]
CASES: dict[str, Build] = {}
HUGE = 10**MAX_DIGITS - 1
TINY = Fraction(1, 1 << 80)
_RANDOM = random.Random(7)
_NEAR = 10 ** (MAX_DIGITS - 1) + 7  # denominators of almost as many digits as may be


def case(name: str) -> Callable[[Build], Build]:
    """Register the builder of a case."""

    def register(build: Build) -> Build:
        CASES[name] = build
        return build

    return register


def near(value: Fraction | int | str) -> str:
    """A rational of 4,000 digits above and below the line, within 10^-3990 of ``value``."""
    value, below = Fraction(value), _NEAR
    while abs(value) * below >= HUGE:
        below //= 10
    above = int(value * below)
    while gcd(above, below) != 1:
        above += 1
    return f"{above}/{below}"


def statement(**fields: object) -> Node:
    """A statement with room for everything, but for what is given."""
    usual: Node = {
        "claim": "state-bits", "attention": "softmax", "tokens": HUGE, "key_dim": HUGE, "value_dim": HUGE,
        "kv_heads": HUGE, "layers": HUGE, "body": "cube", "budget": "class", "max_logit": near(4000),
        "failure": near(Fraction(1, 10)), "inputs": "real", "tolerance": near(Fraction(1, 100)),
    }  # fmt: skip
    node = {name: value for name, value in (usual | fields).items() if value is not None}
    node.setdefault("state_bits_enough" if node["claim"] == "state-bits-enough" else "state_bits_at_least", HUGE)
    return {name: value if isinstance(value, str | dict) else str(value) for name, value in node.items()}


def step(name: str, rule: str, uses: dict[str, str] | None = None, given: Node | None = None, **gives: object) -> Node:
    """One step; numbers become strings."""
    return {
        "id": name, "rule": rule, "uses": uses or {}, "given": _strings(given or {}), "gives": _strings(gives)
    }  # fmt: skip


def _strings(node: Node) -> Node:
    return {name: str(value) if isinstance(value, int | Fraction) else value for name, value in node.items()}


def tree(claimed: Node, before: Steps, repeated: Steps | None = None, most: int = MAX_STEPS) -> Node:
    """``before``, then ``repeated`` over and over, as many steps in all as there may be; a last one uses them all."""
    steps = list(before)
    if repeated:
        rounds = (most - 1 - len(before)) // len(repeated)
        size = len(document.canonical({"": repeated}))
        rounds = min(rounds, (MAX_BYTES - len(document.canonical({"": [claimed, before]}))) // (size + 1200) - 1)
        for i in range(rounds):
            names = {node["id"]: f"{node['id']}-{i}" for node in repeated}
            steps += [
                {**node, "id": names[node["id"]], "uses": {k: names.get(v, v) for k, v in node["uses"].items()}}
                for node in repeated
            ]
    steps.append(step("last", "volume", {node["id"]: node["id"] for node in steps}, bits_at_least="1"))
    return document.build(claimed, steps)


# Premises: keys and what follows from them, with all numbers as long as may be.


def cube(dimension: int = 4, name: str = "keys") -> Node:
    """All sign vectors."""
    return step(name, "hypercube", given={"dimension": dimension}, size=1 << dimension)


def leaks(name: str = "leak", payload: int = 16, tilt: str | None = None, exponent: int = 30) -> Steps:
    """decay, budget and leak of ``keys``, stated loosely."""
    uses = {"keys": "keys", "decay": f"{name}-decay"} | ({"tilt": tilt} if tilt else {})
    return [
        step(f"{name}-decay", "exp-bound", given={"exponent": near(exponent)}, exp_minus_at_most=near("1/1000000")),
        step(f"{name}-budget", "budget", uses, {"payload": payload}, logit_at_most=near(3000)),
        step(
            name, "leak", {"budget": f"{name}-budget"}, {}, off_target_at_most=near("1/10000"),
            off_target_squares_at_most=near("1/1000000000"), rest_at_most=near(Fraction(HUGE, 10**6)),
        ),
    ]  # fmt: skip


def a_tilt(name: str = "tilt") -> Node:
    """A tilt of the cube."""
    return step(name, "tilt", given={"strength": near(5)}, tanh_half_at_least=near("4/5"))


def bits(rows: Iterable[int], length: int) -> list[str]:
    """Words as the format writes them."""
    return [format(row, f"0{length}b") for row in rows]


def context(**fields: object) -> Context:
    """A context without a limit, to work out what a certificate must state."""
    return Context(parse(statement(**fields)), Path(), 1 << 60)


def histogram(counts: dict[int, int]) -> Node:
    """As the format writes it."""
    return {str(weight): str(number) for weight, number in counts.items()}


def blocks(sizes: Iterable[int]) -> list[int]:
    """Words of ones in places of their own, of these weights."""
    rows, start = [], 0
    for size in sizes:
        rows.append(((1 << size) - 1) << start)
        start += size
    return rows


# codes and reed_muller


@case("linear-code: a walk of dimension 25")
def _walk(folder: Path) -> Node:
    weights = {15 * w: comb(25, w) for w in range(1, 26)}
    given = {"generator": bits(blocks([15] * 25), 375)}
    return tree(statement(), [step("keys", "linear-code", given=given, weights=histogram(weights))])


@case("linear-code: walks of length 1024")
def _long_walk(folder: Path) -> Node:
    rows = blocks([46] * 22)
    weights = {46 * w: comb(22, w) for w in range(1, 23)}
    dear = step("keys", "linear-code", given={"generator": bits(rows, 1024)}, weights=histogram(weights))
    return tree(statement(), [], [dear])


@case("linear-code: parity checks of length 1024")
def _parity(folder: Path) -> Node:
    parity = blocks(1 << i for i in range(10))  # every weight up to 1023 once
    generator = [1 << 1023]
    for start, row in zip((1 << i for i in range(10)), parity, strict=True):
        generator += [(1 << start - 1) | (1 << i) for i in range(start, 1023) if row >> i & 1]
    weights = codes.macwilliams(context(), 1024, Counter(range(1024)))
    del weights[0]
    given = {"generator": bits(generator, 1024), "parity": bits(parity, 1024)}
    return tree(statement(), [], [step("keys", "linear-code", given=given, weights=histogram(weights))])


def _union(rows: int, cosets: int, counts: dict[int, int]) -> Node:
    generator = blocks([20] * rows)
    representatives = [_RANDOM.getrandbits(1024 - 20 * rows) << 20 * rows for _ in range(cosets)]
    given = {"generator": bits(generator, 1024), "representatives": bits(representatives, 1024)}
    return step("keys", "coset-union", given=given, weights=histogram(counts))


@case("coset-union: 56 cosets")
def _many_cosets(folder: Path) -> Node:
    return tree(statement(), [], [_union(12, 56, {1 + i: HUGE >> 11000 for i in range(MAX_COUNTS)})])


@case("coset-union: one coset of 2^18 words")
def _one_coset(folder: Path) -> Node:
    return tree(statement(), [], [_union(18, 1, {1: HUGE})])


@case("hypercube")
def _hypercube(folder: Path) -> Node:
    return tree(statement(), [], [cube(1024)])


@case("reed-muller")
def _reed_muller(folder: Path) -> Node:
    found = codes.macwilliams(context(), 1024, reed_muller._weights(2, 10))
    found = reed_muller._without(context(), found, 1024, 0, 3)
    del found[0]
    given = {"order": 7, "variables": 10, "shortened": 0, "punctured": 3}
    return tree(statement(), [], [step("keys", "reed-muller", given=given, weights=histogram(found))])


# points


def _explicit(count: int, dimension: int, entry: int) -> Node:
    words = [_RANDOM.getrandbits(dimension) for _ in range(4 * count)]
    words = list(dict.fromkeys(words))[:count]
    keys = [" ".join(str(entry if w >> i & 1 else -entry) for i in range(dimension)) for w in words]
    return step(
        "keys", "explicit-keys", given={"keys": keys}, exponents=histogram({1: HUGE} | {2 + i: 1 for i in range(4000)})
    )


@case("explicit-keys: dimension 1024")
def _wide_keys(folder: Path) -> Node:
    return tree(statement(), [], [_explicit(300, 1024, (1 << 24) - 1)])


@case("explicit-keys: dimension 11")
def _many_keys(folder: Path) -> Node:
    return tree(statement(), [], [_explicit(1100, 11, (1 << 24) - 1)])


@case("explicit-keys: a row of 4 million numbers")
def _long_row(folder: Path) -> Node:
    keys = [" ".join(["999"] * (2_000_000))]
    return tree(statement(), [step("keys", "explicit-keys", given={"keys": keys}, exponents={})])


def _paraboloid(side: int, dimension: int, cutoff: int) -> Node:
    given = {"side": side, "dimension": dimension, "cutoff": cutoff}
    return step("keys", "paraboloid", given=given, size=side ** (dimension - 1))


@case("paraboloid: cutoff 512")
def _theta(folder: Path) -> Node:
    return tree(statement(), [], [_paraboloid((1 << 64) - 1, 24, 512)])


@case("paraboloid: dimension 1024")
def _tall(folder: Path) -> Node:
    return tree(statement(), [], [_paraboloid((1 << 12) - 1, 1024, 1)])


# softmax


@case("exp-bound")
def _exp(folder: Path) -> Node:
    return tree(statement(), [], [leaks(exponent=4095)[0]])


@case("budget")
def _budget(folder: Path) -> Node:
    before = [cube(), a_tilt(), leaks()[0]]
    return tree(statement(), before, [leaks(tilt="tilt")[1]])


@case("leak: 1024 exponents, long counts")
def _cube_leak(folder: Path) -> Node:
    first, second, third = leaks(payload=1 << 1024)
    second["gives"]["logit_at_most"] = near(31000)
    third["gives"] = dict.fromkeys(third["gives"], str(HUGE))
    return tree(statement(max_logit=near(32000)), [cube(1024), first, second], [third])


@case("separation")
def _separation(folder: Path) -> Node:
    claimed = statement(tolerance=None, relative=near("1/10"))
    return tree(claimed, [cube(), *leaks()], [step("reading", "separation", {"leak": "leak"}, alphabet=2)])


@case("levels")
def _levels(folder: Path) -> Node:
    claimed, before = _counted(1, 1 << 64)
    return tree(claimed, before[:-1], before[-1:])


# information and volume


def _counted(value_dim: int, alphabet: int) -> tuple[Node, Steps]:
    """Readings of 16 * value_dim symbols."""
    claimed = statement(tokens=16, value_dim=value_dim, kv_heads=1, layers=1, tolerance=near(TINY), failure=0)
    decay = step("leak-decay", "exp-bound", given={"exponent": near(300)}, exp_minus_at_most=near(TINY / 1024))
    _, second, third = leaks()
    third["gives"] |= {"off_target_at_most": near(TINY), "rest_at_most": near("1/2")}
    return claimed, [cube(), decay, second, third, step("reading", "levels", {"leak": "leak"}, alphabet=alphabet)]


@case("counting")
def _counting(folder: Path) -> Node:
    claimed, before = _counted(256, (1 << 16) - 1)
    return tree(claimed, before, [step("bits", "counting", {"reading": "reading"}, bits_at_least=1 << 15)])


@case("random-access-code")
def _fano(folder: Path) -> Node:
    claimed, before = _counted(HUGE, 1 << 64)
    claimed |= {"kv_heads": str(HUGE), "layers": str(HUGE), "failure": near("1/10")}
    return tree(claimed, before, [step("bits", "random-access-code", {"reading": "reading"}, bits_at_least=near(1))])


def determinant(form: str, leak: str = "leak", **given: object) -> Node:
    """A determinant step that states nothing much."""
    return step("det", "determinant", {"leak": leak}, {"form": form, **given}, log2_det_at_least="-" + str(HUGE))


@case("determinant: near-identity")
def _near_identity(folder: Path) -> Node:
    return tree(statement(), [cube(), *leaks()], [determinant("near-identity")])


@case("determinant: ostrowski, a family of keys")
def _ostrowski(folder: Path) -> Node:
    return tree(statement(), [cube(), *leaks()], [determinant("ostrowski")])


@case("volume")
def _volume(folder: Path) -> Node:
    before = [cube(), *leaks(), {**determinant("near-identity"), "id": "d"}]
    before[-1]["gives"] = {"log2_det_at_least": near(-17)}
    before[3]["gives"]["rest_at_most"] = near("1/2")
    claimed = statement(tokens=16, tolerance=near("1/1000000"))
    return tree(claimed, before, [step("bits", "volume", {"determinant": "d"}, bits_at_least=near(1))])
