"""``kvverify export`` as a script uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvverify.export import export
from kvverify.kernel import document
from tests.cli.command import kvverify
from tests.export.provers import HEADLINE, chosen
from tests.kernel.controls import rebuild
from tests.kernel.mutants import put
from tests.kernel.test_mutants import controls


@pytest.mark.parametrize("to", ["coq", "smt"])
def test_the_file_on_standard_output_or_in_a_place(to: str, tmp_path: Path) -> None:
    place = tmp_path / "leaves"
    printed, written = (
        kvverify("export", HEADLINE, "--to", to),
        kvverify("export", HEADLINE, "--to", to, "--output", place),
    )
    assert (printed.code, written.code) == (0, 0)
    assert printed.out == place.read_text()
    assert written.out.startswith(f"{to}: ")
    assert "says VALID" in written.out


@pytest.mark.parametrize("to", ["coq", "smt"])
def test_json_counts_every_leaf_and_every_fact(to: str) -> None:
    answer = kvverify("export", HEADLINE, "--to", to, "--json").json
    coq = export(HEADLINE, "coq")
    assert list(answer) == [
        "schema", "to", "verdict", "reason", "exported", "not_exported", "file", "output", "text",
    ]  # fmt: skip
    assert (answer["schema"], answer["verdict"]) == ("kvverify-export/1", "VALID")
    assert len(answer["exported"]) + len(answer["not_exported"]) == len(coq.exported) + len(coq.kept)
    assert {row["why"] for row in answer["not_exported"]} <= {"decided by the kernel", "not expressible"}
    assert all(row["name"] in answer["text"] for row in answer["exported"])


def test_a_false_certificate_is_exported_and_said_to_be_false(tmp_path: Path) -> None:
    place, tree = tmp_path / "false.json", document.load(HEADLINE)
    document.write(place, rebuild(put(tree, ("statement", "state_bits_at_least"), "999999999")))
    done = kvverify("export", place, "--to", "coq")
    assert done.code == 1
    assert "  999999999 <= " in done.out


def test_files_are_the_kernels(tmp_path: Path) -> None:
    control = next(c for c in controls() if c.name == "rows, near-identity")
    place, folder = tmp_path / "rows.json", tmp_path / "files"
    folder.mkdir()
    document.write(place, control.tree)
    assert kvverify("export", place, "--to", "smt", "--json").json["verdict"] == "INCOMPLETE"
    for name, content in control.files:
        (folder / name).write_bytes(content)
    assert kvverify("export", place, "--to", "smt", "--files", folder, "--json").json["verdict"] == "VALID"


def test_wrong_usage_is_one_line(tmp_path: Path) -> None:
    kvverify("export", HEADLINE, "--to", "lean").refuses(2, "--to lean", "coq or smt")
    kvverify("export", tmp_path / "none.json", "--to", "coq").refuses(2, "none.json")
    kvverify("export", HEADLINE, "--to", "coq", "--files", tmp_path / "no").refuses(2, "no such folder")
    kvverify("export", HEADLINE, "--to", "coq", "--output", tmp_path / "no" / "x.v").refuses(2, "cannot be written")
    huge = tmp_path / "huge.json"
    tree = next(c for c in chosen() if c.name == "hypercube 3, ostrowski").tree
    document.write(huge, rebuild(put(tree, ("steps", 0, "given", "dimension"), "5000")))
    kvverify("export", huge, "--to", "coq").refuses(3, "limit")
