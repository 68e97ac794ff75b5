"""Inputs that fuzzing kept (scripts/fuzz_document.py): each gets a verdict, or a refusal of the kernel's own kinds."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.context import Absent
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.statement import TensorFile
from kvverify.kernel.tensors import read_matrix
from tests.kernel.apply import context

CORPUS = Path(__file__).parent / "corpus"


def inputs(target: str) -> list[Path]:
    return sorted((CORPUS / target).iterdir())


@pytest.mark.parametrize("path", inputs("document"), ids=lambda path: path.name)
def test_bytes_get_a_verdict(path: Path) -> None:
    assert check(path.read_bytes()).verdict in (Verdict.INVALID, Verdict.INCOMPLETE)


@pytest.mark.parametrize("path", inputs("signed"), ids=lambda path: path.name)
def test_signed_again_they_get_one_from_the_rules(path: Path) -> None:
    tree = document.load(path.read_bytes())
    result = check({**tree, "digest": document.digest(tree)})
    assert isinstance(result.verdict, Verdict)
    assert "digest" not in result.reason


@pytest.mark.parametrize("path", inputs("tensors"), ids=lambda path: path.name)
def test_a_file_gives_a_matrix_or_a_refusal(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    (tmp_path / "keys.safetensors").write_bytes(data)
    seen = context()
    seen.folder = tmp_path
    for head in (None, 1):
        file = TensorFile("keys.safetensors", hashlib.sha256(data).hexdigest(), "keys", head)
        with contextlib.suppress(Malformed, OverLimit, Rejected, Absent):
            rows, _, _ = read_matrix(seen, file, 2)
            assert {len(row) for row in rows} == {2}
