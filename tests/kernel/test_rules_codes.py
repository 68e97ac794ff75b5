"""Keys against plain enumeration: every pair of words, every corner of the cube, points of the sphere."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules.attention import Keys
from tests.kernel import families
from tests.kernel.apply import accepts, apply
from tests.kernel.controls import explicit, keys, union, with_parity

BODIES = [("cube", "real"), ("cube", "bf16"), ("ball", "real"), ("ball", "bf16")]


def words(count: tuple[int, int], length: tuple[int, int]) -> st.SearchStrategy[list[str]]:
    """Bit strings of one length."""
    return st.integers(*length).flatmap(
        lambda n: st.lists(st.text("01", min_size=n, max_size=n), min_size=count[0], max_size=count[1])
    )


def proved(step: dict[str, Any], body: str = "cube", inputs: str = "real") -> Keys:
    fact = apply(step["rule"], {}, step["given"], step["gives"], body=body, inputs=inputs)
    assert isinstance(fact, Keys)
    return fact


def agrees(step: dict[str, Any]) -> None:
    """The kernel's fact says the same as brute force, in every body and for all inputs."""
    for body, inputs in BODIES:
        fact, truth = proved(step, body, inputs), families.family(step, body, inputs)
        assert (fact.size, fact.dim, dict(fact.exponents)) == (truth.size, truth.dim, truth.histogram)
        assert (fact.unit, fact.pad_twice, fact.own) == (truth.unit, truth.pad_twice, truth.own)
        assert inputs == "real" or fact.bf16 is truth.bf16


@given(words((1, 6), (1, 12)))
def test_linear_codes(generator: list[str]) -> None:
    table = families._span(generator)
    given_ = {"generator": generator}
    if len(np.unique(table, axis=0)) < len(table):
        assert not accepts("linear-code", {}, given_, {"weights": {}})
        return
    histogram = families.counted(table.sum(axis=1))
    step = {
        "rule": "linear-code",
        "given": given_,
        "gives": {"weights": {str(e): str(n) for e, n in histogram.items()}},
    }
    agrees(step)
    for weight in histogram:
        for change in (-1, 1):
            wrong = {str(e): str(n + change * (e == weight)) for e, n in histogram.items() if n + change or e != weight}
            assert not accepts("linear-code", {}, given_, {"weights": wrong})


@pytest.mark.parametrize("dimension", [11, 12, 13, 14, 15])
@pytest.mark.parametrize("length", [16, 70])
def test_the_walk_crosses_its_table(dimension: int, length: int) -> None:
    """Codes larger than the table of 2^12 sums, against numpy."""
    random = np.random.default_rng(dimension * length)
    rows = np.concatenate(
        [np.eye(dimension, dtype=np.int64), random.integers(0, 2, (dimension, length - dimension))], 1
    )
    chosen = np.arange(1 << dimension)[:, None] >> np.arange(dimension) & 1
    histogram = families.counted((chosen @ rows % 2).sum(axis=1))
    generator = ["".join(map(str, row)) for row in rows.tolist()]
    fact = apply(
        "linear-code", {}, {"generator": generator}, {"weights": {str(e): str(n) for e, n in histogram.items()}}
    )
    assert dict(fact.exponents) == histogram


@pytest.mark.parametrize(
    "name", ["reed-muller(1,3)", "reed-muller(2,4)", "golay(23)", "extended-bch(4,7)", "golay(24)"]
)
def test_a_code_through_its_dual(name: str) -> None:
    assert proved(with_parity(name)) == proved(keys(name))


def test_a_code_too_large_to_walk_through_its_dual() -> None:
    """The even-weight code [40, 39]: binomials, by hand."""
    from math import comb

    generator = ["0" * i + "11" + "0" * (38 - i) for i in range(39)]
    weights = {str(w): str(comb(40, w)) for w in range(2, 41, 2)}
    step = {"rule": "linear-code", "given": {"generator": generator}, "gives": {"weights": weights}}
    with pytest.raises(OverLimit, match="dimension 39"):
        proved(step)
    assert proved({**step, "given": {"generator": generator, "parity": ["1" * 40]}}).size == 1 << 39


def test_a_parity_that_is_not_the_dual() -> None:
    step = with_parity("reed-muller(1,3)")
    parity = step["given"]["parity"]
    for wrong in (parity[:-1], [*parity[:-1], parity[0]], [*parity[:-1], "10000000"], [p + "0" for p in parity], []):
        with pytest.raises((Rejected, Malformed)):
            proved({**step, "given": {**step["given"], "parity": wrong}})


