"""Controls of tensor attention: both forms, sentinels and pads, all kinds of codes; three orders; patterns."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from random import Random
from typing import Any

from kvverify.codes import by_name
from kvverify.kernel import document
from tests.kernel.controls import Control, step
from tests.kernel.families import family
from tests.kernel.real import down, exp, precision, up
from tests.kernel.tensored import CACHES, count, masses, whole

Node = dict[str, Any]
UNIT = 32
EVEN = {"generator": ["11000", "01100", "00110", "00011"]}


@precision()
def state(code: Node, payload: int, sentinels: int, exponents: tuple[Fraction, ...], **fields: object) -> Node:
    """A certificate whose numbers are the strongest in units of 2^-32; ``sentinels`` 0 is the skeleton."""
    node: Node = {
        "claim": "tensor-state-bits", "tokens": payload + sentinels, "head_dim": 16, "value_dim": 2, "kv_heads": 1,
        "scale": 16, "failure": Fraction(1, 10), **fields,
    }  # fmt: skip
    words = family({**code, "rule": "hypercube" if "dimension" in code["given"] else "linear-code"}, "cube", "real")
    decays = dict(zip(("read", "held"), exponents, strict=False))
    z = {name: up(exp(-e), 48) for name, e in decays.items()}
    both, tokens = sentinels > 0, int(str(node["tokens"]))
    y = z.get("held", Fraction(1))
    off, rest = masses(words, tokens, payload, sentinels or tokens, z["read"], y, both=both)
    off, rest = up(off, UNIT), up(rest, UNIT)
    logit = sum(decays.values()) * words.dim / 2
    node["max_logit"] = logit
    if "max_query" in node:
        node["max_query"] = max(decays.values()) / 2 * int(str(node["scale"]))
    delta, alphabet = Fraction(str(node["failure"])), 2
    if "tolerance" in node:
        room = Fraction(str(node["tolerance"])) * (1 + off + rest) + off
        while alphabet * room < 1:
            alphabet += 1
    symbols = Fraction(payload * (1 + both) * int(str(node["value_dim"])) * int(str(node["kv_heads"])))
    bits = down(whole(alphabet, delta, symbols), UNIT)
    node["state_bits_at_least"] = bits.numerator // bits.denominator
    given = {"payload": payload} | ({"sentinels": sentinels} if both else {})
    gives = {"off_target_at_most": off, "rest_at_most": rest, "logit_at_most": logit}
    steps = [
        {"id": "keys", "rule": "tensor-keys", "uses": {}, "given": code["given"], "gives": code["gives"]},
        *(step(name, "exp-bound", {}, {"exponent": e}, {"exp_minus_at_most": z[name]}) for name, e in decays.items()),
        step("leak", "tensor-leak", {"keys": "keys", **{name: name for name in decays}}, given, gives),
        step("bits", "tensor-symbols", {"leak": "leak"}, {}, {"alphabet": alphabet, "bits_at_least": bits}),
    ]  # fmt: skip
    return document.build({name: str(value) for name, value in node.items()}, steps)


def orders(tokens: int, head_dim: int, value_dim: int, base: str, word: tuple[int, int], seed: int = 0) -> Node:
    """Three orders on drawn caches; ``word``: its bits and its least value, both taken by an entry."""
    draw, (bits, least) = Random(seed), word
    dims = head_dim, head_dim, value_dim, value_dim
    top = least + 2**bits - 1
    caches = [[[draw.randint(max(-2, least), min(2, top)) for _ in range(dim)] for _ in range(tokens)] for dim in dims]
    caches[2][0][0], caches[3][0][0] = least, top
    found = {name: [" ".join(map(str, row)) for row in cache] for name, cache in zip(CACHES, caches, strict=True)}
    both, pairs = head_dim + value_dim, tokens * tokens
    gives = {
        "four_cache": str(2 * pairs * both), "two_cache": str((pairs + 2 * tokens - 1) * both),
        "re_associated": str((pairs + tokens) * both), "state_bits_at_most": str(2 * tokens * both * bits),
    }  # fmt: skip
    query = " ".join(str(draw.randint(-2, 2)) for _ in range(head_dim))
    node = {
        "claim": "tensor-identity", "base": base, "query": query, **found, "word_bits": str(bits),
        "word_from": str(least), **gives,
    }  # fmt: skip
    return document.build(node, [step("orders", "tensor-orders", {}, {}, gives)])


def patterns(tokens: int, form: str) -> Node:
    """How many there are."""
    gives = {"reachable": str(count(tokens, form))}
    node = {"claim": "tensor-patterns", "tokens": str(tokens), "form": form, **gives}
    return document.build(node, [step("patterns", "tensor-patterns", {}, {}, gives)])


@cache
def controls() -> tuple[Control, ...]:
    """All of them."""
    cube = {"given": {"dimension": "2"}, "gives": {"size": "4"}}
    even = {"given": EVEN, "gives": {"weights": {"2": "10", "4": "5"}}}
    small = by_name("extended-bch(3,4)").step()
    third, tenth = Fraction(1, 3), Fraction(1, 10)
    return (
        Control("tensor, cube", state(cube, 3, 1, (Fraction(4), Fraction(3)), head_dim=4, relative=third)),
        Control(
            "tensor, sentinels and pads",
            state(small, 9, 4, (Fraction(5, 2), Fraction(1)), tokens=15, tolerance=Fraction(1, 100), kv_heads=2),
        ),
        Control(
            "tensor, sure",
            state(even, 6, 2, (Fraction(3), Fraction(5, 2)), tolerance=Fraction(1, 4), failure=0, max_query=1, scale=1),
        ),
        Control(
            "tensor, skeleton",
            state(even, 14, 0, (Fraction(7, 2),), tokens=17, head_dim=5, tolerance=tenth, max_query=1),
        ),
        Control("tensor, skeleton, relative", state(small, 16, 0, (Fraction(2),), head_dim=9, relative=Fraction(0))),
        Control("orders", orders(3, 2, 2, "2", (3, -4))),
        Control("orders, one token", orders(1, 2, 1, "3/2", (1, 0))),
        Control("orders, narrow", orders(4, 1, 2, "1/3", (4, -3), seed=1)),
        *(
            Control(f"patterns {n}, {form}", patterns(n, form))
            for n, form in ((1, "binary"), (2, "binary"), (3, "binary"), (2, "threshold"), (3, "threshold"))
        ),
    )
