"""Whatever the bytes: a verdict or an OSError, in bounded time; and writing is all or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvverify.kernel import document
from kvverify.kernel.__main__ import main
from kvverify.kernel.check import Verdict, check
from tests.kernel.controls import controls, rebuild
from tests.kernel.mutants import put
from tests.strategies import json_trees

TREE = controls()[0].tree
RAW = json.dumps(TREE).encode()
SECONDS = 20.0  # generous: the machine may be shared; every case takes well under one second alone

MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "white space": b" \n",
    "text": b"certificate",
    "a list": b"[]",
    "a string": b'"certificate"',
    "a number": b"7",
    "null": b"null",
    "an empty object": b"{}",
    "truncated": RAW[: len(RAW) // 2],
    "one byte short": RAW[:-1],
    "two documents": RAW + RAW,
    "a comma too many": RAW[:-1] + b",}",
    "single quotes": RAW.replace(b'"', b"'"),
    "a byte order mark": b"\xef\xbb\xbf" + RAW,
    "UTF-16": RAW.decode().encode("utf-16"),
    "not UTF-8": RAW.replace(b"softmax", b"softm\xff"),
    "an encoded surrogate": RAW.replace(b"softmax", b"\xed\xa0\x80"),
    "a lone surrogate as a value": RAW.replace(b'"softmax"', b'"\\ud800"'),
    "a lone surrogate as a name": RAW.replace(b'"attention"', b'"\\ud800"'),
    "NUL": RAW.replace(b"softmax", b"soft\0max"),
    "NaN": RAW.replace(b'"softmax"', b"NaN"),
    "Infinity": RAW.replace(b'"softmax"', b"-Infinity"),
    "a float": RAW.replace(b'"16"', b"16.0"),
    "a bare integer": RAW.replace(b'"16"', b"16"),
    "a bare integer of a million digits": RAW.replace(b'"16"', b"1" * 10**6),
    "a huge exponent": RAW.replace(b'"16"', b"1e999999999"),
    "true": RAW.replace(b'"softmax"', b"true"),
    "null inside": RAW.replace(b'"softmax"', b"null"),
    "a key twice": RAW.replace(b'"attention"', b'"claim": "state-bits", "attention"'),
    "the digest twice": RAW[:-1] + b', "digest": "' + TREE["digest"].encode() + b'"}',
    "closing brackets": b"]" * 100_000,
    "brackets in a string": b'"' + b"[" * 100_000 + b'"',
}

LIMITS: dict[str, bytes] = {
    "17 MiB": b" " * (document.MAX_BYTES + 1),
    "100,000 brackets": b"[" * 100_000,
    "100,000 nested lists": b"[" * 100_000 + b"]" * 100_000,
    "100,000 nested objects": b'{"a":' * 100_000 + b"{}" + b"}" * 100_000,
    "closing, then opening brackets": b"]" * 100 + b"[" * 100_000,
    "nine deep": b'{"a":' * 8 + b"{}" + b"}" * 8,
}


def bounded(source: bytes | dict[str, Any]) -> Any:
    """The result, which came in bounded time."""
    start = time.monotonic()
    result = check(source)
    assert time.monotonic() - start < SECONDS
    return result


def changed(where: tuple[Any, ...], value: object) -> dict[str, Any]:
    return rebuild(put(TREE, where, value))


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_is_invalid(name: str) -> None:
    result = bounded(MALFORMED[name])
    assert result.verdict is Verdict.INVALID
    assert result.reason
    assert len(result.reason) < 300
    assert result.reason.isascii()
    assert "\n" not in result.reason


@pytest.mark.parametrize("name", LIMITS)
def test_too_large_is_incomplete(name: str) -> None:
    assert bounded(LIMITS[name]).verdict is Verdict.INCOMPLETE


def test_white_space_and_order_of_keys_do_not_matter() -> None:
    turned = json.dumps(dict(reversed(TREE.items())), indent=7).encode()
    assert bounded(turned).verdict is Verdict.VALID


SPELLINGS = [
    "007",
    "-0",
    "+7",
    " 7",
    "7 ",
    "7.0",
    "7e0",
    "0x7",
    "2/4",
    "1/1",
    "7/1",
    "1/-2",
    "1/0",
    "/2",
    "1/",
    "1/2/3",
]
SPELLINGS += ["", "-", "٧", "7", "七", "7_0", "7\n", "1/2\n", "½", "1 /2", "--1", "\ud800", "1\0"]


@pytest.mark.parametrize("text", SPELLINGS, ids=ascii)
@pytest.mark.parametrize("field", ["max_logit", "tokens", "failure"])
def test_a_number_has_one_spelling(text: str, field: str) -> None:
    assert bounded(changed(("statement", field), text)).verdict is Verdict.INVALID


@given(st.text(max_size=12) | st.integers().map(str) | st.fractions().map(str) | st.decimals().map(str))
def test_what_is_read_as_a_number_is_written_the_same_way(text: str) -> None:
    try:
        value = document.rational(text, "here")
    except document.Malformed:
        with pytest.raises(document.Malformed):
            document.integer(text, "here")
        return
    assert str(value) == text
    assert isinstance(value, Fraction)


@given(st.fractions())
def test_every_rational_is_read(value: Fraction) -> None:
    assert document.rational(str(value), "here") == value


ENDS = [
    ("tolerance", "0"), ("tolerance", "1"), ("tolerance", "-1/2"), ("failure", "1"), ("failure", "-1/10"),
    ("max_logit", "0"), ("max_logit", "-1"), ("tokens", "0"), ("key_dim", "0"), ("value_dim", "0"), ("kv_heads", "0"),
    ("layers", "-1"), ("state_bits_at_least", "-1"), ("relative", "1/2"), ("body", "given"), ("budget", "own-keys"),
    ("claim", "words"), ("attention", "linear"), ("inputs", "fp8"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "text"), ENDS)
def test_a_statement_outside_the_class(field: str, text: str) -> None:
    """Refused as a statement, before any step is looked at."""
    result = bounded(changed(("statement", field), text))
    assert (result.verdict, result.step, result.rules) == (Verdict.INVALID, None, ())


@pytest.mark.parametrize("eta", ["1", "-1/2", "3/2"])
def test_a_relative_tolerance_outside_the_class(eta: str) -> None:
    statement = {**{k: v for k, v in TREE["statement"].items() if k != "tolerance"}, "relative": eta}
    result = bounded(changed(("statement",), statement))
    assert (result.verdict, result.step, result.rules) == (Verdict.INVALID, None, ())


DIGITS = "1" + "0" * 999_999 + "1"


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("statement", "max_logit"), DIGITS),
        (("statement", "tolerance"), f"1/{DIGITS}"),
        (("statement", "failure"), f"{DIGITS}/{DIGITS}3"),
        (("statement", "tokens"), DIGITS),
        (("steps", 1, "gives", "exp_minus_at_most"), f"1/{DIGITS}"),
        (("steps", 1, "given", "exponent"), DIGITS),
        (("steps", 0, "given", "generator"), [format(1 << i, "060b") for i in range(60)]),
        (("steps", 0, "given", "generator"), [format(1 << i, "0128b") for i in range(26)]),
        (("steps", 0, "given", "generator"), ["01" * 4000]),
        (("steps", 0, "given", "generator"), ["1"] * 200_000),
        (("steps", 0, "gives", "weights"), {str(i): "1" for i in range(1, 10**5)}),
        (("steps", 0, "gives", "weights"), {DIGITS: "1"}),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else type(value).__name__,
)
def test_over_a_limit_is_incomplete(where: tuple[Any, ...], value: object) -> None:
    result = bounded(changed(where, value))
    assert result.verdict is Verdict.INCOMPLETE, result.reason
    assert len(result.reason) < 300


def test_steps_over_the_limit() -> None:
    steps = [{**TREE["steps"][1], "id": f"decay-{i}"} for i in range(document.MAX_STEPS + 1)]
    assert bounded(changed(("steps",), steps)).verdict is Verdict.INCOMPLETE
    assert bounded(changed(("steps",), steps[:-1])).verdict is Verdict.INVALID
    assert bounded(changed(("steps",), [])).verdict is Verdict.INVALID


# What an enemy would write: well-formed steps whose arithmetic would take hours if nobody counted.
LONG = f"{'9' * 3999}/1{'0' * 3998}3"
NINES = "9" * 3999
ENEMIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "exp of 4,000 digits": ("exp-bound", {"exponent": LONG}, {"exp_minus_at_most": "1/3"}),
    "a code": ("linear-code", {"generator": [format(1 << i, "020b") for i in range(20)]}, {"weights": {}}),
    "a union": (
        "coset-union", {"generator": [], "representatives": [format(i, "018b") for i in range(1 << 17)]},
        {"weights": {}},
    ),
    "many keys": ("explicit-keys", {"keys": [f"{i} 1" for i in range(50_000)]}, {"exponents": {}}),
    "long keys": ("explicit-keys", {"keys": [" ".join(["1"] * 10**6)] * 2}, {"exponents": {}}),
    "large keys": ("explicit-keys", {"keys": [NINES, "1"]}, {"exponents": {}}),
    "a paraboloid": ("paraboloid", {"side": str(2**64 - 1), "dimension": "1024", "cutoff": "512"}, {"size": "1"}),
    "a hypercube": ("hypercube", {"dimension": NINES}, {"size": "1"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ENEMIES)
def test_work_is_bounded(name: str) -> None:
    rule, given_, gives = ENEMIES[name]
    steps = [{"id": f"s{i}", "rule": rule, "uses": {}, "given": given_, "gives": gives} for i in range(8)]
    assert bounded(changed(("steps",), steps)).verdict is not Verdict.VALID


@pytest.mark.parametrize("key", ["2000", "8388607"])
@pytest.mark.parametrize("payload", ["1", "2"])
def test_large_exponents_are_weighed_in_bounded_time(key: str, payload: str) -> None:
    """A single key has no off-target terms, but its own token's exponent is twice its square."""
    decay = {**TREE["steps"][1], "given": {"exponent": "1/1000000"}, "gives": {"exp_minus_at_most": "4194303/4194304"}}
    exponents = {str(int(key) ** 2): "1"}
    keys = {"given": {"keys": [f"{key} 0", f"0 {key}"]}, "gives": {"exponents": exponents}}
    steps = [
        {"id": "keys", "rule": "explicit-keys", "uses": {}, **keys},
        decay,
        {**TREE["steps"][2], "given": {"payload": payload}},
        *TREE["steps"][3:],
    ]
    statement = {**TREE["statement"], "max_logit": "99999999999"}
    steps[2] = {**steps[2], "gives": {"logit_at_most": "99999999999"}}
    result = bounded(rebuild({**TREE, "statement": statement, "steps": steps}))
    assert result.step not in ("keys", "decay", "budget"), result.reason


