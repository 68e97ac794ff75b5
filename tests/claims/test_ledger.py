"""The ledger's rows: none missing, none without its artefacts, none whose status outlives them; and fair words."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.claims import tables
from kvverify.claims.base import PROVENANCE, STATUSES, Certificate, Claim, Reading
from kvverify.claims.evidence import attention
from kvverify.claims.ledger import CLAIMS, PAPERS, Entry, find, judge, ledger, place
from kvverify.claims.show import entry_text, ledger_json, table
from kvverify.errors import UsageError
from kvverify.lemmas.statements import LEMMAS

RECORDED = [
    *(f"C{i}" for i in range(1, 6)),
    *(f"HO-{i}" for i in range(1, 11)),
    *(f"SG-{i}" for i in range(1, 6)),
    *(f"VAR-{i}" for i in range(1, 6)),
    *(f"TA-{i}" for i in range(1, 8)),
]
ENTRIES = {claim.id: judge(claim) for claim in CLAIMS}


def refused(**_: Any) -> dict[str, Any]:
    raise UsageError("a hypothesis is not met")


def broken(**_: Any) -> dict[str, Any]:
    tree = attention.state(keys="hypercube(4)")
    return {**tree, "statement": {**tree["statement"], "state_bits_at_least": "64"}}


def raising(**_: Any) -> dict[str, Any]:
    return {"no": 1 // 0}


def with_recipe(claim: Claim, name: str, build: Any) -> Claim:
    certificates = tuple(replace(one, build=build, given={}) if one.name == name else one for one in claim.certificates)
    return replace(claim, certificates=certificates)


def test_no_row_of_the_record_is_missing() -> None:
    assert [claim.id for claim in CLAIMS] == RECORDED
    assert {claim.paper for claim in CLAIMS} == PAPERS.keys()


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.claim.id)
def test_every_declared_status_stands(entry: Entry) -> None:
    assert entry.reason == ""
    assert entry.status == entry.claim.status
    assert [status for _, status in entry.readings] == [reading.status for reading in entry.claim.readings]


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.claim.id)
def test_every_row_says_what_it_is(entry: Entry) -> None:
    claim = entry.claim
    assert claim.status in STATUSES
    assert claim.provenance
    assert set(claim.provenance) <= PROVENANCE.keys()
    texts = (claim.title, claim.record, claim.quantifiers, claim.units, claim.finding, claim.threshold())
    assert all(text.strip() for text in texts)
    assert "bit" in claim.units or "word" in claim.units or "distance" in claim.units or "tokens" in claim.units
    for reading in claim.readings:
        assert reading.status == "open" or reading.artefacts
    for one in claim.certificates:
        assert re.fullmatch(r"[a-z0-9-]+", one.name)
    assert len({place(claim, one) for one in claim.certificates}) == len(claim.certificates)


def test_words_are_fair() -> None:
    for entry in ENTRIES.values():
        said = f"{entry_text(entry)} {ledger_json([entry])}".lower()
        for word in (
            "is wrong",
            "wrongly",
            "mistake",
            "false claim",
            "error in the paper",
            "incorrect",
            "flaw",
            "refuted",
        ):
            assert word not in said, (entry.claim.id, word)
        assert "as recorded in this ledger" in said
    assert "as recorded in this ledger" in table(ENTRIES.values()).lower()


def test_a_contradiction_has_a_counterexample() -> None:
    for claim in CLAIMS:
        counter = {one.name for one in claim.certificates if one.counterexample}
        for reading in claim.readings:
            if reading.status == "contradicted":
                assert set(reading.artefacts) <= counter


@pytest.mark.parametrize(("build", "why"), [
    (refused, "a hypothesis is not met"), (broken, "digest"), (raising, "ZeroDivisionError"),
])  # fmt: skip
def test_a_broken_artefact_makes_the_row_open(build: Any, why: str) -> None:
    entry = judge(with_recipe(find("HO-2", CLAIMS), "hypercube", build))
    assert entry.status == "open"
    assert "hypercube" in entry.reason
    assert why in entry.reason
    statuses = {reading.reading: status for reading, status in entry.readings}
    assert [status for text, status in statuses.items() if text.startswith("scores unbounded")] == ["open"]
    assert "contradicted" in statuses.values()  # whose own certificate still holds
    assert "declared repaired" in entry_text(entry)
    assert ledger_json([entry])["claims"][0]["status"] == "open"


def test_an_unknown_lemma_makes_the_row_open() -> None:
    entry = judge(replace(find("C3", CLAIMS), lemmas=("no-such-lemma",)))
    assert entry.status == "open"
    assert "no-such-lemma" in entry.reason


def test_lemmas_name_rows_that_exist() -> None:
    named = {name for lemma in LEMMAS for name in lemma.carries if re.fullmatch(r"(C|HO-|SG-|VAR-|TA-)\d+", name)}
    assert named <= set(RECORDED)
    for name in named:
        assert ENTRIES[name].lemmas


def claim(**changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "id": "X-1", "paper": "x", "title": "t", "record": "r", "provenance": ("ours",), "quantifiers": "q",
        "units": "bits", "status": "verified", "readings": (Reading("all", "verified", ("one",)),),
        "threshold": lambda: "n = 1",
        "certificates": (Certificate("one", "o", attention.state, {"keys": "hypercube(2)"}),),
    }  # fmt: skip
    return Claim(**fields | changes)


@pytest.mark.parametrize(("changes", "why"), [
    ({"status": "proved"}, "status 'proved'"),
    ({"provenance": ("heard",)}, "provenance 'heard'"),
    ({"readings": ()}, "no reading"),
    ({"readings": (Reading("all", "verified"),)}, "no certificate for the reading 'all'"),
    ({"readings": (Reading("all", "verified", ("two",)),)}, "no certificate 'two'"),
    ({"certificates": ()}, "no certificate 'one'"),
    ({"status": "depends-on-reading"}, "different status"),
    ({"status": "contradicted"}, "no reading of that status"),
    ({"certificates": (Certificate("one", "o", refused),) * 2}, "stands twice"),
])  # fmt: skip
def test_a_row_that_contradicts_itself_is_refused(changes: dict[str, Any], why: str) -> None:
    assert judge(claim()).status == "verified"
    with pytest.raises(ValueError, match=why):
        claim(**changes)


OWN = """
from fractions import Fraction
from kvverify.claims.base import Certificate, Claim, Reading
from kvverify.claims.evidence.attention import state
CLAIMS = [Claim(
    id="MY-1", paper="mine", title="t", record="r", provenance=("ours",), quantifiers="q", units="bits",
    status="verified", readings=(Reading("all", "verified", ("one",)),), threshold=lambda: "n = 4",
    certificates=(Certificate("one", "o", state, {"keys": "hypercube(2)"}),),
)]
"""


@pytest.mark.parametrize(("text", "words"), [
    ("CLAIMS = [1]", "a list CLAIMS"), ("x = 1", "a list CLAIMS"), ("def", "SyntaxError"), ("1/0", "ZeroDivisionError"),
    (OWN.replace("MY-1", "ho-2"), "ho-2 stands twice"), (OWN + "CLAIMS *= 2", "MY-1 stands twice"),
    (OWN.replace('("ours",)', '("x",)'), "provenance 'x'"), ("raise SystemExit(0)", "SystemExit"),
])  # fmt: skip
def test_a_bad_ledger_file_is_one_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as error:
        ledger(path)
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="no such file"):
        ledger(tmp_path)


def test_a_ledger_of_ones_own_comes_after_ours(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    *ours, own = ledger(path)
    assert tuple(ours) == CLAIMS
    assert judge(own).status == "verified"
    assert judge(own).lemmas == ()
    assert find("my-1", (*ours, own)) is own


def test_numbers_of_the_record() -> None:
    """Figures that the record gives, as the certificates have them."""
    found = {f"{e.claim.id} {one.certificate.name}": one for e in ENTRIES.values() for one in e.found}

    def bits(name: str) -> Fraction:
        result = found[name].result
        assert result is not None
        assert result.bits is not None
        return result.bits

    def said(name: str) -> str:
        result = found[name].result
        assert result is not None
        return result.claim

    assert bits("HO-2 kerdock") >= Fraction(53, 100) * 256 * 16
    assert 33 < bits("HO-2 hypercube") <= 34
    assert 2 < bits("HO-2 paraboloid") <= 3
    assert bits("HO-3 kerdock-sure") == 4096
    assert bits("HO-3 hypercube-sure") == 64
    assert bits("C3 all") == 4
    assert said("C1 fano") == "10^100 <= 2^47 * 9^90, 2^23 * 9^45 < 10^50"
    assert said("C1 counting").startswith("2^52 *")
    assert said("C4 hypercube-base").startswith("(15^4 - 14^4)")
    assert said("HO-9 weight") == "7 < 8, 7 <= 7"
    assert said("HO-9 accesses").startswith("255744/5 <= 51149")
    assert "27324/27323" in said("C4 norm-limit")
    assert said("HO-2 displayed") == "17/324 < 1/19, 1/19 <= 16/289"
    assert "115259" in said("SG-4 sizes")
    assert "13780" in said("SG-4 best-split")
    assert "every causal row with 24613/32768 of its mass on one token" in entry_text(ENTRIES["HO-6"]).replace(
        "\n  ", " "
    )
    # A relation and its contrary come from one recipe: which of the two holds is what the row says.
    tree = {one.name: one.build(**one.given) for one in find("SG-5", CLAIMS).certificates}
    saves, does_not = (tree[name]["statement"]["holds"][-1].split()[1] for name in ("saves", "does-not"))
    assert (saves, does_not) == ("<", "<=")


def test_tables_from_the_formulas() -> None:
    for error, reach, papers, sharp, product, equal, best in tables.savings().rows:
        eps, x = float(Fraction(error)), float(Fraction(reach))
        inner = 200 / (eps / (2 + eps)) ** 2
        t, s = math.ceil(inner * math.sinh(x) ** 2), math.ceil(inner * 64 - 1e-6)
        assert (papers, sharp, product) == (f"{math.ceil(inner * math.exp(2 * x)):,}", f"{t:,}", f"{s:,}")
        assert equal == f"{(2 * s + t + 1) // 2 + 1:,}"
        assert int(best.replace(",", "")) < int(equal.replace(",", ""))
    bits = 1 + 0.1 * math.log2(0.1) + 0.9 * math.log2(0.9)
    widths = (16, 8, 4, 2, 1)
    assert [row[-1] for row in tables.words().rows] == [f"{math.floor(20 * p / bits) / 10:.1f}" for p in widths]
    for row in tables.dimensions().rows:
        n, papers, _, signs, kerdock, cube, plane = (int(cell.replace(",", "")) for cell in row)
        assert papers == math.ceil(4 * math.log(n) / (0.49**2 / 2 - 0.49**3 / 3))
        assert cube == math.ceil(math.log2(n))
        assert kerdock**2 >= n > (kerdock // 4) ** 2
        assert plane == 2
        close = sum(math.comb(signs, k) for k in range(signs + 1) if 2 * k < 0.51 * signs)
        assert math.comb(n, 2) * close < 2**signs
    for dim, _, budget, _, most in tables.budgets().rows:
        logit = Fraction(attention.state(f"hypercube({dim})")["statement"]["max_logit"])
        assert budget == f"{float(logit):.2f}"
        if most.isdecimal():
            n = int(most)
            assert n >= 2 ** int(dim)
            assert math.log(3 * (n - 1)) < float(budget) * n / (n - 1) + 0.01
    assert "Dimension that n keys need" in entry_text(ENTRIES["C4"])
