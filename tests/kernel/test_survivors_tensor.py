"""Limits, charges and equalities of tensor attention that a broken kernel once got past the other tests with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel.context import Context
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import tensor, tensor_explicit
from kvverify.kernel.rules.attention import Decay
from kvverify.kernel.rules.tensor import Secret, TensorStateBits, Words
from kvverify.kernel.rules.tensor_explicit import Caches, TensorPatterns
from tests.kernel.tensor_controls import orders

HALF, ONE = Fraction(1, 2), Fraction(1)
GOAL = TensorStateBits(
    tokens=4, head_dim=4, value_dim=2, kv_heads=3, scale=Fraction(4), max_logit=Fraction(99), max_query=None,
    failure=Fraction(0), tolerance=HALF, relative=None, bits=1,
)  # fmt: skip
SQUARE = Words(4, 2, ((1, 2), (2, 1)))


def charged(about: Any, work: Callable[[Context], object]) -> int:
    context = Context(about, Path())
    before = context.work
    work(context)
    return before - context.work


def symbols(alphabet: int, off: Fraction, **fields: Any) -> bool:
    goal = replace(GOAL, **fields)
    gives = {"alphabet": str(alphabet), "bits_at_least": "-1"}
    try:
        tensor.tensor_symbols(Context(goal, Path()), {"leak": Secret(2, off, Fraction(0))}, {}, gives)
    except Rejected:
        return False
    return True


def test_symbols_are_apart_strictly_and_of_2_to_2_to_64_levels() -> None:
    tiny = Fraction(1, 1 << 80)
    for alphabet, fine in ((1, False), (2, True), (1 << 64, True), ((1 << 64) + 1, False)):
        assert symbols(alphabet, Fraction(0), tolerance=tiny) is fine
    # 1/(L - 1) > eps (1 + off) + off: 1 against 1/2 (1 + 1/3) + 1/3, equal; and 1/2 against (1/3) (3/2)
    for off, fine in ((Fraction(1, 3), False), (Fraction(1, 3) - tiny, True)):
        assert symbols(2, off) is fine
        assert symbols(2, off, tolerance=None, relative=HALF) is fine
    assert not symbols(3, Fraction(0), tolerance=None, relative=HALF)
    for alphabet in (2, 3):
        most = 1 - Fraction(1, alphabet)
        for failure, fine in ((most, True), (most + tiny, False)):
            assert symbols(alphabet, Fraction(0), tolerance=Fraction(1, 9), failure=failure) is fine


def leak(payload: int, off: Fraction, rest: Fraction, *, z: Fraction = Fraction(1, 14)) -> int:
    """The work that it charges."""
    uses = {"keys": SQUARE, "read": Decay(Fraction(4), z), "held": Decay(Fraction(4), z)}
    given = {"payload": str(payload), "sentinels": "1"}
    gives = {"off_target_at_most": str(off), "rest_at_most": str(rest), "logit_at_most": "99"}
    return charged(GOAL, lambda context: tensor.tensor_leak(context, uses, given, gives))  # type: ignore[arg-type]


def test_masses_to_what_they_are_and_the_work_for_each_power() -> None:
    least = Fraction(1, 10**30)
    found = Fraction(15, 14) ** 4 - 1
    rest = 9 * Fraction(1, 14) ** 2  # 25 - 16 pairs of value 0, (z z)^(2/2) each
    room = Fraction(1, 1 << 60)  # powers are rounded up
    assert leak(3, found + room, rest + room) == 100 * (1 + 2 + 1 + 2 + 1)
    for off, zero in ((found - least, rest + room), (found + room, rest - least)):
        with pytest.raises(Rejected, match="_at_most"):
            leak(3, off, zero)
    assert leak(1, Fraction(9), Fraction(99)) > 0
    for payload in (0, -1):
        with pytest.raises(Rejected, match="one secret row and one sentinel at least"):
            leak(payload, Fraction(9), Fraction(99))


def test_equal_masses_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor, "power_upper", lambda z, e: z**e)
    monkeypatch.setattr(tensor, "root_upper", lambda x: Fraction(1, 14) ** 2)
    found, rest = Fraction(15, 14) ** 4 - 1, 9 * Fraction(1, 14) ** 2
    assert leak(3, found, rest)
    for off, zero in ((found - Fraction(1, 10**30), rest), (found, rest - Fraction(1, 10**30))):
        with pytest.raises(Rejected, match="_at_most"):
            leak(3, off, zero)


def test_statements_at_the_ends_of_their_ranges() -> None:
    node = {
        "claim": "tensor-state-bits", "tokens": "1", "head_dim": "1", "value_dim": "1", "kv_heads": "1", "scale": "1/9",
        "max_logit": "1/9", "max_query": "1/9", "failure": "0", "tolerance": "1/2", "state_bits_at_least": "0",
    }  # fmt: skip
    assert tensor.state_bits(node)
    for name in ("scale", "max_logit", "max_query"):
        for value in ("0", "-1/9"):
            with pytest.raises(Malformed, match=f"{name} above 0"):
                tensor.state_bits({**node, name: value})


# explicit


def test_orders_are_charged_by_pairs_and_by_the_length_of_weights() -> None:
    for base, size in (("2", 1), ("7/5", 3), ("1/1024", 9)):
        tree = orders(5, 3, 2, base, (5, -8), seed=size)
        goal = tensor_explicit.identity(tree["statement"])
        assert isinstance(goal, tensor_explicit.TensorIdentity)
        one = goal.inputs
        columns = zip(one.query, zip(*one.k1, strict=True), zip(*one.k2, strict=True), strict=True)
        most = sum(abs(x) * max(map(abs, a)) * max(map(abs, b)) for x, a, b in columns)
        bits = 2 * most * max(one.base.numerator, one.base.denominator).bit_length()
        weights = 25 * (192 + 13 * (bits // 256)) + (2 * most + 1) * (64 + bits // 8)
        assert charged(goal, lambda context, one=one: tensor_explicit._weights(context, one, 5)) == weights
        gives = tree["steps"][0]["gives"]
        whole = charged(goal, lambda context, gives=gives: tensor_explicit.tensor_orders(context, {}, {}, gives))
        assert whole == 25 * 36 + weights


def test_weights_to_their_limit() -> None:
    limit = tensor_explicit.MAX_POWER_BITS
    most = limit // 4  # base 2 has two bits, and scores reach from -most to most
    rows = ((1,),)

    def weigh(score: int) -> Callable[[int], int]:
        caches = Caches(Fraction(2), (score,), rows, rows, rows, rows)
        return tensor_explicit._weights(Context(None, Path()), caches, 2)  # type: ignore[arg-type]

    table = weigh(most)
    assert table(most) == 1 << 2 * most
    assert table(-most) == 1
    with pytest.raises(OverLimit, match=f"{limit} bits"):
        weigh(most + 1)


def test_every_order_is_compared_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = orders(3, 2, 2, "2", (3, -4))
    goal = tensor_explicit.identity(tree["statement"])
    gives = tree["steps"][0]["gives"]
    for name, order in (("two_cache", "_two_cache"), ("re_associated", "_re_associated")):
        right: Any = getattr(tensor_explicit, order)

        def wrong(*given: Any, right: Any = right) -> Any:
            above, below = right(*given)
            return (above[0] + 1, *above[1:]), below

        with monkeypatch.context() as patched:
            patched.setattr(tensor_explicit, order, wrong)
            with pytest.raises(Rejected, match=f"{name} gives the answer of four_cache"):
                tensor_explicit.tensor_orders(Context(goal, Path()), {}, {}, gives)
    for name in ("four_cache", "two_cache", "re_associated"):
        for change in (1, -1):
            other = {**gives, name: str(int(gives[name]) + change)}
            with pytest.raises(Rejected, match=f"multiplications of {name}"):
                tensor_explicit.tensor_orders(Context(goal, Path()), {}, {}, other)


def test_patterns_are_said_and_charged() -> None:
    for form, tokens, work, words in (
        ("binary", 3, 1 << 14, "0/1 entries"), ("threshold", 2, 1 << 12, "real entries and a threshold"),
    ):  # fmt: skip
        goal = TensorPatterns(tokens, form, 1)
        assert words in goal.said()
        count = {"binary": 50, "threshold": 16}[form]
        gives = {"reachable": str(count)}
        step = tensor_explicit.tensor_patterns
        assert charged(goal, lambda context, gives=gives, step=step: step(context, {}, {}, gives)) == work
        most = tensor_explicit.PATTERNS[form]
        with pytest.raises(OverLimit, match=f"more than {most} tokens"):
            step(Context(TensorPatterns(most + 1, form, 1), Path()), {}, {}, gives)


def test_claims_are_said() -> None:
    assert GOAL.said() == "state of tensor attention over 4 tokens >= 1 bits"
    goal = tensor_explicit.identity(orders(3, 2, 2, "2", (3, -4))["statement"])
    assert isinstance(goal, tensor_explicit.TensorIdentity)
    counts = zip(("four-cache", "two-cache", "re-associated"), goal.products, strict=True)
    said = f"3 tokens in {goal.bits} bits: one exact answer; multiplications: "
    assert goal.said() == said + ", ".join(f"{name} {count}" for name, count in counts)
