"""``check --expect``: a valid proof of another claim, or of a weaker one, does not pass."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kvverify.kernel import document
from tests.cli.command import ROOT, Done, kvverify
from tests.cli.test_certify import key_file

Tree = dict[str, Any]
OURS = ROOT / "certificates" / "ours"
LOWER, UPPER = OURS / "2p17-d128-logit24.json", OURS / "2p17-d128-logit24-midpoint.json"

# Another value of each field, on the side where it makes a lower bound easier and on the side where it makes it harder.
OTHERS = {
    "attention": ("linear", "Softmax"),
    "budget": ("own-keys", "own-queries"),
    "body": ("ball", "given"),
    "inputs": ("bf16", "Real"),
    "tokens": ("131071", "131073"),
    "key_dim": ("127", "129"),
    "value_dim": ("127", "129"),
    "kv_heads": ("2", "0"),
    "layers": ("2", "0"),
    "max_logit": ("25", "23"),
    "failure": ("1/11", "1/9"),
    "tolerance": ("1/101", "1/99"),
}


def stated(path: Path) -> Tree:
    found: Tree = json.loads(path.read_text())["statement"]
    return found


def compared(certificate: Path, statement: object, folder: Path, *words: object) -> Done:
    wanted = folder / "STATEMENT.json"
    wanted.write_text(json.dumps(statement))
    return kvverify("check", certificate, "--expect", wanted, *words)


def bound_of(statement: Tree) -> str:
    return "state_bits_enough" if "state_bits_enough" in statement else "state_bits_at_least"


def bits(certificate: Path) -> int:
    return int(stated(certificate)["state_bits_at_least"])


def test_the_example_of_the_docs_is_what_the_committed_certificate_says(tmp_path: Path) -> None:
    (example,) = re.findall(r"```json\n(\{.*?\})\n```", (ROOT / "docs" / "contracts.md").read_text(), re.DOTALL)
    wanted = json.loads(example)
    assert wanted.keys() == stated(LOWER).keys()
    assert int(wanted["state_bits_at_least"]) < int(stated(LOWER)["state_bits_at_least"])
    assert compared(LOWER, wanted, tmp_path).code == 0


def test_every_field_is_in_the_table_of_others() -> None:
    assert OTHERS.keys() == stated(LOWER).keys() - {"claim", "state_bits_at_least"}
    assert OTHERS.keys() == stated(UPPER).keys() - {"claim", "state_bits_enough"}


@pytest.mark.parametrize("certificate", [LOWER, UPPER], ids=["lower", "upper"])
@pytest.mark.parametrize("name", OTHERS)
def test_another_value_of_any_field_does_not_pass(name: str, certificate: Path, tmp_path: Path) -> None:
    statement = stated(certificate)
    for value in OTHERS[name]:
        done = compared(certificate, {**statement, name: value}, tmp_path)
        assert done.code == 1, (name, value)
        assert f"expected {name} = {value!r}, the certificate has {statement[name]!r}" in done.out
    left = {field: value for field, value in statement.items() if field != name}
    done = compared(certificate, left, tmp_path)
    assert done.code == 1
    assert f"expected {name} = None" in done.out


@pytest.mark.parametrize("certificate", [LOWER, UPPER], ids=["lower", "upper"])
def test_another_claim_does_not_pass(certificate: Path, tmp_path: Path) -> None:
    statement = stated(certificate)
    for claim in ("state-bits", "state-bits-enough", "", "State-bits", "state-bits "):
        code = compared(certificate, {**statement, "claim": claim}, tmp_path).code
        assert (code == 0) == (claim == statement["claim"]), claim
    left = {field: value for field, value in statement.items() if field != "claim"}
    assert compared(certificate, left, tmp_path).code in (1, 2)


def test_words_in_lists_and_objects_are_not_the_words(tmp_path: Path) -> None:
    statement = stated(UPPER)
    for value in (["128"], {"128": ""}, [], {}):
        assert compared(UPPER, {**statement, "key_dim": value}, tmp_path).code == 1


@pytest.mark.parametrize(
    ("certificate", "more", "code"),
    [(LOWER, -1, 0), (LOWER, 0, 0), (LOWER, 1, 1), (UPPER, 1, 0), (UPPER, 0, 0), (UPPER, -1, 1)],
)
def test_a_bound_may_be_stronger_never_weaker(certificate: Path, more: int, code: int, tmp_path: Path) -> None:
    statement = stated(certificate)
    bound = bound_of(statement)
    wanted = str(int(statement[bound]) + more)
    done = compared(certificate, {**statement, bound: wanted}, tmp_path)
    assert done.code == code
    assert (f"expected {bound} {wanted}, the certificate proves {statement[bound]}" in done.out) == (code == 1)


def test_a_weaker_proof_of_the_same_class_does_not_pass(tmp_path: Path) -> None:
    """Values alone, without keys: VALID, of the same class, and of fewer bits."""
    weaker = OURS / "2p17-d128-logit24-values.json"
    assert kvverify("check", weaker).code == 0
    done = compared(weaker, stated(LOWER), tmp_path)
    assert done.code == 1
    assert "INVALID" in done.out
    assert f"expected state_bits_at_least {bits(LOWER)}, the certificate proves {bits(weaker)}" in done.out
    assert compared(LOWER, stated(weaker), tmp_path).code == 0, "the stronger proof passes for the weaker statement"


def test_a_proof_that_claims_less_than_it_shows_does_not_pass(tmp_path: Path) -> None:
    tree = json.loads(LOWER.read_text())
    less = document.build({**tree["statement"], "state_bits_at_least": str(bits(LOWER) - 1)}, tree["steps"])
    document.write(tmp_path / "less.json", less)
    assert kvverify("check", tmp_path / "less.json").code == 0
    assert compared(tmp_path / "less.json", stated(LOWER), tmp_path).code == 1


@pytest.mark.parametrize(("certificate", "other"), [(LOWER, UPPER), (UPPER, LOWER)], ids=["lower", "upper"])
def test_the_other_side_does_not_pass(certificate: Path, other: Path, tmp_path: Path) -> None:
    done = compared(certificate, stated(other), tmp_path)
    assert done.code == 1
    assert f"expected claim = {stated(other)['claim']!r}" in done.out
    both = {**stated(certificate), bound_of(stated(other)): "1"}
    done = compared(certificate, both, tmp_path)
    assert done.code == 1
    assert f"expected {bound_of(stated(other))} = '1', the certificate has None" in done.out


@pytest.mark.parametrize(("name", "value"), [("tolerance", "0.01"), ("failure", "0.1"), ("tokens", "2^17")])
def test_numbers_are_written_as_in_a_certificate(name: str, value: str, tmp_path: Path) -> None:
    done = compared(LOWER, {**stated(LOWER), name: value}, tmp_path)
    assert done.code == 1
    assert f"expected {name} = {value!r}" in done.out


def test_relative_in_place_of_tolerance_does_not_pass(tmp_path: Path) -> None:
    statement = stated(LOWER)
    statement["relative"] = statement.pop("tolerance")
    assert "expected relative = '1/100', the certificate has None" in compared(LOWER, statement, tmp_path).out
    own = OURS / "2p15-d128-logit12-relative.json"
    statement = stated(own)
    assert compared(own, statement, tmp_path).code == 0
    statement["tolerance"] = statement.pop("relative")
    assert compared(own, statement, tmp_path).code == 1


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    assert kvverify("certify", "--keys", key_file(folder), "--output", folder / "c.json").code == 0
    return folder / "c.json"


@pytest.mark.parametrize("part", ["name", "sha256", "tensor", "head"])
def test_a_claim_about_other_keys_does_not_pass(part: str, own: Path, tmp_path: Path) -> None:
    statement = stated(own)
    assert compared(own, statement, tmp_path).code == 0
    done = compared(own, {**statement, "keys": {**statement["keys"], part: "0" * 64}}, tmp_path)
    assert done.code == 1
    assert "expected keys = " in done.out
    fewer = {key: value for key, value in statement["keys"].items() if key != "sha256"}
    assert compared(own, {**statement, "keys": fewer}, tmp_path).code == 1
    assert compared(own, {key: value for key, value in statement.items() if key != "keys"}, tmp_path).code == 1


def test_one_of_many_that_is_weaker_fails_all(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    for path in (LOWER, OURS / "2p17-d128-logit24-values.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    report = tmp_path / "report.xml"
    done = compared(folder, stated(LOWER), tmp_path, "--json", "--junit", report)
    assert (done.code, done.json["verdict"]) == (1, "INVALID")
    assert done.json["counts"] == {"valid": 1, "invalid": 1, "incomplete": 0}
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


def test_a_statement_says_its_bound_in_a_whole_number(tmp_path: Path) -> None:
    for value in ("", "1e8", "158609058.0", "0158609058", " 158609058", "1/2", None, 158609058, ["1"]):
        done = compared(LOWER, {**stated(LOWER), "state_bits_at_least": value}, tmp_path)
        done.refuses(2, "a statement is an object of strings with")


def test_a_whole_certificate_is_no_statement(tmp_path: Path) -> None:
    done = compared(LOWER, json.loads(LOWER.read_text()), tmp_path)
    done.refuses(2, "a statement is an object of strings with its bound")


def test_a_field_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = json.dumps(stated(LOWER))
    wanted = tmp_path / "STATEMENT.json"
    wanted.write_text(text[:-1] + ', "tolerance": "1/2"}')
    kvverify("check", LOWER, "--expect", wanted).refuses(2, "a key stands twice")
