"""Any executor: threads, processes that are killed, a Dask cluster; what fails is one line, and the sweep goes on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kvverify.errors import Incomplete, UsageError
from kvverify.sweep.pools import Pool, cluster, processes
from kvverify.sweep.results import Results, read_results
from tests.conftest import needs
from tests.sweep.tasks import plan, task

needs("torch", "audit")
needs("scipy", "audit")

from kvverify.sweep.run import run  # noqa: E402


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
