"""Every cheat with its declared outcome: the flags that it gets, or that it answers at chance, under each isolation."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from kvverify.audit.game import play
from kvverify.audit.report import Report
from kvverify.audit.verdict import Claim
from tests.audit.small import instance
from tests.conftest import needs

needs("torch", "audit")
needs("scipy", "audit")

CHEATS = Path(__file__).with_name("cheats")
INSTANCE = instance(32, value_dim=16)


@dataclass(frozen=True)
class Specimen:
    """Declared outcome of a cheat (file:class) under an isolation; ``chance``: nothing came back."""

    name: str
    isolation: str
    flags: tuple[str, ...]
    chance: bool


SPECIMENS = [
    Specimen("hiding.py:TemporaryFile", "none", ("HIDDEN STATE",), chance=False),
    Specimen("hiding.py:TemporaryFile", "landlock", (), chance=True),
    Specimen("hiding.py:TemporaryFile", "namespaces", (), chance=True),
    Specimen("hiding.py:InProcess", "none", (), chance=True),
    Specimen("hiding.py:BackgroundProcess", "none", ("HIDDEN STATE",), chance=False),
    Specimen("hiding.py:BackgroundProcess", "landlock", (), chance=True),
    Specimen("hiding.py:PublicConfiguration", "none", ("HIDDEN STATE",), chance=False),
    Specimen("hiding.py:Forgetful", "strongest", ("HIDDEN STATE",), chance=False),
    Specimen("lying.py:BehindAView", "none", ("NOT A COMPRESSOR", "BYTES > CLAIM"), chance=True),
    Specimen("lying.py:LyingDtype", "strongest", ("NOT A COMPRESSOR", "BYTES > CLAIM"), chance=False),
    Specimen("lying.py:HeaderSmuggler", "strongest", ("NOT A COMPRESSOR", "BYTES > CLAIM"), chance=False),
]
# The same ways as others above, tried on other things.
SLOW = [
    Specimen("hiding.py:PublicConfiguration", "landlock", (), chance=True),
    Specimen("lying.py:EncodedSeed", "strongest", ("NOT A COMPRESSOR",), chance=False),
]


def played(name: str, isolation: str, cheats: Path = CHEATS, **options: object) -> Report:
    report = play(f"{cheats / name}", INSTANCE, isolation=isolation, timeout=60, **options)  # type: ignore[arg-type]
    if report.reason and ("Operation not permitted" in report.reason or "no Landlock" in report.reason):
        pytest.skip(f"this machine has no {isolation}")
    return report


CASES = [*SPECIMENS, *(pytest.param(one, marks=pytest.mark.slow) for one in SLOW)]


@pytest.mark.parametrize("specimen", CASES, ids=lambda one: f"{one.name}-{one.isolation}")
def test_every_cheat_has_its_declared_outcome(specimen: Specimen, tmp_path: Path) -> None:
    for file in CHEATS.glob("*.py"):  # a copy: one of them writes over its own settings
        (tmp_path / file.name).write_text(file.read_text())
    report = played(specimen.name, specimen.isolation, tmp_path)
    assert report.reason is None
    assert report.flags == specimen.flags
    assert specimen.isolation in (report.record.isolation, "strongest")
    score = report.record.score
    assert score is not None
    assert (score.certified_floor_bits == 0) == specimen.chance
    if specimen.chance:
        assert all(point.wrong_reads > 0.9 * (1 - point.tolerance) * score.reads for point in score.curve)
    elif specimen.name != "hiding.py:Forgetful":
        assert score.max_abs_error is not None
        assert score.max_abs_error < 1e-5


def test_an_attend_that_ignores_its_state_refutes_the_claim() -> None:
    claim = Claim(bits=1 << 16, tolerance=Fraction(1, 4), failure=Fraction(1, 10))
    report = played("lying.py:IgnoresItsState", "strongest", claim=claim)
    assert report.flags == ("CLAIM REFUTED",)
    assert report.record.score is not None
    assert report.record.score.certified_floor_bits == 0
    # The one tensor that was sent changes no answer: what is live is the header alone.
    sizes = report.to_json()
    assert sizes["live_bits"] == sizes["wire_bits"] - 16 * 32
