"""``kvverify audit`` and ``replay`` of counter-examples: the object of the contract, claims, and targets that fail.

A game costs seconds, most of them for the two players' interpreters: each is played once and asked many questions.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kvverify.bounds import instance_bound
from kvverify.kernel import document
from kvverify.kernel.check import check
from tests.cli.command import Done, kvverify
from tests.conftest import needs

needs("torch", "audit")
needs("scipy", "audit")

SHAPE = ("--tokens", "64", "--head-dim", "16")
CONTRACT = {
    "compressor", "settings", "schedule", "instance", "claimed_bits", "held_bits", "readable_bits", "live_bits",
    "wire_bits", "wire_bits_fixed", "wire_bits_per_token", "wire_bits_slope", "reads", "wrong_reads", "symbol_error",
    "symbol_error_interval", "max_abs_error", "certified_floor_bits", "certificate_bits_at_least", "efficiency",
    "flags", "isolation", "fresh_secret", "counterexample", "status",
}  # fmt: skip
BESIDE = {
    "schema", "claim", "dense_bits", "tolerance", "reads_asked", "curve", "recovery", "isolation_detail", "seconds",
    "memory_gib",
    "reason", "dead_bits", "dead_tensors", "tolerance_is_relative", "rehearsals",
}  # fmt: skip
TARGETS = Path(__file__).with_name("specimens") / "targets.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where evidence goes."""
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def dense() -> Done:
    return kvverify("audit", "dense", *SHAPE, "--set", "dtype=fp32", "--dtype", "float32", "--json")


@pytest.fixture(scope="module")
def claimed(folder: Path) -> Done:
    """A claim that nothing can keep and this target does not."""
    claim = "bits-per-token=1/2,tolerance=1/100,failure=1/10"
    return kvverify("audit", f"{TARGETS}:Zero", *SHAPE, "--claim", claim, "--output", folder, "--json")


@pytest.fixture(scope="module")
def nan() -> Done:
    words = ("--value-dim", 4, "--heads", 6, "--kv-heads", 2, "--schedule", "chunk:2x28,step:8", "--seed", 5)
    return kvverify("audit", f"{TARGETS}:Nan", *SHAPE, *words, "--json")


def test_the_object_has_the_fields_of_the_contract(dense: Done, claimed: Done, nan: Done) -> None:
    for done in (dense, claimed, nan):
        assert done.json.keys() == CONTRACT | BESIDE
        first, *stages = done.err.splitlines()
        assert re.fullmatch(r"  0% about \d+ s of attention, beside what the players import", first)
        assert all(re.fullmatch(r" *\d+% \w+", line) for line in stages)


def test_a_dense_cache_keeps_all_and_tells_all(dense: Done) -> None:
    answer = dense.json
    bits = 64 * 32 * 32
    assert (dense.code, answer["status"], answer["flags"], answer["reason"]) == (0, "NO FLAG", [], None)
    assert answer["compressor"] == "dense"
    assert answer["settings"]["parameters"] == {"dtype": "fp32"}
    assert answer["schedule"] == "prefill:64"
    assert answer["claimed_bits"] == answer["held_bits"] == answer["readable_bits"] == bits
    assert bits < answer["wire_bits"] == answer["live_bits"] < bits + (1 << 14)
    assert answer["wire_bits_slope"] == 32 * 32
    assert answer["wire_bits_fixed"] == answer["wire_bits"] - bits
    assert 0 <= answer["wire_bits_per_token"] - answer["wire_bits"] / 64 < 1e-2
    assert (answer["reads"], answer["reads_asked"], answer["wrong_reads"]) == (1024, 1024, 0)
    assert answer["symbol_error"] == answer["symbol_error_interval"][0] == 0.0
    assert 0 < answer["symbol_error_interval"][1] < 0.01
    assert 0 < answer["max_abs_error"] < 1e-5
    assert 0 < answer["certified_floor_bits"] < answer["wire_bits"]
    assert 0 <= answer["certified_floor_bits"] / answer["wire_bits"] - answer["efficiency"] < 1e-5
    assert (answer["claim"], answer["counterexample"], answer["fresh_secret"]) == (None, None, True)
    assert answer["isolation"] in ("landlock", "namespaces", "none")
    memory = answer["memory_gib"]
    assert memory["limit"] == 16
    assert all(1 / 16 < memory[player] < 2 for player in ("alice", "bob"))  # an interpreter with torch


