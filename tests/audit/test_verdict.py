"""Each flag at the edge of its rule."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from kvverify.audit.verdict import FRAMING_BITS, Claim, Evidence, Floor, flags
from tests.conftest import needs

needs("scipy", "audit")

CLEAN = Evidence(
    dense_baseline=False,
    dense_bits=1_000_000,
    claimed_bits=500_000,
    held_bits=500_000,
    wire_bits=500_000 + FRAMING_BITS,
    certified_floor_bits=500_000 + FRAMING_BITS,
    layers=1,
    asked=1000,
    missed=100,
    same_twice=True,
    code_unchanged=True,
    claim=Claim(None, Fraction(1, 100), Fraction(1, 10)),
    lower_bound=Floor(500_000, "certificate"),
)


def test_everything_at_its_limit_is_no_flag() -> None:
    assert flags(CLEAN) == ()
    assert flags(replace(CLEAN, claimed_bits=None, claim=None, lower_bound=None, held_bits=999_999)) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"held_bits": 1_000_000, "claimed_bits": None}, ("NOT A COMPRESSOR",)),
        ({"wire_bits": 1_000_000, "claimed_bits": None}, ("NOT A COMPRESSOR",)),
        ({"held_bits": 1_000_000, "claimed_bits": None, "dense_baseline": True}, ()),
        ({"held_bits": 500_001}, ("BYTES > CLAIM",)),
        ({"wire_bits": 500_001 + FRAMING_BITS}, ("BYTES > CLAIM",)),
        ({"wire_bits": 500_001 + FRAMING_BITS, "layers": 2}, ()),
        ({"lower_bound": Floor(500_001, "certificate")}, ("CLAIM IMPOSSIBLE",)),
        ({"missed": 135}, ("CLAIM REFUTED",)),
        ({"missed": 130}, ()),
        ({"claim": Claim(None, Fraction(1, 100), Fraction(0)), "missed": 1}, ("CLAIM REFUTED",)),
        ({"claim": Claim(None, Fraction(1, 100), Fraction(0)), "missed": 0}, ()),
        ({"claim": Claim(None, None, Fraction(0), Fraction(0)), "missed": 1}, ("CLAIM REFUTED",)),
        ({"claim": Claim(500_000, None, None), "missed": 1000}, ()),
        ({"certified_floor_bits": 500_001 + FRAMING_BITS}, ("HIDDEN STATE",)),
        ({"same_twice": False}, ("HIDDEN STATE",)),
        ({"code_unchanged": False}, ("HIDDEN STATE",)),
    ],
)
def test_one_step_beyond_is_one_flag(change: dict[str, object], expected: tuple[str, ...]) -> None:
    assert flags(replace(CLEAN, **change)) == expected  # type: ignore[arg-type]
