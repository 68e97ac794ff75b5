"""Whole games: figures, scores, failures, and the same again from a counter-example's file."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kvverify.audit import replay
from kvverify.audit.game import play
from kvverify.audit.verdict import Claim
from kvverify.errors import UsageError
from tests.audit.small import instance
from tests.conftest import needs

torch = needs("torch", "audit")
needs("scipy", "audit")

SPECIMENS = Path(__file__).with_name("specimens")
FIELDS = set(
    """schema compressor settings schedule instance claimed_bits held_bits readable_bits live_bits wire_bits
    wire_bits_fixed wire_bits_per_token wire_bits_slope reads wrong_reads symbol_error symbol_error_interval
    max_abs_error certified_floor_bits certificate_bits_at_least efficiency flags isolation fresh_secret counterexample
    status""".split()  # noqa: SIM905  read off contracts, word by word
)
SEVERAL = instance(32, kv_heads=2, layers=2, value_dim=16)


def test_dense_gives_back_nearly_all_that_its_volume_allows() -> None:
    """Two layers of two key heads, read by two query heads each, fed by a prefill and single steps."""
    stages: list[str] = []
    report = play(
        "dense", SEVERAL, parameters={"dtype": "fp32"}, schedule="prefill:56,step:8", group=2, seed=1, timeout=60,
        progress=lambda stage, done: stages.append(stage),
    )  # fmt: skip
    found = report.to_json()
    assert found.keys() >= FIELDS
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["status"], found["flags"], found["reason"]) == ("NO FLAG", [], None)
    assert stages == ["commit", "alice", "bob", "score", "score"]
    assert not found["fresh_secret"]
    assert found["schedule"] == "prefill:56,step:8"
    assert found["settings"]["versions"] == {"numpy": np.__version__, "torch": torch.__version__}

    cache = 2 * 2 * 64 * (32 + 16) * 32
    assert found["claimed_bits"] == found["held_bits"] == found["readable_bits"] == cache
    assert cache < found["live_bits"] == found["wire_bits"] < cache + (1 << 14)
    assert found["wire_bits_slope"] == pytest.approx(cache / 64, rel=1e-3)
    assert abs(found["wire_bits_fixed"] + found["wire_bits_slope"] * 64 - found["wire_bits"]) < 2

    reads = 2 * 2 * 64 * 16
    assert found["reads"] == found["reads_asked"] == reads
    assert found["max_abs_error"] < 1e-5
    ideal = 4 * 16 * SEVERAL.log2_det_at_least + reads * 10 - 40
    assert ideal - 4 <= found["certified_floor_bits"] <= ideal
    assert found["efficiency"] == pytest.approx(found["certified_floor_bits"] / found["wire_bits"], rel=1e-5)
    assert [point["wrong_reads"] for point in found["curve"]] == [0] * 10


def test_discrete_symbols_from_sampled_positions_in_bf16() -> None:
    one = replace(instance(32, value_dim=16), inputs="bf16", tolerance=Fraction(1, 50))
    report = play("dense", one, payload="discrete", alphabet=16, dtype="bfloat16", reads=48, timeout=60)
    found = report.to_json()
    assert found["status"] == "NO FLAG"
    assert found["fresh_secret"]
    assert (found["reads"], found["reads_asked"], found["wrong_reads"]) == (1024, 768, 0)
    assert found["max_abs_error"] < 1e-5  # the exact answers are those of the rounded inputs
    assert found["tolerance"] == "1/50"
    # Nothing wrong among 48 of 64 positions leaves 17.5% at its end (KL = ln(10^4)/48): far below all 4,096 bits.
    assert 2000 < found["certified_floor_bits"] < 4096 - 40
    assert found["curve"][0]["floor_bits"] is None


def test_a_refuted_claim_is_written_down_and_plays_again(tmp_path: Path) -> None:
    claim = Claim(None, Fraction(1, 100), Fraction(1, 10))
    options = {"bits": "2", "group": "16"}
    report = play("uniform", instance(32), parameters=options, claim=claim, timeout=60)
    assert report.flags == ("CLAIM REFUTED",)
    assert report.counterexample is not None
    file = tmp_path / "example.json"
    replay.write(report.counterexample, file)
    assert [found.name for found in tmp_path.iterdir()] == ["example.json"]
    again = replay.replay(file, timeout=60)
    assert again.status == "reproduced"
    score = report.record.score
    assert score is not None
    assert again.line.startswith(f"{score.missed} of 1024 reads miss 1/100; allowed 1/10; layer 0, head 0, token ")

    example = json.loads(file.read_text())
    low, high, answer = (Fraction(example["read"][name]) for name in ("exact_at_least", "exact_at_most", "answer"))
    assert high - low < 1e-9
    assert min(abs(answer - low), abs(answer - high)) > Fraction(1, 100)
    assert again.line.endswith("(proved by the kernel)")
    assert (example["missed_reads"], example["reads_asked"]) == (score.missed, 1024)
    assert Fraction(1, 10) < example["missed_share_at_least"] < score.missed / 1024
    lenient = Claim(None, claim.tolerance, Fraction(99, 100))
    assert replay.compare(example, report.game, lenient, report.record).status == "not reproduced"
    assert replay.compare({**example, "commit": ""}, report.game, claim, report.record).status == "incomplete"
    _variants(example, tmp_path)


def _variants(example: dict[str, object], folder: Path) -> None:
    """The same file, not as it was: incomplete, or no counter-example."""

    def outcome(**changes: object) -> str:
        file = folder / "changed.json"
        file.write_text(json.dumps({**example, **changes}))
        return replay.replay(file, timeout=60).status

    assert outcome(versions={"torch": "0.0.1"}) == "incomplete"
    assert outcome(files={"absent.py": "00"}) == "incomplete"
    assert outcome(compressor="/nowhere/at_all.py:Mine") == "incomplete"
    assert outcome(compressor="no_such_module_here:Mine") == "incomplete"
    for changes in ({"schema": "other"}, {"claim": {}}, {"seed": "xyz"}, {"instance": {"keys": {"shape": [1, 2]}}}):
        with pytest.raises(UsageError):
            outcome(**changes)
    (folder / "noise.json").write_bytes(b"\xff\x00")
    with pytest.raises(UsageError, match="not a JSON file"):
        replay.replay(folder / "noise.json")
    with pytest.raises(UsageError, match="no file"):
        replay.replay(folder / "absent.json")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("Raises", "Alice: KeyError: 'no room\\nfor more'", marks=pytest.mark.slow),  # by tests/cli
        ("Dies", "Alice's process ended early (exit code 7): last words"),
        ("Greedy", "Alice: RuntimeError: "),
        ("Hangs", "Bob did not finish within 6 s (--timeout)"),
    ],
)
def test_a_failing_compressor_makes_an_incomplete_report(name: str, reason: str) -> None:
    seconds = 6.0 if name == "Hangs" else 60.0
    started = time.monotonic()
    report = play(f"{SPECIMENS / 'failing.py'}:{name}", instance(8), timeout=seconds, memory_bytes=1 << 32)
    assert report.status == "INCOMPLETE"
    assert report.reason is not None
    assert report.reason.startswith(reason)
    assert "\n" not in report.reason
    assert time.monotonic() - started < 50
    found = report.to_json()
    assert found.keys() >= FIELDS
    assert found["wrong_reads"] is None
    assert found["flags"] == []
    assert not _alive("failing.py:")


def _alive(mark: str) -> list[str]:
    """Command lines of players that are still there."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "kvverify.audit.player" in line and mark in line:
            found.append(line)
    return found