def test_what_was_played_is_printed(dense: Done) -> None:
    instance = dense.json["instance"]
    certificate = instance.pop("certificate")
    assert instance == {
        "attention": "softmax", "kind": "hard", "budget": "class", "tokens_that_carry_values": 64,
        "tokens": 64, "key_dim": 16, "value_dim": 16, "kv_heads": 1, "heads": 1, "layers": 1, "inputs": "real",
        "max_logit": "24", "tolerance": "1/100", "failure": "1/10", "payload": "continuous", "alphabet": None,
    }  # fmt: skip
    found = instance_bound(64, 16)
    assert found.certificate is not None
    assert (certificate, dense.json["certificate_bits_at_least"]) == (found.certificate["digest"], int(found.bits))
    assert [point["tolerance"] for point in dense.json["curve"]] == [f"1/{1 << j}" for j in range(1, 11)]


def test_nan_counts_as_wrong(nan: Done) -> None:
    answer = nan.json
    assert (nan.code, answer["status"], answer["flags"]) == (0, "NO FLAG", [])
    assert answer["wrong_reads"] == answer["reads_asked"] == 64 * 4 * 2
    assert (answer["max_abs_error"], answer["efficiency"], answer["claimed_bits"]) == (None, None, None)
    assert (answer["certified_floor_bits"], answer["symbol_error"]) == (0, 1.0)
    assert answer["symbol_error_interval"][1] == 1.0
    assert answer["recovery"]["wrong_reads"] == answer["recovery"]["reads_asked"] == [8] * 64
    assert answer["recovery"]["wrong_reads_by_head"] == [[256, 256]]


def test_heads_schedule_and_seed_are_played_as_they_are_asked_for(nan: Done) -> None:
    answer = nan.json
    assert (answer["instance"]["heads"], answer["instance"]["kv_heads"], answer["instance"]["value_dim"]) == (6, 2, 4)
    assert answer["schedule"] == "chunk:2x28,step:8"
    assert not answer["fresh_secret"]
    assert answer["compressor"] == "targets.py:Nan"


def test_an_impossible_claim_names_a_valid_certificate(claimed: Done) -> None:
    answer = claimed.json
    assert claimed.code == 1
    assert answer["status"] == "FLAGGED"
    assert {"CLAIM IMPOSSIBLE", "CLAIM REFUTED"} <= set(answer["flags"])
    assert (answer["claim"]["bits"], answer["claim"]["tolerance"], answer["claim"]["failure"]) == (32, "1/100", "1/10")
    path = Path(answer["claim"]["certificate"])
    assert json.loads(path.read_text())["digest"] == answer["claim"]["certificate_digest"]
    result = check(path)
    assert result.verdict.value == "VALID"
    assert result.statement is not None
    assert result.statement.state_bits_at_least == answer["claim"]["state_bits_at_least"] > 32
    assert (result.statement.tokens, str(result.statement.tolerance)) == (64, "1/100")


def test_text_for_people(claimed: Done, folder: Path) -> None:
    from kvverify.report.audits import audit_text

    answer = claimed.json
    text = audit_text(answer)
    for part in ("targets.py:Zero on 64 tokens", "CLAIM IMPOSSIBLE, CLAIM REFUTED", answer["counterexample"]):
        assert part in text
    assert f"Certificate against the claim: {answer['claim']['certificate']}" in text
    assert "claim: at most 0.50 bits a token as given, off by more than 1/100 with probability at most 1/10" in text
    assert f"reads off by more than 1/100: {answer['wrong_reads']} of 1024" in text


@pytest.fixture(scope="module")
def example(claimed: Done) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(Path(claimed.json["counterexample"]).read_text())
    return tree


def test_a_counter_example_is_reproduced(claimed: Done) -> None:
    done = kvverify("replay", claimed.json["counterexample"], "--json")
    assert (done.code, done.json["schema"], done.json["status"]) == (0, "kvverify-replay/1", "reproduced")
    assert "of 1024 reads miss 1/100; allowed 1/10; layer 0, head 0, token " in done.json["line"]


