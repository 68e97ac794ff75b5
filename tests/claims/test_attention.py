"""State-bits recipes: the least budget by brute force over all weights, what is refused, and sparse rows one by one."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest

from kvverify.claims.evidence import attention, covers
from kvverify.codes import by_name
from kvverify.errors import UsageError
from kvverify.kernel.check import Verdict, check

HALF = Fraction(1, 2)
FAMILIES = ["hypercube(1)", "hypercube(4)", "reed-muller(1,4)", "kerdock(16)", "paraboloid(2,2)", "paraboloid(8,2)"]


def weights(keys: str, logit: Fraction) -> np.ndarray:
    """W_il over W_ii, at queries of that 1-norm on keys within the cube; from the definition."""
    family = by_name(keys)
    k, q = (rows(family.size).astype(float) for rows in (family.keys, family.queries))
    k, q = k / np.abs(k).max(), q / np.abs(q).sum(axis=1).max() * float(logit)
    scores = q @ k.T
    found: np.ndarray = np.exp(scores - scores.diagonal()[:, None])
    return found


def off_target(keys: str, logit: Fraction) -> float:
    found = weights(keys, logit)
    np.fill_diagonal(found, 0)
    return float(found.sum(axis=1).max())


@pytest.mark.parametrize("keys", FAMILIES)
@pytest.mark.parametrize("relative", [Fraction(0), HALF, Fraction(9, 10)])
def test_the_least_budget_separates_and_is_least(keys: str, relative: Fraction) -> None:
    tree = attention.state(keys, relative=relative)
    result = check(tree)
    assert result.verdict is Verdict.VALID, result.reason
    logit, limit = Fraction(tree["statement"]["max_logit"]), float((1 - relative) / (1 + relative))
    assert off_target(keys, logit) < limit
    with pytest.raises(UsageError, match="separation"):
        attention.state(keys, relative=relative, max_logit=logit - Fraction(1, 64))
    if not keys.startswith("paraboloid(8"):  # whose histogram dominates two-sided rows, which no key at the end has
        assert off_target(keys, logit - Fraction(1, 64)) >= limit


def test_bits_are_those_of_index() -> None:
    failure = 0.1
    entropy = -failure * math.log2(failure) - (1 - failure) * math.log2(1 - failure)
    for keys, payload in (("hypercube(4)", 16), ("hypercube(4)", 5), ("paraboloid(3,4)", 27)):
        tree = attention.state(keys, payload)
        bits, dim = check(tree).bits, by_name(keys).dim
        assert bits is not None
        assert abs(float(bits) - payload * dim * (1 - entropy)) < 1e-4
        assert float(bits) <= payload * dim * (1 - entropy)
    assert check(attention.state("hypercube(2)", failure=Fraction(0))).bits == 8


def test_pads_and_the_ball() -> None:
    tree = attention.state("hypercube(4)", tokens=64, body="ball")
    assert (tree["statement"]["tokens"], tree["statement"]["body"]) == ("64", "ball")
    assert check(tree).bits == check(attention.state("hypercube(4)")).bits
    assert check(attention.state("hypercube(4)", head_dim=8)).bits == 2 * (check(tree).bits or 0)


def test_additive_tolerance() -> None:
    tree = attention.state("hypercube(4)", tolerance=Fraction(9, 10))
    logit = Fraction(tree["statement"]["max_logit"])
    sigma, own = off_target("hypercube(4)", logit), math.exp(-2 * float(logit))
    assert 0.9 * (1 + sigma + own) + sigma < 1
    sigma = off_target("hypercube(4)", logit - Fraction(1, 64))
    assert 0.9 * (1 + sigma + own) + sigma > 1
    with pytest.raises(UsageError, match="times the row"):
        attention.state("hypercube(4)", tolerance=Fraction(9, 10), max_logit=logit - Fraction(1, 64))


def test_every_causal_row_of_the_sparse_instance() -> None:
    tree = attention.sparse()
    mass = Fraction(tree["statement"]["top_mass_at_least"])
    found = weights("hypercube(4)", Fraction(tree["statement"]["max_logit"]))
    rows = [found[i, : i + 1] for i in range(16)]
    own = [np.append(row, min(row)) for row in found]  # the asker's token has the negated key
    shares = [float(row.max() / row.sum()) for row in (*rows, *own)]
    assert min(shares) >= mass > max(HALF, Fraction(3, 4))
    assert min(shares) < mass + Fraction(1, 1000)
    more = {**tree["statement"], "top_mass_at_least": str(mass + Fraction(1, 1 << 12))}
    assert check(attention.document.build(more, tree["steps"])).verdict is Verdict.INVALID
    assert min(1 / (i + 1) for i in range(16)) == Fraction(1, 16)  # with queries 0
    assert check(attention.flat(16)).verdict is Verdict.VALID


def test_counting_by_brute_force() -> None:
    """N = 4 bits: the least mean number of misread bits over all codes of m centres, for every m."""
    strings = list(product((0, 1), repeat=4))
    distance = {(x, y): sum(a != b for a, b in zip(x, y, strict=True)) for x in strings for y in strings}

    def at_best(states: int) -> Fraction:
        from itertools import combinations

        least = min(
            sum(min(distance[x, c] for c in centres) for x in strings) for centres in combinations(strings, states)
        )
        return Fraction(least, 4 * 16)

    tree = attention.counted(4, Fraction(1, 10))
    bits = int(tree["statement"]["state_bits_at_least"])
    assert check(tree).verdict is Verdict.VALID
    assert bits >= 1
    assert at_best((1 << bits) - 1) > Fraction(1, 10)
    assert check(attention.counted(16)).bits == 10
    with pytest.raises(UsageError, match="counting excludes no state"):
        attention.counted(4, Fraction(1, 2))


@pytest.mark.parametrize(("build", "given", "hypothesis"), [
    (attention.state, {"keys": "hypercube(4)", "payload": 17}, "payload: 17 given, 1 to 16"),
    (attention.state, {"keys": "hypercube(4)", "payload": 0}, "payload: 0 given"),
    (attention.state, {"keys": "hypercube(4)", "tokens": 8}, "tokens: 8 given, at least 16"),
    (attention.state, {"keys": "hypercube(4)", "head_dim": 3}, "head-dim: 3 given, at least 4"),
    (attention.state, {"relative": Fraction(1)}, "relative"),
    (attention.state, {"relative": Fraction(-1, 2)}, "relative"),
    (attention.state, {"failure": Fraction(3, 5)}, "failure"),
    (attention.state, {"max_logit": Fraction(-1)}, "max-logit"),
    (attention.state, {"keys": "paraboloid(100,2)"}, "the largest budget of the class"),
    (attention.state, {"keys": "cube(4)"}, "no family of keys"),
    (attention.state, {"body": "box"}, "body"),
    (attention.state, {"tolerance": Fraction(1)}, "tolerance"),
    (attention.window, {"window": 1}, "window: 1 given, at least 2"),
    (attention.counted, {"bits": 0}, "bits: 0 given"),
    (attention.counted, {"bits": 1 << 20}, "bits: 1048576 given"),
    (attention.flat, {"relative": Fraction(1)}, "relative"),
    (attention.gap, {"tokens": 1}, "n >= 2 is needed, 1 was given"),
    (attention.gap, {"relative": Fraction(1)}, "eta < 1"),
    (attention.gap, {"scale_square": Fraction(0)}, "a scale"),
    (attention.flat, {"tokens": 1}, "tokens: 1 given"),
    (attention.enough, {"tolerance": Fraction(0)}, "tolerance"),
    (covers.ball, {"radius": Fraction(0)}, "radius: 0 given"),
])  # fmt: skip
def test_hypotheses_are_named(build: Any, given: dict[str, Any], hypothesis: str) -> None:
    with pytest.raises(UsageError, match=hypothesis):
        build(**given)


def test_the_gap() -> None:
    for tokens, relative, scale_square in (
        (256, HALF, 1),
        (256, HALF, 16),
        (2, Fraction(0), 1),
        (10, Fraction(9, 10), 3),
    ):
        tree = attention.gap(tokens, relative, Fraction(scale_square))
        assert check(tree).verdict is Verdict.VALID
        stated = float(Fraction(tree["statement"]["holds"][0].split()[2]))
        least = math.sqrt(scale_square) * math.log((tokens - 1) * (1 + relative) / (1 - relative))
        assert least < stated <= least + 0.01 + 1e-12


def test_windows_and_figures() -> None:
    assert attention.window(65, "hypercube(6)")["statement"]["tokens"] == "64"
    assert check(attention.window(2, "hypercube(1)")).verdict is Verdict.VALID
    assert attention.cache_factor(16) == "60.2"
    assert attention.cache_factor(4) == "15.0"
    assert attention.cache_factor(1) == "3.7"
    assert attention.fano_bits(100, Fraction(0)) == 100
    assert 53 < attention.fano_bits(100) < 54
    assert check(attention.enough(16, 4, Fraction(1, 10))).verdict is Verdict.VALID
    assert check(covers.ball(2)).verdict is Verdict.VALID
