"""The file of results: whole lines only, one sweep's only, one writer at a time."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from kvverify.errors import UsageError
from kvverify.sweep.results import Results, read_results
from tests.sweep.tasks import plan

RESULT: dict[str, Any] = {"status": "NO FLAG", "reason": None, "seconds": 1.0, "audit": None}


def filled(folder: Path) -> Path:
    """A file with the first two of three audits."""
    path = folder / "results.jsonl"
    jobs = plan(folder, "a", "b", "c")
    with Results(path, jobs) as results:
        for job in jobs[:2]:
            results.add(job, RESULT)
    return path


def test_a_line_is_whole_and_says_what_was_asked(tmp_path: Path) -> None:
    path = filled(tmp_path)
    jobs = plan(tmp_path, "a", "b", "c")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["key"] for line in lines] == [job.key for job in jobs[:2]]
    assert lines[0] == {"schema": "kvverify-sweep/1", "key": jobs[0].key, "request": dict(jobs[0].request), **RESULT}
    assert read_results(path, jobs) == {line["key"]: line for line in lines}
    assert read_results(tmp_path / "none.jsonl", jobs) == {}
    assert not (tmp_path / "none.jsonl").exists()


def test_a_line_that_was_cut_anywhere_is_dropped_and_nothing_else(tmp_path: Path) -> None:
    path = filled(tmp_path)
    jobs = plan(tmp_path, "a", "b", "c")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in [*range(first, first + 60), *range(first + 60, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        assert read_results(path, jobs).keys() == {jobs[0].key}
        assert path.stat().st_size == cut  # looking changes nothing
        with Results(path, jobs) as results:
            assert results.lines.keys() == {jobs[0].key}
            assert path.read_bytes() == whole[:first]
            results.add(jobs[1], RESULT)
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "held", ["notes", "notes\n", "{}\n", '{"schema": "kvverify-sweep/2"', "[1]\n", "[" * 9999 + "\n"]
)
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, held: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(held)
    with pytest.raises(UsageError, match="not the results of a sweep"):
        Results(path, plan(tmp_path, "a"))
    assert path.read_text() == held


def test_another_sweep_s_results_are_refused_a_larger_sweep_s_go_on(tmp_path: Path) -> None:
    path = filled(tmp_path)
    before = path.read_bytes() + b'{"schema": "kvver'
    path.write_bytes(before)
    with pytest.raises(UsageError, match=r"holds 1 audit\(s\), the first of b, that this sweep does not ask for"):
        Results(path, plan(tmp_path, "a", "c"))
    assert path.read_bytes() == before
    with Results(path, plan(tmp_path, "a", "new", "b", "c")) as results:
        assert len(results.lines) == 2


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    jobs = plan(tmp_path, "a")
    with Results(path, jobs):
        with pytest.raises(UsageError, match="another sweep is writing to it"):
            Results(path, jobs)
        assert read_results(path, jobs) == {}
    with Results(path, jobs):
        pass


def test_a_disk_that_is_full_keeps_whole_lines_only(tmp_path: Path) -> None:
    path = filled(tmp_path)
    jobs = plan(tmp_path, "a", "b", "c")
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Results(path, jobs) as results:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
        try:
            with pytest.raises(OSError, match=str(path)):
                results.add(jobs[2], RESULT)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert jobs[2].key not in results.lines
    assert path.read_bytes() == before
