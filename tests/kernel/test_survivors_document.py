"""Documents and statements that a broken kernel once got past the other tests with (scripts/mutate_kernel.py)."""

from __future__ import annotations

import hashlib
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel import document, statement
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.facts import Rejected
from tests.kernel.apply import context
from tests.kernel.controls import controls, rebuild
from tests.kernel.controls import statement as stated
from tests.kernel.mutants import put

TREE = controls()[0].tree
FILE = {"name": "k", "sha256": "0", "tensor": "k"}
Node = dict[str, Any]


# The document.


def test_numbers_have_at_most_so_many_digits() -> None:
    for text in ("9" * 4000, "-" + "9" * 4000):
        assert document.integer(text, "x") == int(text)
    with pytest.raises(OverLimit):
        document.integer("9" * 4002, "x")


def test_a_string_is_no_list_of_its_letters() -> None:
    assert document.strings(["a", "b"], "x") == ["a", "b"]
    for value in ("ab", "", {"a": "b"}, {}, ("a", "b"), None):
        with pytest.raises(Malformed):
            document.strings(value, "x")


@pytest.mark.parametrize("value", ["true", "null", "7", "-1.5", "[null]", '{"b":{"c":false}}', '["x",["y",7]]'])
def test_only_strings_are_read(value: str) -> None:
    step = {"id": "a", "rule": "r", "uses": {}, "given": {}, "gives": {}}
    kind = "bare JSON number" if "7" in value or "1" in value else "a literal"
    with pytest.raises(Malformed, match=kind):
        document.load(f'{{"a":{value}}}'.encode())
    with pytest.raises(Malformed, match="only objects, lists and strings"):
        document.parse(document.build({"a": json.loads(value)}, [step]))
    assert document.rational("7", "x") == 7
    with pytest.raises(Malformed):
        document.rational("7/1", "x")


def test_histograms_have_at_most_so_many_entries_and_digits() -> None:
    whole = {str(i): "1" for i in range(1, 4097)}
    assert document.counts(whole, "x") == dict.fromkeys(range(1, 4097), 1)
    assert document.counts({"9" * 18: "1"}, "x") == {int("9" * 18): 1}
    for node in ({**whole, "4097": "1"}, {"9" * 19: "1"}):
        with pytest.raises(OverLimit):
            document.counts(node, "x")
    for node in ({"0": "1"}, {"1": "0"}, {"-1": "1"}, {"1": "-1"}):
        with pytest.raises(Malformed):
            document.counts(node, "x")


def test_documents_have_at_most_so_many_bytes(tmp_path: Path) -> None:
    for size, verdict in ((document.MAX_BYTES, Verdict.VALID), (document.MAX_BYTES + 1, Verdict.INCOMPLETE)):
        content = json.dumps(TREE).encode().ljust(size)
        (tmp_path / "c.json").write_bytes(content)
        assert check(content).verdict is check(tmp_path / "c.json").verdict is verdict


def test_documents_are_at_most_so_deep() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b'""' + b"}" * depth

    with pytest.raises(OverLimit):
        document.load(nested(9))
    assert document.load(nested(8))
    assert document.load(b'{"a":["\\"[[[[[[[[[[", "]", {}], "b":[[[[[[[]]]]]]]}')
    for content in (b'{"a":[[[[[[[[""]]]]]]]]}', b'{"a":[[],[],[],[[[[[[[""]]]]]]]]}'):
        with pytest.raises(OverLimit):
            document.load(content)
    assert document.load(b'{"a":[[],[],[],[[[[[[""]]]]]]]}')


def test_certificates_have_at_most_so_many_steps() -> None:
    step = {"id": "a", "rule": "r", "uses": {}, "given": {}, "gives": {}}
    assert len(document.parse(document.build({}, [step] * 256)).steps) == 256
    with pytest.raises(OverLimit):
        document.parse(document.build({}, [step] * 257))


def test_what_is_digested_and_written_stays_what_it_was(tmp_path: Path) -> None:
    tree = {"b": "ü", "a": ["1", {}], "digest": "no part of it"}
    assert document.canonical(tree) == b'{"a":["1",{}],"b":"\\u00fc","digest":"no part of it"}'
    assert document.digest(tree) == hashlib.sha256(b'{"a":["1",{}],"b":"\\u00fc"}').hexdigest()
    document.write(tmp_path / "c.json", tree)
    written = b'{\n "b": "\\u00fc",\n "a": [\n  "1",\n  {}\n ],\n "digest": "no part of it"\n}\n'
    assert (tmp_path / "c.json").read_bytes() == written
    assert (tmp_path / "c.json").stat().st_mode & 0o777 == 0o644


