"""Random projections: recorded dimensions, the bounds by simulation and by quadrature, instances by the kernel."""

from __future__ import annotations

import re
from fractions import Fraction
from math import comb, exp, log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvverify.claims.evidence import projections
from kvverify.claims.evidence.projections import COHERENCE, dimensions
from kvverify.crosscheck.arb import second_opinion
from kvverify.errors import UsageError
from kvverify.kernel.check import Verdict, check

Node = dict[str, Any]
QUARTER, THREE = Fraction(1, 4), Fraction(3, 4)
ROOT = Path(__file__).resolve().parents[2]

SIGNS = {
    QUARTER: {16: 85, 64: 168, 256: 248, 1024: 333, 4096: 416, 131072: 632},
    COHERENCE: {16: 23, 64: 42, 256: 62, 1024: 82, 4096: 105, 131072: 160},
    THREE: {16: 7, 64: 15, 256: 24, 1024: 32, 4096: 40, 131072: 63},
}


def valid(tree: Node) -> list[str]:
    assert check(tree).verdict is Verdict.VALID, check(tree).reason
    assert second_opinion(tree).verdict == "agrees"
    found: list[str] = tree["statement"].get("holds", [])
    return found


# Existence


@pytest.mark.parametrize("coherence", SIGNS)
def test_least_dimension_for_random_signs(coherence: Fraction) -> None:
    """Recorded numbers; the certificate shows that no smaller dimension passes."""
    for tokens, dim in SIGNS[coherence].items():
        assert dimensions(tokens, coherence).signs == dim
        if tokens in (64, 4096):
            assert len(valid(projections.signs(tokens, coherence))) == dim


@pytest.mark.parametrize(("tokens", "dim"), [(256, 275), (4096, 412), (131072, 584)])
def test_the_papers_dimension(tokens: int, dim: int) -> None:
    assert dimensions(tokens).papers == dim
    assert len(valid(projections.gaussian_as_in_the_papers(tokens))) == 2


@pytest.mark.parametrize("tokens", [16, 256, 131072])
@pytest.mark.parametrize("coherence", SIGNS)
def test_chernoffs_dimension(tokens: int, coherence: Fraction) -> None:
    """The union bound in floats, and less than the papers' form."""
    eps, found = float(coherence), dimensions(tokens, coherence)
    tilt = (sqrt(1 + 4 * eps**2) - 1) / (2 * eps)
    norm, score = sqrt((1 - eps) * exp(eps)), sqrt(exp(-2 * tilt * eps) / (1 - tilt**2))
    total = [tokens * norm**d + comb(tokens, 2) * score**d for d in (found.gaussian - 1, found.gaussian)]
    assert total[1] < 1 <= total[0]
    assert found.gaussian < found.papers
    assert len(valid(projections.gaussian(tokens, coherence))) == 2


@pytest.mark.parametrize("eps", [0.25, 0.49, 0.75])
def test_the_tails_of_gaussian_keys(eps: float) -> None:
    """Frequencies of 200,000 pairs stay below both bounds, and not far below."""
    dim, draw = 12, np.random.default_rng(3)
    a, b = draw.normal(size=(2, 200000, dim)) / sqrt(dim)
    tilt = (sqrt(1 + 4 * eps**2) - 1) / (2 * eps)
    for frequency, bound in (
        (((a * a).sum(axis=1) <= 1 - eps).mean(), ((1 - eps) * exp(eps)) ** (dim / 2)),
        (((a * b).sum(axis=1) > eps).mean(), (exp(-2 * tilt * eps) / (1 - tilt**2)) ** (dim / 2)),
    ):
        assert bound / 30 < frequency + 2e-4
        assert frequency <= bound


def test_the_law_of_two_sign_keys() -> None:
    """<k, k'> > eps d exactly when fewer than (1 - eps) d/2 places differ."""
    for dim in range(1, 60):
        for coherence in SIGNS:
            most = projections._disagreeing(dim, coherence)
            assert [x for x in range(dim + 1) if dim - 2 * x > coherence * dim] == list(range(most + 1))


