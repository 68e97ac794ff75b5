"""The dearest certificates of tensor attention: for scripts/worst_case.py."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

from worst_certificates import HUGE, TINY, case, near, step, tree

from kvverify.kernel.document import Node

_RANDOM = random.Random(11)
_SENTINELS = 10**3000


def _claimed(**fields: object) -> Node:
    """A statement with numbers as long as may be."""
    node = {
        "claim": "tensor-state-bits", "tokens": HUGE, "head_dim": HUGE, "value_dim": HUGE, "kv_heads": HUGE,
        "scale": near(1), "max_logit": near(4000), "failure": near(Fraction(1, 10)), "tolerance": near(TINY),
        "max_query": near(4000), "state_bits_at_least": 1,
    }  # fmt: skip
    return {name: str(value) for name, value in (node | fields).items()}


def _cube(name: str = "keys") -> Node:
    return step(name, "tensor-keys", given={"dimension": 1024}, size=1 << 1024)


def _decays() -> list[Node]:
    """e^-3 <= 1/16 and e^-2 <= 1/6, in long numbers."""
    return [
        step("read", "exp-bound", given={"exponent": near(3)}, exp_minus_at_most=near(Fraction(1, 16))),
        step("held", "exp-bound", given={"exponent": near(2)}, exp_minus_at_most=near(Fraction(1, 6))),
    ]


def _leak(payload: int, sentinels: int, off_target: Fraction | int) -> Node:
    uses = {"keys": "keys", "read": "read", "held": "held"}
    return step(
        "leak", "tensor-leak", uses, {"payload": payload, "sentinels": sentinels},
        off_target_at_most=near(off_target), rest_at_most=near(sentinels), logit_at_most=near(3000),
    )  # fmt: skip


@case("tensor-keys: the longest walk")
def _walk(folder: Path) -> Node:
    """Words of 25 generators of 128 letters."""
    rows = [f"{1 << i | _RANDOM.getrandbits(100) << 25:0128b}" for i in range(25)]
    return tree(_claimed(), [], [step("keys", "tensor-keys", given={"generator": rows}, weights={"1": "1"})])


@case("tensor-keys: all words of 1,024 letters")
def _words(folder: Path) -> Node:
    return tree(_claimed(), [], [_cube()])


@case("tensor-leak: all weights of 1,024 letters")
def _weights(folder: Path) -> Node:
    return tree(_claimed(tokens=2 * _SENTINELS), [_cube(), *_decays()], [_leak(1 << 1000, _SENTINELS, 10**3900)])


@case("tensor-symbols: long numbers")
def _symbols(folder: Path) -> Node:
    bits = step("bits", "tensor-symbols", {"leak": "leak"}, alphabet=2, bits_at_least=near(1))
    return tree(_claimed(tokens=3), [_cube(), *_decays(), _leak(1, 1, Fraction(1, 8))], [bits])


def _orders(tokens: int, head_dim: int, value_dim: int, base: str, key: int, value: int, query: int = 1) -> Node:
    """One row of all caches over and over, so that the answer is known and the same step may stand many times."""
    keys, values = " ".join([str(key)] * head_dim), " ".join([str(value)] * value_dim)
    caches = {"k1": [keys] * tokens, "k2": [keys] * tokens, "v1": [values] * tokens, "v2": [values] * tokens}
    both, pairs, bits = head_dim + value_dim, tokens * tokens, 320
    gives: Node = {
        "four_cache": 2 * pairs * both, "two_cache": (pairs + 2 * tokens - 1) * both,
        "re_associated": (pairs + tokens) * both, "state_bits_at_most": 2 * tokens * both * bits,
    }  # fmt: skip
    stated: Node = {name: str(number) for name, number in gives.items()}
    claimed = {
        "claim": "tensor-identity", "base": base, "query": " ".join([str(query)] * head_dim), **caches,
        "word_bits": str(bits), "word_from": "0", **stated,
    }  # fmt: skip
    return tree(claimed, [], [step("orders", "tensor-orders", **gives)])


@case("tensor-orders: many tokens")
def _tokens(folder: Path) -> Node:
    return _orders(700, 1, 1, "3/2", 1, 1)


@case("tensor-orders: large weights")
def _large(folder: Path) -> Node:
    return _orders(150, 1, 64, "1000003/1000033", 10, (1 << 319) + 1, 4)


@case("tensor-orders: all small weights of a wide range")
def _range(folder: Path) -> Node:
    return _orders(180, 16, 16, "1", 22, 1)


@case("tensor-orders: long entries")
def _long(folder: Path) -> Node:
    return _orders(120, 128, 128, "2", (1 << 319) + 1, (1 << 319) + 1, 0)


@case("tensor-patterns: thresholds of four tokens")
def _thresholds(folder: Path) -> Node:
    claimed = {"claim": "tensor-patterns", "tokens": "4", "form": "threshold", "reachable": "12616"}
    return tree(claimed, [], [step("patterns", "tensor-patterns", reachable=12616)])


@case("tensor-patterns: 0/1 columns of eight tokens")
def _columns(folder: Path) -> Node:
    claimed = {"claim": "tensor-patterns", "tokens": "8", "form": "binary", "reachable": "65026"}
    return tree(claimed, [], [step("patterns", "tensor-patterns", reachable=65026)])
