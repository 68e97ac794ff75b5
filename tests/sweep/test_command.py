"""``kvverify sweep`` as a person uses it: the page's example, killed and gone on with; interrupted; wrong words."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import ROOT
from tests.cli.command import kvverify as call
from tests.conftest import needs
from tests.sweep.tasks import write

needs("torch", "audit")
needs("scipy", "audit")

PAGE = (ROOT / "docs" / "sweep.md").read_text()
EXAMPLE, LARGER = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TARGETS = ROOT / "tests" / "cli" / "specimens" / "targets.py"
# A shell starts its background jobs deaf to SIGINT, and children inherit that.
START = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "if __name__ == '__main__':\n    from kvverify.cli import main; main()\n"
)


def started(folder: Path, *words: object) -> subprocess.Popen[str]:
    """A sweep in a process group of its own; temporary files go to ``folder/tmp``."""
    (folder / "tmp").mkdir()
    (folder / "start.py").write_text(START)
    return subprocess.Popen(
        [sys.executable, str(folder / "start.py"), "sweep", *map(str, words)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def descendants(parent: int) -> set[int]:
    """Living processes below a process."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            parents[int(stat.parent.name)] = int(ppid)
    found, last = set[int](), {parent}
    while last := {pid for pid, ppid in parents.items() if ppid in last}:
        found |= last
    return found


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if (stat := Path(f"/proc/{pid}/stat")).exists() and ") Z" not in stat.read_text()}


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def playing(parent: int) -> bool:
    """Both players of one game are at work, a moment after they were started."""
    started = 0
    for pid in descendants(parent):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            started += b"kvverify.audit.player" in Path(f"/proc/{pid}/cmdline").read_bytes()
    if started == 2:
        time.sleep(0.2)
    return started == 2


def players(folder: Path) -> list[Path]:
    return list((folder / "tmp").glob("kvverify-*"))


def test_a_sweep_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """The example of the page; its parent is killed while a game is played, and a line is cut."""
    (tmp_path / "field.toml").write_text(EXAMPLE)
    results = tmp_path / "results.jsonl"
    words = ("-o", results, "--workers", 1)
    child = started(tmp_path, "field.toml", *words)
    until(lambda: results.exists() and results.read_bytes().count(b"\n") == 1 and playing(child.pid))
    below = descendants(child.pid)
    assert len(below) >= 3  # a worker and two players
    child.kill()
    child.communicate()
    until(lambda: not alive(below))
    assert players(tmp_path) == []
    first = results.read_bytes()
    assert first.count(b"\n") == 1
    assert json.loads(first)["status"] == "INCOMPLETE"
    results.write_bytes(first + b'{"schema": "kvverify-sweep/1", "key": "0')

    listed = call("sweep", tmp_path / "field.toml", "-o", results, "--dry-run").out.splitlines()
    assert [line[33:38] for line in listed[:-1]] == ["done ", "to do", "to do"]
    done = call("sweep", tmp_path / "field.toml", *words)
    assert done.code == 0
    assert done.out == f"3 audit(s), 2 played now: 1 INCOMPLETE, 2 NO FLAG. Results: {results}\n"
    assert [line[:12] for line in done.err.splitlines()] == [" 67% 2 of 3,", "100% 3 of 3,"]
    assert results.read_bytes().startswith(first)
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["key"] for line in lines] == [line.split()[0] for line in listed[:-1]]
    assert [line["audit"] and line["audit"]["compressor"] for line in lines] == [None, "uniform", "dense"]

    again = call("sweep", tmp_path / "field.toml", *words, "--json")
    assert again.json == {
        "schema": "kvverify-sweep-summary/1", "audits": 3, "played": 0, "counts": {"INCOMPLETE": 1, "NO FLAG": 2},
        "results": str(results), "parquet": None,
    }  # fmt: skip

    pyarrow, table = needs("pyarrow.parquet", "sweep"), tmp_path / "results.parquet"
    assert call("sweep", tmp_path / "field.toml", *words, "--parquet", table).code == 0
    rows = pyarrow.read_table(table).to_pylist()
    assert [row["key"] for row in rows] == [line["key"] for line in lines]
    assert [json.loads(row["line"]) for row in rows] == lines
    for name in ("wire_bits", "flags", "symbol_error", "certified_floor_bits"):
        assert [row[name] for row in rows] == [None, *(line["audit"][name] for line in lines[1:])]


def test_an_interrupt_ends_the_players_and_keeps_what_is_finished(tmp_path: Path) -> None:
    write(tmp_path / "s.toml", f"{TARGETS}:Hangs", "nothere:Cache")
    child = started(tmp_path, "s.toml", "--workers", 2)
    results = tmp_path / "s.jsonl"
    until(lambda: results.exists() and results.read_bytes().count(b"\n") == 1 and playing(child.pid))
    below = descendants(child.pid)
    os.killpg(child.pid, signal.SIGINT)  # as the keyboard does
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (130, "")
    assert err.splitlines()[1:] == ["kvverify: interrupted"]
    until(lambda: not players(tmp_path), 5)
    until(lambda: not alive(below), 5)  # Python's own tracker of resources ends a moment after us
    (line,) = map(json.loads, results.read_text().splitlines())
    assert line["reason"] == "the module 'nothere' is not installed here"


def test_the_page_shows_what_the_example_asks_for(tmp_path: Path) -> None:
    (tmp_path / "field.toml").write_text(EXAMPLE)
    done = call("sweep", tmp_path / "field.toml", "--dry-run")
    assert done.code == 0
    assert f"$ kvverify sweep field.toml --dry-run\n{done.out}" in PAGE
    assert [file.name for file in tmp_path.iterdir()] == ["field.toml"]
    (tmp_path / "larger.toml").write_text(LARGER)
    (tmp_path / "proof.json").write_text("{}")
    plan = call("sweep", tmp_path / "larger.toml", "--dry-run", "--json").json
    assert (plan["audits"], plan["done"], len(plan["plan"])) == (42, 0, 42)
    assert "42 audits" in PAGE


def test_wrong_usage_is_refused_before_anything_is_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "s.toml", "dense")
    call("sweep", "none.toml").refuses(2, "none.toml: No such file")
    call("sweep", "s.toml", "--workers", 0).refuses(2, "workers: 0 given")
    call("sweep", "s.toml", "--workers", 2, "--cluster", "tcp://x:1").refuses(2, "give one of them")
    call("sweep", "s.toml", "-o", "s.toml").refuses(2, "would be lost")
    call("sweep", "s.toml", "--parquet", "s.jsonl").refuses(2, "would be lost")
    call("sweep", "s.toml", "-o", "no/s.jsonl").refuses(2, "no/s.jsonl: No such file")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s.toml"]
    (tmp_path / "other").write_text("notes\n")
    call("sweep", "s.toml", "-o", "other").refuses(2, "other: not the results of a sweep")
    call("sweep", "s.toml", "-o", "other", "--dry-run").refuses(2, "other: not the results of a sweep")
    for option, value, module in (("--parquet", "t", "pyarrow"), ("--cluster", "tcp://x:1", "distributed")):
        with monkeypatch.context() as without:
            without.setattr("importlib.util.find_spec", lambda name, gone=module: None if name == gone else name)
            call("sweep", "s.toml", option, value).refuses(2, f"needs {module}: pip install 'kvverify[sweep]'")
