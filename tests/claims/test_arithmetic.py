"""The arithmetic of the claims: recorded numbers, every certificate by all engines, hypotheses named."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb, exp, log, sinh, sqrt
from pathlib import Path
from typing import Any

import pytest

from kvverify.claims.evidence import arithmetic, program, subgen
from kvverify.claims.evidence.program import comparison, term, threshold
from kvverify.crosscheck.arb import second_opinion
from kvverify.errors import UsageError
from kvverify.kernel.check import Verdict, check
from tests.engines.mpfr import third_opinion

Node = dict[str, Any]
Builder = Callable[..., Node]
HALF, NINE = Fraction(1, 2), Fraction(9, 10)


def valid(tree: Node) -> list[str]:
    """The claim's comparisons, after the kernel and both other engines have agreed."""
    assert check(tree).verdict is Verdict.VALID, check(tree).reason
    assert second_opinion(tree).verdict == "agrees"
    assert {outcome.verdict for outcome in third_opinion(tree, Path())} <= {"agrees", "undecided"}
    found: list[str] = tree["statement"]["holds"]
    return found


def said(tree: Node) -> str:
    goal = check(tree).goal
    assert goal is not None
    return goal.said()


# Recorded numbers: (builder, parameters, text of the claim in usual notation)
RECORDED: list[tuple[Builder, Node, str]] = [
    (arithmetic.fano_constant, {}, "10^100 <= 2^47 * 9^90, 2^23 * 9^45 < 10^50"),
    (arithmetic.fano_constant, {"failure": Fraction(1, 3)}, "3^75 <= 2^69 * 2^50, 2^273 * 2^200 < 3^300"),
    (arithmetic.counting_excluded, {"bits": 300}, "2^60 * (binomial-tail(300, 74)) < 2^299"),
    (arithmetic.counting_excluded, {"bits": 1024}, "2^198 * (binomial-tail(1024, 255)) < 2^1023"),
    (arithmetic.hypercube_base, {}, "(15^4 - 14^4) * 3/2 < 1/2 * 14^4, 1/2 * 13^4 <= (14^4 - 13^4) * 3/2"),
    (arithmetic.most_keys_by_norms, {}, "ln(81969) < sqrt(128) * 27324/27323"),
    (arithmetic.most_keys_by_norms, {"head_dim": 64}, "ln(3003) < sqrt(64) * 1002/1001"),
    (arithmetic.displayed_bound, {}, "17/324 < 1/19, 1/19 <= 16/289"),
    (arithmetic.displayed_bound, {"relative": HALF}, "1/4 < 1/3"),
    (arithmetic.unread_entry_weight, {}, "7 < 8, 7 <= 7"),
    (arithmetic.accesses, {}, "255744/5 <= 51149, 51148 < 255744/5"),
    (subgen.variance_of_ratio, {}, "((7/2 - 1)^2) / (4 * 7/2) <= 25/56"),
    (subgen.corollary, {}, "2 * 131072 <= (2 * 115200) + (362 * (2486 + 1))"),
]  # fmt: skip


@pytest.mark.parametrize(("builder", "parameters", "text"), RECORDED)
def test_recorded_comparisons(builder: Builder, parameters: Node, text: str) -> None:
    tree = builder(**parameters)
    valid(tree)
    assert text in said(tree)


@pytest.mark.parametrize(
    ("dim", "relative", "base"),
    [(4, 0, 6), (8, 0, 12), (16, 0, 23), (64, 0, 92), (4, HALF, 14), (8, HALF, 28)],
)
def test_bases_of_the_hypercube(dim: int, relative: Fraction, base: int) -> None:
    tree = arithmetic.hypercube_base(dim, Fraction(relative))
    valid(tree)
    assert f"power {base + 1} {dim}" in tree["statement"]["program"]
    assert f"power {base - 1} {dim}" in tree["statement"]["program"]


@pytest.mark.parametrize(("dim", "base"), [(2, 7), (3, 13), (4, 20), (16, 104), (64, 437)])
def test_bases_of_the_paraboloid(dim: int, base: int) -> None:
    tree = arithmetic.paraboloid_base(dim)
    valid(tree)
    words = " ".join(tree["statement"]["program"]).split(" ")
    assert {str(Fraction(2, base)), str(Fraction(2, base - 1))} <= set(words)
    theta = [1 + 2 * sum(float(b) ** -(t * t) for t in range(1, 9)) for b in (base - 1, base)]
    assert [(x ** (dim - 1) - 1) * 1.5 < 0.5 for x in theta] == [False, True]


