"""Bounds on tensor attention: what the kernel proves of them, both forms, ranges, and what comes of bounded queries."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from kvverify.bounds.tensor_search import heaviest_words, tensor_bound
from kvverify.codes.hypercube import Hypercube
from kvverify.errors import UsageError
from kvverify.kernel.check import Verdict, check

HALF, TENTH = Fraction(1, 2), Fraction(1, 10)


def test_the_record_of_four_tokens() -> None:
    bound = tensor_bound(4, 4, 4, Fraction(4), Fraction(12), relative=HALF)
    assert (bound.bits, bound.form, bound.problem.dense_words) == (24, "halves", 64)
    assert bound.certificate is not None
    result = check(bound.certificate)
    assert (result.verdict, result.bits) == (Verdict.VALID, 24)


def test_a_larger_budget_reads_both_caches() -> None:
    found = [tensor_bound(256, 64, 8, Fraction(64), Fraction(rho), relative=HALF, failure=TENTH) for rho in (9, 24)]
    assert [bound.form for bound in found] == ["skeleton", "halves"]
    assert found[1].bits > Fraction(19, 10) * found[0].bits
    alone = tensor_bound(256, 64, 8, Fraction(64), Fraction(24), relative=HALF, failure=TENTH, form="skeleton")
    assert 0 < alone.bits < found[1].bits
    assert found[1].bits_per_token == found[1].bits / 256


def test_bounded_queries_at_the_papers_scale_leave_little() -> None:
    """Entries up to 1 and scale = head_dim: no score is above 1."""
    asked: dict[str, Any] = {"relative": HALF, "failure": TENTH}
    free = tensor_bound(256, 64, 8, Fraction(64), Fraction(24), **asked)
    bounded = tensor_bound(256, 64, 8, Fraction(64), Fraction(24), **asked, max_query=Fraction(1))
    assert bounded.bits < free.bits / 50
    assert tensor_bound(256, 64, 8, Fraction(64), Fraction(24), **asked, max_query=Fraction(64)).bits > free.bits / 2


def test_no_bound_has_a_reason() -> None:
    bound = tensor_bound(64, 16, 4, Fraction(16), Fraction(1, 100), tolerance=Fraction(99, 100), failure=TENTH)
    assert (bound.bits, bound.certificate) == (0, None)
    assert bound.reason is not None
    assert "misses by a factor of" in bound.reason


def test_queries_of_few_bits() -> None:
    bound = tensor_bound(64, 32, 4, Fraction(32), Fraction(16), relative=HALF, scale_bits=8)
    assert bound.certificate is not None
    exponents = [s["given"]["exponent"] for s in bound.certificate["steps"] if s["rule"] == "exp-bound"]
    odd = [Fraction(e).numerator for e in exponents]
    assert all((n // (n & -n)).bit_length() <= 8 for n in odd)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 0}, "tokens: 0 given"), ({"head_dim": 0}, "head-dim: 0 given"),
        ({"scale": Fraction(0)}, "scale: 0 given"),
        ({"max_logit": Fraction(5000)}, "max-logit: 5000 given"), ({"relative": None}, "exactly one of tolerance"),
        ({"relative": Fraction(1)}, "relative: 1 given"), ({"failure": Fraction(1)}, "failure: 1 given"),
        ({"tolerance": TENTH}, "exactly one of tolerance"), ({"form": "thirds"}, "form 'thirds': expected"),
    ],
)  # fmt: skip
def test_wrong_problems(changes: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {
        "tokens": 4, "head_dim": 4, "value_dim": 4, "scale": Fraction(4), "max_logit": Fraction(12), "relative": HALF
    }  # fmt: skip
    with pytest.raises(UsageError, match=message):
        tensor_bound(**(asked | changes))


def test_secret_rows_are_the_heaviest_words() -> None:
    assert heaviest_words(Hypercube(2), 3) == [3, 1, 2]