def test_nan_answers_are_wrong_reads_and_noise_is_not_heard() -> None:
    report = play(f"{SPECIMENS / 'failing.py'}:NotANumber", instance(32), payload="discrete", timeout=60)
    found = report.to_json()
    assert found["status"] == "NO FLAG"
    assert found["max_abs_error"] is None
    assert 512 <= found["wrong_reads"] <= 1024
    assert found["curve"][-1]["wrong_reads"] > 1000


def test_what_cannot_be_played_is_wrong_usage() -> None:
    one = instance(8)
    for options in (
        {"payload": "analog"}, {"payload": "discrete", "alphabet": 1}, {"dtype": "int8"}, {"isolation": "prison"},
        {"group": 0}, {"timeout": 0}, {"memory_bytes": 1}, {"reads": 0},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            play("dense", one, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="does not sum to 16"):
        play("dense", one, schedule="prefill:15")
    with pytest.raises(UsageError, match="bits"):
        play("uniform", one, parameters={"bits": "9"})


class Wrong:
    """A compressor's answer, as the test wants it."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def attend(self, queries: object, own_keys: object, own_values: object) -> object:
        return self.answer


def test_a_factory_must_make_a_compressor() -> None:
    from kvverify.audit.player import Table
    from kvverify.compressors.protocol import Settings, Shape

    settings = Settings("mine.py:Wrong", Shape(kv_heads=1, heads=1, key_dim=1, value_dim=1))
    with pytest.raises(TypeError, match=r"mine.py:Wrong returned a Wrong, which is no Compressor"):
        Table(settings, 1, Wrong).sit_down()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.zeros(1, 4, 3, 6), r"shape \(1, 4, 3, 6\), expected \(1, 4, 3, 5\)"),
        (torch.zeros(4, 3, 5), "expected"),
        (torch.zeros(1, 4, 3, 5, dtype=torch.int64), "returned a torch.int64"),
        (torch.zeros(1, 4, 3, 5, dtype=torch.complex64), "returned a torch.complex64"),
        (np.zeros((1, 4, 3, 5)), "returned a ndarray"),
        (None, "returned a NoneType"),
    ],
)
def test_answers_of_another_kind_are_refused(answer: object, message: str) -> None:
    from kvverify.audit.player import Asker, Table
    from kvverify.compressors.protocol import Settings, Shape

    settings = Settings("wrong", Shape(kv_heads=2, heads=4, key_dim=7, value_dim=5))
    table = Table(settings, 1, None, (Wrong(answer),))  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError), match=message):
        Asker(table, torch.zeros(3, 7), torch.zeros(3, 7), 3).ask(slice(0, 3))


def test_every_query_head_takes_its_turn() -> None:
    from kvverify.audit.player import Asker, Table
    from kvverify.compressors.protocol import Settings, Shape

    settings = Settings("wrong", Shape(kv_heads=2, heads=6, key_dim=7, value_dim=1))
    answer = torch.arange(6.0)[None, :, None, None] * 10 + torch.arange(2.0, 6.0)[None, None, :, None]
    table = Table(settings, 1, None, (Wrong(answer),))  # type: ignore[arg-type]
    found = Asker(table, torch.zeros(9, 7), torch.zeros(9, 7), 4).ask(slice(2, 6))
    assert found[0, :, :, 0].tolist() == [[22, 3, 14, 25], [52, 33, 44, 55]]