@pytest.mark.parametrize("again", [[], [0], [1]], ids=["too few", "one twice", "another twice"])
def test_a_parity_of_a_larger_code(again: list[int]) -> None:
    """Three independent checks define a code of dimension 5, with the histogram that MacWilliams would then give."""
    step = with_parity("reed-muller(1,3)")
    parity = step["given"]["parity"][:-1]
    everything = np.array(list(product((0, 1), repeat=8)))
    larger = everything[~(everything @ families._span(parity).T % 2).any(axis=1)]
    assert len(larger) == 32
    weights = {str(e): str(n) for e, n in families.counted(larger.sum(axis=1)).items()}
    given_ = {**step["given"], "parity": [*parity, *(parity[i] for i in again)]}
    assert not accepts("linear-code", {}, given_, {"weights": weights})


@pytest.mark.parametrize("representatives", [["00", "00"], ["01", "10", "01"], ["11", "00"]])
def test_coinciding_words_are_refused_whatever_is_stated(representatives: list[str]) -> None:
    generator = [] if len(set(representatives)) < len(representatives) else ["11"]
    for weights in ({}, {"1": "9"}, {"2": "9"}):
        given_ = {"generator": generator, "representatives": representatives}
        assert not accepts("coset-union", {}, given_, {"weights": weights})
        rows = [" ".join("1" if c == "0" else "-1" for c in r) for r in representatives]
        if not generator:
            assert not accepts("explicit-keys", {}, {"keys": rows}, {"exponents": weights})


@given(words((1, 8), (1, 9)), st.booleans())
def test_unions_of_cosets_need_not_look_the_same_from_every_word(representatives: list[str], linear: bool) -> None:
    generator = ["1" * len(representatives[0])] if linear else []
    step = union(generator, representatives)
    try:
        families.family(step, "cube", "real")
    except families.Wrong:
        with pytest.raises((Rejected, Malformed)):
            proved(step)
        return
    agrees(step)
    histogram = step["gives"]["weights"]
    for e in histogram:
        fewer = {k: str(int(n) - (k == e)) for k, n in histogram.items() if k != e or n != "1"}
        assert not accepts("coset-union", {}, step["given"], {"weights": fewer})
        further = {**fewer, str(int(e) + 1): str(int(fewer.get(str(int(e) + 1), "0")) + 1)}
        assert not accepts("coset-union", {}, step["given"], {"weights": further})
        nearer = str(max(1, int(e) - 1))
        assert accepts(
            "coset-union", {}, step["given"], {"weights": {**fewer, nearer: str(int(fewer.get(nearer, "0")) + 1)}}
        )


def test_kerdock() -> None:
    fact = proved(keys("kerdock(16)"))
    assert fact.size == 256
    assert dict(fact.exponents) == {6: 112, 8: 30, 10: 112, 16: 1}
    assert families.family(keys("kerdock(16)"), "cube", "real").size == 256


@pytest.mark.parametrize("dimension", range(1, 9))
def test_hypercubes(dimension: int) -> None:
    agrees(keys(f"hypercube({dimension})"))


@given(
    st.integers(1, 4).flatmap(
        lambda d: st.lists(st.lists(st.integers(-5, 5), min_size=d, max_size=d), min_size=1, max_size=6)
    )
)
def test_explicit_keys(rows: list[list[int]]) -> None:
    step = explicit(rows)
    try:
        families.family(step, "cube", "real")
    except families.Wrong:
        with pytest.raises((Rejected, Malformed)):
            proved(step)
        return
    agrees(step)


