"""Workers end with the run that has them, and clean up; a line is in the file as a whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvverify.batch import append

ROOT = Path(__file__).resolve().parents[1]
RUN = """
import os, sys, tempfile, time
from pathlib import Path
from kvverify.batch import obedient, workers

def task(folder):
    with tempfile.TemporaryDirectory(dir=folder):
        Path(folder, "worker").write_text(str(os.getpid()))
        time.sleep(60)

if __name__ == "__main__":
    with workers(1) as pool:
        future = pool.submit(obedient, task, sys.argv[1])
        if sys.argv[2] == "lets go":
            while not Path(sys.argv[1], "worker").exists():
                time.sleep(0.01)
            raise ValueError
        future.result()
"""


@pytest.mark.parametrize("end", ["is killed", "lets go"])
def test_workers_end_with_their_run_and_clean_up(end: str, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(RUN)
    folder = tmp_path / "folder"
    folder.mkdir()
    run = subprocess.Popen(
        [sys.executable, tmp_path / "run.py", folder, end], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (folder / "worker").exists() or not (text := (folder / "worker").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if end == "is killed":
        run.kill()
    assert run.wait(30) != 0
    worker = Path("/proc", text, "stat")
    while worker.exists() and ") Z" not in worker.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [path.name for path in folder.iterdir()] == ["worker"]


def test_a_line_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with path.open("ab", buffering=0) as stream:
        append(path, stream, {"a": 1})
        with pytest.raises(ValueError, match="Out of range"):
            append(path, stream, {"b": float("nan")})
        append(path, stream, {"c": "é"})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"c": "é"}]
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="space") as refusal:
        append(Path("here"), full, {"a": 1})
    assert refusal.value.filename == "here"
