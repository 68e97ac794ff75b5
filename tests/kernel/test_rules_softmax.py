"""Scale, leak and readability against plain enumeration: every value of every other token, every error allowed."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvverify.codes import by_name
from kvverify.kernel.facts import Fact
from kvverify.kernel.rules.attention import Decay, Keys, Leak, Row, Scaled
from tests.kernel.apply import TINY, accepts, apply
from tests.kernel.families import distances
from tests.kernel.oracle import half_power
from tests.kernel.real import ball, exp, up

MASS = st.fractions(0, 2, max_denominator=12)


def leak_of(others: list[Fraction], rest: Fraction) -> dict[str, Leak]:
    return {"leak": Leak(1 + len(others), Row(sum(others, Fraction(0)), rest), Fraction(9))}


SMALL = st.fractions(0, Fraction(1, 2), max_denominator=12)


@given(st.lists(SMALL, max_size=2), MASS, st.fractions(0, Fraction(19, 20), max_denominator=20))
@example([Fraction(1, 3)], Fraction(0), Fraction(1, 2))  # equality
@example([Fraction(1, 2), Fraction(1, 2)], Fraction(1), Fraction(0))
@example([Fraction(1, 4)], Fraction(0), Fraction(1, 2))
@example([Fraction(2, 5)], Fraction(0), Fraction(1, 2))  # between the two thresholds of a wrong side
def test_separation_holds_exactly_where_the_answers_never_meet(
    others: list[Fraction], rest: Fraction, eta: Fraction
) -> None:
    total = 1 + sum(others) + rest
    ends: dict[int, list[Fraction]] = {0: [], 1: []}
    for bit in (0, 1):
        for values in product((0, 1), repeat=len(others)):
            truth = (bit + sum((w * v for w, v in zip(others, values, strict=True)), Fraction(0))) / total
            ends[bit] += [(1 - eta) * truth, (1 + eta) * truth]
    readable = max(ends[0]) < min(ends[1])
    gives = {"alphabet": 2}
    assert accepts("separation", leak_of(others, rest), {}, gives, tolerance=None, relative=eta) is readable


@given(
    st.lists(SMALL, max_size=2),
    MASS,
    st.integers(2, 5),
    st.fractions(Fraction(1, 50), Fraction(1, 2), max_denominator=50),
)
def test_levels_hold_exactly_where_the_answers_never_meet(
    others: list[Fraction], rest: Fraction, alphabet: int, eps: Fraction
) -> None:
    total = 1 + sum(others) + rest
    levels = [Fraction(2 * i, alphabet - 1) - 1 for i in range(alphabet)]
    ends = []
    for level in levels:
        answers = [
            (level + sum((w * v for w, v in zip(others, values, strict=True)), Fraction(0))) / total
            for values in product(levels, repeat=len(others))
        ]
        ends.append((min(answers) - eps, max(answers) + eps))
    readable = all(high < low for (_, high), (low, _) in pairwise(ends))
    assert accepts("levels", leak_of(others, rest), {}, {"alphabet": alphabet}, tolerance=eps) is readable


@pytest.mark.parametrize("gaps", [2, 3, 128, 129, 256, 512, 513, 1024])
def test_levels_that_bf16_holds_cost_no_tolerance(gaps: int) -> None:
    """Rounding a value to bf16 moves it by up to 2^-9, unless all levels have 8 significant bits."""
    exact = all(np.float32(level) == _bf16(level) for level in (2 * i / gaps - 1 for i in range(gaps + 1)))
    tight = Fraction(1, gaps) - TINY
    leak = {"leak": Leak(1, Row(Fraction(0), Fraction(0)), Fraction(0))}
    assert accepts("levels", leak, {}, {"alphabet": gaps + 1}, tolerance=tight)
    assert not accepts("levels", leak, {}, {"alphabet": gaps + 1}, tolerance=tight + TINY)
    assert accepts("levels", leak, {}, {"alphabet": gaps + 1}, tolerance=tight, inputs="bf16") is exact
    if not exact and tight > Fraction(1, 512):
        eps = tight - Fraction(1, 512)
        assert accepts("levels", leak, {}, {"alphabet": gaps + 1}, tolerance=eps, inputs="bf16")
        assert not accepts("levels", leak, {}, {"alphabet": gaps + 1}, tolerance=eps + TINY, inputs="bf16")


def _bf16(x: float) -> np.float32:
    """x to bf16 and back, to nearest even, as hardware does it."""
    bits = int(np.float32(x).view(np.uint32))
    return np.uint32((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


@pytest.mark.parametrize("name", ["reed-muller(1,3)", "golay(24) subcode 5", "kerdock(16)", "hypercube(5)"])
@pytest.mark.parametrize("z", [Fraction(1, 3 << 14), Fraction(20_000, 1 << 16), Fraction((1 << 16) - 1, 1 << 16)])
def test_the_leak_of_every_subset_is_within_the_least_accepted_bounds(name: str, z: Fraction) -> None:
    family = by_name(name)
    exponents = distances((1 - family.keys(family.size)) // 2)
    fact = Keys(
        family.size,
        family.dim,
        tuple(sorted(family.exponents().items())),
        family.unit,
        family.dim,
        family.dim,
        True,
    )
    random = np.random.default_rng(7)
    for payload in (1, 2, 5, family.size // 2, family.size):
        tokens = payload + 3
        nearest = [e for e, n in sorted(family.exponents().items()) for _ in range(n)][: payload - 1]
        sums = [
            sum((z**e for e in nearest), Fraction(0)),
            sum((z ** (2 * e) for e in nearest), Fraction(0)),
            z**family.dim + 3 * half_power(z, family.dim),
        ]
        sums = [up(x, 200) for x in sums]
        scaled = Scaled(fact, z, payload)
        names = ("off_target_at_most", "off_target_squares_at_most", "rest_at_most")
        assert accepts("leak", {"budget": scaled}, {}, dict(zip(names, sums, strict=True)), tokens=tokens)
        for i in range(3):
            less = [x - TINY if j == i else x for j, x in enumerate(sums)]
            if min(less) >= 0:
                assert not accepts("leak", {"budget": scaled}, {}, dict(zip(names, less, strict=True)), tokens=tokens)
        for _ in range(5):
            chosen = random.choice(family.size, payload, replace=False)
            counts = np.bincount(exponents[chosen[0], chosen], minlength=1)
            counts[0] -= 1
            assert sum((int(n) * z ** int(e) for e, n in enumerate(counts)), Fraction(0)) <= sums[0]
            assert sum((int(n) * z ** int(2 * e) for e, n in enumerate(counts)), Fraction(0)) <= sums[1]


@given(st.fractions(Fraction(1, 1000), 40, max_denominator=1000))
def test_exp_bound_is_exact_to_its_threshold(exponent: Fraction) -> None:
    z = up(exp(-exponent), 60)
    assert accepts("exp-bound", {}, {"exponent": exponent}, {"exp_minus_at_most": z}) is (z < 1)
    unit = Fraction(1, 1 << 60)
    assert not accepts("exp-bound", {}, {"exponent": exponent}, {"exp_minus_at_most": z - unit})
    assert ball(z - unit) < exp(-exponent) <= ball(z)


@pytest.mark.parametrize(("exponent", "z"), [("0", "1/2"), ("-1", "1/2"), ("1", "0"), ("1", "-1/2"), ("9", "2")])
def test_exp_bound_refuses_its_ends(exponent: str, z: str) -> None:
    assert not accepts("exp-bound", {}, {"exponent": exponent}, {"exp_minus_at_most": z})


def test_exp_bound_takes_the_trivial_bound() -> None:
    assert accepts("exp-bound", {}, {"exponent": Fraction(1, 1 << 500)}, {"exp_minus_at_most": Fraction(1)})


def test_budget_is_exact_to_its_threshold() -> None:
    keys = Keys(8, 5, ((1, 7),), Fraction(5, 2), 2, 5, bf16=False)
    premises: dict[str, Fact] = {"keys": keys, "decay": Decay(Fraction(3), Fraction(1, 20))}
    gives = {"logit_at_most": Fraction(15, 2)}
    scaled = apply("budget", premises, {"payload": 8}, gives, tokens=8, key_dim=5, max_logit=Fraction(15, 2))
    assert scaled == Scaled(keys, Fraction(1, 20), 8, None, Fraction(3))
    for given_, more, changes in (
        (8, gives, {"max_logit": Fraction(15, 2) - TINY}),
        (8, {"logit_at_most": Fraction(15, 2) - TINY}, {}),
        (8, {"logit_at_most": Fraction(17, 2)}, {}),
        (9, gives, {"tokens": 9}),
        (8, gives, {"tokens": 7}),
        (0, gives, {}),
        (8, gives, {"key_dim": 4}),
        (8, gives, {"inputs": "bf16"}),
    ):
        statement = {"tokens": 8, "key_dim": 5, **changes}
        assert not accepts("budget", premises, {"payload": given_}, more, **statement)