@pytest.mark.parametrize(
    ("dim", "coherence", "most"),
    [(128, 0, 27313), (128, Fraction(1, 8), 6641), (128, Fraction(1, 4), 1615), (64, 0, 994), (64, Fraction(1, 8), 366),
     (64, Fraction(1, 4), 135)],
)  # fmt: skip
def test_where_the_gap_test_stops(dim: int, coherence: Fraction, most: int) -> None:
    tree = arithmetic.gap_test(dim, Fraction(coherence))
    valid(tree)
    assert tree["statement"]["program"][0] == f"ln {3 * (most - 1)}"
    assert sqrt(dim) * float(1 - coherence) > log(3 * (most - 1))
    assert sqrt(dim) * float(1 - coherence) <= log(3 * most)


@pytest.mark.parametrize(("relative", "least"), [(NINE, 18), (Fraction(99, 100), 198), (Fraction(999, 1000), 1998)])
def test_the_displayed_bound_from_which_n_on(relative: Fraction, least: int) -> None:
    holds = valid(arithmetic.displayed_bound(relative))
    assert holds[0] == f"{Fraction(least - 1, least**2)} < {(1 - relative) / (1 + relative)}"


@pytest.mark.parametrize(("tokens", "dim", "bits"), [(256, 16, 2175), (16, 4, 34), (2, 2, 3)])
def test_bits_that_index_needs(tokens: int, dim: int, bits: int) -> None:
    holds = valid(arithmetic.index_bits(tokens, dim))
    assert holds[0].endswith(f" <= {bits}")
    assert holds[1].startswith(f"{bits - 1} < ")


@pytest.mark.parametrize(("bits", "tenths"), [(16, 602), (4, 150), (1, 37)])
def test_ratios_that_are_not_excluded(bits: int, tenths: int) -> None:
    tree = arithmetic.cache_ratio(bits, bits)
    valid(tree)
    cost = 1 + 0.9 * log(0.9, 2) + 0.1 * log(0.1, 2)
    assert tenths == int(20 * bits / cost)
    assert f"product {Fraction(tenths, 10)} " in " ".join(tree["statement"]["program"])


@pytest.mark.parametrize(("bits", "most"), [(16, 5), (32, 8), (64, 15), (100, 22), (256, 52)])
def test_counting_against_plain_integers(bits: int, most: int) -> None:
    holds = valid(arithmetic.counting_excluded(bits))
    assert len(holds) == 2
    tail = sum(comb(bits, k) for k in range(bits) if 4 * k < bits)
    assert [tail << s < 1 << (bits - 1) for s in (most, most + 1)] == [True, False]
    assert f"power 2 {most}" in arithmetic.counting_excluded(bits)["statement"]["program"]


@pytest.mark.parametrize("builder", [arithmetic.projection_exponents, arithmetic.covering_constants])
def test_constants(builder: Builder) -> None:
    valid(builder())


@pytest.mark.parametrize("budget", [Fraction(1), Fraction(8), Fraction(7, 3)])
def test_a_score_budget_bounds_the_keys(budget: Fraction) -> None:
    tree = arithmetic.most_keys_by_scores(budget)
    most = int(valid(tree)[0].split(" ")[0]) // 3 + 1
    assert (most - 1) * 3 < exp(2 * budget) <= most * 3


def test_cells_hold_what_is_answered() -> None:
    assert valid(arithmetic.cells(1000, 64, 1))[0].endswith(" <= 33985")
    assert valid(arithmetic.cells(1000, 64, 16, Fraction(0)))[0].endswith(" <= 64000")


# SubGen's sizes


@pytest.mark.parametrize(
    ("error", "reach", "papers", "sharp", "slots"),
    [
        (1, Fraction(1, 4), 2968, 115, 115200), (1, 1, 13301, 2486, 115200), (1, 2, 98277, 23678, 115200),
        (HALF, Fraction(1, 4), 8244, 320, 320000), (HALF, 1, 36946, 6906, 320000),
        (Fraction(1, 10), Fraction(1, 4), 145418, 5629, 5644800),
    ],
)  # fmt: skip
def test_sizes_of_subgen(error: Fraction, reach: Fraction, papers: int, sharp: int, slots: int) -> None:
    holds = valid(subgen.sizes(Fraction(error), Fraction(reach)))
    assert [holds[i].split(" ")[2] for i in (0, 2, 4)] == [str(papers), str(sharp), str(slots)]
    inner = 200 / (float(error) / (2 + float(error))) ** 2
    assert papers - 1 < inner * exp(2 * reach) <= papers
    assert sharp - 1 < inner * sinh(reach) ** 2 <= sharp
    tokens = slots + (sharp + 1) // 2 + 1
    assert f"product 2 {tokens}" in subgen.sizes(Fraction(error), Fraction(reach))["statement"]["program"]


