"""``kvverify explain``: exit codes, formats, and where the page goes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel import document
from tests.cli.command import ROOT, kvverify, process
from tests.cli.conftest import Seal
from tests.kernel.test_mutants import controls

Tree = dict[str, Any]
NAME = "certificates/ours/2p17-d128-logit24.json"
SMALL = ROOT / "certificates" / "ours" / "16-d4-logit8-relative.json"


@pytest.fixture
def changed(tmp_path: Path) -> Any:
    """Writes the small certificate with another statement."""

    def write(**changes: str) -> Path:
        tree = json.loads(SMALL.read_text())
        document.write(tmp_path / "c.json", document.build({**tree["statement"], **changes}, tree["steps"]))
        return tmp_path / "c.json"

    return write


def unversioned(page: str) -> str:
    """Without the digests of the code that ran, and Python's version."""
    return re.sub(r"(digest|Python) [0-9a-f]{16}\b|Python [0-9.]+[0-9]", r"\1", page)


def test_the_example_of_the_docs_is_what_is_printed() -> None:
    done = process("explain", NAME)
    assert (done.code, done.err) == (0, "")
    (example,) = re.findall(r"```text\n(.*?)```", (ROOT / "docs" / "explain.md").read_text(), re.DOTALL)
    first, left, last = re.split(r"^\[Steps 5 to (\d+) are left out here.\]\n\n", example, flags=re.MULTILINE)
    printed = unversioned(done.out)
    wrong = f"put the output of kvverify explain {NAME} there"
    assert printed.startswith(f"{unversioned(first)}Step 5: "), wrong
    assert printed.endswith(unversioned(last)), wrong
    assert last.startswith(f"Step {int(left) + 1}: "), wrong


def test_the_three_formats() -> None:
    text, markdown, latex = (kvverify("explain", SMALL, "--format", kind) for kind in ("text", "markdown", "latex"))
    assert (text.code, markdown.code, latex.code) == (0, 0, 0)
    assert "Verdict\n-------\n\nVALID. " in text.out
    assert "\n## Verdict\n\nVALID. " in markdown.out
    assert "\\subsection*{Verdict}\n\nVALID. " in latex.out
    assert text.out == kvverify("explain", SMALL).out
    kvverify("explain", SMALL, "--format", "html").refuses(2, "--format html given, one of text, markdown, latex")


def test_exit_codes(changed: Any) -> None:
    assert kvverify("explain", changed()).code == 0
    done = kvverify("explain", changed(max_logit="1/2"))
    assert (done.code, done.err) == (1, "")
    assert "INVALID at step " in done.out
    assert "logit_at_most <= max_logit (" in " ".join(done.out.split())
    done = kvverify("explain", changed(tokens="1" * 5000))
    assert (done.code, done.err) == (3, "")
    assert "INCOMPLETE" in done.out


def test_the_page_goes_into_a_file(changed: Any, tmp_path: Path, sealed: Path) -> None:
    path, page = changed(), tmp_path / "proof.tex"
    done = kvverify("explain", path, "--format", "latex", "--output", page)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("VALID. ")
    assert done.out.count("\n") == 1
    assert page.read_text() == kvverify("explain", path, "--format", "latex").out
    bad = changed(max_logit="1/2")
    assert kvverify("explain", bad, "--output", page).code == 1
    assert "INVALID" in page.read_text()
    kvverify("explain", path, "--output", tmp_path / "no" / "x").refuses(2, "no/x cannot be written")
    with Seal(sealed):
        kvverify("explain", path, "--output", sealed / "x").refuses(2, "cannot be written")
    assert list(sealed.iterdir()) == []


def test_json_is_one_object_beside_the_page(changed: Any, tmp_path: Path) -> None:
    path = changed()
    answer = kvverify("explain", path, "--json").json
    assert answer["schema"] == "kvverify-explain/1"
    assert [step["id"] for step in answer["steps"]] == [s["id"] for s in json.loads(path.read_text())["steps"]]
    assert {step["holds"] for step in answer["steps"]} == {True}
    done = kvverify("explain", path, "--json", "--format", "markdown", "--output", tmp_path / "proof.md")
    assert done.json == answer
    assert (tmp_path / "proof.md").read_text().startswith("# ")
    bad = kvverify("explain", changed(max_logit="1/2"), "--json")
    assert (bad.code, bad.json["verdict"]) == (1, "INVALID")
    assert bad.json["steps"][-1]["holds"] is False
    assert bad.json["step"] == bad.json["steps"][-1]["id"]


def test_files_of_a_certificate(tmp_path: Path) -> None:
    own, apart = tmp_path / "own", tmp_path / "apart"
    own.mkdir()
    apart.mkdir()
    control = next(c for c in controls() if c.tree["statement"]["budget"] == "own-keys")
    document.write(own / "c.json", control.tree)
    for name, content in control.files:
        (own / name).write_bytes(content)
    keys = control.tree["statement"]["keys"]["name"]
    assert kvverify("explain", own / "c.json").code == 0
    (apart / "c.json").write_bytes((own / "c.json").read_bytes())
    done = kvverify("explain", apart / "c.json")
    assert done.code == 3
    assert f"file '{keys}' is not there" in " ".join(done.out.split())
    done = kvverify("explain", apart / "c.json", "--files", own)
    assert done.code == 0
    assert f"of file {keys}" in " ".join(done.out.split())
    kvverify("explain", apart / "c.json", "--files", own / "no").refuses(2, "no such folder")


def test_wrong_usage(tmp_path: Path) -> None:
    kvverify("explain", tmp_path / "x.json").refuses(2, "x.json: no such file; a certificate is needed")
    kvverify("explain", tmp_path).refuses(2, "no such file; a certificate is needed")
    kvverify("explain").refuses(2, "Missing argument")


def test_a_file_of_any_name(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff_%`\x1b[31m\n\xc3\xa9.json"))
    odd.write_bytes(SMALL.read_bytes())
    for call, kind in ((process, "text"), (kvverify, "markdown"), (kvverify, "latex")):
        done = call("explain", odd, "--format", kind)
        assert (done.code, done.err) == (0, "")
        assert "\x1b" not in done.out
