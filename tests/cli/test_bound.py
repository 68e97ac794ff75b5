"""``kvverify bound``: the object that contracts name, safe figures, and one line for each wrong word."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest

from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import short
from tests.cli.command import Done, kvverify
from tests.cli.conftest import Seal

SMALL = ("bound", "--tokens", "64", "--head-dim", "16")
TYPES: dict[str, type | tuple[type, ...]] = {
    "schema": str, "attention": str, "state_bits_at_least": int, "bits_per_token_at_least": float,
    "bits_per_token_per_head_at_least": float, "dense_bits": int, "compression_at_most": float,
    "state_bits_enough": int, "bits_per_token_enough": float, "gap": float, "enough_method": str,
    "enough_reason": type(None), "enough_certificate": type(None), "tokens": int,
    "key_dim": int, "value_dim": int, "kv_heads": int, "layers": int, "tolerance": str, "relative": type(None),
    "failure": str, "max_logit": str, "inputs": str, "body": str, "budget": str, "bits_per_scalar": int, "family": str,
    "meaning": str, "certificate": type(None), "verdict": str, "reason": type(None),
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> Done:
    return kvverify(*SMALL, "--json")


@pytest.fixture(scope="module")
def zero() -> Done:
    """More tokens than any family can tell apart in sixteen coordinates."""
    return kvverify("bound", "--tokens", "2^60", "--head-dim", "16", "--json")


def test_the_object_has_the_fields_and_types_of_the_contract(small: Done) -> None:
    assert small.code == 0
    assert small.err == ""
    assert {name: type(value) for name, value in small.json.items()} == TYPES


def test_its_values(small: Done) -> None:
    answer = small.json
    assert answer["schema"] == "kvverify-bound/1"
    assert answer["verdict"] == "VALID"
    assert (answer["tokens"], answer["key_dim"], answer["value_dim"]) == (64, 16, 16)
    assert (answer["kv_heads"], answer["layers"], answer["bits_per_scalar"]) == (1, 1, 16)
    assert (answer["tolerance"], answer["failure"], answer["max_logit"]) == ("1/100", "1/10", "24")
    assert (answer["inputs"], answer["body"], answer["budget"]) == ("real", "cube", "class")
    assert answer["dense_bits"] == 64 * 32 * 16
    assert answer["bits_per_token_per_head_at_least"] == answer["bits_per_token_at_least"]


def test_both_sides_are_of_one_class_and_both_are_proved(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower.json", tmp_path / "upper.json"
    answer = kvverify(*SMALL, "--json", "--output", lower, "--enough", upper).json
    low, high = check(lower), check(upper)
    assert low.verdict is high.verdict is Verdict.VALID
    assert (answer["certificate"], answer["enough_certificate"]) == (str(lower), str(upper))
    sides = [json.loads(path.read_text())["statement"] for path in (lower, upper)]
    differ = {"claim", "state_bits_at_least", "state_bits_enough"}
    one, other = ({name: word for name, word in side.items() if name not in differ} for side in sides)
    assert one == other
    assert answer["state_bits_at_least"] <= int(sides[1]["state_bits_enough"]) == answer["state_bits_enough"]
    assert Fraction(str(answer["gap"])) * answer["state_bits_at_least"] >= answer["state_bits_enough"] * Fraction(
        999, 1000
    )


def test_no_other_side_under_a_relative_tolerance() -> None:
    answer = kvverify("bound", "--tokens", "64", "--head-dim", "16", "--relative", "1/10", "--json").json
    assert [answer[name] for name in ("state_bits_enough", "bits_per_token_enough", "gap", "enough_method")] == [
        None
    ] * 4
    assert "relative" in answer["enough_reason"]


def test_figures_have_six_digits_and_lie_on_the_safe_side(small: Done, tmp_path: Path) -> None:
    answer = kvverify(*SMALL, "--json", "--output", tmp_path / "c.json").json
    proved = check(tmp_path / "c.json").bits
    assert proved is not None
    assert answer["state_bits_at_least"] == math.floor(proved)
    rate, ratio = Fraction(str(answer["bits_per_token_at_least"])), Fraction(str(answer["compression_at_most"]))
    assert 0 <= proved / 64 - rate < Fraction(1, 10**3)  # six digits of a figure above 100
    assert 0 <= ratio - Fraction(answer["dense_bits"]) / proved < Fraction(1, 10**5)
    for name in ("bits_per_token_at_least", "compression_at_most"):
        assert len(str(answer[name]).replace(".", "").lstrip("0")) <= 6


def test_totals_go_over_heads_and_layers(small: Done) -> None:
    one, many = small.json, kvverify(*SMALL, "--kv-heads", 4, "--layers", 3, "--json").json
    assert many["dense_bits"] == 12 * one["dense_bits"]
    assert 12 * one["state_bits_at_least"] <= many["state_bits_at_least"] < 12 * (one["state_bits_at_least"] + 1)
    assert many["bits_per_token_per_head_at_least"] == one["bits_per_token_per_head_at_least"]


def test_large_counts_are_strings() -> None:
    answer = kvverify(*SMALL, "--kv-heads", "2^40", "--value-dim", "2^60", "--json").json
    assert answer["dense_bits"] == str(64 * 2**40 * 16 * (16 + 2**60))
    assert answer["value_dim"] == str(2**60)
    assert int(answer["state_bits_at_least"]) > 1 << 100
    assert answer["bits_per_token_at_least"] > 2.0**100


def test_numbers_may_be_written_in_each_way() -> None:
    words = [("2^6", "0.01", "1e-1", "24.0"), ("64", "1/100", "1/10", "24"), ("128/2", "1e-2", "0.1", "48/2")]
    answers = [
        kvverify("bound", "--tokens", n, "--head-dim", 16, "--tolerance", t, "--failure", f, "--max-logit", m, "--json")
        for n, t, f, m in words
    ]
    assert len({answer.out for answer in answers}) == 1
    assert answers[0].code == 0


def test_relative_tolerance_and_other_choices() -> None:
    answer = kvverify(*SMALL, "--relative", "1/4", "--inputs", "bf16", "--body", "ball", "--json").json
    assert (answer["tolerance"], answer["relative"]) == (None, "1/4")
    assert (answer["inputs"], answer["body"]) == ("bf16", "ball")


def test_a_bound_of_zero_is_an_answer(zero: Done, tmp_path: Path) -> None:
    answer = zero.json
    assert zero.code == 0
    assert (answer["state_bits_at_least"], answer["bits_per_token_at_least"]) == (0, 0)
    assert answer["compression_at_most"] is None
    assert answer["certificate"] is None
    assert answer["verdict"] == "INCOMPLETE"
    assert short(answer["family"]) in answer["reason"]
    assert "misses by a factor of" in answer["reason"]
    old = tmp_path / "c.json"
    old.write_text("old")
    again = kvverify("bound", "--tokens", "2^60", "--head-dim", 16, "--output", old)
    assert again.code == 0
    assert again.out.startswith("No bound above 0 was found; ")
    assert old.read_text() == "old"


def test_one_token_is_a_legal_problem() -> None:
    answer = kvverify("bound", "--tokens", 1, "--head-dim", 1, "--json").json
    assert answer["state_bits_at_least"] == 5
    assert answer["verdict"] == "VALID"


def test_text_for_people_says_the_same(small: Done) -> None:
    text, answer = kvverify(*SMALL).out, small.json
    for name in ("state_bits_at_least", "compression_at_most", "dense_bits", "tolerance", "failure"):
        assert str(answer[name]) in text
    assert short(answer["family"]) in text


@pytest.mark.parametrize("option", ["--output", "--certificate"])
def test_the_certificate_is_written_and_named(option: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    assert kvverify(*SMALL, option, path, "--json").json["certificate"] == str(path)
    assert check(path).verdict is Verdict.VALID
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_replaced_stays_whole(sealed: Path) -> None:
    path = sealed / "c.json"
    path.write_text("old")
    with Seal(sealed):
        done = kvverify(*SMALL, "--output", path)
    done.refuses(2, f"{path} cannot be written: ", "denied")
    assert path.read_text() == "old"
    assert list(sealed.iterdir()) == [path]


def test_places_that_are_none(tmp_path: Path) -> None:
    kvverify(*SMALL, "--output", tmp_path / "no" / "c.json").refuses(2, "no/c.json cannot be written: No such file")
    kvverify(*SMALL, "--output", tmp_path).refuses(2, f"{tmp_path} cannot be written: Is a directory")
    assert list(tmp_path.iterdir()) == []


WRONG = [
    (("--max-logit", "0"), "max-logit: 0 given, above 0 is needed"),
    (("--max-logit", "-3"), "max-logit: -3 given, above 0 is needed"),
    (("--max-logit", "5000"), "max-logit: 5000 given, at most 4096 is needed"),
    (("--tolerance", "1"), "tolerance: 1 given, a number above 0 and below 1 is needed"),
    (("--tolerance", "3/2"), "tolerance: 3/2 given, a number above 0 and below 1"),
    (("--tolerance", "0"), "tolerance: 0 given, a number above 0"),
    (("--tolerance", "-1/2"), "tolerance: -1/2 given"),
    (("--tolerance", "2^-9999"), "tolerance: about 2^-9999 given, 0 or a size from 2^-500"),
    (("--tolerance", "1e400"), "tolerance: about 2^1328 given"),
    (("--relative", "1"), "relative: 1 given, at least 0 and below 1 is needed"),
    (("--tolerance", "1/2", "--relative", "1/2"), "give exactly one of tolerance (additive) and relative"),
    (("--failure", "1"), "failure: 1 given, 0 to 99/100 is needed"),
    (("--failure", "3/4", "--relative", "1/2"), "failure: 3/4 given, 0 to 1/2 under a relative tolerance is needed"),
    (("--failure", "-1/10"), "failure: -1/10 given"),
    (("--tokens", "0"), "tokens: 0 given, a whole number from 1 to 2^128 is needed"),
    (("--tokens", "3/2"), "tokens: 3/2 given, a whole number"),
    (("--tokens", "2^129"), "tokens: 680564733841876926926749214863536422912 given"),
    (("--tokens", "-5"), "tokens: -5 given"),
    (("--tokens", "nan"), "tokens: 'nan' is no number; give p/q, a decimal or 2^k"),
    (("--kv-heads", "0"), "kv-heads: 0 given"),
    (("--bits-per-scalar", "inf"), "bits-per-scalar: 'inf' is no number"),
    (("--body", "sphere"), "body: sphere given, cube or ball is needed"),
    (("--inputs", "fp8"), "inputs: fp8 given, real or bf16 is needed"),
    (("--tolerance", "inf"), "tolerance: 'inf' is no number"),
    (("--tolerance", "1/0"), "tolerance: '1/0' is no number; give p/q, a decimal or 2^k"),
    (("--tolerance", ""), "tolerance: '' is no number"),
    (("--tolerance", "0x10"), "tolerance: '0x10' is no number"),
    (("--tolerance", "1_0"), "tolerance: '1_0' is no number"),
    (("--tolerance", "9" * 10**6), "tolerance: a number of 1000000 characters; at most 200 are read"),
    (("--tolerance", "1/" + "9" * 10**6), "tolerance: a number of 1000002 characters"),
    (("--layers", "9" * 10**6), "layers: a number of 1000000 characters"),
    (("--tolerence", "1/2"), "--tolerence"),
    (("--" + "z" * 10**6,), "No such option: --zzz"),
    (("more",), "more"),
]


@pytest.mark.parametrize(("words", "line"), WRONG, ids=lambda one: str(one)[:40])
def test_wrong_usage_is_one_line_and_code_2(words: tuple[str, ...], line: str) -> None:
    kvverify(*SMALL, *words).refuses(2, line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("bound",), "give --tokens and --head-dim"),
        (("bound", "--tokens"), "Option '--tokens' requires an argument"),
        (("bound", "--tokens", "64"), "give --head-dim, or --key-dim and --value-dim"),
        (("bound", "--tokens", "64", "--key-dim", "8"), "give --head-dim, or --key-dim and --value-dim"),
        (("bounds",), "No such command 'bounds'. Did you mean 'bound'?"),
    ],
)
def test_missing_words(words: tuple[str, ...], line: str) -> None:
    kvverify(*words).refuses(2, line)


def test_the_certificate_is_the_one_that_certify_writes(tmp_path: Path) -> None:
    kvverify(*SMALL, "--output", tmp_path / "c.json")
    assert kvverify("certify", *SMALL[1:]).json == json.loads((tmp_path / "c.json").read_text())


def test_the_tolerance_of_a_size() -> None:
    words = ("bound", "--tokens", 64, "--head-dim", 16, "--bits-per-token", 60)
    answer = kvverify(*words, "--json").json
    assert answer["bits_per_token"] == "60"
    assert 0 < answer["tolerance_at_least"] <= Fraction(answer["tolerance"])
    assert answer["bits_per_token_at_least"] >= 60
    assert "No compressor of 60 bits a token can promise" in kvverify(*words).out
    nothing = kvverify(*words[:-1], 10**6, "--json").json
    assert nothing["tolerance_at_least"] is None
    kvverify(*words, "--tolerance", "1/100").refuses(2, "not both")
    kvverify(*words[:-1], 0).refuses(2, "bits-per-token: 0 given, a number above 0 is needed")