@pytest.mark.parametrize(("rate", "share", "least"), [(48, 1, 269), (16, 1, 68), (48, 10, 3979), (16, 10, 1124)])
def test_from_where_on_a_projection_is_shorter(rate: int, share: int, least: int) -> None:
    valid(projections.pays_from(rate, share))
    assert [rate * log(n) < n / share for n in (least - 1, least, 2 * least, 10 * least)] == [False, True, True, True]


def test_the_table_of_the_page() -> None:
    page = (ROOT / "docs" / "proofs" / "projections.md").read_text()
    rows = re.findall(r"^\| ([0-9,]+) \| (.*) \|$", page, re.MULTILINE)
    assert [int(row[0].replace(",", "")) for row in rows] == list(SIGNS[QUARTER])
    for name, cells in rows:
        found = [dimensions(int(name.replace(",", "")), coherence) for coherence in SIGNS]
        columns = [" / ".join(f"{getattr(x, part):,}" for x in found) for part in ("papers", "gaussian", "signs")]
        columns += [f"{getattr(found[0], part):,}" for part in ("kerdock", "hypercube", "paraboloid")]
        assert cells == " | ".join(columns)


# Instances


@pytest.mark.parametrize("build", [projections.gaussian_instance, projections.sign_instance])
def test_an_instance_is_valid(build: Any) -> None:
    """d < n, the Gram matrix within its bounds, and all but the last bit of Fano's inequality."""
    tree = build()
    found = check(tree)
    valid(tree)
    claimed = tree["statement"]
    tokens, dim, bits = (int(claimed[name]) for name in ("tokens", "key_dim", "state_bits_at_least"))
    assert dim < tokens == 300
    assert bits == int((1 + 0.9 * log(0.9, 2) + 0.1 * log(0.1, 2)) * tokens * int(claimed["value_dim"]))
    assert found.rules == ("explicit-keys", "exp-bound", "budget", "leak", "separation", "random-access-code")
    less = {**claimed, "max_logit": str(int(claimed["max_logit"]) - 1)}
    assert check({**tree, "statement": less}).verdict is Verdict.INVALID


def test_gram_bounds_are_exact() -> None:
    table = projections.gaussian_keys(300, 76, 2)
    norm, score = projections.coherence_of(table, 76 * 64**2)
    gram = [[sum(int(a) * int(b) for a, b in zip(x, y, strict=True)) for y in table[:9]] for x in table[:9]]
    assert np.array_equal((table @ table.T)[:9, :9], gram)
    assert norm >= 1 - COHERENCE
    assert score <= COHERENCE
    assert (norm, score) == (Fraction(185685, 311296), Fraction(150350, 311296))


def test_a_seed_makes_the_same_keys_everywhere() -> None:
    """Frozen: the quantiles are defined by rounding, the stream by SHAKE-256."""
    table = projections.gaussian_keys(300, 76, 2)
    assert table[0, :6].tolist() == [44, -67, 40, -28, -62, 28]
    assert np.array_equal(projections.gaussian_keys(10, 76, 2), table[:10])
    assert abs(table.mean()) < 1
    assert 63 < table.std() < 65
    quantiles = projections._quantiles()
    assert quantiles[0] == 0
    assert quantiles[-1] == 246
    assert list(quantiles) == sorted(quantiles)
    assert {abs(int(x)) for x in projections.sign_keys(9, 8, 1).ravel()} == {1}


@pytest.mark.parametrize(
    ("build", "given", "named"),
    [
        (projections.gaussian_instance, {"seed": 1}, "seed 1"),
        (projections.sign_instance, {"dim": 300}, "below the number of keys"),
        (projections.signs, {"tokens": 1}, "2 to 2"),
        (projections.gaussian, {"coherence": Fraction(1)}, "coherence"),
        (projections.pays_from, {"rate": 2}, "rate"),
    ],
)
def test_a_hypothesis_is_named(build: Any, given: Node, named: str) -> None:
    with pytest.raises(UsageError, match=re.escape(named)) as raised:
        build(**given)
    assert "\n" not in str(raised.value)
