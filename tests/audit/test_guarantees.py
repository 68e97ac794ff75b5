"""The game confirms what certificates say of their own compressors: the bits on the wire, and the errors."""

from __future__ import annotations

from fractions import Fraction

import pytest

from kvverify.audit.game import play
from kvverify.audit.verdict import Claim
from kvverify.bounds.ceiling import ceiling
from kvverify.problem import Problem
from tests.audit.small import instance
from tests.conftest import needs

needs("torch", "audit")
needs("scipy", "audit")

TOLERANCE, FAILURE = Fraction(1, 16), Fraction(1, 10)
HEADS = instance(32, kv_heads=2, layers=2, value_dim=16)
FIXED = 64 * 8 + 2 * 8 * 256  # the length, and of each layer names, shapes, and a count of tokens


@pytest.mark.parametrize(("name", "method"), [("midpoint", "quantiser"), ("dithered", "dithered")])
def test_the_certified_bits_are_on_the_wire_and_the_promise_is_kept(name: str, method: str) -> None:
    """The claim of the certificate, total over streams, raises no flag; the wire adds a fixed part and nothing else."""
    problem = Problem(
        HEADS.tokens,
        HEADS.key_dim,
        HEADS.value_dim,
        HEADS.max_logit,
        FAILURE,
        tolerance=TOLERANCE,
        kv_heads=2,
        layers=2,
    )
    certified = ceiling(problem, method).bits
    assert certified is not None
    settings = {"max_logit": str(HEADS.max_logit), "tolerance": str(TOLERANCE), "failure": str(FAILURE)}
    claim = Claim(certified, TOLERANCE, FAILURE if name == "dithered" else Fraction(0))
    report = play(name, HEADS, parameters=settings, seed=3, dtype="float32", timeout=60, claim=claim)
    found = report.to_json()
    assert (found["status"], found["flags"]) == ("NO FLAG", [])
    assert found["held_bits"] == found["claimed_bits"] == certified
    assert certified < found["wire_bits"] <= certified + FIXED
    assert found["wire_bits_slope"] * HEADS.tokens == pytest.approx(certified, abs=64)
    assert 0 < found["certified_floor_bits"] <= certified
    assert found["wrong_reads"] == 0 or name == "dithered"
    assert found["wrong_reads"] <= FAILURE * found["reads"]
    assert float(TOLERANCE) / 4 < found["max_abs_error"]
    assert found["max_abs_error"] <= TOLERANCE or name == "dithered"
