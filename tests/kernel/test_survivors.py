"""What a broken kernel once got past the other tests with (scripts/mutate_kernel.py): limits, constants, shapes."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest
from flint import arb

from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import RULES, packed, payload, precondition
from kvverify.kernel.rules.attention import Determinant, Leak, Matrix, Reading, Row
from kvverify.kernel.rules.precondition import preconditioned
from kvverify.kernel.rules.volume import _bareiss
from tests.kernel.apply import TINY, accepts, apply, context
from tests.kernel.oracle import least_errors
from tests.kernel.real import ball, exp, log2


def test_pi_is_a_lower_bound_and_close() -> None:
    assert bool(ball(payload.PI_LOWER) < arb.pi())
    assert bool(ball(payload.PI_LOWER + Fraction(1, 10**20)) > arb.pi())


def ball_tilt(coordinates: int) -> bool:
    given = {"strength": 1, "radius": Fraction(1, 2), "key_coordinates": coordinates}
    return accepts("ball-tilt", {}, given, {"mean_at_most": 2, "entropy_at_least": -100})


def test_a_ball_has_at_least_one_dimension_and_at_most_4096() -> None:
    assert not ball_tilt(0)
    assert ball_tilt(1)
    assert ball_tilt(4096)
    with pytest.raises(OverLimit):
        ball_tilt(4097)


@pytest.mark.parametrize(("alphabet", "symbols"), [(2, 9), (2, 12), (3, 7), (4, 5)])
@pytest.mark.parametrize("failure", [Fraction(0), Fraction(1, 100), Fraction(1, 10), Fraction(1, 4), Fraction(2, 5)])
def test_counting_gives_all_that_the_spheres_give(alphabet: int, symbols: int, failure: Fraction) -> None:
    for bits in range(1, alphabet ** symbols.bit_length()):
        if 1 << bits > alphabet**symbols:
            break
        true = least_errors(alphabet, symbols, (1 << bits) - 1) > failure
        gives = {"bits_at_least": bits}
        premises = {"reading": Reading(alphabet, 1)}
        assert accepts("counting", premises, {}, gives, value_dim=symbols, failure=failure) is true


def test_counting_takes_alphabets_of_16_bits_and_at_least_one_bit() -> None:
    for alphabet in (1 << 15, (1 << 16) - 1):
        apply("counting", {"reading": Reading(alphabet, 1)}, {}, {"bits_at_least": 1}, value_dim=1)
    with pytest.raises(OverLimit):
        apply("counting", {"reading": Reading(1 << 16, 1)}, {}, {"bits_at_least": 1}, value_dim=1)
    assert not accepts("counting", {"reading": Reading(2, 1)}, {}, {"bits_at_least": 0}, value_dim=1)


def test_masses_are_upper_bounds_also_where_exp_is_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a bound of exp that is taken in the wrong direction is seen, however close both are."""
    coarse = 1 + Fraction(1, 1 << 16)
    exact = packed.exp_upper
    monkeypatch.setattr(packed, "exp_upper", lambda x: exact(x) * coarse)
    packed._table.cache_clear()
    try:
        cells = [-(i * i * 977 << 20) for i in range(200)]
        masses = packed.Exponentials(context()).masses(cells, 0)
    finally:
        packed._table.cache_clear()
    for cell, mass in zip(cells, masses, strict=True):
        assert bool(ball(Fraction(mass, 1 << packed.MASS)) >= exp(Fraction(cell + 1, 1 << packed.CELL)))


def test_a_singular_matrix_has_the_determinant_0() -> None:
    assert _bareiss([[1, 2, 3], [2, 4, 6], [1, 1, 1]]) == 0
    assert _bareiss([[0, 0], [0, 5]]) == 0


def test_a_determinant_as_large_as_its_enclosure_is_refused() -> None:
    def exact(low: int) -> bool:
        matrix = Matrix([[low]], 8, 19, (Fraction(1),))
        leak = Leak(1, Row(Fraction(0), Fraction(0)), Fraction(0), matrix=lambda: matrix)
        return accepts("determinant", {"leak": leak}, {"form": "exact"}, {"log2_det_at_least": -20})

    assert not exact(18)
    assert not exact(19)
    assert exact(20)