def test_a_changed_counter_example_is_not(example: dict[str, Any], folder: Path) -> None:
    """The claim made harmless: the game is the same, and what it shows is no longer more than is allowed."""
    path = folder / "harmless.json"
    path.write_text(json.dumps({**example, "claim": {**example["claim"], "failure": "99/100"}}))
    done = kvverify("replay", path)
    assert (done.code, done.out.partition(":")[0]) == (1, "not reproduced")
    assert "which 99/100 allows" in done.out


@pytest.mark.parametrize(
    ("change", "code", "line"),
    [
        ({"versions": {"torch": "0.4"}}, 3, "torch 0.4 is needed, here is"),
        ({"files": {"targets.py": "0" * 64}}, 3, "the compressor's file targets.py is not the one"),
        ({"compressor": "/no/where.py:Zero"}, 3, "the compressor's file where.py is not at its place, nor beside"),
        ({"schema": "other/1"}, 2, "expected a counter-example of schema"),
        ({"seed": "xyz"}, 2, "no whole counter-example"),
        ({"instance": {}}, 2, "no whole counter-example"),
        ({"claim": None}, 2, "no whole counter-example"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else None,
)
def test_counter_examples_that_cannot_be_played(
    change: dict[str, Any], code: int, line: str, example: dict[str, Any], folder: Path
) -> None:
    path = folder / "changed.json"
    path.write_text(json.dumps({**example, **change}))
    done = kvverify("replay", path)
    assert (done.code, line in done.out + done.err) == (code, True), done


def test_replay_of_what_is_neither(folder: Path) -> None:
    path = folder / "neither.json"
    for text in ("", "[]", "{", '{"a": 1}', "[" * 100_000):
        path.write_text(text)
        kvverify("replay", path).refuses(2, "neither.json: ")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Raises", "Alice: KeyError: 'no room"),
        pytest.param("Shape", "Bob: ", marks=pytest.mark.slow),
        pytest.param("Dtype", "Bob: ", marks=pytest.mark.slow),
        pytest.param("Hangs", "Alice did not finish within 5 s (--timeout)", marks=pytest.mark.slow),
    ],
)
def test_a_target_that_fails_is_incomplete(name: str, line: str) -> None:
    done = kvverify("audit", f"{TARGETS}:{name}", *SHAPE, "--timeout", 5, "--json")
    answer = done.json
    assert (done.code, answer["status"], answer["flags"]) == (3, "INCOMPLETE", [])
    assert line in answer["reason"]
    assert "Traceback" not in done.err
    assert answer.keys() == CONTRACT | BESIDE
    assert answer["certified_floor_bits"] is None


