"""``kvverify lemmas``: exit codes, one object, what is written; and the page of the docs."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

import kvverify.lemmas
from kvverify.lemmas import LEMMAS, Twin, find
from kvverify.lemmas.page import renewed
from tests.cli.command import ROOT, process
from tests.cli.command import kvverify as call
from tests.cli.conftest import Seal, sealed
from tests.conftest import needs

needs("sympy", "lemmas")
z3 = needs("z3", "lemmas")
needs("cvc5", "lemmas")

__all__ = ["sealed"]


def test_one_lemma() -> None:
    done = process("lemmas", "hypercube-four")
    assert (done.code, done.err) == (0, "")
    first, last = done.out.splitlines()
    assert first.startswith("PROVED     hypercube-four: unsat by z3 and cvc5, kernel VALID; twin refuted at B = ")
    assert last == "1 proved, 0 refuted, 0 incomplete"


def test_the_object_has_the_fields_of_the_page() -> None:
    answer = call("lemmas", "levels", "--json").json
    assert set(answer) == {"schema", "solvers", "counts", "lemmas"}
    assert answer["schema"] == "kvverify-lemmas/1"
    assert answer["counts"] == {"proved": 1, "refuted": 0, "incomplete": 0}
    assert all(answer["solvers"][name] for name in ("z3", "cvc5"))
    (entry,) = answer["lemmas"]
    page = (ROOT / "docs" / "lemmas.md").read_text()
    assert all(f"`{field}" in page or f" {field}" in page for field in entry)
    assert (entry["id"], entry["verdict"], entry["reason"], entry["domain"]) == ("levels", "PROVED", None, "reals")
    assert entry["solvers"]["cvc5"]["answer"] == "unsat"
    assert entry["twin"]["solvers"]["cvc5"]["answer"] == "sat"
    assert set(entry["twin"]["counterexample"]) == {"m", "s", "r", "a"}


def test_one_solver_is_incomplete() -> None:
    done = call("lemmas", "tilt", "--solver", "cvc5")
    assert done.code == 3
    assert done.out.splitlines()[0] == "INCOMPLETE tilt: unsat by cvc5, but z3 was not asked"
    answer = call("lemmas", "tilt", "--solver", "z3", "--json")
    assert answer.code == 3
    assert list(answer.json["solvers"]) == ["z3"]


def test_a_false_lemma_is_exit_code_one(monkeypatch: pytest.MonkeyPatch) -> None:
    false = replace(find("top-mass"), then="1/(1 + s) > 101/100*(1 + eta)/2", twin=Twin("101/100", "102/100"))
    monkeypatch.setattr(kvverify.lemmas, "LEMMAS", (false, find("tilt")))
    done = call("lemmas")
    assert done.code == 1
    assert done.out.startswith("REFUTED    top-mass: it fails at eta = ")
    assert done.out.splitlines()[-1] == "1 proved, 1 refuted, 0 incomplete"
    assert call("lemmas", "top-mass", "--json").json["lemmas"][0]["counterexample"]


def test_a_solver_that_is_missing_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "z3" else real(name, *rest))
    done = call("lemmas", "tilt")
    assert done.code == 3
    assert "INCOMPLETE tilt: z3 is not installed: pip install 'kvverify[lemmas]'" in done.out
    assert call("lemmas", "tilt", "--json").json["solvers"]["z3"] is None


def test_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    call("lemmas", "titl").refuses(2, "no lemma 'titl'", "tilt")
    call("lemmas", "--solver", "coq").refuses(2, "--solver coq: expected z3, cvc5 or both")
    call("lemmas", "--timeout", "0").refuses(2, "timeout: 0 given")
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    call("lemmas", "tilt").refuses(2, "lemmas needs sympy: pip install 'kvverify[lemmas]'")


def test_what_the_solvers_are_asked_can_be_written(tmp_path: Path, sealed: Path) -> None:
    assert call("lemmas", "index-tenth", "--smtlib", tmp_path / "new").code == 0
    assert call("lemmas", "tilt", "--smtlib", tmp_path / "new").code == 0
    files = {path.name for path in (tmp_path / "new").iterdir()}
    assert files == {f"{name}{end}.smt2" for name in ("tilt", "index-tenth") for end in ("", "-twin")}
    for path in (tmp_path / "new").iterdir():
        text = path.read_text()
        assert text.startswith(f"; {path.stem.removesuffix('-twin')}: ")
        solver = z3.Solver()
        solver.from_string(text)
        assert f":status {solver.check()})" in text
    call("lemmas", "tilt", "--smtlib", tmp_path / "new" / "tilt.smt2").refuses(2, "tilt.smt2")
    with Seal(sealed):
        call("lemmas", "tilt", "--smtlib", sealed).refuses(2, "cannot be written")
    assert list(sealed.iterdir()) == []


def test_the_page_is_what_the_lemmas_say() -> None:
    page = (ROOT / "docs" / "lemmas.md").read_text()
    assert page == renewed(page), "run python -m kvverify.lemmas.page docs/lemmas.md"
    assert all(page.count(f"| `{lemma.id}` |") == 1 for lemma in LEMMAS)