@pytest.mark.parametrize("off_target", [Fraction(1), 1 - Fraction(1, 1 << 200), Fraction(3, 2)])
def test_near_identity_ends_below_1(off_target: Fraction) -> None:
    leak = Leak(1, Row(off_target, Fraction(0)), Fraction(0))
    assert not accepts("determinant", {"leak": leak}, {"form": "near-identity"}, {"log2_det_at_least": -1000})


@pytest.mark.parametrize(("tolerance", "inputs"), [(Fraction(1, 3), "real"), (Fraction(1, 3), "bf16")])
def test_no_volume_where_failing_is_as_good_as_guessing(tolerance: Fraction, inputs: str) -> None:
    edge = 1 - tolerance - (Fraction(1, 512) if inputs == "bf16" else 0)
    premises = {"determinant": Determinant(2, Fraction(0))}
    for failure, truth in ((edge, True), (edge + TINY, False), (Fraction(999, 1000), False)):
        found = accepts(
            "volume", premises, {}, {"bits_at_least": -1}, tolerance=tolerance, failure=failure, inputs=inputs
        )
        assert found is truth


def test_what_the_preconditioned_products_drop_counts() -> None:
    """Entries of a few units, of which the products keep the top only."""
    rng = Random(7)
    accepted = 0
    for low in range(1, 400):
        lower, upper = ([[rng.randrange(1 << 39, 1 << 40)]] for _ in range(2))
        try:
            bound = preconditioned(context(), Matrix([[low]], 48, 0, (Fraction(1),)), lower, upper)
        except Rejected:
            continue
        accepted += 1
        assert bool(ball(bound) <= log2(low) - 48)
    assert accepted > 100


