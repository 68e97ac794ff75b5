"""Refusals and reports of the kernel that no certificate of the other tests meets."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from pathlib import Path

import pytest

from kvverify.kernel import document, tensors
from kvverify.kernel.check import check
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import rows
from kvverify.kernel.statement import TensorFile, tensor_file
from kvverify.trust import rule_files, trust
from tests.kernel.apply import accepts, apply, context
from tests.kernel.controls import controls, rebuild
from tests.kernel.mutants import put


def test_trust_names_the_rule_files_that_ran() -> None:
    result = check(controls()[0].tree)
    assert set(trust(result)["rules"]) <= {f"{name} {digest}" for name, digest in rule_files()}
    assert len(trust(result)["rules"]) < len(rule_files())
    assert len(trust(result)["kernel"][0]) == 16


def test_an_unknown_rule_and_a_second_name_are_refused() -> None:
    tree = controls()[0].tree
    assert "unknown rule" in check(rebuild(put(tree, ("steps", 0, "rule"), "trust-me"))).reason
    assert "second step" in check(rebuild({**tree, "steps": [tree["steps"][0], *tree["steps"]]})).reason


def test_a_python_that_reads_short_numbers_only_decides_nothing() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        with pytest.raises(OverLimit):
            document.integer("1" * 641, "x")
    finally:
        sys.set_int_max_str_digits(before)


def test_a_failed_write_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"absent/c\.json"):
        document.write_bytes(tmp_path / "absent" / "c.json", b"x")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*c\.json"):
        document.write_bytes(tmp_path / "c.json", b"x")
    assert list(tmp_path.iterdir()) == []


def test_limits_of_families() -> None:
    generator = [f"{1 << i:026b}" for i in range(26)]
    for rows_ in (generator, generator[:19]):
        with pytest.raises(OverLimit):
            apply("coset-union", {}, {"generator": rows_, "representatives": ["0" * 26]}, {"weights": {"1": "1"}})
    with pytest.raises(OverLimit):
        apply("explicit-keys", {}, {"keys": [str(1 << 24)]}, {"exponents": {"1": "1"}})
    for change in ({"dimension": 1025}, {"cutoff": 513}, {"side": 1 << 64}):
        given = {"side": 2, "dimension": 2, "cutoff": 1, **change}
        with pytest.raises(OverLimit):
            apply("paraboloid", {}, given, {"size": 2})
    assert not accepts("paraboloid", {}, {"side": 1, "dimension": 2, "cutoff": 1}, {"size": 1})


def test_queries_in_place_have_entries_like_the_keys_and_are_some() -> None:
    seen = context(key_dim=2)
    for queries, error in (([], Rejected), (["1"], Malformed), (["1 1 1"], Malformed), ([f"0 {1 << 320}"], OverLimit)):
        with pytest.raises(error):
            rows._queries(seen, {"payload": "0", "query_scale": "1", "queries": queries})
    assert rows._queries(seen, {"payload": "0", "query_scale": "1", "queries": [f"0 {(1 << 320) - 1}"]})


def test_a_head_below_0_and_a_file_of_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Malformed):
        tensor_file({"name": "k", "sha256": "", "tensor": "k", "head": "-1"}, "keys")
    (tmp_path / "k").write_bytes(bytes(9))
    monkeypatch.setattr(tensors, "MAX_FILE", 8)
    seen = context()
    seen.folder = tmp_path
    with pytest.raises(OverLimit):
        tensors.read_matrix(seen, TensorFile("k", hashlib.sha256(bytes(9)).hexdigest(), "k", None), 1)
