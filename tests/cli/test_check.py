"""``kvverify check`` and ``replay`` of certificates: verdicts, exit codes, reports, and what is found where."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kvverify.kernel import document
from kvverify.trust import rule_file, rule_files
from tests.cli.command import Done, kvverify, process
from tests.cli.conftest import Seal
from tests.cli.test_certify import key_file

Tree = dict[str, Any]
OUTCOME = {"file", "verdict", "claim", "step", "reason", "trust", "second_opinion", "seconds"}


@pytest.fixture(scope="module")
def tree() -> Tree:
    return kvverify("certify", "--tokens", 64, "--head-dim", 16).json


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``c.json`` and the key file that it refers to."""
    folder = tmp_path_factory.mktemp("own")
    assert kvverify("certify", "--keys", key_file(folder), "--output", folder / "c.json").code == 0
    return folder


@pytest.fixture
def good(tree: Tree, tmp_path: Path) -> Path:
    return saved(tree, tmp_path / "good.json")


def saved(tree: Tree, path: Path, **changes: str) -> Path:
    """A certificate with another statement, its digest made anew."""
    document.write(path, document.build({**tree["statement"], **changes}, tree["steps"]))
    return path


def wrong(tree: Tree, path: Path) -> Path:
    return saved(tree, path, state_bits_at_least=str(int(tree["statement"]["state_bits_at_least"]) + 1))


def over_limit(tree: Tree, path: Path) -> Path:
    return saved(tree, path, tokens="1" * 5000)


def claim(tree: Tree) -> str:
    return f"state of 64 tokens >= {tree['statement']['state_bits_at_least']} bits"


def bits(statement: Tree, more: int) -> Tree:
    return {**statement, "state_bits_at_least": str(int(statement["state_bits_at_least"]) + more)}


def last(done: Done) -> str:
    return done.out.splitlines()[-1]


def test_one_valid_certificate(tree: Tree, good: Path) -> None:
    done = kvverify("check", good)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"VALID      {good}: {claim(tree)} (Arb agrees)\n1 valid, 0 invalid, 0 incomplete\n"


def test_the_object_of_json(tree: Tree, good: Path) -> None:
    done = kvverify("check", good, wrong(tree, good.with_name("wrong.json")), "--json")
    answer = done.json
    assert done.code == 1
    assert answer.keys() == {"schema", "verdict", "counts", "files"}
    assert (answer["schema"], answer["verdict"]) == ("kvverify-check/1", "INVALID")
    assert answer["counts"] == {"valid": 1, "invalid": 1, "incomplete": 0}
    first, second = answer["files"]
    assert first.keys() == second.keys() == OUTCOME
    assert (first["verdict"], first["step"], first["reason"], first["second_opinion"]) == (
        "VALID",
        None,
        None,
        "agrees",
    )
    assert first["claim"] == claim(tree)
    assert 0 <= first["seconds"] < 10
    assert (second["verdict"], second["second_opinion"]) == ("INVALID", None)
    stated = bits(tree["statement"], 1)["state_bits_at_least"]
    assert f"state_bits_at_least <= what the steps prove ({stated} against" in second["reason"]


def test_trust_is_computed_from_the_steps(tree: Tree, good: Path) -> None:
    trust = kvverify("check", good, "--json").json["files"][0]["trust"]
    digests = {f"{name} {digest}" for name, digest in rule_files()}
    assert trust["cited"] == trust["engines"] == []
    assert set(trust["rules"]) < digests
    assert {rule.split()[0] for rule in trust["rules"]} == {rule_file(step["rule"]) for step in tree["steps"]}
    claimed = json.loads(good.read_text())
    good.write_text(json.dumps({**claimed, "trust": {"rules": []}}))
    assert kvverify("check", good).code == 1


def test_exit_codes_and_their_precedence(tree: Tree, good: Path) -> None:
    bad = wrong(tree, good.with_name("bad.json"))
    open_ = over_limit(tree, good.with_name("open.json"))
    for paths, code, counts in (
        ([good], 0, "1 valid, 0 invalid, 0 incomplete"),
        ([bad], 1, "0 valid, 1 invalid, 0 incomplete"),
        ([open_], 3, "0 valid, 0 invalid, 1 incomplete"),
        ([good, open_], 3, "1 valid, 0 invalid, 1 incomplete"),
        ([open_, bad, good], 1, "1 valid, 1 invalid, 1 incomplete"),
        ([good, good], 0, "1 valid, 0 invalid, 0 incomplete"),
    ):
        done = kvverify("check", *paths)
        assert (done.code, last(done)) == (code, counts)
        assert kvverify("check", *paths, "--json").code == code


