"""The main job on a small instance: its files are there, they agree with each other, and the certificates hold."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from kvverify import quickstart
from kvverify.crosscheck.arb import second_opinion
from kvverify.errors import Incomplete, UsageError
from kvverify.figures import at_least
from kvverify.kernel.check import Verdict, check
from tests.cli.command import Done, kvverify

NEEDED = {"torch": "audit", "scipy": "audit", "transformers": "caches", "hqq": "caches", "matplotlib": "report"}
for module, extra in NEEDED.items():  # looked for, not imported: that would take seconds
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs kvverify[{extra}]", allow_module_level=True)

TOKENS = 64
SEATS = [
    ("uniform 8-bit", "uniform", {"bits": "8"}),
    ("sliding window 1", "sliding-window", {"window": "1"}),
]


@dataclass(frozen=True)
class Job:
    """What one run printed and wrote."""

    done: Done
    folder: Path


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    folder = tmp_path_factory.mktemp("quickstart") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quickstart, "SEATS", SEATS)
        patch.setattr(quickstart, "INSTANCE_TOKENS", TOKENS)
        yield Job(kvverify("quickstart", "--output", folder), folder)


def test_it_ends_well_and_says_how_far_it_is(job: Job) -> None:
    assert job.done.code == 0
    said = job.done.err.splitlines()
    assert [line[:4] for line in said if line[1:2] == "/"] == ["1/4 ", "2/4 ", "3/4 ", "4/4 "]
    assert [line.strip() for line in said if line.startswith("    ")] == ["1/2 uniform 8-bit", "2/2 sliding window 1"]


def test_the_files_are_there(job: Job) -> None:
    files = sorted(str(path.relative_to(job.folder)) for path in job.folder.rglob("*") if path.is_file())
    curve = sorted(f"curve/tolerance-1-{1 << j}.json" for j in range(1, 11))
    headline = ["headline.json", "headline-enough.json"]
    assert files == sorted(["audits.json", *curve, *headline, "instance.json", "plot.png", "table.md"])
    assert (job.folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (job.folder / "table.md").read_text() == job.done.out


def test_every_certificate_is_valid_and_arb_agrees(job: Job) -> None:
    named = [job.folder / name for name in ("headline.json", "headline-enough.json", "instance.json", "curve")]
    done = kvverify("check", *named)
    assert (done.code, done.out.splitlines()[-1]) == (0, "13 valid, 0 invalid, 0 incomplete")
    assert done.out.count("(Arb agrees)") == 13


def test_the_headline_is_the_shape_that_is_promised(job: Job) -> None:
    result = check(job.folder / "headline.json")
    one = result.statement
    assert one is not None
    assert (one.tokens, one.key_dim, one.value_dim, one.max_logit) == (1 << 17, 128, 128, 24)
    assert (one.tolerance, one.failure, one.inputs) == (Fraction(1, 100), Fraction(1, 10), "real")
    assert one.state_bits_at_least >= 704 << 17
    assert f"at least {one.state_bits_at_least} bits" in job.done.out


def rows(job: Job) -> dict[str, list[str]]:
    lines = [line for line in job.done.out.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: rest for name, *rest in cells[1:]}


def test_the_table_repeats_the_audits(job: Job) -> None:
    answers = json.loads((job.folder / "audits.json").read_text())
    table = rows(job)
    assert list(table) == list(answers) == [name for name, _, _ in SEATS]
    instance = json.loads((job.folder / "instance.json").read_text())
    for name, (within, must, stores, back, flags) in table.items():
        answer = answers[name]
        assert answer["instance"]["certificate"] == instance["digest"]
        assert answer["instance"]["tokens"] == TOKENS
        allowed = Fraction(1, 10) * answer["reads_asked"]
        reached = [Fraction(p["tolerance"]) for p in answer["curve"] if p["wrong_reads"] <= allowed]
        assert float(stores) == answer["wire_bits_per_token"]
        assert float(back) == at_least(Fraction(answer["certified_floor_bits"], TOKENS))
        assert flags == (", ".join(answer["flags"]) or "none")
        if not reached:
            assert (within, must) == ("no tolerance up to 1/2", "-")
            continue
        assert within == str(min(reached))
        result = check(job.folder / "curve" / f"tolerance-1-{min(reached).denominator}.json")
        assert result.bits is not None
        assert float(must) == at_least(result.bits / TOKENS)
        assert float(must) < float(stores), "a compressor below a proved bound"


def test_the_curve_rises_as_the_tolerance_shrinks(job: Job) -> None:
    bits = [check(job.folder / "curve" / f"tolerance-1-{1 << j}.json").bits for j in range(1, 11)]
    assert all(low is not None and high is not None and low < high for low, high in pairwise(bits))


def test_a_compressor_that_fails_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    row = quickstart._row("broken", {"status": "INCOMPLETE", "reason": "Alice: ValueError: no"}, {})
    sides = quickstart.best_bound(quickstart.HEADLINE), quickstart.ceiling(quickstart.HEADLINE)
    table = quickstart._table(*sides, [row])
    assert "| broken | - | - | - | - | INCOMPLETE: Alice: ValueError: no |" in table


def test_a_certificate_that_is_not_accepted_ends_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = quickstart.instance_bound(16, 8)
    disagreeing = second_opinion(found.certificate or {})
    monkeypatch.setattr(quickstart, "second_opinion", lambda _: type(disagreeing)("contrary", "x", "no", ()))
    with pytest.raises(Incomplete, match="kernel VALID, Arb contrary no"):
        quickstart._certified(found, tmp_path / "c.json")
    monkeypatch.undo()
    assert quickstart._certified(found, tmp_path / "c.json") is found
    assert check(tmp_path / "c.json").verdict is Verdict.VALID


def test_what_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in ("torch", "hqq") else name)
    with pytest.raises(UsageError, match=r"pip install 'kvverify\[audit,caches\]'"):
        quickstart.quickstart(tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kvverify("quickstart", "--output", tmp_path / "file").refuses(2, f"{tmp_path / 'file'}: File exists")
