"""Attention rows of a key file: the file's own faults, the rule's thresholds, and the weights against plain ones."""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvverify.kernel.check import Result, Verdict, check
from kvverify.kernel.context import Context
from kvverify.kernel.document import OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.statement import TensorFile
from kvverify.kernel.tensors import read_matrix
from tests.kernel.apply import context
from tests.kernel.controls import Control, controls, rebuild, safetensors
from tests.kernel.mutants import put

ROWS = {control.name: control for control in controls() if "attention-row" in control.rules}
CONTROL = ROWS["rows, exact"]
FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def checked(content: bytes | None, folder: Path, control: Control = CONTROL, **changes: Any) -> Result:
    """The control with this content as its key file, digest and all, and with changed fields of ``keys``."""
    keys = {**control.tree["statement"]["keys"], **changes}
    if content is not None:
        (folder / "keys.safetensors").write_bytes(content)
        keys = {**keys, "sha256": hashlib.sha256(content).hexdigest()}
    return check(rebuild(put(control.tree, ("statement", "keys"), keys)), folder)


def headed(header: object, data: bytes = b"\0" * 48) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(**changes: object) -> dict[str, object]:
    return {"keys": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48], **changes}}


FAULTS = {
    "empty": b"", "seven bytes": b"1234567", "a header beyond the file": struct.pack("<Q", 1 << 40) + b"{}",
    "no header": struct.pack("<Q", 0), "not JSON": headed(b"{{"), "not UTF-8": headed(b'{"\xff": 1}'),
    "a list": headed([]), "a number": headed(7), "no such tensor": headed({"other": entry()["keys"]}),
    "an entry that is a string": headed({"keys": "F32"}), "an entry that is null": headed({"keys": None}),
    "no fields": headed({"keys": {}}), "a list as dtype": headed(entry(dtype=["F32"])),
    "an object as dtype": headed(entry(dtype={})), "an unknown dtype": headed(entry(dtype="I32")),
    "a number as shape": headed(entry(shape=5)), "null as shape": headed(entry(shape=None)),
    "a string as shape": headed(entry(shape="43")), "an object as shape": headed(entry(shape={"4": 3})),
    "a float in shape": headed(entry(shape=[4.0, 3])), "a literal in shape": headed(entry(shape=[4, True])),
    "a negative shape": headed(entry(shape=[-4, -3])), "a zero in shape": headed(entry(shape=[0, 3])),
    "a scalar": headed(entry(shape=[])), "a vector": headed(entry(shape=[12])),
    "four dimensions": headed(entry(shape=[1, 1, 4, 3])), "heads without a choice": headed(entry(shape=[1, 4, 3])),
    "a huge shape": headed(entry(shape=[10**4000, 10**4000])), "another shape": headed(entry(shape=[3, 4])),
    "offsets that are numbers": headed(entry(data_offsets=5)), "one offset": headed(entry(data_offsets=[0])),
    "strings as offsets": headed(entry(data_offsets=["0", "48"])),
    "a negative offset": headed(entry(data_offsets=[-48, 0])),
    "offsets beyond the file": headed(entry(data_offsets=[4, 52])),
    "too few bytes": headed(entry(data_offsets=[0, 44])),
    "a name twice": headed(json.dumps(entry()).encode()[:-1] + b', "keys": {}}'),
    "deep": headed(b"[" * 100_000), "NaN": headed(entry(), struct.pack("<f", float("nan")) * 12),
    "infinity": headed(entry(), struct.pack("<f", float("-inf")) * 12),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_file_is_invalid(name: str, tmp_path: Path) -> None:
    result = checked(FAULTS[name], tmp_path)
    assert (result.verdict, result.step) == (Verdict.INVALID, "leak")
    assert len(result.reason) < 300


def test_an_absent_file_is_incomplete_and_a_changed_one_invalid(tmp_path: Path) -> None:
    assert checked(None, tmp_path).verdict is Verdict.INCOMPLETE
    (tmp_path / "keys.safetensors").mkdir()
    assert checked(None, tmp_path).verdict is Verdict.INCOMPLETE
    (tmp_path / "keys.safetensors").rmdir()
    content = CONTROL.files[0][1]
    for i in (0, 9, len(content) - 1):
        (tmp_path / "keys.safetensors").write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        result = checked(None, tmp_path)
        assert result.verdict is Verdict.INVALID
        assert "digest" in result.reason
    assert checked(content, tmp_path).verdict is Verdict.VALID


OUTSIDE = ["../keys", "/etc/passwd", "a/../b", "./a", "a//b", "", ".", "..", "a\\b", "a\0b", "\ud800", "x" * 300, "é"]


@pytest.mark.parametrize("name", OUTSIDE, ids=ascii)
def test_a_name_outside_the_folder_is_invalid(name: str, tmp_path: Path) -> None:
    assert checked(None, tmp_path, name=name).verdict is Verdict.INVALID


def test_a_name_in_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "keys.safetensors").write_bytes(CONTROL.files[0][1])
    assert checked(None, tmp_path, name="deep/keys.safetensors").verdict is Verdict.VALID


def test_a_certificates_files_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(CONTROL.tree))
    (tmp_path / "keys.safetensors").write_bytes(CONTROL.files[0][1])
    assert check(tmp_path / "c.json").verdict is Verdict.VALID
    assert check(tmp_path / "c.json", tmp_path / "elsewhere").verdict is Verdict.INCOMPLETE


def test_heads(tmp_path: Path) -> None:
    control = ROWS["rows, levels"]
    content = control.files[0][1]
    assert checked(content, tmp_path, control).verdict is Verdict.VALID
    for head in ("0", "2", "99"):
        assert checked(content, tmp_path, control, head=head).verdict is Verdict.INVALID
    assert checked(CONTROL.files[0][1], tmp_path, head="0").verdict is Verdict.INVALID


@given(st.sampled_from(sorted(FORMATS)), st.integers(1, 4), st.integers(1, 4), st.data())
def test_floats_are_read_exactly(dtype: str, rows: int, columns: int, data: st.DataObject) -> None:
    """Every bit pattern: numpy's value where it is finite, a rejection where it is not."""
    width = int(FORMATS[dtype][2])
    raw = data.draw(st.binary(min_size=width * rows * columns, max_size=width * rows * columns))
    values = np.frombuffer(raw, FORMATS[dtype])
    if dtype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    content = safetensors("t", dtype, [rows, columns], raw)
    file = TensorFile("k", hashlib.sha256(content).hexdigest(), "t", None)
    statement = context(tokens=rows, key_dim=columns).statement
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "k").write_bytes(content)
        try:
            matrix, power, found = read_matrix(Context(statement, Path(folder)), file, columns, rows)
        except Rejected:
            assert not np.isfinite(values).all()
            return
        except OverLimit:
            sizes = [np.frexp(x)[1] for x in values if x]
            assert max(sizes) - min(sizes) > 200
            return
    assert found == dtype
    flat = [Fraction(x) * Fraction(2) ** power for row in matrix for x in row]
    assert flat == [Fraction(float(x)) for x in values]
