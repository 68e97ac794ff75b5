"""The bounds of the kernel on coarse grids, where every rounding shows; and to the last digit, as they were first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest
from flint import arb

from kvverify.kernel import numbers
from kvverify.kernel.rules import packed
from tests.kernel.apply import context
from tests.kernel.real import ball, exp, log2

SMALL = sorted({Fraction(p, q) for q in range(1, 8) for p in range(1, 40)})
GRIDS = ("_EXP_BITS", "_LOG_BITS", "_WORK_BITS", "_POWER_BITS")


@pytest.fixture(params=[3, 5, 8])
def bits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    for name in GRIDS:
        monkeypatch.setattr(numbers, name, request.param)
    return int(request.param)


@pytest.mark.usefixtures("bits")
def test_exp_and_log_lie_on_their_sides() -> None:
    for x in SMALL:
        for y in (x, -x):
            assert bool(ball(numbers.exp_lower(y)) <= exp(y))
            assert bool(ball(numbers.exp_upper(y)) >= exp(y))
        exact = x.numerator & (x.numerator - 1) == 0 == x.denominator & (x.denominator - 1)
        slack = arb(2) ** -200 if exact else arb(0)  # a power of two is its own bound
        assert bool(ball(numbers.log2_lower(x)) <= log2(x) + slack)
        assert bool(ball(numbers.log2_upper(x)) >= log2(x) - slack)


def test_powers_and_roots_lie_on_their_side(bits: int) -> None:
    for q in range(1, 9):
        for p in range(q + 1):
            z = Fraction(p, q)
            assert z <= numbers.root_upper(z) ** 2
            assert p == 0 or numbers.root_upper(z) - Fraction(1, 1 << bits) < 1
            for exponent in range(12):
                assert numbers.power_upper(z, exponent) >= z**exponent


def tables() -> list[int]:
    """Of the packed exponentials: the three tables, and what they give."""
    found = packed.Exponentials(context())
    cells = [-(i * i * 977 << 20) for i in range(60)]
    parts = [
        found._coarse,
        *(packed._table(bits)[::61] for bits in (20, 32)),
        found.masses(cells, 0),
        found.entries(cells, 0),
    ]
    return [x for part in parts for x in part]


POINTS = [Fraction(p, q) for p in (1, 2, 3, 7, 40, 999) for q in (1, 2, 5, 64, 977)]
UNIT = [x for x in POINTS if x < 1]
PAIRS = [(eps, share * (1 - eps)) for eps in UNIT[::2] for share in (Fraction(0), *UNIT[1::3], Fraction(1))]
FROZEN: dict[str, tuple[Callable[[], Sequence[Fraction | int]], str]] = {
    "exp": (
        lambda: [f(s * x) for x in POINTS for s in (1, -1) for f in (numbers.exp_lower, numbers.exp_upper)],
        "fc7469a5a448f6da",
    ),
    "log2": (lambda: [f(x) for x in POINTS for f in (numbers.log2_lower, numbers.log2_upper)], "bf2ed5149faf58fa"),
    "power": (lambda: [numbers.power_upper(x, n) for x in UNIT for n in (0, 1, 2, 7, 1000)], "5f03fd4e30c2ce2e"),
    "root": (lambda: [numbers.root_upper(x) for x in POINTS], "40bf99129f42bffa"),
    "divergence": (lambda: [numbers.divergence_lower(*pair) for pair in PAIRS], "174a486e5900d922"),
    "fano": (
        lambda: [numbers.fano_lower(n, d) for n in (2, 3, 256) for d in (0 * UNIT[0], *UNIT) if d * n < n - 1],
        "aa5fb2a35df20cb6",
    ),
    "log ratio": (lambda: [numbers.log_ratio_upper(x) for x in UNIT], "48ec4f4438cc1ddd"),
    "round": (
        lambda: [numbers.round_up(x, n) for x in POINTS for n in (3, 128)] + [*map(numbers.round_up, POINTS)],
        "b4749d37555b8bce",
    ),
    "tables": (tables, "72e0b3ac45f84829"),
    "log2 e": (lambda: [numbers.LOG2_E_UPPER], "a34b824a99230101"),
}


@pytest.mark.parametrize("name", FROZEN)
def test_a_bound_stays_what_it_was(name: str) -> None:
    """To the last digit, so that what was VALID once stays so: a wider bound may refuse it."""
    values, digest = FROZEN[name]
    assert hashlib.sha256(" ".join(map(str, values())).encode()).hexdigest()[:16] == digest
