"""``bound --attention``: answers with certificates, the ordinary bound for free streams, and bad input in one line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.attention.visual import parse_scales
from kvverify.bounds import best_bound
from kvverify.bounds.attention import tensor_question, visual_question, visual_tokens
from kvverify.cli.attention import answer_of, pyramid
from kvverify.errors import UsageError
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem
from kvverify.report.attention_bounds import attention_json, attention_text
from tests.cli.command import kvverify
from tests.cli.test_bound import TYPES


def asked(tokens: int, dim: int = 16, **more: Any) -> Problem:
    return Problem(tokens, dim, dim, Fraction(24), Fraction(1, 10), tolerance=Fraction(1, 100), **more)


def test_tensor_attention(tmp_path: Path) -> None:
    path = tmp_path / "bound.json"
    found = kvverify("bound", "--attention", "tensor", "--tokens", "64", "--head-dim", "16", "--kv-heads", "2",
                     "--certificate", path, "--json")  # fmt: skip
    assert found.code == 0
    answer = found.json
    assert TYPES.keys() <= answer.keys()
    proved = check(path)
    assert proved.verdict is Verdict.VALID
    assert proved.bits is not None
    assert answer["state_bits_at_least"] == int(proved.bits)
    assert answer["dense_bits"] == 16 * 2 * 64 * 2 * 32
    assert answer["two_cache_scalars"] == 2 * 64**2 * 32
    assert answer["compression_at_most"] == pytest.approx(
        answer["dense_bits"] / answer["state_bits_at_least"], rel=1e-3
    )
    assert (answer["attention"], answer["verdict"], answer["form"]) == ("tensor", "VALID", "halves")


def test_heads_and_layers_of_tensor_attention_are_streams() -> None:
    one, four = tensor_question(asked(32)), tensor_question(asked(32, kv_heads=2, layers=2))
    assert abs(four.bits - 4 * one.bits) < 4
    assert four.dense_scalars == 4 * one.dense_scalars


def test_what_a_pyramid_makes_needs_fewer_bits_than_free_streams() -> None:
    scales = parse_scales("1,2,3,4")
    tokens = visual_tokens(scales, "between-steps")
    assert tokens == 14
    made = visual_question(scales, "nearest", "between-steps", asked(tokens))
    assert made.certificate is not None
    assert check(made.certificate).verdict is Verdict.VALID
    assert 0 < made.bits < best_bound(asked(tokens)).bits
    answer = attention_json(made, 16, None)
    assert (answer["free_tokens"], answer["realisable"], answer["scales"]) == (6, True, "1,2,3,4")
    text = attention_text(made, 16, Path("here.json"))
    assert f"at least {int(made.bits)} bits" in text
    assert "6 of 14 tokens are free" in text
    assert text.endswith("Certificate: here.json")
    everything = visual_question(scales, "nearest", "all-keys", asked(visual_tokens(scales, "all-keys")))
    assert everything.bits > made.bits


def test_free_streams_are_the_ordinary_bound_on_the_tokens_at_the_cut() -> None:
    found = kvverify("bound", "--attention", "visual", "--scales", "1,2,3", "--cut", "all-keys", "--free-streams",
                     "--head-dim", "16", "--json").json  # fmt: skip
    assert found["tokens"] == 14
    assert found["state_bits_at_least"] == int(best_bound(asked(14)).bits)
    assert (found["attention"], found["realisable"], found["cut"]) == ("visual", False, "all-keys")


def test_no_bound_says_why() -> None:
    found = visual_question(parse_scales("1,2,1000"), "bicubic", "between-steps", asked(5))
    assert found.certificate is None
    assert not found.bits
    assert attention_text(found, 16, None).startswith("No bound above 0 was found; ")
    answer = attention_json(found, 16, None)
    assert (answer["verdict"], answer["compression_at_most"], answer["state_bits_at_least"]) == ("INCOMPLETE", None, 0)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("cubic", "8", None, None, None, False), "'cubic' given, one of softmax, visual, tensor is needed"),
        (("tensor", "8", "1,2", None, None, False), "go with --attention visual"),
        ((None, "8", None, None, None, True), "go with --attention visual"),
        (("visual", "8", "1,2", None, None, False), "--tokens is no option of --attention visual"),
        (("visual", None, None, None, None, False), "--attention visual needs --scales"),
        (("visual", None, "1,2", "cubic", None, False), "kernel: 'cubic' given"),
        (("visual", None, "1,2", None, "now", False), "cut: 'now' given"),
        (("visual", None, "2,1", None, None, False), "scale 1 after 2 shrinks"),
        (("visual", None, "2,2", None, None, False), "scale 2 repeats"),
        (("visual", None, "", None, None, False), "no scales given"),
    ],
)
def test_bad_input(words: Any, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        pyramid(*words)


def test_options_without_a_meaning_are_refused() -> None:
    maps = pyramid("visual", None, "1,2,3", None, None, False)
    assert maps is not None
    for problem, more, line in (
        (asked(5, body="ball"), {}, "--body has no meaning for --attention visual"),
        (asked(5, inputs="bf16"), {}, "--inputs has no meaning for --attention visual"),
        (asked(5), {"bits_per_token": "3"}, "--bits-per-token has no meaning"),
        (asked(5, layers=2), {}, "layers: 2 given; an interpolated pyramid is the input of one layer"),
    ):
        with pytest.raises(UsageError, match=line):
            answer_of(maps, problem, **more)
    with pytest.raises(UsageError, match="--enough has no meaning for --attention tensor"):
        answer_of(None, asked(5), enough=Path("x"))
    with pytest.raises(UsageError, match="one scale only, 3"):
        visual_tokens(parse_scales("3"), "between-steps")
    with pytest.raises(UsageError, match="at most 32 MiB are searched"):
        visual_question(parse_scales("1,2,4,8,16,32,64,128"), "nearest", "between-steps", asked(5461))
