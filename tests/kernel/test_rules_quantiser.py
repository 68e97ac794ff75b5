"""The quantisers' lemmas by brute force, and each rule to its threshold."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from flint import arb

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.facts import Enough, StateBits
from tests.kernel.apply import TINY, accepts, apply
from tests.kernel.controls import Control, rebuild
from tests.kernel.quantised import least_variance
from tests.kernel.quantiser_controls import controls
from tests.kernel.real import down, up

Node = dict[str, Any]
MIDPOINTS: Node = {"max_logit": 2, "tolerance": Fraction(1, 4), "key_dim": 2, "value_dim": 2, "tokens": 3}
DITHER: Node = {"max_logit": 8, "tolerance": Fraction(1, 16), "key_dim": 2, "value_dim": 2}


def midpoints(key: int, value: int, bits: int = 14, **changes: object) -> bool:
    given = {"key_levels": key, "value_levels": value}
    return accepts("quantiser", {}, given, {"bits_per_token": bits}, **(MIDPOINTS | changes))


def dithers(key: int, value: int, tail: str = "log-concave", bits: int = 99, **changes: object) -> bool:
    given = {"key_levels": key, "value_levels": value, "tail": tail}
    return accepts("dithered", {}, given, {"bits_per_token": bits}, **(DITHER | changes))


@cache
def fewest(failure: Fraction) -> tuple[int, int]:
    """The fewest value levels, and one more, so that the keys need no more than they must."""
    value = 1 + next(v for v in range(2, 99) if dithers(10**6, v, failure=failure))
    low, high = 1, 10**4
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if dithers(middle, value, failure=failure) else (middle, high)
    return high, value


# --- lemmas ---


def attention(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Answers of unnormalised weights (..., n) for values (..., n)."""
    found: np.ndarray = (weights * values).sum(axis=-1) / weights.sum(axis=-1)
    return found


def hard_inputs(count: int, tokens: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Softmax weights (count, tokens), spread over many scales, and values, mostly -1 and 1."""
    draw = np.random.default_rng(seed)
    weights = np.exp(draw.normal(size=(count, tokens)) * draw.uniform(0, 6, size=(count, 1)))
    values = np.clip(draw.normal(size=(count, tokens)) * 3, -1, 1)
    return weights / weights.sum(axis=1, keepdims=True), values


@pytest.mark.parametrize("tokens", [2, 3, 5, 17])
def test_scores_off_by_a_move_an_answer_by_two_tanh_of_half_a(tokens: int) -> None:
    """At every corner of the scores' errors, the own token exact; the bound is attained."""
    weights, values = hard_inputs(4000, tokens, tokens)
    signs = np.where(values > attention(weights, values)[:, None], 1.0, -1.0)
    for a in (0.01, 0.3, 2.0):
        for errors in (signs * a, signs * a * (np.arange(tokens) > 0)):
            moved = np.abs(attention(weights * np.exp(errors), values) - attention(weights, values))
            assert float(moved.max()) <= 2 * np.tanh(a / 2) + 1e-12
        tilted, opposite = np.exp([-a / 2, a / 2]), np.array([1.0, -1.0])
        attained = attention(tilted * np.exp([a, -a]), opposite) - attention(tilted, opposite)
        assert attained == pytest.approx(2 * np.tanh(a / 2))


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 9])
def test_the_two_bounds_on_the_linear_noise(tokens: int) -> None:
    """Sum of w^2 ((v - o - eps)^2 + 1) <= 1 + eps^2, and of w^2 (v - o - eps)^2 <= (1 + 3 eps^2) / 2."""
    weights, values = hard_inputs(30000, tokens, 10 + tokens)
    grid = np.linspace(0, 1, 41)
    if tokens == 3:  # the corners of the proof: one heavy token against all others
        pairs = [(w, v) for w in grid for v in ((1, -1, -1), (-1, 1, 1), (1, 1, -1), (-1, -1, 1))]
        weights = np.concatenate([weights, [(w, (1 - w) / 2, (1 - w) / 2) for w, _ in pairs]])
        values = np.concatenate([values, [v for _, v in pairs]])
    output = attention(weights, values)[:, None]
    for eps in (0.0, 0.01, 0.1, 0.5, 0.99, -0.01, -0.5):
        square = (values - output - eps) ** 2
        assert float((weights**2 * (square + 1)).sum(axis=1).max()) <= 1 + eps**2 + 1e-12
        assert float((weights**2 * square).sum(axis=1).max()) <= (1 + 3 * eps**2) / 2 + 1e-12
    assert float(np.abs(weights * (values - output)).sum(axis=1).max()) <= 1 + 1e-12


