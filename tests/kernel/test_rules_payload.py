"""The key payload against the attention that it is about: direct softmax, entropies by quadrature, real compressors."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import ceil, log2
from typing import Any

import numpy as np
import pytest
from flint import acb, arb
from hypothesis import given
from hypothesis import strategies as st

from kvverify.instances.payload import to_bf16
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Fact
from kvverify.kernel.rules.attention import Decay, Keys, Leak, Row, Scaled
from tests.kernel.apply import TINY, accepts, apply
from tests.kernel.families import family
from tests.kernel.marker import Shape, best, cube_tilt, entropy, formula, premises, series_tail, squares
from tests.kernel.oracle import ROUNDING
from tests.kernel.real import ball, divergence, down, exp

STRENGTH = st.fractions(Fraction(1, 20), Fraction(12), max_denominator=20)
ONE, TWO, THREE = ("00",), ("00", "11"), ("011", "101", "110")
SHAPES = [
    Shape(ONE, Fraction(30), Fraction(2)),
    Shape(ONE, Fraction(2), Fraction(3), pads=2),
    Shape(TWO, Fraction(2), Fraction(1)),
    Shape(TWO, Fraction(1), Fraction(3, 2)),
    Shape(TWO, Fraction(1, 4), Fraction(1, 2)),
    Shape(TWO, Fraction(1), Fraction(4), pads=1),
    Shape(TWO, Fraction(12), Fraction(5)),
    Shape(THREE, Fraction(3, 2), Fraction(2), pads=1),
]


def tanh_half(strength: Fraction, bits: int = 80) -> Fraction:
    e = exp(strength)
    return down((e - 1) / (e + 1), bits)


def gain(eps: Fraction, failure: Fraction) -> float:
    return float(divergence(eps, failure))


# The tilt


@given(STRENGTH)
def test_tilt_is_exact_to_its_threshold(strength: Fraction) -> None:
    bound, unit = tanh_half(strength), Fraction(1, 1 << 80)
    given_ = {"strength": strength}
    assert accepts("tilt", {}, given_, {"tanh_half_at_least": bound})
    assert accepts("tilt", {}, given_, {"tanh_half_at_least": bound / 2})
    assert not accepts("tilt", {}, given_, {"tanh_half_at_least": bound + unit})


def test_tilt_refuses_what_is_no_tilt() -> None:
    for strength, bound in ((0, Fraction(1, 2)), (-1, Fraction(-1, 2)), (1, 0), (1, -1), (1, 1), (4000, 1), (4000, 2)):
        assert not accepts("tilt", {}, {"strength": strength}, {"tanh_half_at_least": bound})
    speck = Fraction(1, 10**3000)  # too small for the kernel's exp: refused, although tanh(t/2) is about t/2
    assert not accepts("tilt", {}, {"strength": speck}, {"tanh_half_at_least": speck / 2})
    assert not accepts("tilt", {}, {"strength": speck}, {"tanh_half_at_least": speck})
    with pytest.raises(OverLimit):
        apply("tilt", {}, {"strength": 4097}, {"tanh_half_at_least": Fraction(1, 2)})
    given_, gives = {"strength": 1}, {"tanh_half_at_least": Fraction(1, 4)}
    with pytest.raises(Malformed):
        apply("tilt", {"tilt": apply("tilt", {}, given_, gives)}, given_, gives)


@pytest.mark.parametrize("share", [Fraction(1), Fraction(1, 2)])
@pytest.mark.parametrize("strength", [Fraction(1, 8), Fraction(2), Fraction(11, 4), Fraction(6)])
def test_the_law_of_the_payload(strength: Fraction, share: Fraction) -> None:
    """u = (1 + v)/(1 - v), v uniform on [-T, T]: within the cube, E u <= t/T - 1, E 1/(1 + u) = 1/2; by quadrature."""
    bound = share * tanh_half(strength)
    edge = ball(bound)
    assert (2 * edge.atanh()).abs_upper() <= ball(strength)

    def mean(f: Any) -> arb:
        return (acb.integral(lambda v, _: f(v), -edge, edge) / (2 * edge)).real

    mass = mean(lambda v: (1 + v) / (1 - v))
    assert mass < ball(strength / bound - 1) + ball(Fraction(1, 1 << 60))
    assert share < 1 or mass > ball(strength / bound - 1) - ball(Fraction(1, 1 << 60))  # E u is not far below
    assert mean(lambda v: 1 / (1 + (1 + v) / (1 - v))).overlaps(arb(1) / 2)


# The marker's output


CODES: list[dict[str, Any]] = [
    {"rule": rule, "given": given_, "gives": gives}
    for rule, given_, gives in (
        ("hypercube", {"dimension": "2"}, {"size": "4"}),
        ("coset-union", {"generator": ["111"], "representatives": ["000"]}, {"weights": {"3": "1"}}),
        ("explicit-keys", {"keys": ["2 1", "-1 2", "-2 -2"]}, {"exponents": {"5": "1", "7": "1"}}),
        ("paraboloid", {"side": "2", "dimension": "3", "cutoff": "2"}, {"size": "4"}),
    )
]


@pytest.mark.parametrize("step", CODES, ids=lambda step: step["rule"])
@pytest.mark.parametrize("pads", [0, 3])
def test_the_marker_is_monotone_linear_monotone(step: dict[str, Any], pads: int) -> None:
    """Softmax over whole keys of two payload coordinates, in balls: (X - 1)/(X + 1), X = (I + A) u + pads' weight.

    Rounding the payload to bf16 moves it by at most t h / 2.
    """
    keys = family(step, "cube", "real")
    c, t = Fraction(3, 4), Fraction(5, 2)
    random = np.random.default_rng(pads)
    y = random.uniform(-1, 1, (keys.size, 2))
    exponents = _exponents(keys)
    for j in range(2):
        exact = [_marker(keys, y, pads, i, j, c, t) for i in range(keys.size)]
        moved = [_marker(keys, to_bf16(y), pads, i, j, c, t) for i in range(keys.size)]
        for i, row in enumerate(exponents):
            u = [exp(t * Fraction(float(v))) for v in y[:, j]]
            x = sum((exp(-c * e) * v for e, v in zip(row, [*u, arb(pads)], strict=True)), arb(0))
            assert abs(exact[i] - (x - 1) / (x + 1)) < ball(Fraction(1, 1 << 300))
            assert abs(exact[i] - moved[i]) <= ball(t * ROUNDING / 2)


def _exponents(keys: Any) -> list[list[Fraction]]:
    """(size, size + 1) exponents relative to the target, the pad's last."""
    scores = keys.queries @ np.concatenate([keys.keys, keys.pad_key[None, :]]).T
    return [[keys.half * int(row[i] - score) for score in row] for i, row in enumerate(scores)]