def test_the_factors_determinants_are_taken_from_above(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, one = Matrix([[1 << 48]], 48, 0, (Fraction(1),)), [[1 << 39]]
    before = preconditioned(context(), matrix, one, one)
    exact = precondition.log2_upper
    monkeypatch.setattr(precondition, "log2_upper", lambda x: exact(x) + 1)
    assert preconditioned(context(), matrix, one, one) == before - 1


def test_scores_beyond_the_fields_are_refused_however_wide_the_fields_are() -> None:
    def scores(power: int) -> packed.Scores:
        return packed.Scores(context(), [[(1 << 80) + 3]], [[1]], Fraction(1, 1 << power))

    assert next(scores(63).floors()) == (1 << 17 + packed.CELL,)
    for power in (62, 61, 60, 58):
        with pytest.raises(OverLimit):
            scores(power)


def test_the_balls_mean_is_taken_from_above(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = payload.exp_upper
    assert ball_tilt(3)
    monkeypatch.setattr(payload, "exp_upper", lambda x: exact(x) + 1)
    assert not ball_tilt(3)


def test_words_of_another_length_are_no_words_of_the_code() -> None:
    """Leading zeros change no integer: only the lengths tell these apart."""
    given = {"generator": ["111"], "parity": ["110", "011"]}
    assert accepts("linear-code", {}, given, {"weights": {"3": "1"}})
    assert not accepts("linear-code", {}, {**given, "parity": ["0110", "0011"]}, {"weights": {"3": "1"}})
    for mixed in (["110", "0011"], ["0110", "011"], ["110", "01x"], ["110", ""]):
        with pytest.raises(Malformed):
            apply("linear-code", {}, {**given, "parity": mixed}, {"weights": {"3": "1"}})
    given = {"generator": ["11"], "representatives": ["00"]}
    assert accepts("coset-union", {}, given, {"weights": {"2": "1"}})
    assert not accepts("coset-union", {}, {**given, "generator": ["011"]}, {"weights": {"2": "1"}})


def test_families_have_their_least_sizes() -> None:
    assert not accepts("hypercube", {}, {"dimension": 0}, {"size": 1})
    for change, size in (({"dimension": 1}, 1), ({"cutoff": 0}, 2), ({"side": 1}, 1)):
        given = {"side": 2, "dimension": 2, "cutoff": 1, **change}
        assert not accepts("paraboloid", {}, given, {"size": size})
    given = {"side": 3, "dimension": 4, "cutoff": 1}
    assert accepts("paraboloid", {}, given, {"size": 27})
    assert not accepts("paraboloid", {}, given, {"size": 9})


@pytest.mark.parametrize("keys", [["1 0", "1"], ["1", "1 0"], ["1 0", "0 1", "2 2 2"], ["1 0", "0 0 1"]])
def test_keys_have_one_dimension(keys: list[str]) -> None:
    assert not accepts("explicit-keys", {}, {"keys": keys}, {"exponents": {"1": "9", "2": "9", "5": "9"}})


@pytest.mark.parametrize("body", ["cube", "ball"])
def test_one_long_entry_makes_keys_inexact_in_bf16(body: str) -> None:
    for keys, exact in (([f"{257} 0", "0 1"], False), (["256 0", "0 1"], True), (["0 3", "257 0"], False)):
        exponents = {str(int(word) ** 2): "1" for key in keys for word in key.split() if word != "0"}
        found = apply("explicit-keys", {}, {"keys": keys}, {"exponents": exponents}, body=body, inputs="bf16")
        assert found.bf16 is exact


@pytest.mark.parametrize("side", [2, 3, 4, 9, 70])
@pytest.mark.parametrize("dim", [2, 3, 6, 7, 12])
def test_theta_products_are_those_of_plain_polynomials(side: int, dim: int) -> None:
    cutoff = 12
    product = [1] + [0] * cutoff
    for _ in range(dim - 1):
        product = [
            sum(product[e - t * t] * (1 if t == 0 else 2) for t in range(side) if t * t <= e) for e in range(cutoff + 1)
        ]
    given = {"side": side, "dimension": dim, "cutoff": cutoff}
    found = dict(apply("paraboloid", {}, given, {"size": side ** (dim - 1)}).exponents)
    further = max(0, side ** (dim - 1) - sum(product))
    expected = {e: n for e, n in enumerate(product) if e and n} | ({cutoff + 1: further} if further else {})
    assert found == expected
    found = dict(apply("paraboloid", {}, {**given, "cutoff": 1}, {"size": side ** (dim - 1)}).exponents)
    assert sum(found.values()) == max(side ** (dim - 1) - 1, 2 * (dim - 1))


def test_bits_beyond_all_secrets_are_refused_before_they_are_a_power_of_two() -> None:
    for bits in (14, 10**30):
        assert not accepts("counting", {"reading": Reading(2, 1)}, {}, {"bits_at_least": bits}, value_dim=12)


def test_counting_ends_at_4096_symbols() -> None:
    for symbols in (4096, 4097):
        seen = context(value_dim=symbols, failure="1/10")
        seen.work = 10**5
        with pytest.raises(OverLimit, match="units of work" if symbols == 4096 else "more than 4096 symbols"):
            RULES["counting"](seen, {"reading": Reading(2, 1)}, {}, {"bits_at_least": "1"})


@pytest.mark.parametrize(
    ("numerator", "power", "fine"), [(320, 310, True), (321, 310, False), (1, 2567, True), (1, 2568, False)]
)
def test_a_unit_of_scores_has_at_most_so_many_bits(numerator: int, power: int, fine: bool) -> None:
    unit = Fraction((1 << numerator) - 1, 1 << power)
    if fine:
        assert next(packed.Scores(context(), [[1]], [[1]], unit).floors()) == (int(unit * (1 << packed.CELL)),)
        return
    with pytest.raises(OverLimit, match="320 bits"):
        packed.Scores(context(), [[1]], [[1]], unit)


@pytest.mark.parametrize("coarse", range(4))
def test_every_exponential_of_the_tables_is_taken_from_above(coarse: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one alone made coarser makes masses larger."""
    exact, calls = packed.exp_upper, list[Fraction]()

    def moved(x: Fraction) -> Fraction:
        calls.append(x)
        return exact(x) * (1 + Fraction(int(len(calls) == coarse + 1), 1 << 24))

    def masses() -> list[int]:
        packed._table.cache_clear()
        return packed.Exponentials(context()).masses([-(i * 0x123456789AB) for i in range(40)], 0)

    before = masses()
    monkeypatch.setattr(packed, "exp_upper", moved)
    try:
        after = masses()
    finally:
        packed._table.cache_clear()
    assert len(calls) == 4
    assert all(a >= b for a, b in zip(after, before, strict=True))
    assert sum(after) > sum(before)


@pytest.mark.parametrize("bits", range(50, 90))
@pytest.mark.parametrize("sign", [1, -1])
def test_long_entries_of_queries_fit_their_fields_also_where_no_key_has_such_a_coordinate(bits: int, sign: int) -> None:
    """Their scores are small, so that nothing but their own length asks for wide fields."""
    query = [sign * ((1 << bits) - 1), 1]
    assert next(packed.Scores(context(), [query], [[0, 1]], Fraction(1)).floors()) == (1 << packed.CELL,)
