"""No half-written file and no lost one: signals, full disks, folders that are read-only, two writers at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from tests.cli.command import ROOT, Done, kvverify
from tests.cli.conftest import Seal
from tests.robust.children import certificate, confined, hurt, names, started

SMALL = ("--tokens", 64, "--head-dim", 16)
# What writes a file: the words of a command, from a certificate that it may read and the file that it shall write.
WRITERS: dict[str, Callable[[Path, Path], tuple[object, ...]]] = {
    "bound": lambda _, out: ("bound", *SMALL, "--output", out),
    "certify": lambda _, out: ("certify", *SMALL, "--output", out),
    "junit": lambda given, out: ("check", given, "--junit", out),
    "sarif": lambda given, out: ("check", given, "--sarif", out),
    "explain": lambda given, out: ("explain", given, "--output", out),
    "export": lambda given, out: ("export", given, "--to", "coq", "--output", out),
}
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A certificate to read."""
    (tmp_path / "given").mkdir()
    path = tmp_path / "given" / "c.json"
    document.write(path, certificate())
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that is to be replaced."""
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "c.json"
    path.write_text("old")
    return path


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: signal.Signals(number).name)
@pytest.mark.parametrize("writer", ["certify", "junit"])
def test_a_signal_in_the_middle_of_a_write(writer: str, number: int, given: Path, old: Path) -> None:
    done = hurt(number, *WRITERS[writer](given, old))
    assert done.code == SIGNALS[signal.Signals(number)], done
    assert old.read_text() == "old"
    if number != signal.SIGKILL:
        assert names(old.parent) == {"c.json"}
        assert done.err in ("kvverify: interrupted\n", "kvverify: terminated\n")
    # What a kill leaves behind is nothing that a check of the folder takes up.
    document.write(old, certificate())
    assert kvverify("check", old.parent).out.endswith("1 valid, 0 invalid, 0 incomplete\n")


@pytest.mark.parametrize("writer", ["certify", "sarif"])
def test_a_disk_that_fills_up(writer: str, given: Path, old: Path) -> None:
    confined(100, *WRITERS[writer](given, old)).refuses(2, f"{old} cannot be written: File too large")
    assert old.read_text() == "old"
    assert names(old.parent) == {"c.json"}


def test_a_full_file_system(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("this system lets nobody mount a small file system here")
    try:
        (disk / "c.json").write_text("old")
        (disk / "full").write_bytes(bytes(12 << 10))
        kvverify("certify", *SMALL, "--output", disk / "c.json").refuses(
            2, "cannot be written: No space left on device"
        )
        assert (disk / "c.json").read_text() == "old"
        assert names(disk) == {"c.json", "full"}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_read_only_folder(writer: str, given: Path, sealed: Path) -> None:
    (sealed / "c.json").write_text("old")
    with Seal(sealed):
        done = kvverify(*WRITERS[writer](given, sealed / "c.json"))
    done.refuses(2, f"{sealed / 'c.json'} cannot be written: Permission denied")
    assert (sealed / "c.json").read_text() == "old"
    assert names(sealed) == {"c.json"}


@pytest.mark.parametrize("writer", ["junit", "sarif", "explain", "export"])
def test_nothing_is_written_over_what_is_read(writer: str, given: Path) -> None:
    before = given.read_bytes()
    kvverify(*WRITERS[writer](given, given)).refuses(2, "would be lost")
    link = given.with_name("link.json")
    link.symlink_to(given)
    kvverify(*WRITERS[writer](given, link)).refuses(2, "would be lost")
    assert given.read_bytes() == before


def test_two_reports_have_two_names(given: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    kvverify("check", given, "--junit", report, "--sarif", report).refuses(2, "would be lost")
    assert not report.exists()


def test_keys_are_not_lost_to_their_certificate(tmp_path: Path) -> None:
    keys = tmp_path / "keys.safetensors"
    keys.write_bytes(b"precious")
    kvverify("certify", "--keys", keys, "--output", keys).refuses(2, "would be lost")
    assert keys.read_bytes() == b"precious"


def test_two_commands_at_one_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    children = [started("certify", "--tokens", tokens, "--head-dim", 16, "--output", path) for tokens in (64, 128)]
    for child in children:
        _, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
    assert check(path).verdict is Verdict.VALID
    assert json.loads(path.read_text())["statement"]["tokens"] in ("64", "128")
    assert names(tmp_path) == {"c.json"}


def test_a_reader_sees_one_writers_file_or_the_others(tmp_path: Path) -> None:
    path, contents = tmp_path / "c.json", [letter * 200_000 for letter in (b"a", b"b")]
    document.write_bytes(path, contents[0])

    def write(content: bytes) -> None:
        for _ in range(40):
            document.write_bytes(path, content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    assert names(tmp_path) == {"c.json"}


# The writer itself.


def test_an_interrupt_after_the_renaming_is_only_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, replace = tmp_path / "c.json", os.replace

    def late(source: str, target: Path) -> None:
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", late)
    with pytest.raises(KeyboardInterrupt):
        document.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == {"c.json"}


def refusals(folder: Path) -> Iterator[Path]:
    """Places that no file can be written to."""
    yield folder / "missing" / "c.json"
    (folder / "folder").mkdir()
    yield folder / "folder"
    (folder / "file").write_text("old")
    yield folder / "file" / "c.json"
    yield folder / ("x" * 300)


def test_an_error_names_the_file_that_was_given(tmp_path: Path) -> None:
    for path in refusals(tmp_path):
        with pytest.raises(OSError, match=path.name) as refusal:
            document.write_bytes(path, b"new")
        assert (refusal.value.filename, refusal.value.filename2) == (str(path), None)
    assert names(tmp_path) == {"folder", "file"}
    assert names(tmp_path / "folder") == set()


def test_the_longest_name_that_a_folder_takes(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 120 + ".json")
    document.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_map_keeps_whole_lines_only(tmp_path: Path) -> None:
    """A cell that the disk has half the room for is not there, and the map goes on from the cells before it."""
    path = tmp_path / "cells.jsonl"
    code = f"""
import resource
from pathlib import Path
from kvverify.bounds.map import _Lines
cell = {{"floor": "keys", "layer": 0, "head": 0, "tolerance": "1/100"}}
path = Path({str(path)!r})
lines = _Lines(path, {{"schema": "x"}})
lines.add(cell)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20,) * 2)
try:
    lines.add({{**cell, "head": 1}})
except OSError as error:
    print(error.filename, len(lines.known))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert Done(done.returncode, done.stdout, done.stderr) == Done(0, f"{path} 1\n", "")
    assert [json.loads(line).get("head") for line in path.read_text().splitlines()] == [None, 0]