def test_folders_are_searched_to_the_bottom(tree: Tree, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    saved(tree, deep / "x.json")
    saved(tree, tmp_path / "a" / "y.json")
    saved(tree, tmp_path / "z.JSON.txt")
    wrong(tree, tmp_path / "note.md")
    (tmp_path / "folder.json").mkdir()
    saved(tree, tmp_path / "folder.json" / "inner.json")
    done = kvverify("check", tmp_path)
    assert (done.code, last(done)) == (0, "3 valid, 0 invalid, 0 incomplete")
    named = [line.split()[1].rstrip(":") for line in done.out.splitlines()[:-1]]
    assert named == sorted(str(path) for path in tmp_path.rglob("*.json") if path.is_file())
    assert kvverify("check", tmp_path / "note.md").code == 1, "a file that is named is checked whatever its ending"


GARBAGE = {
    "no JSON": b"{",
    "nothing": b"",
    "other JSON": b'{"name": "package"}',
    "a list": b"[]",
    "numbers": b'{"a": 1}',
    "not UTF-8": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "literal": b"null",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_found_and_is_no_certificate_is_invalid(name: str, good: Path) -> None:
    (good.parent / "garbage.json").write_bytes(GARBAGE[name])
    done = kvverify("check", good.parent)
    code, counts = (
        (3, "1 valid, 0 invalid, 1 incomplete") if name == "deep" else (1, "1 valid, 1 invalid, 0 incomplete")
    )
    assert (done.code, last(done)) == (code, counts)
    assert done.err == ""
    assert done.out.count("\n") == 3
    assert ": : " not in done.out


def test_nothing_to_check(tmp_path: Path) -> None:
    kvverify("check", tmp_path).refuses(2, f"no certificate (*.json) found in {tmp_path}")
    kvverify("check", tmp_path / "c.json").refuses(2, f"{tmp_path / 'c.json'}: no such file or folder")
    kvverify("check").refuses(2, "Missing argument 'paths'")


def test_a_certificate_about_a_file(own: Path, tmp_path: Path) -> None:
    certificate = own / "c.json"
    assert kvverify("check", certificate).code == 0
    apart = tmp_path / "c.json"
    apart.write_bytes(certificate.read_bytes())
    done = kvverify("check", apart)
    assert (done.code, last(done)) == (3, "0 valid, 0 invalid, 1 incomplete")
    assert "file 'keys.safetensors' is not there" in done.out
    assert kvverify("check", apart, "--files", own).code == 0
    assert kvverify("check", certificate, "--files", tmp_path).code == 3, "--files overrides the certificate's folder"
    kvverify("check", apart, "--files", own / "no").refuses(2, f"--files {own / 'no'}: no such folder")
    keys = bytearray((own / "keys.safetensors").read_bytes())
    keys[-1] ^= 1
    (tmp_path / "keys.safetensors").write_bytes(keys)
    done = kvverify("check", apart)
    assert done.code == 1
    assert "digest of the file" in done.out


def test_junit_counts_incomplete_as_an_error(tree: Tree, good: Path, tmp_path: Path) -> None:
    wrong(tree, tmp_path / "wrong & <b>.json")
    over_limit(tree, tmp_path / "open.json")
    report = tmp_path / "out" / "report.xml"
    report.parent.mkdir()
    assert kvverify("check", tmp_path, "--junit", report).code == 1
    suite = ElementTree.parse(report).getroot()
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3", "failures": "1", "errors": "1", "skipped": None,
    }  # fmt: skip
    cases = {case.get("name"): [(child.tag, child.get("message")) for child in case] for case in suite}
    assert cases[str(good)] == []
    ((kind, message),) = cases[str(tmp_path / "wrong & <b>.json")]
    assert (kind, "what the steps prove" in str(message)) == ("failure", True)
    ((kind, message),) = cases[str(tmp_path / "open.json")]
    assert (kind, "5000 characters" in str(message)) == ("error", True)
    kvverify("check", good, "--junit", tmp_path / "no" / "x.xml").refuses(2, "no/x.xml cannot be written")


def test_names_of_any_bytes(tree: Tree, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x01\xc3\xa9.json"))
    saved(tree, odd)
    done = process("check", tmp_path, "--junit", tmp_path / "report.xml")
    assert (done.code, done.err) == (0, "")
    (case,) = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert case.get("name") == f"{tmp_path}/\\udcff\\x01é.json"


STATEMENTS: dict[str, tuple[Callable[[Tree], Tree], int, str]] = {
    "the same": (lambda one: one, 0, ""),
    "weaker": (lambda one: bits(one, -1), 0, ""),
    "stronger": (lambda one: bits(one, 1), 1, "expected state_bits_at_least "),
    "another class": (lambda one: {**one, "tolerance": "1/50"}, 1, "expected tolerance = '1/50', the certificate has"),
    "more tokens": (lambda one: {**one, "tokens": "65"}, 1, "expected tokens = '65'"),
    "one field more": (lambda one: {**one, "keys": "x"}, 1, "expected keys = 'x', the certificate has None"),
    "one field less": (lambda one: {k: v for k, v in one.items() if k != "body"}, 1, "expected body = None"),
    "bits as words": (lambda one: {**one, "state_bits_at_least": "many"}, 2, "a statement is an object of strings"),
    "other digits": (lambda one: {**one, "state_bits_at_least": "²"}, 2, "a statement is an object of strings"),
    "bits as a number": (lambda one: {**one, "state_bits_at_least": 8765}, 2, "a bare JSON number"),
    "a million digits": (lambda one: {**one, "state_bits_at_least": "9" * 10**6}, 2, "a number of 1000000 characters"),
    "none": (lambda one: {}, 2, "a statement is an object of strings with its bound"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_expect(name: str, tree: Tree, good: Path, tmp_path: Path) -> None:
    change, code, line = STATEMENTS[name]
    expected = tmp_path / "expected.txt"
    expected.write_text(json.dumps(change(tree["statement"])))
    done = kvverify("check", good, "--expect", expected)
    assert done.code == code
    if code == 2:
        done.refuses(2, line)
    else:
        assert line in done.out


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', "[" * 100_000])
def test_expect_is_malformed(text: str, good: Path, tmp_path: Path) -> None:
    expected = tmp_path / "expected.txt"
    expected.write_text(text)
    kvverify("check", good, "--expect", expected).refuses(2, f"{expected}: a statement is an object of strings")
    kvverify("check", good, "--expect", tmp_path / "no").refuses(2, "no: No such file")


def test_expect_passes_nothing_that_is_not_valid(tree: Tree, tmp_path: Path) -> None:
    expected = tmp_path / "expected.txt"
    expected.write_text(json.dumps(tree["statement"]))
    assert kvverify("check", wrong(tree, tmp_path / "c.json"), "--expect", expected).code == 1
    assert kvverify("check", over_limit(tree, tmp_path / "c.json"), "--expect", expected).code == 3


@pytest.fixture
def repository(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two committed certificates of which one was changed, and one that git does not know."""
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    saved(tree, tmp_path / "old.json")
    saved(tree, tmp_path / "changed ä.json")
    (tmp_path / ".gitignore").write_text("ignored.json\n")
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "first")
    wrong(tree, tmp_path / "changed ä.json")
    saved(tree, tmp_path / "new.json")
    wrong(tree, tmp_path / "ignored.json")
    return tmp_path


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, capture_output=True)


def test_changed_since(repository: Path) -> None:
    done = kvverify("check", ".", "--changed-since", "HEAD")
    assert (done.code, last(done)) == (1, "1 valid, 1 invalid, 0 incomplete")
    assert "changed ä.json" in done.out
    assert "new.json" in done.out
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "second")
    done = kvverify("check", ".", "--changed-since", "HEAD")
    assert (done.code, done.out) == (0, "0 valid, 0 invalid, 0 incomplete\n")
    assert last(kvverify("check", ".", "--changed-since", "HEAD~1")) == "1 valid, 1 invalid, 0 incomplete"
    (repository / "below").mkdir()
    os.chdir(repository / "below")
    assert last(kvverify("check", "..", "--changed-since", "HEAD~1")) == "1 valid, 1 invalid, 0 incomplete"


def test_where_nothing_was_checked_nothing_is_called_valid(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    words = ("check", tmp_path / "other.json", "--only-certificates")
    done = kvverify(*words, "--json")
    assert (done.code, done.json["verdict"], done.json["files"]) == (0, None, [])
    assert kvverify(*words).out == "0 valid, 0 invalid, 0 incomplete\n"
    expected = tmp_path / "expected.json"
    expected.write_text(json.dumps({"claim": "state-bits", "state_bits_at_least": "1"}))
    kvverify(*words, "--expect", expected).refuses(2, "no certificate is left to hold against this statement")


def test_a_changed_key_file_is_a_change_of_its_certificate(repository: Path, own: Path) -> None:
    for name in ("c.json", "keys.safetensors"):
        (repository / name).write_bytes((own / name).read_bytes())
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "keys")
    assert last(kvverify("check", ".", "--changed-since", "HEAD")) == "0 valid, 0 invalid, 0 incomplete"
    (repository / "keys.safetensors").write_bytes(b"other keys")
    done = kvverify("check", ".", "--changed-since", "HEAD")
    assert (done.code, last(done)) == (1, "0 valid, 1 invalid, 0 incomplete")
    assert "c.json" in done.out


@pytest.mark.parametrize("revision", ["no-such-revision", "--output=x", "-h", "--no-index", "", "HEAD:old.json"])
def test_a_revision_that_is_none(revision: str, repository: Path) -> None:
    before = sorted(repository.iterdir())
    done = kvverify("check", ".", f"--changed-since={revision}")
    done.refuses(2, "--changed-since: git says")
    assert sorted(repository.iterdir()) == before


def test_changed_since_without_git(good: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    kvverify("check", good, "--changed-since", "HEAD").refuses(2, "--changed-since: git says", "not a git repository")
    monkeypatch.setenv("PATH", str(tmp_path))
    kvverify("check", good, "--changed-since", "HEAD").refuses(2, "--changed-since needs git")


def test_it_writes_nothing(good: Path, sealed: Path, repository: Path) -> None:
    (sealed / "c.json").write_bytes(good.read_bytes())
    with Seal(sealed):
        done = kvverify("check", sealed)
    assert (done.code, list(sealed.iterdir())) == (0, [sealed / "c.json"])
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    kvverify("check", ".", "--changed-since", "HEAD")
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before


def test_what_cannot_be_read_is_incomplete_and_the_others_are_checked(good: Path, sealed: Path) -> None:
    (sealed / "a.json").write_bytes(good.read_bytes())
    (sealed / "b.json").write_bytes(good.read_bytes())
    (sealed / "b.json").chmod(0)
    (sealed / "c.json").symlink_to("nowhere")
    with Seal(sealed):
        done = kvverify("check", sealed)
    assert (done.code, last(done)) == (3, "1 valid, 0 invalid, 2 incomplete")
    assert "b.json: cannot be read: Permission denied" in done.out
    assert "c.json: cannot be read: No such file or directory" in done.out


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(good: Path, sealed: Path) -> None:
    (sealed / "a.json").write_bytes(good.read_bytes())
    (sealed / "below").mkdir(mode=0)
    with Seal(sealed):
        done = kvverify("check", sealed)
    done.refuses(2, f"{sealed / 'below'}: Permission denied")


def test_files_that_never_end(good: Path, tmp_path: Path) -> None:
    """A pipe is not waited for where a folder is searched; a file larger than the limit is not read whole."""
    os.mkfifo(tmp_path / "pipe.json")
    with (tmp_path / "huge.json").open("wb") as stream:
        stream.truncate(1 << 40)  # a hole: takes no disk
    begin = time.monotonic()
    done = kvverify("check", tmp_path)
    assert time.monotonic() - begin < 10
    assert (done.code, last(done)) == (3, "1 valid, 0 invalid, 1 incomplete")
    if Path("/dev/zero").exists():
        assert kvverify("check", "/dev/zero").code == 3


def test_a_certificate_may_come_through_a_pipe(good: Path) -> None:
    with good.open() as stream:
        done = process("check", "/dev/stdin", stdin=stream)
    assert (done.code, last(done)) == (0, "1 valid, 0 invalid, 0 incomplete")


def test_replay_of_a_certificate_is_its_check(tree: Tree, good: Path) -> None:
    done = kvverify("replay", good)
    assert (done.code, done.out) == (0, f"VALID: {claim(tree)}\n")
    done = kvverify("replay", good, "--json")
    assert done.json == {"schema": "kvverify-replay/1", "status": "VALID", "line": claim(tree)}
    done = kvverify("replay", wrong(tree, good))
    assert (done.code, done.out.partition(":")[0]) == (1, "INVALID")
    assert "what the steps prove" in done.out
    done = kvverify("replay", over_limit(tree, good))
    assert (done.code, done.out.partition(":")[0]) == (3, "INCOMPLETE")
    kvverify("replay", good.parent / "no.json").refuses(2, "no.json: No such file")
    kvverify("replay", good.parent).refuses(2, f"{good.parent}: Is a directory")