WRONG: list[tuple[tuple[str, ...], int, str]] = [
    (("audit", "nosuch", *SHAPE), 2, "no compressor 'nosuch'; built in are"),
    (("audit", "no/file.py:Zero", *SHAPE), 2, "no file no/file.py: expected path/file.py:name"),
    (("audit", "dense:", *SHAPE), 2, "expected module:name or path/file.py:name, not 'dense:'"),
    (("audit", "no_such_module:Zero", *SHAPE), 3, "the module 'no_such_module' is not installed here"),
    (("audit", "dense"), 2, "give --certificate FILE, or --tokens and --head-dim"),
    (("audit", "dense", "--tokens", "64"), 2, "give --certificate FILE, or --tokens and --head-dim"),
    (("audit",), 2, "Missing argument 'target'"),
    (("audit", "dense", *SHAPE, "--set", "dtype"), 2, "set: 'dtype' given, name=value is needed"),
    (("audit", "dense", *SHAPE, "--set", "=fp32"), 2, "set: '=fp32' given, name=value is needed"),
    (("audit", "dense", *SHAPE, "--set", "dtype=fp8"), 2, "dense: dtype=fp8 is not legal; legal: bf16 | fp32"),
    (("audit", "dense", *SHAPE, "--claim", "1"), 2, "claim: '1' given, name=value is needed"),
    (("audit", "dense", *SHAPE, "--claim", "bits=1"), 2, "claim: 'bits=1' given, a size (bits-per-token=B, "),
    (("audit", "dense", *SHAPE, "--claim", "tolerance=1/2"), 2, "tolerance=E or relative=E with failure=D"),
    (("audit", "dense", *SHAPE, "--claim", "tolerance=1/2,relative=1/2,failure=0"), 2, "claim: 'tolerance=1/2,rel"),
    (("audit", "dense", *SHAPE, "--claim", "key-bits=2"), 2, "claim: 'key-bits=2' given, a size ("),
    (("audit", "dense", *SHAPE, "--claim", "compression=4,bits-per-token=3"), 2, "a size ("),
    (("audit", "dense", *SHAPE, "--claim", "compression=0"), 2, "claim compression: 0 given, a number above 0"),
    (("audit", "dense", *SHAPE, "--claim", "compression=4y"), 2, "claim compression: '4y' is no number"),
    (("audit", "dense", *SHAPE, "--claim", "relative=1,failure=0"), 2, "relative: 1 given, at least 0 and below 1"),
    (("audit", "dense", *SHAPE, "--claim", "tolerance=x,failure=0"), 2, "claim tolerance: 'x' is no number"),
    (("audit", "dense", *SHAPE, "--claim", "tolerance=2,failure=0"), 2, "tolerance: 2 given"),
    (("audit", "dense", *SHAPE, "--claim", "tolerance=1/2,failure=3/4"), 2, "failure: 3/4 given, 0 to 1/2"),
    (("audit", "dense", *SHAPE, "--claim", "bits-per-token=-1,tolerance=1/2,failure=0"), 2, "bits-per-token: -1 given"),
    (("audit", "dense", *SHAPE, "--claim", "tolerance=1/2,failure=0", "--output", "no"), 2, "output: no is no folder"),
    (("audit", "dense", *SHAPE, "--kv-heads", "2", "--heads", "3"), 2, "a multiple of the 2 KV heads is needed"),
    (("audit", "dense", *SHAPE, "--schedule", "prefill:63"), 2, "does not sum to 64 tokens"),
    (
        ("audit", "dense", *SHAPE, "--schedule", "all"),
        2,
        "expected decode, or prefill:N, step:N or chunk:NxM of 64 tokens",
    ),
    (
        ("audit", "dense", *SHAPE, "--instance", "soft"),
        2,
        "instance: 'soft' given, one of hard, crowded, adversarial, key-payload, captured",
    ),
    (("audit", "dense", "--instance", "crowded"), 2, "--instance crowded needs --tokens and --head-dim"),
    (("audit", "dense", *SHAPE, "--layer", "1"), 2, "--layer is no option of --instance hard"),
    (("audit", "dense", "--instance", "captured"), 2, "--instance captured needs --keys"),
    (("audit", "dense", "--instance", "captured", "--keys", "no.safetensors"), 2, "no.safetensors: No such file"),
    (("audit", "dense", *SHAPE, "--layers", "2^40"), 3, "scalars, at most 134217728 are played"),
    (("audit", "dense", *SHAPE, "--instance", "crowded", "--layers", "2^40"), 3, "at most 134217728 are played"),
    (("audit", "dense", *SHAPE, "--payload", "secret"), 2, "payload 'secret': expected one of continuous, discrete"),
    (("audit", "dense", *SHAPE, "--payload", "discrete", "--alphabet", "1"), 2, "an alphabet has 2..256 letters"),
    (("audit", "dense", *SHAPE, "--dtype", "fp8"), 2, "dtype 'fp8': expected one of float32, bfloat16"),
    (("audit", "dense", *SHAPE, "--device", "tpu"), 2, "device: tpu given, cpu or cuda is needed"),
    (("audit", "dense", *SHAPE, "--isolation", "prayer"), 2, "isolation 'prayer': expected one of strongest"),
    (("audit", "dense", *SHAPE, "--timeout", "nan"), 2, "timeout: 'nan' is no number"),
    (("audit", "dense", *SHAPE, "--timeout", "0"), 2, "timeout: 0 given, a number above 0"),
    (("audit", "dense", *SHAPE, "--memory", "inf"), 2, "memory: 'inf' is no number"),
    (("audit", "dense", *SHAPE, "--memory", "1/100"), 2, "256 MiB of memory at least"),
    (("audit", "dense", *SHAPE, "--reads", "0"), 2, "reads: 0 given"),
    (("audit", "dense", *SHAPE, "--seed", "x"), 2, "Invalid value for '--seed'"),
    (("audit", "dense", *SHAPE, "--max-logit", "0"), 2, "max-logit: 0 given"),
    (("audit", "dense", "--tokens", "2^60", "--head-dim", "16"), 2, "no hard instance of this shape: closest"),
    (("audit", "dense", "--tokens", "2^22", "--head-dim", "128"), 3, "scalars, at most 134217728 are played"),
    (("audit", "dense", *SHAPE, "--kv-heads", "2^40"), 3, "scalars, at most 134217728 are played"),
    (("replay", "x.json", "--timeout", "-1"), 2, "x.json: No such file"),
]


