"""``kvverify claims`` and ``certify ID``: their objects, their refusals, and the generated pages."""

from __future__ import annotations

import json
import runpy
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from kvverify.attention.tensor import multiplications
from kvverify.claims import ledger, measured, recipe
from kvverify.claims.base import Certificate
from kvverify.claims.ledger import CLAIMS, PAPERS, find, place
from kvverify.errors import Incomplete, UsageError
from kvverify.kernel.check import Verdict, check
from tests.claims.test_ledger import OWN
from tests.cli.command import ROOT, kvverify

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "make_ledger.py"))
KEYS = {
    "id", "paper", "record", "provenance", "status", "readings", "threshold", "certificates", "lemmas",
    "counterexamples",
}  # fmt: skip
CONTRADICTED = [
    place(claim, one)
    for claim in CLAIMS
    for one in claim.certificates
    if one.counterexample and claim.paper in ("visual", "tensor")
]
OURS = {id(one): one for claim in CLAIMS for one in claim.certificates}
_FOUND: dict[int, ledger.Found] = {}


@pytest.fixture
def judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger's own certificates are built and checked once for these tests; other people's each time."""
    judge_anew = ledger._found

    def remembered(certificate: Certificate) -> ledger.Found:
        if id(certificate) not in OURS:
            return judge_anew(certificate)
        if id(certificate) not in _FOUND:
            _FOUND[id(certificate)] = judge_anew(certificate)
        return _FOUND[id(certificate)]

    monkeypatch.setattr(ledger, "_found", remembered)


def test_the_object() -> None:
    began = time.process_time()
    tree = kvverify("claims", "--json").json
    assert time.process_time() - began < 10
    assert tree.keys() == {"schema", "claims"}
    assert [row["id"] for row in tree["claims"]] == [claim.id for claim in CLAIMS]
    for row in tree["claims"]:
        assert row.keys() == KEYS
        names = [one["name"] for one in row["certificates"] + row["counterexamples"]]
        for reading in row["readings"]:
            assert reading.keys() == {"reading", "status", "artefacts"}
            assert set(reading["artefacts"]) <= set(names)
        for one in row["certificates"] + row["counterexamples"]:
            assert one["verdict"] == "VALID"
            assert check(ROOT / "certificates" / one["file"]).verdict is Verdict.VALID


@pytest.mark.usefixtures("judged_once")
def test_one_claim_and_the_table() -> None:
    text = kvverify("claims", "ho-9").out
    assert text.startswith("HO-9  Non-adaptive time")
    assert "Theorem 19" in text
    assert "unread VALID" in text
    assert len(kvverify("claims", "C1", "--json").json["claims"]) == 1
    lines = kvverify("claims").out.splitlines()
    assert [line.split()[0] for line in lines[: len(CLAIMS)]] == [claim.id for claim in CLAIMS]


@pytest.mark.parametrize("command", ["claims", "certify"])
def test_an_unknown_id_names_the_nearest(command: str) -> None:
    kvverify(command, "HO-11").refuses(2, "no claim 'HO-11'", "HO-1")


def test_counterexamples_are_replayed_from_their_files_alone(tmp_path: Path) -> None:
    assert len(CONTRADICTED) > 20
    for name in CONTRADICTED:
        alone = shutil.copy(ROOT / "certificates" / name, tmp_path / "file.json")
        assert kvverify("replay", alone, "--json").json["status"] == "VALID", name


def test_certify_a_row(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    done = kvverify("certify", "HO-2", "--set", "keys=hypercube(5)", "--set", "relative=1/4", "--output", path)
    assert done.code == 0
    assert done.out.startswith("VALID: state of 32 tokens >= 84 bits\n")
    assert "kerdock, hypercube" in done.err
    statement = json.loads(path.read_text())["statement"]
    assert (statement["tokens"], statement["relative"]) == ("32", "1/4")
    assert check(path).verdict is Verdict.VALID
    printed = kvverify("certify", "SG-2", "--artefact", "sinh", "--set", "reach=1/2")
    assert check(printed.json).verdict is Verdict.VALID
    said = kvverify("certify", "HO-2", "--artefact", "displayed", "--json")
    assert said.code == 0
    assert said.json["verdict"] == "VALID"
    assert said.json["certificate"] is None


@pytest.mark.parametrize(("words", "code", "said"), [
    (("HO-2", "--artefact", "none"), 2, "HO-2 has no artefact 'none'; it has kerdock"),
    (("HO-2", "--set", "n=5"), 2, "--set n=5: name=value is needed, of kerdock: keys, payload"),
    (("HO-2", "--set", "payload"), 2, "--set payload: name=value"),
    (("HO-2", "--set", "payload=1/2"), 2, "payload: 1/2 given, a whole number"),
    (("HO-2", "--set", "payload=2^40"), 2, "payload: 2^40 given, a whole number up to 2^20"),
    (("HO-2", "--set", "relative=1"), 2, "relative: 1 given"),
    (("HO-2", "--set", "relative=1e-40"), 2, "relative: 1e-40 given, at most 9 digits"),
    (("HO-2", "--set", "max-logit=1"), 2, "separation"),
    (("HO-9", "--set", "weight=7"), 2, "weight = 7: expected above"),
    (("HO-9", "--set", "entry=0,0"), 2, "expected a row 1 to 2"),
    (("HO-9", "--set", "entry=a,b"), 2, "entry: 'a' is no number"),
    (("HO-8", "--set", "window=1"), 2, "window: 1 given"),
    (("HO-8", "--tokens", "4"), 2, "parameters are given as --set"),
    (("HO-8", "--failure", "1/5"), 2, "parameters are given as --set"),
    (("HO-8", "--head", "0"), 2, "parameters are given as --set"),
    (("--set", "n=3"), 2, "go with a row of the ledger"),
    (("C1", "--ledger", "absent.py"), 2, "absent.py: no such file"),
])  # fmt: skip
def test_certify_refuses(words: tuple[str, ...], code: int, said: str) -> None:
    kvverify("certify", *words).refuses(code, said)


def test_tuples_are_read() -> None:
    done = kvverify("certify", "HO-9", "--set", "entry=2,1", "--set", "relative=1/3")
    assert done.json["statement"]["may_differ"] == ["keys 2 1"]


@pytest.mark.usefixtures("judged_once")
def test_a_ledger_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    assert kvverify("claims", "--ledger", path).out.splitlines()[len(CLAIMS)].split()[:2] == ["MY-1", "verified"]
    assert kvverify("certify", "MY-1", "--ledger", path, "--set", "payload=3").json["statement"]["tokens"] == "3"
    path.write_text(OWN.replace('"hypercube(2)"', '"hypercube(2)", "payload": 9'))
    row = kvverify("claims", "MY-1", "--ledger", path, "--json").json["claims"][0]
    assert row["status"] == "open"
    assert row["certificates"][0]["verdict"] == "INCOMPLETE"


def endless(tokens: int = 1) -> dict[str, Any]:
    while True:
        tokens += 1


def hungry(tokens: int = 1) -> dict[str, Any]:
    return {"x": [bytearray(1 << 40)] * tokens}


def dying(tokens: int = 1) -> dict[str, Any]:
    import os

    os._exit(tokens)


def empty(tokens: int = 1) -> None:
    return None


def test_a_row_of_ones_own_may_be_broken_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    recipe_of = "lambda keys: __import__('os')"
    path.write_text(OWN.replace('"o", state', f'"o", {recipe_of}').replace('lambda: "n = 4"', "lambda: 1 / 0"))
    row = kvverify("claims", "MY-1", "--ledger", path, "--json").json["claims"][0]
    assert row["status"] == "open"
    assert row["threshold"].startswith("not computed, ZeroDivisionError")
    assert row["certificates"][0]["reason"] == "its recipe returned module, no certificate"
    assert "open (declared verified" in kvverify("claims", "MY-1", "--ledger", path).out
    kvverify("certify", "MY-1", "--ledger", path).refuses(3, "the recipe returned module, no certificate")
    own = f"from __future__ import annotations\n{OWN}\ndef f(x: Nothing = 1): return {{}}\n"
    path.write_text(f"{own}object.__setattr__(CLAIMS[0].certificates[0], 'build', f)\n")
    kvverify("certify", "MY-1", "--ledger", path, "--set", "x=2").refuses(2, "annotations", "Nothing")


@pytest.mark.parametrize(("build", "why"), [
    (empty, "returned NoneType, no certificate"), (hungry, "MemoryError"), (dying, "ended without an answer"),
    (endless, "more than 1 seconds"),
])  # fmt: skip
def test_a_recipe_runs_within_limits(build: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if build is endless:
        monkeypatch.setattr(recipe, "SECONDS", 1)
    with pytest.raises(Incomplete, match=why):
        recipe.built(Certificate("one", "o", build), {})


def test_a_row_without_certificates_says_so() -> None:
    from dataclasses import replace

    from kvverify.claims.base import Reading

    bare = replace(find("C1", CLAIMS), certificates=(), readings=(Reading("all", "open"),), status="open")
    with pytest.raises(UsageError, match="has no certificate: it is open"):
        recipe.choose(bare, None)


@pytest.mark.usefixtures("judged_once")
def test_pages_and_certificates_are_current() -> None:
    assert SCRIPT["main"](["--check"]) == 0


@pytest.mark.usefixtures("judged_once")
def test_what_is_not_current_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for paper in PAPERS:
        shutil.copytree(ROOT / "certificates" / paper, tmp_path / "certificates" / paper)
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/ledger.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    one, more = tmp_path / "certificates" / "core" / "C1-fano.json", tmp_path / "certificates" / "subgen" / "X.json"
    one.write_text(one.read_text().replace("9", "8"))
    more.write_text("{}")
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text().replace("repaired", "verified"))
    assert SCRIPT["main"](["--check", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()] == [
        "certificates/core/C1-fano.json", "README.md", "certificates/subgen/X.json",
    ]  # fmt: skip
    assert SCRIPT["main"]([str(tmp_path)]) == 0
    assert (tmp_path / "README.md").read_bytes() == (ROOT / "README.md").read_bytes()
    assert not more.exists()
    assert one.read_bytes() == (ROOT / "certificates" / "core" / "C1-fano.json").read_bytes()


def test_measured_figures_are_those_of_their_page() -> None:
    page = (ROOT / "docs" / "subgen.md").read_text()
    parts = json.loads(measured.FILE.read_text())
    for part in parts.values():
        for row in (part["head"], *part["rows"]):
            assert f"| {' | '.join(row)} |" in page
    shown = [text for claim in CLAIMS if claim.paper not in ("visual", "tensor") for text in claim.measured()]
    assert len(shown) == 13
    assert all(" / " in text.partition("measured / proved: ")[2] for text in shown)


def test_games_that_the_ledger_shows_are_those_of_the_script() -> None:
    """Every case, once; and no state that answered all reads is below what its instance asks for."""
    cases = runpy.run_path(str(ROOT / "scripts" / "bench_attention.py"))["CASES"]
    parts = json.loads(measured.GAMES.read_text())
    for attention, part in parts.items():
        assert [row[:2] for row in part["rows"]] == [[name, instance] for name, instance, _ in cases[attention]]
        for row in part["rows"]:
            held, certified, wrong = (int(row[i].split()[0].replace(",", "")) for i in (2, 4, 5))
            assert wrong or held >= certified
    for name, attention in (("VAR-3", "visual"), ("TA-6", "tensor")):
        assert len(find(name, CLAIMS).measured()) == len(cases[attention])


def test_orders_that_the_ledger_shows_are_counted_as_its_certificates_do() -> None:
    part = json.loads(measured.ORDERS.read_text())["orders"]
    assert len(find("TA-5", CLAIMS).measured()) == len(part["rows"])
    for tokens, dim, order, counted, *_ in part["rows"]:
        sizes = (int(tokens.replace(",", "")), int(dim), int(dim))
        assert int(counted.replace(",", "")) == multiplications(order, *sizes)
