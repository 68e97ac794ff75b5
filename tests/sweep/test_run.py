"""Any executor: threads, processes that are killed, a Dask cluster; what fails is one line, and the sweep goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kvverify.errors import Incomplete, UsageError
from kvverify.sweep.plan import read_plan
from kvverify.sweep.pools import Pool, cluster, processes
from kvverify.sweep.results import Results, read_results
from tests.cli.command import kvverify as call
from tests.conftest import needs
from tests.sweep.tasks import plan, task

needs("torch", "audit")
needs("scipy", "audit")

from kvverify.sweep.run import play, run  # noqa: E402


@contextmanager
def threads() -> Iterator[tuple[Executor, int]]:
    with ThreadPoolExecutor(2) as executor:
        yield executor, 2


def swept(folder: Path, pool: Pool, *targets: str) -> tuple[dict[str, Any], list[str]]:
    """target -> line, and what was said."""
    jobs, said = plan(folder, *targets), list[str]()
    with Results(folder / "results.jsonl", jobs) as results:
        run(jobs, pool, results, lambda line, done: said.append(f"{done:.2f} {line}"), task)
    held = read_results(folder / "results.jsonl", jobs)
    assert len((folder / "results.jsonl").read_text().splitlines()) == len(jobs) == len(held)
    return {line["request"]["target"]: line for line in held.values()}, said


def test_a_failure_of_any_kind_is_a_line_of_its_own(tmp_path: Path) -> None:
    lines, said = swept(tmp_path, threads, "a", "raises", "b", "c")
    assert {name: line["status"] for name, line in lines.items()} == {
        "a": "NO FLAG", "raises": "INCOMPLETE", "b": "NO FLAG", "c": "NO FLAG"
    }  # fmt: skip
    assert lines["raises"]["reason"] == "RuntimeError: two lines"
    assert [line.partition(",")[0] for line in said] == ["0.25 1 of 4", "0.50 2 of 4", "0.75 3 of 4", "1.00 4 of 4"]
    assert all("about 0 s left" in line for line in said)


def test_what_has_a_line_is_not_played_again(tmp_path: Path) -> None:
    swept(tmp_path, threads, "a", "b")
    before = (tmp_path / "results.jsonl").read_text()
    _, said = swept(tmp_path, threads, "b", "new", "a")
    assert len(said) == 1
    assert said[0].startswith("1.00 3 of 3, ")
    assert (tmp_path / "results.jsonl").read_text().startswith(before)
    assert swept(tmp_path, threads, "b", "new", "a")[1] == []


def test_an_audit_that_kills_its_worker_twice_is_incomplete_and_costs_no_other(tmp_path: Path) -> None:
    lines, _ = swept(tmp_path, processes(2), "a", "kills-1", "b", "kills-2", "c", "d")
    assert {name for name, line in lines.items() if line["status"] == "NO FLAG"} == {"a", "b", "c", "d"}
    assert "its worker process ended early" in lines["kills-1"]["reason"]
    assert lines["kills-2"]["status"] == "INCOMPLETE"


def test_an_executor_that_gives_up_ends_the_sweep_and_keeps_what_is_finished(tmp_path: Path) -> None:
    class Cancels(ThreadPoolExecutor):
        def submit(self, *words: Any, **more: Any) -> Future[Any]:
            future: Future[Any] = super().submit(*words, **more)
            if words[1].request["target"] == "b":
                future = Future()
                future.cancel()
                future.set_running_or_notify_cancel()
            return future

    @contextmanager
    def pool() -> Iterator[tuple[Executor, int]]:
        with Cancels(1) as executor:
            yield executor, 1

    with pytest.raises(Incomplete, match="what is finished is kept"):
        swept(tmp_path, pool, "a", "b", "c")
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


def test_a_dask_cluster(tmp_path: Path) -> None:
    distributed = needs("distributed", "sweep")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None, local_directory=tmp_path
    ) as local:
        lines, said = swept(tmp_path, cluster(local.scheduler_address), "dense", "raises", "nothere:Cache")
    assert lines["dense"]["status"] == lines["dense"]["audit"]["status"] == "NO FLAG"  # a real game
    assert lines["dense"]["audit"]["certified_floor_bits"] > 0
    assert lines["raises"]["reason"] == "RuntimeError: two lines"
    assert lines["nothere:Cache"]["reason"] == "the module 'nothere' is not installed here"
    assert len(said) == 3


@pytest.mark.parametrize("address", ["nowhere", "tcp://127.0.0.1:1", "bad://x"])
def test_a_cluster_that_nobody_answers_for(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("distributed", "sweep")
    monkeypatch.setattr("kvverify.sweep.pools._REACHED_IN", 0.5)
    with pytest.raises(UsageError, match=f"no Dask scheduler at '{address}'"), cluster(address)():
        pass


def test_an_audit_of_a_sweep_is_the_audit_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same request, defaults and all, but for where files lie."""
    asked: list[Any] = []

    def caught(request: Any, progress: object) -> None:
        asked.append(request)
        raise Incomplete("caught")

    # By its module: kvverify.audit, as a name, is the public function.
    monkeypatch.setattr(sys.modules["kvverify.audit.request"], "run_audit", caught)
    monkeypatch.setattr("kvverify.sweep.run.run_audit", caught)
    monkeypatch.chdir(tmp_path)
    Path("proof.json").write_text("{}")
    Path("sweep.toml").write_text(
        """
        [[compressor]]
        target = "dense"
        [[compressor]]
        target = "mine.py:Mine"
        set = { b = 2, a = "x" }
        claim = { bits-per-token = 0.5, tolerance = 0.01, failure = "1/10" }
        schedule = "chunk:8x2"
        payload = "discrete"
        alphabet = 4
        dtype = "float32"
        reads = 7
        seed = 5
        device = "cuda"
        timeout = 1.5
        memory = 0.5
        isolation = "none"
        [[instance]]
        tokens = 16
        head-dim = 8
        value-dim = 4
        kv-heads = 2
        heads = 6
        max-logit = 12.5
        [[instance]]
        certificate = "proof.json"
        """
    )
    whole = "--tokens 16 --head-dim 8 --value-dim 4 --kv-heads 2 --heads 6 --max-logit 12.5"
    mine = (
        "mine.py:Mine --set a=x --set b=2 --claim bits-per-token=1/2,tolerance=1/100,failure=1/10 --schedule chunk:8x2 "
        "--payload discrete --alphabet 4 --dtype float32 --reads 7 --seed 5 --device cuda --timeout 1.5 --memory 0.5 "
        "--isolation none"
    )
    jobs = read_plan(Path("sweep.toml"))
    words = [f"dense {whole}", "dense --certificate proof.json", f"{mine} {whole}", f"{mine} --certificate proof.json"]
    for job, line in zip(jobs, words, strict=True):
        assert play(job, Path("evidence"))["reason"] == "caught"
        call("audit", *line.split(), "--output", "evidence").refuses(3, "caught")
    assert asked[::2] == asked[1::2]
    assert len(asked) == 8


def test_what_the_command_line_calls_wrong_usage_is_refused(tmp_path: Path) -> None:
    (job,) = plan(tmp_path, "unifrom")
    found = play(job, tmp_path)
    assert (found["status"], found["audit"]) == ("REFUSED", None)
    assert "unifrom" in found["reason"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "about 0 s"), (99, "about 99 s"), (150, "about 2 min"), (9000, "about 2.5 h")]
)
def test_time_left_is_said_in_seconds_minutes_hours(
    seconds: float, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two audits took so long; so does the other."""
    clock = iter([0.0, seconds, 2 * seconds])
    monkeypatch.setattr("kvverify.sweep.run._now", lambda: next(clock))
    _, said = swept(tmp_path, threads, "a", "b")
    assert [line.split(", ")[1].partition(" left")[0] for line in said] == [words, "about 0 s"]