def _marker(keys: Any, y: np.ndarray, pads: int, i: int, j: int, c: Fraction, t: Fraction) -> arb:
    """The marker's output: keys (code | y | 0), query (c q_i | t e_j | 0), own key (c_i | 0 | 0) of marker -1."""
    rows: list[list[Any]]
    rows = [[*map(int, k), *(Fraction(float(v)) for v in p), 0] for k, p in zip(keys.keys, y, strict=True)]
    rows += [[*map(int, keys.pad_key), 0, 0, 0]] * pads + [[*map(int, keys.keys[i]), 0, 0, 0]]
    query = [*(c * keys.half * int(x) for x in keys.queries[i]), *(t * (k == j) for k in range(2)), Fraction(7)]
    weights = [exp(sum((a * b for a, b in zip(query, row, strict=True)), Fraction(0))) for row in rows]
    return (sum(weights[:-1], arb(0)) - weights[-1]) / sum(weights, arb(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_rounding_moves_a_key_read_by_at_most_half_the_tilted_step(shape: Shape) -> None:
    """All coordinates moved the same way by h, leak and pads included: the bound holds and is nearly attained."""
    h, t = float(ROUNDING), float(shape.strength)
    ends = np.linspace(-1 + h, 1 - h, 101)
    y = np.stack([ends] * len(shape.words), axis=1)[:, :, None]
    moves = abs(shape.answers(y + h) - shape.answers(y))
    assert moves.max() <= t * h / 2 + 1e-15
    if not shape.pads:
        assert moves.max() >= 0.99 * t * h / 2


@pytest.mark.parametrize("inputs", ["real", "bf16"])
@pytest.mark.parametrize("step", CODES, ids=lambda step: step["rule"])
def test_the_budget_is_the_largest_logit_over_all_corners(step: dict[str, Any], inputs: str) -> None:
    keys, c, t = family(step, "cube", inputs), Fraction(3, 4), Fraction(5, 2)
    assert keys.scale is not None
    largest = Fraction(0)
    for q, j in product(keys.queries, range(2)):
        query = [*(c * keys.half * keys.scale * int(x) for x in q), *(t * (k == j) for k in range(2))]
        for corner in product((-1, 1), repeat=keys.dim + 2):
            largest = max(largest, abs(sum((a * b for a, b in zip(query, corner, strict=True)), Fraction(0))))
    if inputs == "bf16" and not keys.bf16:
        return  # the budget step refuses such keys, whatever they cost
    problem: dict[str, object] = {"tokens": 9, "inputs": inputs}
    uses: dict[str, Fact] = {
        "keys": apply(step["rule"], {}, step["given"], step["gives"], **problem),
        "decay": Decay(c, up_decay := down(exp(-c), 60) + Fraction(1, 1 << 60)),
        "tilt": cube_tilt(t, tanh_half(t)),
    }
    gives = {"logit_at_most": largest}
    scaled = apply("budget", uses, {"payload": 2}, gives, max_logit=largest, **problem)
    assert (scaled.tilt, scaled.decay, scaled.keys) == (uses["tilt"], up_decay, uses["keys"])
    less = largest - TINY
    assert not accepts("budget", uses, {"payload": 2}, gives, max_logit=less, **problem)
    assert not accepts("budget", uses, {"payload": 2}, {"logit_at_most": less}, max_logit=largest, **problem)


# The entropy


@pytest.mark.parametrize("eps", [Fraction(1, 16), Fraction(1, 100)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_bound_stays_below_the_entropy_of_the_answers(shape: Shape, eps: Fraction) -> None:
    payload, failure = len(shape.words), Fraction(1, 10)
    truth = entropy(shape, float(tanh_half(shape.strength))) - payload * (1 - gain(eps, failure))
    bound = float(best(shape, eps, failure))
    assert bound <= max(truth, 0) + 1e-9
    if payload == 1 and not shape.pads:
        assert bound == pytest.approx(truth, abs=1e-9)  # nothing is given away
    elif bound:
        assert bound >= truth - payload * 2.0  # and not much where tokens lean on each other


def test_coordinates_of_a_key_do_not_disturb_each_other() -> None:
    for shape in (Shape(ONE, Fraction(2), Fraction(3), pads=1), Shape(TWO, Fraction(1), Fraction(3, 2))):
        edge = float(tanh_half(shape.strength))
        assert entropy(shape, edge, 2) == pytest.approx(2 * entropy(shape, edge), abs=1e-4)


@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s.words) == 2])
def test_the_mean_of_the_crowd(shape: Shape) -> None:
    """E log2 (1 + X_i)/(1 + u_i) by quadrature against Jensen's bound with the stated masses."""
    edge = float(tanh_half(shape.strength))
    nodes, weights = np.polynomial.legendre.leggauss(60)
    u = (1 + edge * nodes) / (1 - edge * nodes)
    leak = premises(shape)["keys"]
    assert isinstance(leak, Leak)
    off = float(np.exp(-float(shape.exponent) * shape.length))
    pads = shape.pads * float(np.exp(-float(shape.exponent) * shape.length / 2))
    ratio = 1 + (off * u[None, :] + pads) / (1 + u[:, None])
    mean = weights / 2 @ np.log2(ratio) @ weights / 2
    mass = float(leak.worst.off_target) * (float(shape.strength) / edge - 1) + float(leak.worst.rest)
    assert mean <= log2(1 + mass / 2)


# Compressors that exist


@pytest.mark.parametrize("edge", [Fraction(1, 4), Fraction(3, 4), Fraction(99, 100)])
@pytest.mark.parametrize("cells", [2, 5, 16])
def test_one_key_read_is_tight(edge: Fraction, cells: int) -> None:
    """r = 1, no leak: outputs are uniform on [-T, T]; m cells have error T/m, and the rule asks for log2 m."""
    tilt = cube_tilt(Fraction(12), edge)
    keys = apply("hypercube", {}, {"dimension": 2}, {"size": 4})
    leak = Leak(1, Row(Fraction(0), Fraction(0)), Fraction(0), Scaled(keys, Fraction(1, 2), 1, tilt))
    unit = Fraction(1, 1 << 40)
    for kept in range(1, cells + 1):  # the other cells have no state: their answers are wrong
        failure, eps = 1 - Fraction(kept, cells), edge / cells
        if failure > 1 - eps:
            continue
        bits = Fraction(log2(kept))
        problem = {"value_dim": 1, "tolerance": eps, "failure": failure}
        uses, given_ = {"values": leak, "keys": leak}, {"key_coordinates": 1}
        assert not accepts("joint", uses, given_, {"bits_at_least": bits + 2 * unit}, **problem)
        if kept == cells:
            assert accepts("joint", uses, given_, {"bits_at_least": bits - 2 * unit}, **problem)


@pytest.mark.parametrize("eps", [Fraction(1, 4), Fraction(1, 8), Fraction(1, 20)])
@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s.words) == 2])
def test_two_key_reads_never_need_more_states_than_a_grid_has(shape: Shape, eps: Fraction) -> None:
    """One state for every square that the pair of answers can reach; then with the heaviest squares only."""
    reached, sure, total = squares(shape, float(tanh_half(shape.strength)), float(eps))
    assert float(best(shape, eps)) <= log2(reached)
    for kept in range(1, len(sure) + 1, max(1, len(sure) // 4)):
        failure = 1 - Fraction(sum(sure[:kept]), total)  # of both answers; a read fails at most as often
        if failure <= 1 - eps:
            assert float(best(shape, eps, failure)) <= log2(kept) + 1e-9


@pytest.mark.parametrize("eps", [Fraction(1, 8), Fraction(1, 50)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_quantiser_of_keys_and_values_keeps_the_promise_with_no_fewer_bits(shape: Shape, eps: Fraction) -> None:
    """Midpoints of M_k cells a payload coordinate and M_v a value: run on secrets, its errors are within eps."""
    whole = replace(shape, coordinates=2, value_dim=3)
    levels = (ceil(shape.strength / (2 * eps)), ceil(1 / eps))
    payload = len(shape.words)
    random = np.random.default_rng(7)
    for law in range(20):
        y, values = (random.uniform(-1, 1, (payload, 2)) for _ in range(2))
        if law % 2:
            y, values = np.sign(y), np.sign(values)
        z, kept = (_midpoints(x, m) for x, m in zip((y, values), levels, strict=True))
        for j in range(2):
            error = abs(whole.answers(y[None], j) - whole.answers(z[None], j)).max()
            assert error <= float(eps) + 1e-12
        assert abs(whole.value_answers(y, values) - whole.value_answers(z, kept)).max() <= float(eps) + 1e-12
        assert (whole.value_answers(y, values) == whole.value_answers(-y, values)).all()
    assert best(whole, eps) <= payload * sum(2 * Fraction(log2(m)) for m in levels)


def _midpoints(x: np.ndarray, cells: int) -> np.ndarray:
    cell = np.minimum(np.floor((x + 1) / 2 * cells), cells - 1)
    middle: np.ndarray = (2 * cell + 1) / cells - 1
    return middle


# The rule


def loose(strength: Fraction, sigma: Fraction, rest: Fraction, squares_: Fraction, payload: int) -> dict[str, Leak]:
    """Two leaks over one key step; the key reads have the larger mass."""
    keys = Keys(8, 3, ((1, 7),), Fraction(3, 2), 3, 3, bf16=True)
    scaled = Scaled(keys, Fraction(1, 2), payload, cube_tilt(strength, tanh_half(strength)))
    key_side = Leak(payload, Row(sigma, rest), squares_, scaled)
    return {"values": Leak(payload, Row(sigma / 2, rest), squares_, replace(scaled, tilt=None)), "keys": key_side}


@given(
    STRENGTH, st.fractions(0, Fraction(1, 8), max_denominator=99), st.fractions(0, 1, max_denominator=9),
    st.fractions(Fraction(1, 1000), Fraction(4, 5), max_denominator=1000), st.fractions(0, 1, max_denominator=50),
    st.sampled_from(["real", "bf16"]), st.integers(1, 5), st.integers(1, 3),
)  # fmt: skip
def test_joint_is_exact_to_its_threshold(
    strength: Fraction, sigma: Fraction, rest: Fraction, tolerance: Fraction, share: Fraction, inputs: str,
    coordinates: int, value_dim: int,
) -> None:  # fmt: skip
    uses, bf16 = loose(strength, sigma, rest, sigma / 3, 3), inputs == "bf16"
    scaled = uses["keys"].scaled
    assert scaled is not None
    assert scaled.tilt is not None
    reach = max(Fraction(1), strength / 2) * (ROUNDING if bf16 else 0)
    eps = tolerance + reach
    failure = share * (1 - eps)
    problem: dict[str, object] = {
        "tolerance": tolerance, "failure": failure, "inputs": inputs, "value_dim": value_dim, "kv_heads": 2,
        "layers": 3, "key_dim": 8,
    }  # fmt: skip
    bound = formula(
        uses["values"], uses["keys"], scaled.tilt, coordinates, tolerance, failure, value_dim=value_dim, streams=6,
        bf16=bf16,
    )  # fmt: skip
    tail = 6 * 3 * (2 * series_tail(uses["values"]) + 5 * series_tail(uses["keys"]))
    given_ = {"key_coordinates": coordinates}
    best_bits = max(down(bound - ball(tail), 40), Fraction(0))
    assert accepts("joint", uses, given_, {"bits_at_least": best_bits}, **problem)
    assert not accepts("joint", uses, given_, {"bits_at_least": down(bound, 40) + Fraction(1, 1 << 37)}, **problem)
    if bf16 and 1 - eps + TINY < 1:  # the larger of the two tolerances decides
        over = {**problem, "failure": 1 - eps + TINY}
        assert not accepts("joint", uses, given_, {"bits_at_least": -1}, **over)


def test_a_part_below_zero_counts_as_zero() -> None:
    uses = loose(Fraction(1, 100), Fraction(1, 2), Fraction(0), Fraction(1, 4), 1)
    given_, problem = {"key_coordinates": 1}, {"value_dim": 1, "tolerance": Fraction(1, 100), "failure": 0}
    assert accepts("joint", uses, given_, {"bits_at_least": 0}, **problem)
    assert not accepts("joint", uses, given_, {"bits_at_least": TINY}, **problem)
    more = {**problem, "value_dim": 2}
    assert accepts("joint", uses, given_, {"bits_at_least": 5}, **more)  # log2 100 - log2 5/4 and the determinant


def test_joint_refuses_premises_that_do_not_belong_together() -> None:
    uses = loose(Fraction(2), Fraction(1, 8), Fraction(0), Fraction(1, 64), 3)
    scaled, given_, gives = uses["keys"].scaled, {"key_coordinates": 5}, {"bits_at_least": 0}
    assert scaled is not None
    assert accepts("joint", uses, given_, gives)
    twin = replace(scaled, keys=replace(scaled.keys))
    assert twin.keys == scaled.keys
    wrong: dict[str, dict[str, Leak]] = {
        "another key step": {"keys": replace(uses["keys"], scaled=twin)},
        "another payload": {"values": replace(uses["values"], payload=2)},
        "no tilt": {"keys": uses["values"]},
        "no family of keys": {"keys": replace(uses["keys"], scaled=None)},
        "no family of values": {"values": replace(uses["values"], scaled=None)},
        "off-target mass 1, keys": {"keys": replace(uses["keys"], worst=Row(Fraction(1), Fraction(0)))},
        "off-target mass 1, values": {"values": replace(uses["values"], worst=Row(Fraction(1), Fraction(0)))},
    }
    for name, change in wrong.items():
        assert not accepts("joint", {**uses, **change}, given_, gives), name
        assert not accepts("joint", {**uses, **change}, given_, gives, value_dim=1), name
    assert not accepts("joint", uses, {"key_coordinates": 6}, gives)  # the code has 3 of 8
    assert not accepts("joint", uses, {"key_coordinates": 0}, gives)
    assert not accepts("joint", uses, {"key_coordinates": -5}, gives)
    assert not accepts("joint", uses, given_, gives, body="ball")
    assert not accepts("joint", uses, given_, gives, tolerance=None, relative=Fraction(1, 10))
    assert not accepts("joint", uses, given_, gives, failure=Fraction(99, 100) + TINY)
    assert accepts("joint", uses, given_, gives, failure=Fraction(99, 100))
    assert not accepts("joint", {**uses, "keys": scaled}, given_, gives)


def test_a_strong_tilt_leaves_no_tolerance_in_bf16() -> None:
    """t h / 2 >= 1 - eps - delta at t = 1024: nothing is left, although the value part would hold."""
    uses = loose(Fraction(2), Fraction(0), Fraction(0), Fraction(0), 1)
    scaled = uses["keys"].scaled
    assert scaled is not None
    strong = replace(scaled, tilt=cube_tilt(Fraction(1024), Fraction(99, 100)))
    uses["keys"] = replace(uses["keys"], scaled=strong)
    given_, gives = {"key_coordinates": 1}, {"bits_at_least": 1}
    assert accepts("joint", uses, given_, gives, failure=0)
    assert not accepts("joint", uses, given_, gives, failure=0, inputs="bf16")
