"""Schedules, frames and targets: the small parts of a game, without processes."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvverify.audit import pipe, schedule, target
from kvverify.errors import Incomplete, UsageError

CHUNKS = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(tuple)


@pytest.mark.parametrize(
    ("text", "tokens", "chunks"),
    [
        ("prefill:5", 5, (5,)),
        ("prefill:3,step:2", 5, (3, 1, 1)),
        ("chunk:2x4", 8, (4, 4)),
        ("chunk:4, step:1 ,chunk:1x3", 8, (4, 1, 3)),
    ],
)
def test_schedules_read_as_they_are_written(text: str, tokens: int, chunks: tuple[int, ...]) -> None:
    assert schedule.parse(text, tokens) == chunks


@pytest.mark.parametrize(
    "text", ["", "prefill", "prefill:0", "prefill:-5", "prefill:4", "prefill:6", "steps:5", "prefill:2x3", "chunk:x5",
             "step:99999999999999999999", "chunk:1000000000x1", "prefill:5,", "prefill:⁵"],
)  # fmt: skip
def test_a_schedule_that_is_none_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="schedule"):
        schedule.parse(text, 5)


@given(st.integers(1, 3000), st.integers(0, 3000))
def test_the_default_steps_twice_the_residual_and_sums_up(tokens: int, residual: int) -> None:
    chunks = schedule.parse(schedule.default(tokens, residual), tokens)
    assert sum(chunks) == tokens
    assert len(chunks) - 1 == min(tokens // 2, 2 * residual)


@given(CHUNKS, st.data())
def test_a_shorter_stream_keeps_the_end_of_the_schedule(chunks: tuple[int, ...], data: st.DataObject) -> None:
    dropped = data.draw(st.integers(0, sum(chunks) - 1))
    shorter = schedule.without_first(chunks, dropped)
    assert sum(shorter) == sum(chunks) - dropped
    assert min(shorter) > 0
    assert shorter[1:] == chunks[len(chunks) - len(shorter) + 1 :]


def test_frames_come_back_as_they_were_sent() -> None:
    arrays = {"a": np.arange(6, dtype=np.float64).reshape(2, 3).T, "empty": np.zeros((0, 4), dtype=np.float32)}
    stream = io.BytesIO()
    pipe.write(stream, {"word": "x", "number": 3}, arrays)
    pipe.write(stream, {})
    stream.seek(0)
    header, found = pipe.read(stream, 48)
    assert header == {"word": "x", "number": 3}
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
    assert pipe.read(stream, 0) == ({}, {})
    with pytest.raises(EOFError):
        pipe.read(stream, 0)


def _frame(header: object) -> io.BytesIO:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return io.BytesIO(len(head).to_bytes(4, "little") + head + bytes(64))


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[" * 100_000,
        b'{"arrays": [], "x": NaN}',
        [],
        {},
        {"arrays": 3},
        {"arrays": [["a", "float64"]]},
        {"arrays": [["a", "object", [1]]]},
        {"arrays": [["a", "float64", [-1]]]},
        {"arrays": [["a", "float64", [9]]]},
        {"arrays": [["a", "float64", [4]], ["b", "float64", [5]]]},
        {"arrays": [["a", "uint8", [1 << 62, 1 << 62]]]},
    ],
)
def test_nonsense_on_a_pipe_is_refused(header: object) -> None:
    with pytest.raises(pipe.BadFrame):
        pipe.read(_frame(header), 64)


def test_a_header_beyond_its_limit_is_not_read() -> None:
    with pytest.raises(pipe.BadFrame, match="header of 4294967295 bytes"):
        pipe.read(io.BytesIO(b"\xff" * 8), 64)


def test_targets_are_hashed_but_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine_for_test.py"
    file.write_text("raise SystemExit('the referee must not run this')\n")
    found = target.locate(f"{file}:Mine")
    assert found.folders == (str(tmp_path),)
    assert found.label == "mine_for_test.py:Mine"
    assert list(found.files) == ["mine_for_test.py"]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert target.locate("mine_for_test:Mine").files == found.files
    file.write_text("x = 1\n")
    assert target.locate(f"{file}:Mine").files != found.files
    assert {"python", "numpy"} <= found.versions.keys()


def test_targets_that_are_not_there() -> None:
    with pytest.raises(UsageError, match="no file"):
        target.locate("nowhere/at_all.py:Mine")
    with pytest.raises(UsageError, match="expected module:name"):
        target.locate("file.py:")
    with pytest.raises(UsageError, match="dense"):
        target.locate("dens")
    with pytest.raises(Incomplete, match="not installed"):
        target.locate("no_such_module_here:Mine")
