"""Kinds of instances by their options, and one whole game on captured keys, with evidence against a claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kvverify.audit import schedule
from kvverify.audit.instances import InstanceOptions, make_instance
from kvverify.errors import Incomplete, UsageError
from kvverify.instances.payload import to_bf16
from kvverify.kernel.check import check
from tests.bounds.captures import DIM, TOKENS, arrays, capture
from tests.cli.command import ROOT, Done, kvverify
from tests.conftest import needs

needs("torch", "audit")
needs("scipy", "audit")

ZERO = f"{ROOT / 'tests' / 'cli' / 'specimens' / 'targets.py'}:Zero"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the capture is, and evidence goes."""
    path = tmp_path_factory.mktemp("captured")
    capture(path / "c.safetensors")
    return path


@pytest.fixture(scope="module")
def refuted(folder: Path) -> Done:
    """A target that answers 0, and claims that one bit a token is enough on these keys; in two layers."""
    words = ("--instance", "captured", "--keys", folder / "c.safetensors", "--layer", 1, "--head", 1, "--layers", 2)
    claim = ("--claim", "bits-per-token=1,tolerance=1/16,failure=1/10", "--output", folder)
    return kvverify("audit", ZERO, *words, "--max-logit", 40, *claim, "--schedule", "decode", "--json")


def test_a_claim_about_captured_keys_is_judged_on_these_keys(refuted: Done) -> None:
    answer = refuted.json
    assert (refuted.code, answer["flags"]) == (1, ["CLAIM IMPOSSIBLE", "CLAIM REFUTED"])
    one = answer["instance"]
    assert (one["kind"], one["budget"], one["tokens"], one["layers"]) == ("captured", "own-keys", TOKENS, 2)
    assert one["tokens_that_carry_values"] == TOKENS
    assert answer["schedule"] == f"prefill:1,step:{TOKENS - 1}"
    result = check(answer["claim"]["certificate"])  # its files lie beside it
    assert result.verdict.value == "VALID"
    assert result.statement is not None
    assert (result.statement.budget, str(result.statement.tolerance)) == ("own-keys", "1/16")
    assert answer["claim"]["state_bits_at_least"] == 2 * int(result.bits or 0) > 2 * TOKENS * DIM * 2
    assert answer["wrong_reads"] > 0.8 * answer["reads_asked"]
    assert answer["reads"] == 2 * TOKENS * DIM


@pytest.mark.slow
def test_its_counter_example_is_played_again(refuted: Done) -> None:
    done = kvverify("replay", refuted.json["counterexample"])
    assert (done.code, done.out.partition(":")[0]) == (0, "reproduced")


def test_captured_keys_are_those_of_the_file_in_their_order(folder: Path) -> None:
    options = InstanceOptions(instance="captured", keys=folder / "c.safetensors", layer=0, head=1, query_head=2)
    one = make_instance(options)
    assert np.array_equal(one.keys, to_bf16(arrays()["layers.0.keys"][1].astype(np.float64)))
    recorded = to_bf16(arrays()["layers.0.queries"][2].astype(np.float64))
    assert {tuple(query) for query in one.queries} <= {tuple(query) for query in recorded}
    assert (one.budget, one.in_order, one.kind) == ("own-queries", True, "captured")


@pytest.mark.parametrize(
    ("options", "error", "line"),
    [
        ({"query_head": 1}, UsageError, "--layer and --head are needed beside it"),
        ({"layer": 0, "head": 0, "query_head": 2}, UsageError, "KV head 0 is read by 0 to 1"),
        ({"layer": 3, "head": 0}, UsageError, "there is no tensor 'layers.3.keys'"),
        ({"layer": 0}, UsageError, "has heads 0 to 1"),
        ({"layer": 0, "head": 0, "tokens": 4}, UsageError, "--tokens is no option of --instance captured"),
        ({"layer": 0, "head": 0, "kv_heads": 1 << 30}, Incomplete, "at most 134217728 are played"),
    ],
)
def test_captures_that_cannot_be_played(
    options: dict[str, int], error: type[Exception], line: str, folder: Path
) -> None:
    with pytest.raises(error, match=line):
        make_instance(InstanceOptions(instance="captured", keys=folder / "c.safetensors", **options))  # type: ignore[arg-type]


def test_crowded_keys_are_the_same_in_every_head() -> None:
    one = make_instance(InstanceOptions(instance="crowded", tokens=8, head_dim=16, kv_heads=3, layers=2, value_dim=1))
    assert (one.kind, one.kv_heads, one.layers, one.in_order) == ("crowded", 3, 2, False)
    single = make_instance(InstanceOptions(instance="crowded", tokens=8, head_dim=16, value_dim=1))
    assert one.state_bits_at_least == 6 * single.state_bits_at_least > 0


@pytest.mark.parametrize(
    ("tokens", "chunks"), [(1, (1,)), (7, (1,) * 7), (16, (2,) + (1,) * 14), (512, (64,) + (1,) * 448)]
)
def test_decode_is_a_short_prefill_and_single_steps(tokens: int, chunks: tuple[int, ...]) -> None:
    assert schedule.parse(schedule.written_out("decode", tokens), tokens) == chunks
    assert schedule.written_out("prefill:3", tokens) == "prefill:3"