@given(st.binary(max_size=300))
@example(b"[" * 9)
@example(b'{"format": "\\ud800"}')
def test_any_bytes_give_a_verdict(data: bytes) -> None:
    assert bounded(data).verdict in (Verdict.INVALID, Verdict.INCOMPLETE)


@given(st.data())
def test_a_damaged_certificate_is_never_valid(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(RAW) - 1))
    end = data.draw(st.integers(start, min(len(RAW), start + 20)))
    new = data.draw(st.binary(max_size=20))
    damaged = RAW[:start] + new + RAW[end:]
    result = bounded(damaged)
    if result.verdict is Verdict.VALID:
        assert json.loads(damaged) == TREE  # only white space or escapes differ


@given(json_trees())
@example({"format": document.FORMAT, "statement": {}, "steps": [{}], "digest": ""})
@example({1: "a", "b": "c"})
def test_any_tree_gives_a_verdict(tree: Any) -> None:
    assert bounded(json.dumps(tree).encode()).verdict in (Verdict.INVALID, Verdict.INCOMPLETE)
    if isinstance(tree, dict):
        assert bounded(tree).verdict in (Verdict.INVALID, Verdict.INCOMPLETE)


@given(st.sampled_from(controls()), st.data(), json_trees())
def test_any_tree_in_any_place_gives_a_verdict(control: Any, data: st.DataObject, tree: Any) -> None:
    where: tuple[Any, ...] = ()
    node = control.tree
    while isinstance(node, dict | list) and node and (not where or data.draw(st.integers(0, 3))):
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        where, node = (*where, key), node[key]
    mutant = put(control.tree, where, tree)
    signed = rebuild(mutant) if where != ("digest",) else mutant
    if bounded(json.dumps(signed).encode()).verdict is Verdict.VALID:
        # A statement's or a step's number may have become weaker; nothing else may pass.
        assert isinstance(tree, str) or mutant == control.tree