@given(st.integers(1, (1 << 24) - 1), st.sampled_from(["cube", "ball"]))
def test_explicit_keys_of_any_size_are_exact_in_bf16_when_short(entry: int, body: str) -> None:
    fact = proved(explicit([[entry, 0]]), body, "bf16")
    assert fact.bf16 is (len(bin(entry).rstrip("0")) - 2 <= 8)
    power = fact.unit / entry if body == "cube" else Fraction(int(fact.unit) >> (int(fact.unit).bit_length() // 2))
    assert power.denominator == 1
    assert power >= entry
    assert power.numerator & (power.numerator - 1) == 0


@pytest.mark.parametrize(("side", "dim"), [(2, 2), (3, 2), (9, 2), (2, 3), (4, 3), (2, 5), (3, 4)])
@pytest.mark.parametrize("cutoff", [1, 2, 7, 512])
def test_paraboloids(side: int, dim: int, cutoff: int) -> None:
    given_ = {"side": str(side), "dimension": str(dim), "cutoff": str(cutoff)}
    agrees({"rule": "paraboloid", "given": given_, "gives": {"size": str(side ** (dim - 1))}})


@pytest.mark.parametrize(("base", "passes"), [(13, False), (14, True)])
def test_the_hypercube_of_the_ledger(base: int, passes: bool) -> None:
    """d = 4, eta = 1/2: ((B + 1)^4 - B^4) (1 + eta) < (1 - eta) B^4 fails at B = 13 and holds at B = 14."""
    assert (((base + 1) ** 4 - base**4) * 3 < base**4) is passes
    histogram = dict(proved(keys("hypercube(4)")).exponents)
    sigma = sum((n * Fraction(1, base) ** e for e, n in histogram.items()), Fraction(0))
    assert (Fraction(1, 2) > Fraction(3, 2) * sigma) is passes


@pytest.mark.parametrize(("base", "passes"), [(6, False), (7, True)])
def test_the_paraboloid_of_the_ledger(base: int, passes: bool) -> None:
    """d = 2, eta = 1/2, any number of keys: theta - 1 = 2 sum of B^(-t^2) fails at B = 6 and holds at B = 7."""
    given_ = {"side": "1000", "dimension": "2", "cutoff": "512"}
    fact = apply("paraboloid", {}, given_, {"size": 1000})
    sigma = sum((n * Fraction(1, base) ** e for e, n in fact.exponents), Fraction(0))
    assert (Fraction(1, 2) > Fraction(3, 2) * sigma) is passes


STEPS = {
    "hypercube": keys("hypercube(3)"), "union": union([], ["0000", "1110", "1011"]),
    "explicit": explicit([[3, 0], [0, 3], [-2, -2]]), "paraboloid": keys("paraboloid(3,3)"),
    "paraboloid on a line": keys("paraboloid(5,2)"),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("body", ["cube", "ball"])
def test_the_logit_is_the_largest_on_the_body(name: str, body: str) -> None:
    """Scores on the scaled keys stay; over all corners of the cube, and over the sphere, no query costs more."""
    fact, truth = proved(STEPS[name], body), families.family(STEPS[name], body, "real")
    scale = float(truth.scale_squared) ** 0.5
    queries = truth.queries * float(truth.half) * scale
    inside = np.concatenate([truth.keys, truth.own_keys, truth.pad_key[None, :]]) / scale
    if body == "cube":
        points = np.array(list(product((-1.0, 1.0), repeat=truth.dim)))
        assert abs(inside).max() <= 1 + 1e-12
        assert (points @ queries.T).max() == pytest.approx(float(fact.unit))
    else:
        points = np.random.default_rng(3).normal(size=(2000, truth.dim))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        aligned = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        assert np.linalg.norm(inside, axis=1).max() <= 1 + 1e-12
        assert (points @ queries.T).max() <= float(fact.unit)
        assert (aligned @ queries.T).max() == pytest.approx(float(fact.unit), rel=0.12)  # one unit of rounding up
    own = (queries * (truth.keys - truth.own_keys) / scale).sum(axis=1)
    pad = (queries * (truth.keys - truth.pad_key) / scale).sum(axis=1)
    assert own.min() >= fact.own - 1e-9
    assert pad.min() >= fact.pad_twice / 2 - 1e-9


@settings(max_examples=30)
@given(st.integers(1, 40))
def test_sign_keys_in_bf16_on_the_ball_are_below_the_sphere(length: int) -> None:
    """Entries 1/sqrt(L) rounded down to 8 significant bits: the query grows by at most 128/127."""
    assume(length not in (1, 4, 16))
    step = {"rule": "linear-code", "given": {"generator": ["1" * length]}, "gives": {"weights": {str(length): "1"}}}
    fact, truth = proved(step, "ball", "bf16"), families.family(step, "ball", "bf16")
    assert truth.scale is not None
    assert length <= truth.scale_squared
    assert Fraction(length, 2) ** 2 < Fraction(length, 4) * truth.scale_squared <= fact.unit**2