def test_both_bounds_on_the_noise_are_attained() -> None:
    weights, values = np.array([0.5, 0.5]), np.array([1.0, -1.0])
    assert float((weights**2 * (values**2 + 1)).sum()) == 1
    assert float((weights**2 * values**2).sum()) == 0.5


@pytest.mark.parametrize("failure", ["1/2", "1/3", "1/10", "1/100", "9/10"])
def test_no_symmetric_log_concave_law_has_less_variance(failure: str) -> None:
    """Random concave exponents on a grid of [0, 4 t] and beyond: piecewise linear, cut off anywhere."""
    delta, draw = float(Fraction(failure)), np.random.default_rng(5)
    least = float(least_variance(Fraction(failure)))
    nearest = np.inf
    for _ in range(400):
        x = np.linspace(0, 1, 4001)
        knots, slopes = draw.uniform(0, 1, 3), draw.exponential(draw.choice([0.1, 1, 5, 30]), 3)
        shape = np.exp(
            -draw.exponential(4) * x - sum(s * np.maximum(x - k, 0) for s, k in zip(slopes, knots, strict=True))
        )
        shape *= x <= draw.uniform(0.3, 1)
        mass = np.cumsum(shape[::-1])[::-1] / shape.sum()
        t = x[np.searchsorted(-mass, -delta)]  # at most delta from here on
        if t > 0.02:
            variance = (shape * x**2).sum() / shape.sum() / t**2
            nearest = min(nearest, variance)
            assert variance >= least * (1 - 0.002 / t)  # the grid
    assert nearest < 2.5 * least


def test_the_least_variance_is_settled_to_a_hair() -> None:
    """The kernel accepts a variance a little below the infimum and rejects one a little above it."""
    for failure in (Fraction(1, 10), Fraction(1, 2), Fraction(1, 100)):
        for share, right in ((Fraction(999, 1000), True), (Fraction(1001, 1000), False)):
            assert settles(failure, least_variance(failure) * arb(share.numerator) / share.denominator) == right


def settles(failure: Fraction, ratio: arb) -> bool:
    """Whether the kernel settles a variance of so many t^2."""
    from kvverify.kernel.facts import Rejected
    from kvverify.kernel.rules.quantiser import _log_concave
    from tests.kernel.apply import context

    try:
        _log_concave(context(failure=failure), down(ratio, 96), failure)
    except Rejected:
        return False
    return True


@pytest.mark.parametrize("failure", [Fraction(1, 4), Fraction(1, 10)])
@pytest.mark.parametrize("masses", [(0.0, 1.0), (0.5, 0.5), (0.3, 0.7)])
def test_every_dither_on_a_grid_of_one_token(failure: Fraction, masses: tuple[float, float]) -> None:
    """n = 1: all pairs of score and value errors on a fine grid; failures are never more than certified."""
    levels = fewest(failure)
    grid = (np.arange(401) + 0.5) / 200.5 - 1
    scores, errors = 8 * grid[:, None] / (levels[0] - 1), grid[None, :] / (levels[1] - 1)
    for own, value in product((-1, 0, 1), repeat=2):
        exact = masses[0] * own + masses[1] * value
        top = masses[1] * np.exp(scores)
        answer = (masses[0] * own + top * (value + errors)) / (masses[0] + top)
        assert float((np.abs(answer - exact) > 1 / 16).mean()) <= failure + 1e-3


