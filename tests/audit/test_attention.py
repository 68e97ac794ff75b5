"""Whole games of visual and tensor attention, their claims, and their counter-examples played again."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.attention.visual import parse_scales
from kvverify.audit import replay
from kvverify.audit.claim import Against, parse
from kvverify.audit.game import play
from kvverify.audit.instances import InstanceOptions, make_instance
from kvverify.audit.report import Report
from kvverify.bounds.visual import visual_instance
from kvverify.errors import UsageError
from kvverify.kernel.check import Verdict, check
from kvverify.sweep.plan import read_plan
from tests.conftest import needs

torch = needs("torch", "audit")
needs("scipy", "audit")

TENSOR = InstanceOptions(attention="tensor", tokens=32, head_dim=12, value_dim=4, kv_heads=2)
VISUAL = InstanceOptions(attention="visual", scales="1,2,3,4", kernel="bilinear", head_dim=16, value_dim=4)
COARSE = {"bits": "1", "group": "4", "keys": "per-token"}


def told(options: InstanceOptions, target: str, claim: str | None = None, **more: Any) -> Report:
    one = make_instance(options)
    words = None if claim is None else parse(dict(word.split("=") for word in claim.split(",")), one)
    return play(target, one, claim=words, floor_for=Against(one), timeout=60, seed=3, **more)


@pytest.fixture(scope="module")
def tensor() -> Report:
    return told(
        TENSOR, "uniform", "bits-per-token=10,tolerance=1/100,failure=0", payload="discrete", alphabet=4,
        parameters=COARSE, group=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def visual() -> Report:
    claim = "bits-per-token=10,tolerance=1/100,failure=1/100"
    return told(VISUAL, "uniform", claim, parameters=COARSE)


def test_tensor_attention_from_four_factor_caches(tensor: Report) -> None:
    found = tensor.to_json()
    one = found["instance"]
    assert found["status"] == "FLAGGED"
    assert (one["attention"], one["kv_heads"], one["heads"], one["alphabet"]) == ("tensor", 2, 4, 4)
    tokens = one["tokens"]
    assert one["tokens_that_carry_values"] == tokens - 1
    assert found["reads"] == found["reads_asked"] == 2 * 2 * (tokens - 1) * 4
    assert found["dense_bits"] == 16 * 2 * 2 * tokens * (12 + 4)
    assert one["two_cache_bits"] == 16 * 2 * tokens**2 * (12 + 4)
    assert 0 < found["certificate_bits_at_least"] < found["dense_bits"]
    # One bit a scalar keeps the least and the greatest of four symbols, and rounds the others to one of these.
    assert 0.1 < found["wrong_reads"] / found["reads"] < 0.5
    assert 0 < found["certified_floor_bits"] < found["reads"]


def test_a_visual_stream_scale_by_scale(visual: Report) -> None:
    found = visual.to_json()
    one = found["instance"]
    assert found["status"] == "FLAGGED"
    assert found["schedule"] == "chunk:1,chunk:4,chunk:9"
    assert (one["attention"], one["scales"], one["kernel"], one["cut"]) == (
        "visual", "1,2,3,4", "bilinear", "between-steps",
    )  # fmt: skip
    assert (one["tokens"], one["free_tokens"], one["payload"]) == (14, 6, "continuous")
    assert found["reads"] == 6 * 4
    assert found["dense_bits"] == 16 * 14 * (16 + 4)


@pytest.mark.parametrize("kind", ["tensor", "visual"])
def test_claims_are_set_against_a_bound_of_their_class_and_refuted(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The bound's certificate is VALID and of that attention; the counter-example's read is proved."""
    report: Report = request.getfixturevalue(kind)
    assert {"CLAIM IMPOSSIBLE", "CLAIM REFUTED"} <= set(report.flags)
    assert report.claim is not None
    against = Against(report.game.instance)
    floor = against(report.claim)
    assert floor is not None
    saved = check(against.save(tmp_path))
    assert saved.verdict is Verdict.VALID
    assert f"{kind if kind == 'tensor' else 'pyramid'}" in str(saved.claim)
    assert report.claim.bits is not None
    assert report.claim.bits < floor.bits <= report.game.dense_bits
    assert report.counterexample is not None
    assert report.counterexample["attention"] == kind
    assert report.counterexample["read"]["certificate"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tensor", "visual"])
def test_counter_examples_play_again(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    report: Report = request.getfixturevalue(kind)
    assert report.counterexample is not None
    file = tmp_path / "example.json"
    replay.write(report.counterexample, file)
    again = replay.replay(file, timeout=60)
    assert again.status == "reproduced"
    assert again.line.endswith("(proved by the kernel)")


@pytest.mark.slow
def test_dense_gives_all_symbols_back() -> None:
    """Tensor attention in two layers; in visual attention symbols come from all answers together."""
    layers = InstanceOptions(attention="tensor", tokens=16, head_dim=8, value_dim=2, layers=2)
    for options, reads in ((layers, 2 * 2 * 15 * 2), (VISUAL, 6 * 4)):
        found = told(options, "dense", payload="discrete", alphabet=2).to_json()
        assert (found["status"], found["wrong_reads"], found["reads"]) == ("NO FLAG", 0, reads)
        assert found["certified_floor_bits"] == max(0, reads - 41)  # rounded down


@pytest.mark.slow
def test_product_rows_are_no_compressor() -> None:
    options = InstanceOptions(attention="tensor", tokens=16, head_dim=8, value_dim=2)
    found = told(options, "two-cache", payload="discrete").to_json()
    tokens = found["instance"]["tokens"]
    assert found["flags"] == ["NOT A COMPRESSOR"]
    assert found["wrong_reads"] == 0
    assert found["claimed_bits"] == found["held_bits"] == found["instance"]["two_cache_bits"] + found["dense_bits"]
    assert found["instance"]["two_cache_bits"] == 16 * tokens**2 * 10


def test_what_is_not_played() -> None:
    tensor, visual = make_instance(TENSOR), visual_instance(
        parse_scales("1,2,3"), "nearest", "all-keys", 16, 2, 1, 1, Fraction(24)
    )  # fmt: skip
    assert visual.tokens == 14
    with pytest.raises(UsageError, match="no volume is certified for this tensor attention"):
        play("dense", tensor)
    with pytest.raises(UsageError, match="are read off all answers together"):
        play("dense", visual, payload="discrete", reads=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attention": "visual", "head_dim": 8}, "--attention visual needs --scales and --head-dim"),
        ({"attention": "visual", "scales": "1,2", "head_dim": 8, "tokens": 5}, "--tokens is no option of --attention"),
        ({"attention": "tensor", "tokens": 8, "head_dim": 8, "cut": "all-keys"}, "--cut is no option of --attention"),
        ({"attention": "cubic", "tokens": 8, "head_dim": 8}, "'cubic' given, one of visual, tensor, softmax is needed"),
        ({"attention": "tensor", "instance": "hard", "tokens": 8, "head_dim": 8}, "--instance is no option of"),
        ({"attention": "visual", "scales": "1,3,2", "head_dim": 8}, "scale 2 after 3 shrinks"),
        ({"attention": "visual", "scales": "1,3,3", "head_dim": 8}, "scale 3 repeats"),
        ({"attention": "visual", "scales": " ", "head_dim": 8}, "no scales given"),
        ({"attention": "visual", "scales": "1,2", "head_dim": 8, "max_logit": Fraction(0)}, "max-logit: 0 given"),
        ({"scales": "1,2", "tokens": 8, "head_dim": 8}, "--scales is no option of --instance hard"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_instance(InstanceOptions(**options))
    assert make_instance(InstanceOptions(attention="softmax", tokens=8, head_dim=8)).attention == "softmax"


def test_a_sweep_asks_for_other_attention(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(
        '[[compressor]]\ntarget = "dense"\n[[instance]]\nattention = "visual"\nscales = "1,2,3"\nhead-dim = [8, 16]\n'
        '[[instance]]\nattention = "tensor"\ntokens = 8\nhead-dim = 8\n'
    )
    jobs = read_plan(file)
    assert [job.request["attention"] for job in jobs] == ["visual", "visual", "tensor"]
    assert [job.request["payload"] for job in jobs] == [None] * 3
    file.write_text(file.read_text().replace('scales = "1,2,3"', 'scales = "1,2"\ntokens = 4'))
    with pytest.raises(UsageError, match="--tokens is no option of --attention visual"):
        read_plan(file)