@pytest.mark.parametrize(
    ("words", "code", "line"), WRONG, ids=lambda one: " ".join(one) if isinstance(one, tuple) else ""
)
def test_what_cannot_be_played_is_one_line(
    words: tuple[str, ...], code: int, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    kvverify(*words).refuses(code, line)
    assert list(tmp_path.iterdir()) == []


def test_certificates_without_an_instance(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    assert kvverify("certify", *SHAPE, "--output", path).code == 0
    kvverify("audit", "dense", "--certificate", path, *SHAPE).refuses(2, "not both")
    kvverify("audit", "dense", "--certificate", path, "--kv-heads", 2).refuses(2, "not both")
    words = ("--tokens", 8, "--key-dim", 2, "--value-dim", 2, "--relative", "1/2", "--max-logit", 1500)
    assert kvverify("certify", *words, "--output", path).code == 0
    done = kvverify("audit", "dense", "--certificate", path)
    done.refuses(
        2, "an audit plays certificates on sign keys or on a file's keys", "paraboloid", "give --tokens and --head-dim"
    )
    path.write_text("{}")
    kvverify("audit", "dense", "--certificate", path).refuses(2, "the certificate is INVALID: document: missing field")
    kvverify("audit", "dense", "--certificate", tmp_path / "no.json").refuses(2, "no.json: No such file")


def test_the_certificate_that_certify_writes_is_played(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    assert kvverify("certify", *SHAPE, "--output", path).code == 0
    done = kvverify("audit", "dense", "--certificate", path, "--isolation", "none", "--json")
    assert done.code == 0
    assert done.json["certified_floor_bits"] > 0


def test_the_instance_of_a_certificate_is_played(tmp_path: Path) -> None:
    found = instance_bound(32, 16, kv_heads=2, value_dim=8)
    assert found.certificate is not None
    path = tmp_path / "instance.json"
    document.write(path, found.certificate)
    words = ("--payload", "discrete", "--alphabet", 4, "--reads", 20, "--isolation", "none")
    done = kvverify("audit", "uniform", "--certificate", path, "--set", "bits=8", "--set", "group=8", *words, "--json")
    answer = done.json
    assert done.code == 0
    assert answer["instance"]["certificate"] == found.certificate["digest"]
    assert (answer["instance"]["payload"], answer["instance"]["alphabet"]) == ("discrete", 4)
    assert (answer["reads_asked"], answer["isolation"]) == (20 * 8 * 2, "none")
    assert answer["settings"]["parameters"] == {"bits": "8", "group": "8"}


def test_the_read_of_a_counter_example_is_proved_by_its_own_certificate(example: dict[str, Any]) -> None:
    """Zero is no answer within 1/100: a program of one quotient encloses the exact one, in the kernel's arithmetic."""
    read = example["read"]
    result = check(read["certificate"])
    assert (result.verdict.value, result.claim.count("<")) == ("VALID", 3)
    statement = read["certificate"]["statement"]
    end = f"@{len(statement['program']) - 2}"
    low, high = read["exact_at_least"], read["exact_at_most"]
    assert statement["holds"][:2] == [f"{low} <= {end}", f"{end} <= {high}"]
    assert read["answer"] == "0"
    assert (example["confidence"], len(read["query"]), len(read["own_key"])) == ("999/1000", 16, 16)
