"""What a player cannot do, under each isolation that this machine has."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvverify.audit import landlock, seccomp
from kvverify.audit.game import play
from tests.audit.small import instance
from tests.conftest import needs

needs("torch", "audit")

ROOT = Path(__file__).resolve().parents[2]
PROBE = f"{Path(__file__).with_name('specimens') / 'probe.py'}:Probe"


@pytest.mark.parametrize("isolation", ["landlock", "namespaces", "strongest"])
def test_nothing_but_scratch_is_within_reach(isolation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_text("secret")
    monkeypatch.setenv("KVVERIFY_TEST_SECRET", "x")
    report = play(PROBE, instance(8), parameters={"foreign": str(foreign)}, isolation=isolation, timeout=60)
    if report.reason and ("Operation not permitted" in report.reason or "no Landlock" in report.reason):
        pytest.skip(f"this machine has no {isolation}: {report.reason}")
    found = report.record.isolation
    assert found == isolation or (isolation == "strongest" and found != "none")
    readable = [] if found == "landlock" else ["read the foreign file"]
    assert report.reason == "Alice: RuntimeError: went through: " + ", ".join([*readable, "scratch"])
    assert report.status == "INCOMPLETE"
    assert foreign.read_text() == "secret"


BUSY = """
from pathlib import Path
import time
class Busy:
    def __init__(self, settings): pass
    def message(self): pass
    def load(self, message): pass
    def attend(self, queries, own_keys, own_values): pass
    def absorb(self, queries, keys, values):
        Path("at work").touch()
        time.sleep(60)
"""
PLAY = """
import sys
from kvverify.audit.game import play
from tests.audit.small import instance
play(sys.argv[1], instance(8), timeout=90)
"""


def test_players_at_work_end_with_a_referee_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(BUSY)
    referee = subprocess.Popen(
        [sys.executable, "-c", PLAY, f"{tmp_path / 'busy.py'}:Busy"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("kvverify-alice-*/at work")):
        assert time.monotonic() < deadline
        assert referee.poll() is None
        time.sleep(0.01)
    assert len(_players(tmp_path)) == 2
    referee.kill()
    referee.wait()
    while _players(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert time.monotonic() < deadline - 10  # and not after a minute of work


def _players(folder: Path) -> list[str]:
    """Command lines of living players whose scratch folder is there."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "kvverify.audit.player" in line and str(folder) in line:
            found.append(line)
    return found


def test_the_filter_refuses_what_it_lists_and_nothing_else() -> None:
    if not seccomp.available():
        pytest.skip("the call numbers of this machine are not known")
    code = """
import os, resource, socket, threading, subprocess, sys
from kvverify.audit import seccomp
seccomp.lock()
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
print(subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True).stdout.strip())
oneself = lambda: resource.prlimit(0, resource.RLIMIT_CORE, (0, 0))
other = lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE)
for attempt in (socket.socket, os.setsid, other, oneself, lambda: os.chmod(".", 0o755)):
    try:
        attempt()
        print("went through")
    except PermissionError:
        print("refused")
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["thread", "42", "refused", "refused", "refused", "went", "through", "refused"]
    with socket.socket():
        pass  # only the child was locked


def test_landlock_says_its_version_and_knows_more_rights_in_newer_ones() -> None:
    version = landlock.abi()
    assert version >= 0
    assert landlock.writable().bit_length() == (13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16)
