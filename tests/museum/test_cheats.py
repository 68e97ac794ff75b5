"""Every cheat has its declared outcome: its flags, or at chance under the isolation that is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvverify.audit import claim as claims
from kvverify.audit import verdict
from kvverify.audit.game import play
from kvverify.audit.report import Report
from tests.audit.small import instance
from tests.conftest import needs
from tests.museum.specimens import PAGE, SPECIMENS, Outcome, Specimen, page

needs("torch", "audit")
needs("scipy", "audit")

CHEATS = Path(__file__).with_name("cheats")
INSTANCE = instance(32, value_dim=16)
BYTES = 64 * (32 + 16) * 4  # of the cache
# Those of which nothing comes back are played together, a layer each: one that did would be seen among them.
CROWD = [(one, o) for one in SPECIMENS for o in one.outcomes if o.chance and not o.flags]
ALONE = [
    pytest.param(one, isolation, o, id=f"{one.name}-{isolation}", marks=[pytest.mark.slow] * (o.slow or crowded))
    for one in SPECIMENS
    for o in one.outcomes
    for isolation in o.isolation
    for crowded in [(one, o) in CROWD]
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the cheats: one of them writes over its own settings, another on the times of a shelf of files."""
    for file in CHEATS.glob("*.py"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "shelf").mkdir()
    for number in range(40):
        (tmp_path / "shelf" / f"{number:02}").touch()
    return tmp_path


def played(target: str, isolation: str, **options: object) -> Report:
    report = play(target, options.pop("on", INSTANCE), isolation=isolation, **options)  # type: ignore[arg-type]
    if report.reason and ("Operation not permitted" in report.reason or "no Landlock" in report.reason):
        pytest.skip(f"this machine has no {isolation}")
    return report


def at_chance(report: Report, share: float) -> bool:
    """Nothing certified, and not more right than a guess, but for ``share`` of the reads."""
    score = report.record.score
    assert score is not None
    wrong = all(point.wrong_reads > (1 - share) * (1 - point.tolerance) * score.reads for point in score.curve)
    return score.certified_floor_bits == 0 and wrong


@pytest.mark.parametrize(("specimen", "isolation", "outcome"), ALONE)
def test_every_cheat_has_its_declared_outcome(
    specimen: Specimen, isolation: str, outcome: Outcome, folder: Path
) -> None:
    words = dict(word.split("=") for word in specimen.claim.split(",")) if specimen.claim else None
    claim = claims.parse(words, INSTANCE) if words else None
    report = played(
        f"{folder / specimen.name}", isolation, timeout=specimen.seconds, memory_bytes=specimen.memory_bytes,
        claim=claim, floor_for=claims.Against(INSTANCE),
    )  # fmt: skip
    if isolation == "none" and specimen.name.endswith(":RefereeMemory") and report.flags == ():
        pytest.skip("on this machine no process may look at its parent")
    assert (report.reason or "").startswith(outcome.reason)
    assert bool(report.reason) == bool(outcome.reason)
    assert report.flags == outcome.flags
    assert isolation in (report.record.isolation, "strongest")
    if not outcome.reason:
        assert at_chance(report, 0.1) == outcome.chance


@pytest.mark.parametrize("isolation", ["none", "landlock", "namespaces"])
def test_nothing_comes_back_from_any_hiding_place(isolation: str, folder: Path) -> None:
    names = [one.name.replace(".py", "") for one, outcome in CROWD if isolation in outcome.isolation]
    crowd = instance(32, value_dim=16, layers=len(names))
    options = {"on": crowd, "parameters": {"names": "+".join(names)}, "timeout": 60}
    report = played(f"{folder / 'crowd.py'}:Crowd", isolation, **options)
    assert (report.reason, report.flags, report.record.isolation) == (None, (), isolation)
    assert at_chance(report, 1 / 2 / len(names))


def test_dead_weight_is_named(folder: Path) -> None:
    found = played(f"{folder / 'lying.py'}:DeadWeight", "strongest", timeout=60).to_json()
    assert found["dead_tensors"] == [{"place": "message[0]['values_before']", "bits": 64 * 16 * 8}]
    assert found["dead_bits"] == found["wire_bits"] - found["live_bits"] == 64 * 16 * 8


def test_every_flag_is_proved_by_a_specimen_and_no_flag_by_one() -> None:
    raised = {flag for one in SPECIMENS for outcome in one.outcomes for flag in outcome.flags}
    assert raised == set(verdict.RULES)
    default = {flag for parameters in ALONE if not parameters.marks for flag in parameters.values[2].flags}
    assert default >= set(verdict.RULES) - {"CLAIM IMPOSSIBLE"}  # which the command line's own tests play
    assert any(not outcome.flags and not outcome.chance for one in SPECIMENS for outcome in one.outcomes)
    assert len({one.name for one in SPECIMENS}) == len(SPECIMENS) >= 10


def test_the_page_shows_what_is_declared() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.museum.specimens"
