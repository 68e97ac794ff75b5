"""The second opinion agrees with what is right, and proves the contrary of what is a little more."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kvverify.crosscheck.arb import Opinion, second_opinion
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from tests.crosscheck.controls import (
    CONTROLS,
    COUNTED,
    FLOATS,
    changed,
    control,
    counted,
    own_keys,
    problem,
    signed,
)
from tests.kernel.test_mutants import controls as kernel_controls

FORMS = ("near-identity", "ostrowski", "exact")
Change = tuple[str, Any]


def less(by: Fraction) -> Callable[[Fraction], Fraction]:
    return lambda value: value - by


def more(by: Fraction | int) -> Callable[[Fraction], Fraction]:
    return lambda value: value + by


def assert_opinion(opinion: Opinion, verdict: str, step: str | None, reason: str = "") -> None:
    assert (opinion.verdict, opinion.step) == (verdict, step), opinion.reason
    assert reason in opinion.reason


@pytest.mark.parametrize("name", CONTROLS)
def test_agrees(name: str) -> None:
    tree = control(name)
    assert check(tree).verdict is Verdict.VALID
    opinion = second_opinion(tree)
    assert_opinion(opinion, "agrees", None)
    assert [outcome.step for outcome in opinion.steps] == [
        *(step["id"] for step in tree["steps"]),
        tree["steps"][-1]["id"],
    ]
    assert {outcome.verdict for outcome in opinion.steps} == {"agrees"}


def test_controls_use_every_rule(tmp_path: Path) -> None:
    from kvverify.kernel.rules import RULES

    others = [found.tree for found in kernel_controls() if "tokens" not in found.tree["statement"]]  # other claims
    trees = [*map(control, CONTROLS), own_keys(tmp_path, "exact"), *others]
    assert {step["rule"] for tree in trees for step in tree["steps"]} == set(RULES)


UNIT, FINE = Fraction(1, 1 << 48), Fraction(1, 1 << 64)
STRONGER: list[tuple[str, str, str, Change]] = [
    # control, the step that is named, a part of the reason, the change
    ("volume", "decay", "exp(-exponent)", ("decay/gives/exp_minus_at_most", less(UNIT))),
    ("volume", "keys", "codewords have weight 4", ("keys/gives/weights", {"4": "13", "8": "2"})),
    ("volume", "keys", "codewords have weight 8", ("keys/gives/weights", {"4": "14"})),
    ("volume", "keys", "one message", ("keys/given/generator", ["11110000", "00001111", "11001100", "00110011"])),
    ("parity", "keys", "weight 8", ("keys/gives/weights/8", more(1))),
    ("coset-union", "keys", "dominates", ("keys/gives/weights/6", less(Fraction(1)))),
    ("coset-union", "keys", "distinct", ("keys/given/representatives", ["0" * 16, "1" * 16])),
    ("hypercube", "keys", "binomials", ("keys/gives/size", "257")),
    ("reed-muller", "keys", "weight 32", ("keys/gives/weights/32", less(Fraction(1)))),
    ("reed-muller", "keys", "weight 128", ("keys/gives/weights/128", more(1))),
    ("reed-muller", "keys", "weight 31", ("keys/given/punctured", "1")),
    ("reed-muller", "keys", "three letters", ("keys/given/shortened", "4")),
    ("reed-muller", "keys", "an order below", ("keys/given/order", "7")),
    ("reed-muller", "reading", "(1 + relative)", ("statement/relative", "501/5000")),
    ("explicit", "keys", "dominates", ("keys/gives/exponents", {"4": "5", "8": "2"})),
    ("explicit", "keys", "scores highest", ("keys/given/keys", ["1 0", "2 0"])),
    ("paraboloid", "keys", "side^", ("keys/gives/size", "17")),
    ("volume", "budget", "logit of the queries", ("budget/gives/logit_at_most", less(UNIT))),
    ("volume", "budget", "max_logit", ("statement/max_logit", less(UNIT))),
    ("volume", "budget", "fit", ("statement/key_dim", "7")),
    ("volume", "budget", "payload", ("budget/given/payload", "17")),
    ("volume", "budget", "payload", ("statement/tokens", "15")),
    ("paraboloid", "budget", "bf16", ("statement/inputs", "bf16")),
    ("volume-ball", "budget", "logit", ("statement/inputs", "bf16")),
    ("volume", "leak", "off-target mass", ("leak/gives/off_target_at_most", less(FINE))),
    ("volume", "leak", "squares", ("leak/gives/off_target_squares_at_most", less(FINE))),
    ("volume-pads", "leak", "pads", ("leak/gives/rest_at_most", less(FINE))),
    ("volume-pads", "leak", "pads", ("statement/tokens", "22")),
    ("paraboloid", "leak", "off-target mass", ("leak/gives/off_target_at_most", less(FINE))),
    ("hypercube", "leak", "off-target mass", ("leak/gives/off_target_at_most", less(FINE))),
    ("volume", "determinant", "log2 |det W|", ("determinant/gives/log2_det_at_least", more(Fraction(1, 1 << 31)))),
    ("volume", "determinant", "attention-row", ("determinant/given/form", "exact")),
    ("volume", "bits", "payload g", ("bits/gives/bits_at_least", more(Fraction(1, 1 << 19)))),
    ("volume", "bits", "payload g", ("statement/tolerance", "1/15")),
    ("volume", "bits", "payload g", ("statement/failure", "101/1000")),
    ("volume", "bits", "failure <=", ("statement/failure", "31/32")),
    ("volume", "bits", "payload g", ("statement/value_dim", "3")),
    ("volume", "bits", "payload g", ("statement/inputs", "bf16")),
    ("volume-streams", "bits", "payload g", ("statement/layers", "4")),
    ("volume", "bits", "state_bits_at_least", ("statement/state_bits_at_least", more(1))),
    ("levels", "reading", "alphabet", ("reading/gives/alphabet", more(1))),
    ("levels", "bits", "symbols * F", ("bits/gives/bits_at_least", more(Fraction(1, 1 << 19)))),
    ("levels", "bits", "1 - 1/alphabet", ("statement/failure", "63/64")),
    ("levels-bf16", "bits", "symbols * F", ("bits/gives/bits_at_least", more(Fraction(1, 1 << 19)))),
    ("separation", "reading", "(1 + relative)", ("statement/relative", "99999/100000")),
    ("separation", "reading", "alphabet of 2", ("reading/gives/alphabet", "3")),
    ("counting", "bits", "errors", ("bits/gives/bits_at_least", more(1))),
    ("counting-streams", "bits", "secret", ("statement/kv_heads", "1")),
]


@pytest.mark.parametrize(("name", "step", "reason", "change"), STRONGER)
def test_contrary_of_a_little_more(name: str, step: str, reason: str, change: Change) -> None:
    tree = changed(control(name), *change)
    assert_opinion(second_opinion(tree), "contrary", step, reason)
    assert check(tree).verdict is Verdict.INVALID


def test_counting_is_taken_to_its_end() -> None:
    for streams, bits in COUNTED.items():
        asked = problem(value_dim=1, kv_heads=streams)
        assert second_opinion(counted(asked, bits)).verdict == "agrees"
        assert_opinion(second_opinion(counted(asked, bits + 1)), "contrary", "bits", "errors")


@pytest.mark.parametrize(("uses", "reason"), [({"leak": "decay"}, "kind Leak"), ({}, "kind Leak")])
def test_premises_are_of_their_kind(uses: dict[str, str], reason: str) -> None:
    tree = control("volume")
    tree["steps"][4]["uses"] = uses
    assert_opinion(second_opinion(signed(tree)), "contrary", "determinant", reason)


def test_steps_stand_in_order() -> None:
    tree = control("volume")
    tree["steps"][4]["uses"] = {"leak": "bits"}
    assert_opinion(second_opinion(signed(tree)), "contrary", "determinant", "before")
    tree = control("volume")
    tree["steps"][2]["id"] = tree["steps"][2]["uses"]["decay"] = "decay"
    assert_opinion(second_opinion(signed(tree)), "contrary", "decay", "one step of this name")
    tree = control("volume")
    tree["steps"].pop()
    assert_opinion(second_opinion(signed(tree)), "contrary", "determinant", "gives bits, of the kind claimed")
    assert_opinion(second_opinion({**control("volume"), "digest": "0" * 64}), "contrary", None, "digest")


def test_relative_and_additive_tolerance_are_kept_apart() -> None:
    for name, step, other in (("volume", "bits", "relative"), ("separation", "reading", "tolerance")):
        tree = control(name)
        tree["statement"][other] = tree["statement"].pop("relative" if other == "tolerance" else "tolerance")
        assert_opinion(second_opinion(signed(tree)), "contrary", step, "tolerance is")
        assert check(signed(tree)).verdict is Verdict.INVALID


def test_an_equality_is_decided_where_it_is_exact() -> None:
    tree = changed(control("levels-bf16"), "bits/gives/bits_at_least", "256")  # 16 * 4 symbols of 4 bits
    tree = changed(tree, "reading/gives/alphabet", "16")
    assert second_opinion(tree).verdict == "agrees"
    tree = changed(tree, "bits/gives/bits_at_least", more(Fraction(1, 1 << 4000)))
    assert_opinion(second_opinion(tree), "contrary", "bits")


def test_an_equality_of_logarithms_is_undecided() -> None:
    # F(3, 2/3) = log2 3 + log2(1/3) / 3 + log2(1/3) 2/3 = 0, which no ball can tell from a little less.
    tree = changed(control("levels"), "reading/gives/alphabet", "3")
    tree = changed(changed(tree, "statement/failure", "2/3"), "statement/state_bits_at_least", "0")
    tie = changed(tree, "bits/gives/bits_at_least", "0")
    assert_opinion(second_opinion(tie), "undecided", "bits", "4096 bits")
    below = changed(tree, "bits/gives/bits_at_least", f"-1/{1 << 4000}")
    assert [outcome.verdict for outcome in second_opinion(below).steps[-2:]] == ["agrees", "contrary"]


def test_work_is_bounded() -> None:
    rows = ["".join(str(int(i == j)) for j in range(60)) for i in range(30)]
    tree = control("volume")
    tree["steps"][0]["given"]["generator"] = rows
    tree["statement"]["key_dim"] = "60"
    opinion = second_opinion(signed(tree))
    assert_opinion(opinion, "undecided", "keys", "limit")
    assert opinion.steps[2].reason == "a premise could not be read"
    wide = changed(control("explicit"), "keys/gives/exponents", {str(e): "1" for e in range(1, 1 << 17)})
    assert_opinion(second_opinion(wide), "undecided", "keys", "limit")
    assert_opinion(second_opinion(b'{"a":' * 100_000), "undecided", None, "nested")
    node: dict[str, Any] = {}
    node["node"] = node
    assert_opinion(second_opinion(node), "contrary", None, "JSON tree")


def test_sources(tmp_path: Path) -> None:
    tree = control("volume")
    document.write(tmp_path / "c.json", tree)
    for source in (tree, document.canonical(tree), tmp_path / "c.json", str(tmp_path / "c.json")):
        assert second_opinion(source).verdict == "agrees"
    with pytest.raises(FileNotFoundError):
        second_opinion(tmp_path / "none.json")


# --- keys of a file ---


@pytest.mark.parametrize("form", FORMS)
def test_agrees_on_own_keys(form: str, tmp_path: Path) -> None:
    tree = own_keys(tmp_path, form)
    assert check(tree, tmp_path).verdict is Verdict.VALID
    assert_opinion(second_opinion(tree, tmp_path), "agrees", None)
    document.write(tmp_path / "c.json", tree)
    assert second_opinion(tmp_path / "c.json").verdict == "agrees"


@pytest.mark.parametrize("form", ["ostrowski", "exact"])
@pytest.mark.parametrize(("slack", "verdict"), [(2.0**-40, "agrees"), (-(2.0**-40), "contrary")])
def test_masses_and_determinants_to_the_last(form: str, slack: float, verdict: str, tmp_path: Path) -> None:
    tree = own_keys(tmp_path, form, slack=2.0**-12)
    exact = own_keys(tmp_path, form, slack=slack)["steps"][1]["gives"]["log2_det_at_least"]
    tree = changed(tree, "determinant/gives/log2_det_at_least", exact)
    assert second_opinion(tree, tmp_path).steps[1].verdict == verdict


@pytest.mark.parametrize(
    "name", ["off_target_at_most", "off_target_squares_at_most", "rest_at_most"], ids=["off-target", "squares", "rest"]
)
def test_contrary_of_smaller_masses(name: str, tmp_path: Path) -> None:
    large, small = (own_keys(tmp_path, "exact", slack)["steps"][0]["gives"][name] for slack in (2.0**-30, -(2.0**-30)))
    tree = own_keys(tmp_path, "exact")
    assert second_opinion(changed(tree, f"rows/gives/{name}", large), tmp_path).steps[0].verdict == "agrees"
    assert_opinion(second_opinion(changed(tree, f"rows/gives/{name}", small), tmp_path), "contrary", "rows")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("statement/max_logit", "7"), "max_logit"),
        (("statement/tokens", "4"), "(tokens, key_dim)"),
        (("statement/key_dim", "3"), "(tokens, key_dim)"),
        (("statement/layers", "2"), "one stream"),
        (("statement/keys/sha256", "0" * 64), "digest"),
        (("statement/keys/tensor", "v"), "no float tensor"),
        (("statement/keys/head", "0"), "head"),
        (("rows/given/payload", "0 1 3 3"), "distinct"),
        (("rows/given/payload", "0 1 3 5"), "of the file"),
        (("rows/given/query_scale", "0"), "query_scale"),
        (("rows/given/queries", ["1 2", "3 4"]), "one query"),
    ],
)
def test_contrary_of_other_rows(change: Change, reason: str, tmp_path: Path) -> None:
    tree = own_keys(tmp_path, "ostrowski")
    if change[0].endswith("head"):
        tree["statement"]["keys"]["head"] = "1"
    opinion = second_opinion(changed(tree, *change), tmp_path)
    assert_opinion(opinion, "contrary", "rows", reason)


def test_logits_may_be_as_large_as_allowed(tmp_path: Path) -> None:
    tree = own_keys(tmp_path, "exact")
    queries = np.array([[int(x) for x in row.split(" ")] for row in tree["steps"][0]["given"]["queries"]])
    highest = abs(queries @ FLOATS.T.astype(float)).max() / 4
    exact = changed(tree, "statement/max_logit", str(Fraction(highest)))
    assert second_opinion(exact, tmp_path).verdict == check(exact, tmp_path).verdict.value.replace("VALID", "agrees")
    assert_opinion(second_opinion(changed(exact, "statement/max_logit", less(UNIT)), tmp_path), "contrary", "rows")


def test_an_absent_file_is_undecided(tmp_path: Path) -> None:
    tree = own_keys(tmp_path, "exact")
    (tmp_path / "keys.safetensors").unlink()
    assert_opinion(second_opinion(tree, tmp_path), "undecided", "rows", "not there")
    odd = changed(tree, "statement/keys/name", "\ud800")
    assert_opinion(second_opinion(odd, tmp_path), "undecided", "rows", "not there")


def test_float32_keys_are_not_bf16(tmp_path: Path) -> None:
    tree = own_keys(tmp_path, "exact", stored="F32")
    assert_opinion(second_opinion(tree, tmp_path), "contrary", "rows", "bf16")
    assert second_opinion(changed(tree, "statement/inputs", "real"), tmp_path).verdict == "agrees"


@pytest.mark.parametrize(
    "entry",
    [{"shape": 5}, {"shape": [5, 3]}, {"shape": [-1, 2]}, {"shape": [5, 2, 1 << 70]}, {"dtype": ["F32"]},
     {"dtype": "I8"}, {"data_offsets": [0, 1 << 40]}],
)  # fmt: skip
def test_broken_headers(entry: dict[str, Any], tmp_path: Path) -> None:
    tree = own_keys(tmp_path, "exact", **entry)
    assert_opinion(second_opinion(tree, tmp_path), "contrary", "rows", "no float tensor")


# --- beside the kernel ---


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(CONTROLS)), st.data())
def test_no_contrary_of_what_the_kernel_proves(name: str, data: st.DataObject) -> None:
    tree = control(name)
    numbers = [
        f"{step['id']}/{part}/{field}"
        for step in tree["steps"]
        for part in ("given", "gives")
        for field, value in step[part].items()
        if isinstance(value, str) and value.lstrip("-").replace("/", "").isdigit()
    ] + [
        f"statement/{field}"
        for field in (
            "tokens",
            "key_dim",
            "value_dim",
            "max_logit",
            "failure",
            "kv_heads",
            "dim",
            "at_least",
            "at_most",
        )
        if field in tree["statement"]
    ]
    assume(numbers)  # a comparison has none of its own
    where = data.draw(st.sampled_from(numbers))
    by = data.draw(st.sampled_from([Fraction(1), Fraction(-1), Fraction(1, 1 << 20), Fraction(-1, 1 << 48)]))
    tree = changed(tree, where, more(by))
    proved = check(tree).verdict is Verdict.VALID
    assert second_opinion(tree).verdict in (("agrees",) if proved else ("agrees", "contrary", "undecided"))