def test_a_file_is_whole_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, str]] = []
    name = "a-name-of-more-than-forty-letters-for-a-file-of-bytes.json"

    def spy(handle: int) -> None:
        (beside,) = tmp_path.iterdir()
        seen.append((os.fstat(handle).st_size, beside.name[:42]))

    monkeypatch.setattr(os, "fsync", spy)
    document.write_bytes(tmp_path / name, b"12345")
    assert seen == [(5, f".{name[:40]}.")]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("value", "limit", "line"),
    [
        ("x" * 60, 60, "x" * 60), ("a" * 31 + "b" * 30, 60, "a" * 30 + "..." + "b" * 20),
        ("a\nbü~ \x7f", 60, "a\\nb\\xfc~ \\x7f"),
        ("0123456789", 9, "0123...789"),
    ],
)  # fmt: skip
def test_what_is_quoted_is_short_and_in_ascii(value: str, limit: int, line: str) -> None:
    assert document.short(value, limit) == line
    assert document.short("y" * 61) == "y" * 30 + "..." + "y" * 20


def test_a_refusal_says_both_sides() -> None:
    assert str(Rejected("a < b", 3, Fraction(1, 2))) == "a < b (3 against 1/2)"
    assert str(Rejected("a < b")) == "a < b"
    for value, said in ((1 << 198, str(1 << 198)[:30]), (1 << 199, "about 2^199"), (-(1 << 250), "-about 2^250")):
        assert str(Rejected("a", value, "")).startswith(f"a ({said}")
    assert "about 2^-250 against" in str(Rejected("a", Fraction(1, 1 << 250), ""))


def test_the_account_may_be_used_up() -> None:
    here = context()
    here.work = 5
    here.charge(5)
    with pytest.raises(OverLimit):
        here.charge(1)


def test_a_claim_may_be_all_that_is_proved() -> None:
    bits = check(TREE).bits
    assert bits is not None
    for extra, verdict in ((0, Verdict.VALID), (1, Verdict.INVALID)):
        most = str(bits.numerator // bits.denominator + extra)
        assert check(rebuild(put(TREE, ("statement", "state_bits_at_least"), most))).verdict is verdict


# The statement.

OWN: Node = {"budget": "own-keys", "body": "given", "keys": FILE}
INSIDE: list[Node] = [
    {}, OWN, {**OWN, "budget": "own-queries", "queries": FILE}, {"tolerance": None, "relative": "0"},
    {"tolerance": None, "relative": "99/100"}, {"tolerance": "1/1000000"}, {"tolerance": "999999/1000000"},
    {"failure": "0"}, {"failure": "999/1000"}, {"max_logit": "1/1000000"}, {"kv_heads": "2", "layers": "3"},
    {"tokens": "1", "key_dim": "1", "value_dim": "1"}, {"body": "ball", "inputs": "bf16"},
    {**OWN, "keys": {**FILE, "head": "0"}}, {**OWN, "keys": {**FILE, "name": "a/b.c-d_e/..f"}},
    {"claim": "state-bits-enough", "state_bits_at_least": None, "state_bits_enough": "0"},
]  # fmt: skip
OUTSIDE: list[Node] = [
    {"tolerance": None}, {"relative": "1/2"}, {"tolerance": "0"}, {"tolerance": "1"}, {"tolerance": "-1/9"},
    {"tolerance": None, "relative": "1"}, {"tolerance": None, "relative": "-1/9"}, {"failure": "1"},
    {"failure": "-1/1000000"}, {"max_logit": "0"}, {"max_logit": "-1/1000000"}, {"state_bits_at_least": "-1"},
    *({name: "0"} for name in ("tokens", "key_dim", "value_dim", "kv_heads", "layers")),
    {**OWN, "kv_heads": "2"}, {**OWN, "layers": "2"}, {**OWN, "keys": None}, {**OWN, "body": "cube"},
    {**OWN, "budget": "class"}, {"body": "given"}, {"keys": FILE}, {"budget": "own-keys", "keys": FILE},
    {**OWN, "queries": FILE}, {**OWN, "budget": "own-queries"}, {"queries": FILE}, {"attention": "linear"},
    {"inputs": "fp8"}, {"claim": "state-bits-enough"}, {"claim": "state-bits-enough", "state_bits_enough": "0"},
    {"claim": "none"}, {"claim": None}, {"note": "1"}, {**OWN, "keys": {**FILE, "head": "-1"}},
    {**OWN, "keys": {**FILE, "name": "a/../b"}}, {**OWN, "keys": {**FILE, "name": "a" * 201}},
]  # fmt: skip


def test_statements_within_the_class_are_read() -> None:
    for changes in INSIDE:
        found = statement.parse(stated(**changes))
        assert found.streams == (6 if "layers" in changes else 1)
        assert found.value_rounding == (Fraction(1, 512) if "inputs" in changes else 0)
        assert (found.tolerance is None) is ("relative" in changes)


@pytest.mark.parametrize("changes", OUTSIDE, ids=json.dumps)
def test_statements_outside_the_class_are_not(changes: Node) -> None:
    with pytest.raises(Malformed):
        statement.parse(stated(**changes))
