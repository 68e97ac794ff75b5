"""Claims as they are written, what is counted against them, and the proof of the read that misses them by most."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from kvverify.audit import proof
from kvverify.audit.claim import Against, parse
from kvverify.audit.score import Read, Rules, score
from kvverify.audit.verdict import Claim
from kvverify.errors import UsageError
from kvverify.instances.payload import draw
from kvverify.kernel.check import check
from tests.audit.small import instance

SMALL = instance(16, kv_heads=2, layers=3, value_dim=8)  # 32 tokens, 6 streams: 3,072 key and 1,536 value scalars


@pytest.mark.parametrize(
    ("words", "bits"),
    [
        ({"bits-per-token": "7/2"}, 112),
        ({"bits-per-token": "1/100"}, 0),
        ({"bits-per-scalar": "2.5"}, 11_520),
        ({"key-bits": "3", "value-bits": "16"}, 3 * 3072 + 16 * 1536),
        ({"compression": "4"}, 18_432),
        ({"compression": "4.5x"}, 16_384),
        ({"tolerance": "1/8", "failure": "0"}, None),
    ],
)
def test_sizes_are_totals_over_heads_and_layers(words: dict[str, str], bits: int | None) -> None:
    assert parse(words, SMALL).bits == bits
    both = parse({**words, "tolerance": "1/8", "failure": "1/10"}, SMALL)
    assert (both.bits, both.tolerance, both.failure, both.relative) == (bits, Fraction(1, 8), Fraction(1, 10), None)
    size = {name: word for name, word in words.items() if name not in ("tolerance", "failure")}
    relative = parse({**size, "relative": "1/8", "failure": "0"}, SMALL)
    assert (relative.bits, relative.tolerance, relative.relative) == (bits, None, Fraction(1, 8))


@pytest.mark.parametrize("words", [{}, {"bits": "1"}, {"value-bits": "2"}, {"failure": "0"}, {"compression": "-1"}])
def test_what_is_no_claim_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="claim"):
        parse(words, SMALL)


def test_the_floor_is_of_the_claimed_class() -> None:
    """A looser claim, a lower floor; relative tolerances are a class of their own; some have none."""
    floors = []
    for words in ({"tolerance": "1/100", "failure": "0"}, {"tolerance": "1/4", "failure": "1/10"}):
        against = Against(SMALL)
        floor = against(parse(words, SMALL))
        assert floor is not None
        assert against.found is not None
        assert against.found.certificate is not None
        result = check(against.found.certificate)
        assert result.statement is not None
        assert (result.statement.state_bits_at_least, result.statement.kv_heads) == (floor.bits, 2)
        floors.append(floor.bits)
    assert floors[0] > floors[1] > 0
    relative = Against(SMALL)
    assert relative(parse({"relative": "1/4", "failure": "0"}, SMALL)) is not None
    assert relative.found is not None
    assert relative.found.certificate is not None
    assert relative.found.certificate["statement"]["relative"] == "1/4"
    assert Against(SMALL)(parse({"tolerance": "1/2", "failure": "1/2"}, SMALL)) is None
    assert Against(SMALL)(Claim(None, Fraction(1, 2), Fraction(1))) is None


SECRET = draw(b"s" * 32, (3, 2, 32, 8), None)
ASKED = np.arange(32)


def scored(share: float, rules: Rules) -> tuple[int, int]:
    """Wrong and missed reads where every answer is (1 + share) times the exact one, to float32."""
    nothing = np.zeros((3, 2, 32, 8), dtype=np.float32)
    one = replace(SMALL, tolerance=Fraction(1, 2))
    far = score(one, SECRET, SECRET.values, nothing, ASKED, rules)
    assert far.missed <= far.wrong_reads
    weights = np.exp(SMALL.queries @ SMALL.keys.T)
    weights /= weights.sum(axis=1, keepdims=True) + np.exp((SMALL.queries * SMALL.own_keys).sum(axis=1, keepdims=True))
    answers = ((1 + share) * (weights @ SECRET.values)).astype(np.float32)
    found = score(one, SECRET, SECRET.values, answers, ASKED, rules)
    return found.wrong_reads, found.missed


def test_a_relative_tolerance_is_a_share_of_each_exact_answer() -> None:
    reads = 3 * 2 * 32 * 8
    half = Rules(None, Fraction(1, 2), relative=True)
    assert scored(0.499, half) == (0, 0)
    assert scored(0.501, half) == (reads, reads)
    assert scored(-0.501, half) == (reads, reads)
    # Relative 0 is exactness, which float32 does not have; the instance's own 1/2 has no say.
    assert scored(0.0, Rules(None, Fraction(0), relative=True))[1] > 0.99 * reads
    assert 0 < scored(0.501, Rules(None, Fraction(1, 8)))[1] < reads


COLUMNS = [
    (Fraction(0), Fraction(1)),
    (Fraction(0), Fraction(1, 3)),
    (Fraction(-3), Fraction(-1)),
    (Fraction(-5), Fraction(0)),
]
EXACT = (4 / 3 - np.exp(-3)) / (2 + np.exp(-3) + np.exp(-5))


def read(answer: float, low: float = EXACT - 1e-12, high: float = EXACT + 1e-12) -> Read:
    return Read(place=(0, 0, 0, 0), answer=answer, exact=(low, high))


@pytest.mark.parametrize("sign", [1, -1])
def test_only_a_read_that_misses_is_proved(sign: int) -> None:
    """Each number of the claim by its smallest step: interval, tolerance, share, on either side of either sign."""
    columns = [(score_, sign * value) for score_, value in COLUMNS]
    exact = sign * float(EXACT)
    low, high = exact - 1e-12, exact + 1e-12
    additive, relative = Claim(None, Fraction(1, 8), Fraction(0)), Claim(None, None, Fraction(0), Fraction(1, 8))
    for claim, reach in ((additive, 0.125), (relative, 0.125 * abs(exact))):
        for side in (1, -1):
            off, near = exact + side * (reach + 1e-9), exact + side * (reach - 1e-9)
            assert proof.prove(columns, read(off, low, high), claim) is not None
            assert proof.prove(columns, read(near, low, high), claim) is None
            assert proof.prove(columns, read(off, exact + 1e-9, exact + 2e-9), claim) is None
            assert proof.prove(columns, read(off, exact - 2e-9, exact - 1e-9), claim) is None
    assert proof.prove(columns, read(float("nan"), low, high), additive) is not None
    assert proof.prove(columns[1:], read(exact + 1, low, high), additive) is None


def test_many_scores_are_added_in_sums_that_the_kernel_takes() -> None:
    columns = [(Fraction(j, 1000), Fraction(j % 3 - 1)) for j in range(200)]
    weights = np.exp(np.arange(200) / 1000)
    exact = float((weights * (np.arange(200) % 3 - 1)).sum() / weights.sum())
    claim = Claim(None, Fraction(1, 8), Fraction(0))
    assert proof.prove(columns, read(exact + 0.2, exact - 1e-12, exact + 1e-12), claim) is not None
    zeros = [(score_, Fraction(0)) for score_, _ in columns]
    assert proof.prove(zeros, read(0.2, 0.0, 0.0), claim) is not None


def test_more_distinct_scores_than_a_program_has_lines_are_not_proved() -> None:
    """The interval is then the reference's alone: what is left is no proof, not a wrong one."""
    columns = [(Fraction(j, 4096), Fraction(j % 2 + 1, 2)) for j in range(2100)]
    weights = np.exp(np.arange(2100) / 4096)
    exact = float((weights * (np.arange(2100) % 2 + 1) / 2).sum() / weights.sum())
    claim = Claim(None, Fraction(1, 8), Fraction(0))
    assert proof.prove(columns[:1900], read(2.0, 0.0, 1.0), claim) is not None
    assert proof.prove(columns, read(2.0, exact - 1e-9, exact + 1e-9), claim) is None