def test_the_best_split_is_the_best() -> None:
    """13,780 tokens at eps = 1, delta r = 1/4; a grid of all splits finds nothing better."""
    tree = subgen.best_split()
    valid(tree)
    lines = " ".join(tree["statement"]["program"])
    assert "product 2 13780" in lines
    assert tree["statement"]["holds"][-1].startswith("13779 <= ")
    least = min(
        64 / ((0.01 - f) * (1 - 2 * x) ** 2) + sinh(0.25) ** 2 / (2 * f * x * x)
        for x in (i / 4000 for i in range(200, 600)) for f in (j / 100000 for j in range(100, 300))
    )  # fmt: skip
    assert 13778 < least < 13780


@pytest.mark.parametrize("error", [Fraction(1), HALF, Fraction(1, 10)])
@pytest.mark.parametrize("reach", [Fraction(1, 4), Fraction(2)])
@pytest.mark.parametrize("clusters", [1, 40])
def test_best_splits_elsewhere(error: Fraction, reach: Fraction, clusters: int) -> None:
    """Within two tokens of what no split passes, and fewer than the equal split needs."""
    tree = subgen.best_split(error, reach, 64, clusters)
    valid(tree)
    floor = int(tree["statement"]["holds"][-1].split(" ")[0])
    programs = [" ".join(t["statement"]["program"]) for t in (tree, subgen.sizes(error, reach, 64, clusters))]
    assert any(f"product 2 {n}" in programs[0] for n in range(floor, floor + 3 + clusters // 2))


def test_the_corollary_says_what_is_so() -> None:
    assert "<=" in valid(subgen.corollary())[-1]
    assert "<=" not in valid(subgen.corollary(131072, 2, reach=Fraction(1, 4), saves=True))[-1]


# Hypotheses, and programs


@pytest.mark.parametrize(
    ("builder", "parameters", "named"),
    [
        (arithmetic.fano_constant, {"failure": HALF}, "failure < 1/2"),
        (arithmetic.fano_constant, {"failure": Fraction(0)}, "0 < failure"),
        (arithmetic.index_bits, {"failure": Fraction(3, 5)}, "failure < 1/2"),
        (arithmetic.hypercube_base, {"relative": Fraction(1)}, "relative < 1"),
        (arithmetic.paraboloid_base, {"dim": 1}, "dimension >= 2"),
        (arithmetic.most_keys_by_scores, {"budget": Fraction(0)}, "budget > 0"),
        (arithmetic.most_keys_by_scores, {"budget": Fraction(1, 10)}, "allows at least 2"),
        (arithmetic.gap_test, {"coherence": Fraction(1)}, "coherence < 1"),
        (arithmetic.accesses, {"tokens": 1}, "tokens >= 2"),
        (arithmetic.cells, {"failure": Fraction(3, 4)}, "1 - 1/alphabet"),
        (arithmetic.cache_ratio, {"key_bits": 0}, "one bit"),
        (subgen.sizes, {"error": Fraction(2)}, "eps <= 1"),
        (subgen.best_split, {"reach": Fraction(0)}, "delta r"),
        (subgen.corollary, {"tokens": 3, "clusters": 4}, "clusters"),
        (subgen.corollary, {"saves": True}, "words < the cache's 262144"),
        (subgen.corollary, {"clusters": 2, "reach": Fraction(1, 4)}, "words >= the cache's 262144"),
        (subgen.variance, {"samples": 0}, "one sample"),
        (subgen.variance_of_ratio, {"ratio": HALF}, "at least 1"),
    ],
)  # fmt: skip
def test_a_hypothesis_is_named(builder: Builder, parameters: Node, named: str) -> None:
    with pytest.raises(UsageError, match=named.replace("(", r"\(")) as raised:
        builder(**parameters)
    assert "\n" not in str(raised.value)


def test_equal_terms_are_one_line() -> None:
    x = program.exp(1)
    tree = comparison(x * x < x * x + 1, ~(x > 8))
    assert tree["statement"]["program"] == ["exp 1", "product @0 @0", "sum @1 1"]
    assert valid(tree) == ["@1 < @2", "@0 <= 8"]


def test_relations_are_not_for_python() -> None:
    with pytest.raises(TypeError):
        bool(term(1) < 2)
    with pytest.raises(UsageError):
        threshold(lambda n: term(n) < 0, 1)