def test_a_tree_that_contains_itself() -> None:
    tree: dict[str, Any] = {"format": document.FORMAT}
    tree["statement"] = tree
    assert bounded(tree).verdict is Verdict.INVALID


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(OSError, match=str(path)):
            check(path)


@pytest.mark.parametrize(
    ("content", "code", "word"), [(RAW, 0, "VALID"), (b"{}", 1, "INVALID"), (b"[" * 99, 3, "INCOMPLETE")]
)
def test_the_command(content: bytes, code: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(content)
    assert main([str(path)]) == code
    assert capsys.readouterr().out.startswith(f"{word} {path}")


def test_the_commands_worst_verdict_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / name for name in ("valid", "invalid", "incomplete")]
    for path, content in zip(paths, (RAW, b"{}", b"[" * 99), strict=True):
        path.write_bytes(content)
    names = [str(path) for path in paths]
    assert main(names) == 1
    assert main([names[0], names[2]]) == 3
    assert main([]) == main(["--help"]) == main([*names, str(tmp_path / "none")]) == 2
    assert "usage" in capsys.readouterr().err


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    document.write(path, TREE)
    assert check(path).verdict is Verdict.VALID
    assert document.load(path) == TREE


@pytest.mark.parametrize("name", ["replace", "fsync", "chmod"])
def test_a_failed_write_leaves_the_old_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.json"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(OSError, match="no space"):
        document.write(path, TREE)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("old")
    program = "import os, signal; from kvverify.kernel import document; "
    program += "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL); "
    program += f"document.write_bytes({str(path)!r}, b'new' * 10**6)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root).returncode == -signal.SIGKILL
    assert path.read_text() == "old"


FUNCTIONS: list[Callable[[object, str], object]] = [
    document.integer, document.text, document.strings, document.integers, document.counts, document.obj,
]  # fmt: skip


@given(st.sampled_from(FUNCTIONS), json_trees())
def test_a_wrong_kind_is_malformed(function: Callable[[object, str], object], value: Any) -> None:
    with contextlib.suppress(document.Malformed, document.OverLimit):
        assert function(value, "here") is not None
