"""Determinants against exact ones; the volume rule against compressors that exist: it never asks for more states."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from math import lcm, prod

import pytest
from flint import arb, fmpq, fmpq_mat
from hypothesis import assume, given
from hypothesis import strategies as st

from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.rules.attention import Determinant, Leak, Row
from kvverify.kernel.rules.attention import Matrix as Enclosed
from tests.kernel.apply import TINY, accepts, apply
from tests.kernel.oracle import ROUNDING, determinant_bound
from tests.kernel.oracle import Leak as Sums
from tests.kernel.polygons import Matrix, area, cells, image
from tests.kernel.real import at_most, ball, divergence, down, log2

Entries = list[list[Fraction]]


def square(most: int, largest: Fraction, *, least: Fraction = Fraction(0)) -> st.SearchStrategy[Entries]:
    """Matrices of relative weights: ones on the diagonal."""

    def build(n: int) -> st.SearchStrategy[Entries]:
        row = st.lists(st.fractions(least, largest, max_denominator=64), min_size=n, max_size=n)
        return st.lists(row, min_size=n, max_size=n).map(
            lambda m: [[Fraction(1) if i == j else m[i][j] for j in range(n)] for i in range(n)]
        )

    return st.integers(1, most).flatmap(build)


def leibniz(m: Entries) -> Fraction:
    """The determinant by its definition."""
    n, total = len(m), Fraction(0)
    for p in permutations(range(n)):
        inversions = sum(p[i] > p[j] for i in range(n) for j in range(i + 1, n))
        total += (-1) ** inversions * prod((m[i][p[i]] for i in range(n)), start=Fraction(1))
    return total


def leak_of(m: Entries, rest: Fraction, width: Fraction = Fraction(0)) -> Leak:
    """Exact sums of the rows, and enclosures of that width."""
    off = [sum((abs(x) for j, x in enumerate(row) if j != i), Fraction(0)) for i, row in enumerate(m)]
    squares = sum((x * x for i, row in enumerate(m) for j, x in enumerate(row) if j != i), Fraction(0)) / len(m)
    rows = tuple(Row(o, rest) for o in off)
    matrix = enclosed(m, [1 + o + rest for o in off], width)
    return Leak(len(m), Row(max(off), rest), squares, rows=rows, matrix=lambda: matrix)


def enclosed(m: Entries, totals: list[Fraction], width: Fraction = Fraction(0)) -> Enclosed:
    """The matrix as integers over one denominator, which is no power of two: its logarithm goes to the totals."""
    scale = lcm(*(x.denominator for row in m for x in row), width.denominator)
    low = [[int(x * scale) for x in row] for row in m]
    return Enclosed(low, 0, int(width * scale), tuple(scale * total for total in totals))


def threshold(form: str, leak: Leak, truth: Sums) -> Fraction:
    """The best that the rule accepts, to 2^-40 bits: what its own formula gives, and no more."""
    tail = truth.off_target**30 / (1 - truth.off_target) if form == "near-identity" else 0  # of the rule's own series
    best = down(determinant_bound(form, truth) - ball(TINY + truth.payload * truth.squares * tail), 40)
    assert accepts("determinant", {"leak": leak}, {"form": form}, {"log2_det_at_least": best})
    beyond = {"log2_det_at_least": down(determinant_bound(form, truth) + ball(TINY), 40) + Fraction(1, 1 << 39)}
    assert not accepts("determinant", {"leak": leak}, {"form": form}, beyond)
    return best


def true_log2(m: Entries, rest: Fraction) -> arb:
    """log2 |det| of the matrix with its rows divided by their sums, rest included."""
    rows = [[x / (sum(abs(y) for y in row) + rest) for x in row] for row in m]
    return log2(abs(leibniz(rows)))


@given(square(5, Fraction(1, 5)), st.fractions(0, 2, max_denominator=10))
def test_near_identity_and_ostrowski_stay_below_the_determinant(m: Entries, rest: Fraction) -> None:
    leak = leak_of(m, rest)
    sums = Sums(
        leak.payload, leak.worst.off_target, leak.squares, rest, tuple((row.off_target, row.rest) for row in leak.rows)
    )
    assume(leak.worst.off_target < Fraction(99, 100))
    for form in ("near-identity", "ostrowski"):
        assert at_most(threshold(form, leak, sums), true_log2(m, rest))


@given(square(4, Fraction(3), least=Fraction(-3)), st.fractions(0, 2, max_denominator=10))
def test_the_exact_form_is_exact(m: Entries, rest: Fraction) -> None:
    leak, determinant = leak_of(m, rest), leibniz(m)
    gives = {"log2_det_at_least": Fraction(-1000)}
    assert accepts("determinant", {"leak": leak}, {"form": "exact"}, gives) is (determinant != 0)
    if determinant:
        rows = tuple((row.off_target, row.rest) for row in leak.rows)
        sums = Sums(leak.payload, leak.worst.off_target, leak.squares, rest, rows, log2(abs(determinant)))
        threshold("exact", leak, sums)


@given(square(3, Fraction(1), least=Fraction(-1)), st.data())
def test_the_exact_form_allows_for_every_matrix_within_the_enclosures(m: Entries, data: st.DataObject) -> None:
    width = Fraction(1, data.draw(st.integers(8, 64)))
    n = len(m)
    shares = data.draw(st.lists(st.sampled_from([Fraction(0), Fraction(1)]), min_size=n * n, max_size=n * n))
    other = [[x + width * shares[i * n + j] for j, x in enumerate(row)] for i, row in enumerate(m)]
    leak = leak_of(m, Fraction(0), width)
    sums = sum((log2(1 + row.off_target) for row in leak.rows), ball(0))
    sizes = [sum((abs(x) for x in row), Fraction(0)) for row in m]
    least = abs(leibniz(m)) - (prod(s + n * width for s in sizes) - prod(sizes))  # what the rule allows for
    if least > 0:
        best = down(log2(least) - sums - ball(TINY), 40)
        assert accepts("determinant", {"leak": leak}, {"form": "exact"}, {"log2_det_at_least": best})
        over = {"log2_det_at_least": best + Fraction(1, 1 << 38)}
        assert not accepts("determinant", {"leak": leak}, {"form": "exact"}, over)
    truth = abs(leibniz(other))
    if truth:
        beyond = down(log2(truth) - sums + ball(TINY), 40) + Fraction(1, 1 << 39)
        assert not accepts("determinant", {"leak": leak}, {"form": "exact"}, {"log2_det_at_least": beyond})
    else:
        assert not accepts("determinant", {"leak": leak}, {"form": "exact"}, {"log2_det_at_least": -1000})


@given(st.integers(5, 12), st.randoms(use_true_random=False))
def test_elimination_on_larger_matrices(n: int, random: object) -> None:
    draw = random.randint  # type: ignore[attr-defined]
    m = [[Fraction(draw(-9, 9), draw(1, 9)) if draw(0, 2) else Fraction(0) for _ in range(n)] for _ in range(n)]
    found = fmpq_mat([[fmpq(x.numerator, x.denominator) for x in row] for row in m]).det()
    determinant = abs(Fraction(int(found.p), int(found.q)))
    nothing = Row(Fraction(0), Fraction(0))
    exact = enclosed(m, [Fraction(1)] * n)
    leak = Leak(n, nothing, Fraction(0), rows=(nothing,) * n, matrix=lambda: exact)
    gives = {"log2_det_at_least": down(log2(determinant), 40) if determinant else -1000}
    assert accepts("determinant", {"leak": leak}, {"form": "exact"}, gives) is (determinant != 0)
    if determinant:
        more = {"log2_det_at_least": Fraction(gives["log2_det_at_least"]) + Fraction(1, 1 << 39)}
        assert not accepts("determinant", {"leak": leak}, {"form": "exact"}, more)


def test_forms_refuse_what_they_cannot_do() -> None:
    small, one = Row(Fraction(0), Fraction(0)), Row(Fraction(1), Fraction(0))
    gives = {"log2_det_at_least": -99}
    for form in ("near-identity", "ostrowski"):
        assert not accepts("determinant", {"leak": Leak(2, one, Fraction(1))}, {"form": form}, gives)
    assert not accepts("determinant", {"leak": Leak(2, small, Fraction(0))}, {"form": "exact"}, gives)
    rows = Leak(2, one, Fraction(1), rows=(small, one))
    assert not accepts("determinant", {"leak": rows}, {"form": "ostrowski"}, gives)
    with pytest.raises(Malformed):
        apply("determinant", {"leak": rows}, {"form": "guess"}, gives)
    many = Leak(49, small, Fraction(0), rows=(small,) * 49, matrix=lambda: Enclosed([], 0, 0, ()))
    with pytest.raises(OverLimit):
        apply("determinant", {"leak": many}, {"form": "exact"}, gives)


@pytest.mark.parametrize("weight", [Fraction(1), Fraction(1, 2), Fraction(3, 4)])
@pytest.mark.parametrize("cells_", [2, 4, 5, 16, 100])
def test_one_read_is_tight(weight: Fraction, cells_: int) -> None:
    """r = 1: a uniform quantiser of the answers [-w, w] into m cells has error w/m, and the rule asks for log2 m."""
    premises = {"determinant": Determinant(1, down(log2(weight), 60))}
    bits = down(log2(cells_), 40)
    eps = weight / cells_
    problem = {"value_dim": 1, "tolerance": eps, "failure": 0}
    unit = Fraction(1, 1 << 40)
    assert accepts("volume", premises, {}, {"bits_at_least": bits - unit}, **problem)
    assert not accepts("volume", premises, {}, {"bits_at_least": bits + 2 * unit}, **problem)
    for kept in range(1, cells_):  # only some cells have a state: the others' answers are wrong
        failure = 1 - Fraction(kept, cells_)
        if failure > 1 - eps:
            continue
        over = down(log2(kept), 40) + 2 * unit
        assert not accepts("volume", premises, {}, {"bits_at_least": over}, **{**problem, "failure": failure})


stochastic = st.lists(st.fractions(Fraction(1, 20), Fraction(9, 10), max_denominator=20), min_size=4, max_size=4).map(
    lambda x: [[x[0], x[1] * (1 - x[0])], [x[2] * (1 - x[3]), x[3]]]
)


@given(stochastic, st.sampled_from([Fraction(1, 3), Fraction(1, 5), Fraction(1, 8), Fraction(1, 2)]), st.integers(1, 2))
def test_two_reads_never_need_more_states_than_a_grid_has(w: Matrix, eps: Fraction, value_dim: int) -> None:
    """One state for every square of width 2 eps that the answers reach; then with the heaviest squares only."""
    determinant = abs(w[0][0] * w[1][1] - w[0][1] * w[1][0])
    assume(determinant > 0)
    areas = cells(w, eps)
    total = area(image(w))
    assert sum(areas) == total == 4 * determinant
    premises = {"determinant": Determinant(2, down(log2(determinant), 60))}
    for kept in {len(areas), *range(1, len(areas), 3)}:
        failure = 1 - sum(areas[:kept]) / total  # of whole answers; a read fails at most as often
        if failure > 1 - eps:
            continue
        over = value_dim * down(log2(kept), 40) + Fraction(1, 1 << 38)
        problem = {"tolerance": eps, "failure": failure, "value_dim": value_dim}
        assert not accepts("volume", premises, {}, {"bits_at_least": over}, **problem), kept


@given(
    st.fractions(Fraction(1, 1000), Fraction(9, 10), max_denominator=1000),
    st.fractions(0, 1, max_denominator=100),
    st.sampled_from(["real", "bf16"]),
)
def test_the_volume_rule_is_exact_to_its_threshold(tolerance: Fraction, share: Fraction, inputs: str) -> None:
    eps = tolerance + (ROUNDING if inputs == "bf16" else 0)
    failure = share * (1 - eps)
    premises = {"determinant": Determinant(3, Fraction(-7, 4))}
    bound = 2 * 5 * 2 * (ball(Fraction(-7, 4)) + 3 * divergence(eps, failure))
    problem = {"tolerance": tolerance, "failure": failure, "inputs": inputs, "value_dim": 5, "kv_heads": 2, "layers": 2}
    best = down(bound - ball(TINY), 40)
    assert accepts("volume", premises, {}, {"bits_at_least": best}, **problem)
    assert not accepts("volume", premises, {}, {"bits_at_least": best + Fraction(1, 1 << 39)}, **problem)
    if 1 - eps + TINY < 1:
        assert not accepts("volume", premises, {}, {"bits_at_least": -1000}, **{**problem, "failure": 1 - eps + TINY})
