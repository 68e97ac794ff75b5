"""Several layers made at once, versions of what a cache rests on, and the field guide against its results."""

from __future__ import annotations

import json
import runpy
from fractions import Fraction
from pathlib import Path

import pytest
import typer

from kvverify.audit.game import play
from kvverify.audit.target import loaded
from kvverify.audit.verdict import Claim
from kvverify.compressors import names
from tests.audit.small import instance
from tests.conftest import needs

torch = needs("torch", "audit")
needs("scipy", "audit")

ROOT = Path(__file__).resolve().parents[2]
TOGETHER = Path(__file__).with_name("specimens") / "together.py"
GUIDE = runpy.run_path(str(ROOT / "scripts" / "field_guide.py"))


def test_layers_that_are_made_together_know_which_they_are() -> None:
    one = instance(32, kv_heads=1, layers=2, value_dim=8)
    within = Claim(None, Fraction(1, 100), Fraction(1))  # of the rounding to bf16, whatever the order of the tokens
    report = play(f"{TOGETHER}:Together", one, schedule="prefill:64", dtype="bfloat16", timeout=60, claim=within)
    found = report.to_json()
    assert found["status"] == "NO FLAG"
    assert found["held_bits"] == (64 + 32) * (32 + 8) * 16
    # The second layer lost every other token, and with it what these reads ask for.
    assert 0.2 < found["symbol_error"] < 0.3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("TooFew", "Alice: ValueError: together.py:TooFew made 1 compressors for 2 layers"),
        ("Nothing", "Alice: TypeError: together.py:Nothing returned a NoneType, which is no Compressor"),
    ],
)
def test_a_factory_that_makes_something_else_is_said_to(name: str, reason: str) -> None:
    report = play(f"{TOGETHER}:{name}", instance(32, layers=2, value_dim=8), seed=1, timeout=60)
    assert (report.status, report.reason) == ("INCOMPLETE", reason)


def test_versions_name_the_packages_of_a_cache_s_classes() -> None:
    class Cache(typer.Typer):
        """A cache whose base is another package's."""

    class Wrapped:
        cache = Cache()

    assert "typer" in set(loaded(Wrapped())) - set(loaded(object()))


def test_the_page_is_what_the_results_give() -> None:
    assert GUIDE["page"]() == (ROOT / "docs" / "field-guide.md").read_text()


def test_the_results_are_audits_of_the_cases() -> None:
    cases = {(case["source"], case["method"]): case for case in GUIDE["cases"]()}
    done = GUIDE["results"]()
    assert set(done) <= set(cases)
    for key, line in done.items():
        audit, target = line["audit"], cases[key]["target"].split()[0]
        assert audit["schema"] == "kvverify-audit/1"
        assert audit["fresh_secret"]
        assert audit["compressor"] == target.rpartition("/")[2]
        assert "HIDDEN STATE" not in audit["flags"]
        assert (audit["instance"]["tokens"], audit["instance"]["key_dim"], audit["instance"]["heads"]) == (512, 64, 4)
        assert ":" in target or target in names()
        source = key[0]
        if source not in ("kvverify", "kvpress", "transformers"):
            assert source in audit["settings"]["versions"]
    ended = {key for key, line in done.items() if line["audit"]["status"] != "INCOMPLETE"}
    distinct = {(source, cases[source, method].get("same_as", method)) for source, method in ended}
    others = {source for source, _ in distinct} - {"kvverify"}
    assert len(distinct) >= 25
    assert len([one for one in distinct if one[0] != "kvverify"]) >= 15
    assert len(others - {"kvpress", "transformers"}) >= 4
    assert json.loads((ROOT / "instances/field-guide/two-layers.json").read_text())["statement"]["layers"] == "2"