def test_every_dither_on_a_grid_of_two_tokens() -> None:
    """n = 2, equal and unequal weights, opposite values: 31^4 errors each."""
    failure = Fraction(1, 10)
    levels = fewest(failure)
    grid = (np.arange(31) + 0.5) / 15.5 - 1
    errors = np.stack(np.meshgrid(*[grid] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    scores, noise = 8 * errors[:, :2] / (levels[0] - 1), errors[:, 2:] / (levels[1] - 1)
    largest = 0.0
    for heavy in (0.5, 0.6, 0.8):
        for values in ((1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)):
            weights, exact = np.array([heavy, 1 - heavy]), heavy * values[0] + (1 - heavy) * values[1]
            answers = attention(weights * np.exp(scores), np.array(values) + noise)
            largest = max(largest, float((np.abs(answers - exact) > 1 / 16).mean()))
    assert 0.02 < largest <= failure


@pytest.mark.parametrize(("key", "value"), [(16, 8), (23, 6), (9, 40)])
def test_midpoints_of_every_input_on_a_grid(key: int, value: int) -> None:
    """n <= 2, one dimension: keys, values and queries on grids with the cells' edges in them."""
    most = 2 / key + 1 / value
    keys = np.clip(np.concatenate([np.linspace(-1, 1, key + 1) + s for s in (-1e-9, 1e-9)]), -1, 1)
    values = np.array([-1, -1 + 2 / value - 1e-9, 1 - 2 / value + 1e-9, 1, 1e-9])
    k1, k2, v1, v2, own = (a.ravel() for a in np.meshgrid(keys, keys, values, values, [-1.0, 0.0, 1.0]))

    def rounded(x: np.ndarray, levels: int) -> np.ndarray:
        return (np.minimum(np.floor((x + 1) / 2 * levels), levels - 1) + 0.5) / levels * 2 - 1

    worst = 0.0
    for q in (-2.0, 0.7, 2.0):
        exact = attention(np.exp(q * np.stack([k1 * 0 + 1, k1, k2], -1)), np.stack([own, v1, v2], -1))
        seen = np.exp(q * np.stack([k1 * 0 + 1, rounded(k1, key), rounded(k2, key)], -1))
        worst = max(
            worst,
            float(np.abs(attention(seen, np.stack([own, rounded(v1, value), rounded(v2, value)], -1)) - exact).max()),
        )
    assert 0.5 * most < worst <= most


# --- thresholds and premises ---


def test_midpoints_to_their_threshold() -> None:
    assert midpoints(16, 8)
    assert not midpoints(15, 8)
    assert not midpoints(16, 7)
    assert not midpoints(16, 8, bits=13)
    assert not midpoints(16, 8, max_logit=2 + TINY)
    assert not midpoints(16, 8, tolerance=Fraction(1, 4) - TINY)
    assert midpoints(16, 8, failure=0)
    assert midpoints(16, 8, inputs="bf16")
    assert not midpoints(16, 8, body="ball")
    assert midpoints(32, 8, body="ball", key_dim=4, bits=26)
    assert not midpoints(31, 8, body="ball", key_dim=4, bits=99)
    assert not midpoints(10**9, 4, bits=99)
    assert not midpoints(0, 8)
    assert not midpoints(16, -8)


def test_bits_are_counted_over_all_tokens_and_streams() -> None:
    found = apply("quantiser", {}, {"key_levels": 16, "value_levels": 8}, {"bits_per_token": 15}, **MIDPOINTS, layers=5)
    assert found == Enough(15 * 3 * 5)
    assert midpoints(17, 9, bits=15)
    assert not midpoints(17, 9, bits=14)


def test_dither_to_its_threshold() -> None:
    key, value = fewest(Fraction(1, 10))
    assert not dithers(key - 1, value)
    assert dithers(key + 1, value + 1)
    assert not dithers(key, value, failure=Fraction(1, 20))
    assert not dithers(key, value, tolerance=Fraction(1, 17))
    assert not dithers(key, value, max_logit=9)
    assert not dithers(key, value, body="ball")
    assert not dithers(key, value, failure=0)
    assert not dithers(10 * key, 10 * value, failure=0)
    assert not dithers(10 * key, 10 * value, failure=0, tail="gaussian")
    assert not dithers(key, value, tail="gaussian")
    assert not dithers(10 * key, 10 * value, tail="gauss")
    assert not dithers(1, value)
    assert not dithers(key, 1)
    words = key**2 * value**2
    assert dithers(key, value, bits=(words - 1).bit_length())
    assert not dithers(key, value, bits=(words - 1).bit_length() - 1)


def test_sub_gaussian_tails_to_their_threshold() -> None:
    """With the remainder out of the way, 2 exp(-t^2 / 2 s^2) decides."""
    tiny = Fraction(1, 10**6)
    small: Node = {"max_logit": 1, "tolerance": tiny, "failure": Fraction(1, 100)}
    step = float(tiny) / np.sqrt(2 * np.log(200)) * np.sqrt(12)
    levels = int(2 / step) + 1
    assert dithers(levels + 40, levels + 40, "gaussian", **small)
    assert not dithers(levels - 40, levels - 40, "gaussian", **small)


@pytest.mark.parametrize("rule", ["quantiser", "dithered"])
def test_what_the_quantisers_ask_of_the_statement(rule: str) -> None:
    given: Node = {"key_levels": 10**6, "value_levels": 10**6} | ({"tail": "gaussian"} if rule == "dithered" else {})

    def holds(uses: Node | None = None, **changes: object) -> bool:
        return accepts(rule, uses or {}, given, {"bits_per_token": 99}, **(MIDPOINTS | changes))

    assert holds()
    assert not holds(tolerance=None, relative=Fraction(1, 2))
    own: Node = {"name": "k", "sha256": "0", "tensor": "k"}
    assert not holds(budget="own-keys", body="given", keys=own)
    with pytest.raises(document.Malformed):
        holds({"bits": StateBits(Fraction(1))})
    with pytest.raises(document.OverLimit):
        holds(key_dim=1 << 40)


# --- the two claims ---


def swapped(control: Control) -> Node:
    """The same steps below the other claim, which asks for nothing."""
    statement = dict(control.tree["statement"])
    if statement["claim"] == "state-bits-enough":
        del statement["state_bits_enough"]
        statement |= {"claim": "state-bits", "state_bits_at_least": "0"}
    else:
        del statement["state_bits_at_least"]
        statement |= {"claim": "state-bits-enough", "state_bits_enough": str(10**9)}
    return rebuild({**control.tree, "statement": statement})


def test_a_claim_is_proved_by_a_fact_of_its_own_kind_only() -> None:
    from tests.kernel import controls as plain

    lower = next(c for c in plain.controls() if "volume" in c.rules and not c.files)
    for control in (lower, *controls()[:3]):
        assert check(control.tree).verdict is Verdict.VALID
        result = check(swapped(control))
        assert (result.verdict, result.step) == (Verdict.INVALID, control.tree["steps"][-1]["id"])
        assert "the last step is of the kind" in result.reason


def test_a_claim_has_its_own_field_only() -> None:
    tree = controls()[0].tree
    statement = tree["statement"]
    for changed in (
        {**statement, "state_bits_at_least": "0"},
        {**statement, "claim": "state-bits"},
        {k: v for k, v in statement.items() if k != "state_bits_enough"},
        {**statement, "state_bits_enough": "-1"},
        {**statement, "claim": "state-bits-at-most"},
    ):
        assert check(rebuild({**tree, "statement": changed})).verdict is Verdict.INVALID


def test_an_upper_claim_is_said_as_one() -> None:
    control = controls()[0]
    enough = control.tree["statement"]["state_bits_enough"]
    result = check(control.tree)
    assert result.claim == f"state of 4 tokens <= {enough} bits"
    assert result.bits == int(enough)
    assert result.statement is not None
    assert (result.statement.state_bits_enough, result.statement.state_bits_at_least) == (int(enough), 0)
    more = {**control.tree["statement"], "state_bits_enough": str(int(enough) + 1)}
    assert check(rebuild({**control.tree, "statement": more})).verdict is Verdict.VALID
    less = {**control.tree["statement"], "state_bits_enough": str(int(enough) - 1)}
    refused = check(rebuild({**control.tree, "statement": less}))
    assert (refused.verdict, refused.step) == (Verdict.INVALID, "bits")


def test_bounds_of_the_oracle_agree_with_known_values() -> None:
    """1.7558 standard deviations at 1/10; a uniform law is the worst at 1/2."""
    assert up(1 / least_variance(Fraction(1, 10)), 20) == pytest.approx(1.75585**2, rel=1e-5)
    assert up(least_variance(Fraction(1, 2)), 40) - Fraction(4, 3) < Fraction(1, 1 << 39)
