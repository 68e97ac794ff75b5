"""Files of tensors that a broken kernel once got past the other tests with (scripts/mutate_kernel.py)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kvverify.kernel import tensors
from kvverify.kernel.context import Absent, Context
from kvverify.kernel.document import OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import RULES
from kvverify.kernel.statement import TensorFile
from kvverify.kernel.tensors import read_matrix
from tests.kernel.apply import context
from tests.kernel.controls import safetensors


def file_in(
    folder: Path, shape: list[int], dtype: str = "F32", data: bytes | None = None
) -> tuple[Context, TensorFile]:
    """A file of the numbers 0, 1, 2 .. in that shape, or of the data."""
    content = safetensors("t", dtype, shape, data or np.arange(np.prod(shape), dtype=np.float32).tobytes())
    (folder / "k").write_bytes(content)
    here = context()
    here.folder = folder
    return here, TensorFile("k", hashlib.sha256(content).hexdigest(), "t", None if len(shape) == 2 else 0)


def numbers(found: tuple[list[list[int]], int, str]) -> list[list[Fraction]]:
    """What the integers over one power of two stand for."""
    matrix, power, _ = found
    return [[x * Fraction(2) ** power for x in row] for row in matrix]


def test_a_link_out_of_the_folder_leads_nowhere(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    here, file = file_in(tmp_path, [4, 3])
    assert read_matrix(here, file, 3)
    here.folder = inside
    (inside / "k").symlink_to(tmp_path / "k")
    with pytest.raises(Absent):
        read_matrix(here, file, 3)
    (inside / "k").unlink()
    (inside / "k").symlink_to(inside / "k")
    with pytest.raises(Absent):
        read_matrix(here, file, 3)


def test_a_matrix_has_as_many_rows_as_it_must(tmp_path: Path) -> None:
    here, file = file_in(tmp_path, [4, 3])
    assert numbers(read_matrix(here, file, 3, 4)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    for columns, rows in ((3, 3), (3, 5), (4, None), (2, None), (4, 3)):
        with pytest.raises(Rejected):
            read_matrix(here, file, columns, rows)


def test_each_head_is_its_own_slice(tmp_path: Path) -> None:
    here, file = file_in(tmp_path, [3, 2, 2])
    for head in range(3):
        found = numbers(read_matrix(here, replace(file, head=head), 2, 2))
        assert found == [[4 * head, 4 * head + 1], [4 * head + 2, 4 * head + 3]]
    for head in (3, None):
        with pytest.raises(Rejected):
            read_matrix(here, replace(file, head=head), 2, 2)


@pytest.mark.parametrize(("name", "value"), [("MAX_FILE", 0), ("MAX_ENTRIES", 12), ("MAX_SIDE", 4)])
@pytest.mark.parametrize("shape", [[4, 3], [3, 4]])
def test_limits_of_files(
    name: str, value: int, shape: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, file = file_in(tmp_path, shape)
    value = value or (tmp_path / "k").stat().st_size
    monkeypatch.setattr(tensors, name, value)
    assert read_matrix(here, file, shape[1])
    monkeypatch.setattr(tensors, name, value - 1)
    with pytest.raises(OverLimit, match="limit: a"):
        read_matrix(here, file, shape[1])


@pytest.mark.parametrize(
    ("dtype", "one", "most"),
    [
        ("F64", "000000000000f03f", Fraction((1 << 53) - 1) * 2**971),
        ("F32", "0000803f", Fraction((1 << 24) - 1) * 2**104),
        ("F16", "003c", Fraction(65504)),
        ("BF16", "803f", Fraction((1 << 8) - 1) * 2**120),
    ],
)
def test_one_and_the_largest_number_of_a_format(dtype: str, one: str, most: Fraction, tmp_path: Path) -> None:
    raw = bytes.fromhex(one)
    largest = {"F64": "ffffffffffffef7f", "F32": "ffff7f7f", "F16": "ff7b", "BF16": "7f7f"}[dtype]
    for data, value in ((raw, Fraction(1)), (bytes.fromhex(largest), most)):
        here, file = file_in(tmp_path, [1, 1], dtype, data)
        assert numbers(read_matrix(here, file, 1)) == [[value]]


@pytest.mark.parametrize(("spread", "fine"), [(300, True), (301, False)])
def test_entries_may_be_so_far_apart(spread: int, fine: bool, tmp_path: Path) -> None:
    here, file = file_in(tmp_path, [1, 2], "F64", np.ldexp(1.0, [0, spread]).tobytes())
    if fine:
        assert numbers(read_matrix(here, file, 2)) == [[1, 1 << spread]]
        return
    with pytest.raises(OverLimit, match="differ by more"):
        read_matrix(here, file, 2)


def test_a_header_may_be_as_long_as_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, file = file_in(tmp_path, [2, 2])
    length = int.from_bytes((tmp_path / "k").read_bytes()[:8], "little")
    monkeypatch.setattr(tensors, "MAX_HEADER", length)
    assert numbers(read_matrix(here, file, 2)) == [[0, 1], [2, 3]]
    monkeypatch.setattr(tensors, "MAX_HEADER", length - 1)
    with pytest.raises(Rejected, match="header"):
        read_matrix(here, file, 2)


@pytest.mark.parametrize("payload", ["0 1", "0 -1", "3 -1", "0 4", "-4 1", "0 0", "0", "0 1 2"])
def test_payload_tokens_are_tokens_of_the_file(payload: str, tmp_path: Path) -> None:
    _, file = file_in(tmp_path, [4, 2])
    named = {"name": file.name, "sha256": file.sha256, "tensor": file.tensor}
    here = context(tokens=4, key_dim=2, body="given", budget="own-keys", keys=named, max_logit=99)
    here.folder = tmp_path
    given = {"payload": payload, "query_scale": "1", "queries": ["1 0", "0 -1"]}
    gives = dict.fromkeys(("off_target_at_most", "off_target_squares_at_most", "rest_at_most"), str(10**90))
    if payload == "0 1":
        assert RULES["attention-row"](here, {}, given, gives)
        return
    with pytest.raises(Rejected):
        RULES["attention-row"](here, {}, given, gives)


@pytest.mark.parametrize(
    ("rows", "scale", "fine"),
    [("0 1", "1", True), ("3 3", "1", True), ("0 -1", "1", False), ("-1 -1", "1", False), ("0 4", "1", False),
     ("0 1", "0", False), ("0 1", "-1/2", False)],
)  # fmt: skip
def test_queries_are_rows_of_their_file_times_a_positive_number(
    rows: str, scale: str, fine: bool, tmp_path: Path
) -> None:
    _, file = file_in(tmp_path, [4, 2])
    named = {"name": file.name, "sha256": file.sha256, "tensor": file.tensor}
    here = context(tokens=4, key_dim=2, body="given", budget="own-keys", keys=named, max_logit=99)
    here.folder = tmp_path
    given = {"payload": "0 1", "query_scale": scale, "queries": named, "rows": rows}
    gives = dict.fromkeys(("off_target_at_most", "off_target_squares_at_most", "rest_at_most"), str(10**90))
    if fine:
        assert RULES["attention-row"](here, {}, given, gives)
        return
    with pytest.raises(Rejected):
        RULES["attention-row"](here, {}, given, gives)


@pytest.mark.parametrize(
    ("shape", "offsets", "top", "reason"),
    [
        ([4, 3], [0, 48], 0, ""), ([4, 3], [1, 49], 0, "lie in the file"), ([4, 3], [4, 52], 0, "lie in the file"),
        ([4, 3], [48, 96], 0, "lie in the file"), ([0, 3], [0, 0], 0, "has a shape"),
        ([4, 0], [0, 0], 0, "has a shape"),
        ([4, 3], [0, 44], 0, "as many bytes"), ([4, 3], [0, 48], 1, "header"),
    ],
)  # fmt: skip
def test_a_tensor_lies_in_its_file_as_its_header_says(
    shape: list[int], offsets: list[int], top: int, reason: str, tmp_path: Path
) -> None:
    header = json.dumps({"t": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode()
    content = len(header).to_bytes(7, "little") + bytes([top]) + header + bytes(48)
    (tmp_path / "k").write_bytes(content)
    here = context()
    here.folder = tmp_path
    file = TensorFile("k", hashlib.sha256(content).hexdigest(), "t", None)
    if not reason:
        assert numbers(read_matrix(here, file, 3)) == [[0, 0, 0]] * 4
        return
    with pytest.raises(Rejected, match=reason):
        read_matrix(here, file, shape[1])


def test_a_tensor_stands_once_in_a_header(tmp_path: Path) -> None:
    entry = json.dumps({"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]})
    for header, fine in ((f'{{"t":{entry}}}', True), (f'{{"t":{entry},"t":{entry}}}', False)):
        content = len(header).to_bytes(8, "little") + header.encode() + bytes(4)
        (tmp_path / "k").write_bytes(content)
        here = context()
        here.folder = tmp_path
        file = TensorFile("k", hashlib.sha256(content).hexdigest(), "t", None)
        if fine:
            assert read_matrix(here, file, 1)[0] == [[0]]
            continue
        with pytest.raises(Rejected, match="has a tensor"):
            read_matrix(here, file, 1)
