"""The file of a sweep: what it asks for, and what is wrong with it, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvverify.errors import UsageError
from kvverify.sweep.plan import MAX_AUDITS, read_plan
from tests.sweep.tasks import INSTANCE, plan, write

DENSE = '[[compressor]]\ntarget = "dense"\n'


def read(folder: Path, text: str) -> list[dict[str, object]]:
    path = folder / "sweep.toml"
    path.write_text(text)
    return [dict(job.request) for job in read_plan(path)]


def test_every_list_is_a_choice_and_the_audits_are_all_choices(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        [[compressor]]
        target = "uniform"
        set = { bits = [2, 4], group = 16 }
        claim = { tolerance = "0.01", failure = [0, "1/10"] }
        [[compressor]]
        target = ["dense", "fp8"]
        [[instance]]
        tokens = ["2^4", 32]
        head-dim = 16
        max-logit = 12.5
        [audit]
        seed = [1, -2]
        timeout = 0.5
        """,
    )
    assert len(found) == (2 * 2 + 2) * 2 * 2
    assert [request["seed"] for request in found[:3]] == [1, -2, 1]  # as the parts stand: what comes last runs first
    assert {request["tokens"] for request in found} == {16, 32}
    assert found[0] == {
        "target": "uniform", "settings": {"bits": "2", "group": "16"},
        "claim": {"tolerance": "1/100", "failure": "0"}, "certificate": None, "tokens": 16, "head_dim": 16,
        "instance": None, "value_dim": None, "kv_heads": None, "heads": None, "layers": None, "max_logit": "25/2",
        "keys": None, "layer": None, "head": None, "query_head": None, "rehearsals": None,
        "attention": None, "scales": None, "kernel": None, "cut": None,
        "schedule": None, "payload": None, "alphabet": 2, "dtype": "bfloat16", "reads": None, "seed": 1,
        "device": "cpu", "timeout": 0.5, "memory": 16.0, "isolation": "strongest", "files": {},
    }  # fmt: skip


def test_a_compressor_s_own_options_stand_above_those_of_all(tmp_path: Path) -> None:
    found = read(tmp_path, f'[audit]\ndtype = ["float32", "bfloat16"]\n{DENSE}dtype = "float32"\n{DENSE}{INSTANCE}')
    assert [request["dtype"] for request in found] == ["float32", "bfloat16"]  # what comes twice is played once


def test_a_key_is_of_the_whole_request_and_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("one")
    (before,) = plan(tmp_path, "mine.py:Mine")
    assert [before] == list(plan(tmp_path, "mine.py:Mine"))
    (tmp_path / "mine.py").write_text("two")
    (after,) = plan(tmp_path, "mine.py:Mine")
    assert before.key != after.key
    assert list(after.request["files"]) == ["mine.py"]
    keys = {job.key for job in plan(tmp_path, "dense", "dense:x", "mine.py:Other")}
    assert len(keys | {before.key, after.key}) == 5


def test_kinds_of_instances_are_choices_too_and_their_files_count(tmp_path: Path) -> None:
    (tmp_path / "keys.safetensors").write_text("one")
    text = f"""
        {DENSE}
        [[instance]]
        instance = ["hard", "crowded", "adversarial"]
        tokens = 16
        head-dim = 8
        layers = [1, 2]
        [[instance]]
        instance = "captured"
        keys = "keys.safetensors"
        layer = [0, 3]
        head = 1
        """
    found = read(tmp_path, text)
    assert [(one["instance"], one["layers"]) for one in found[:4]] == [
        ("hard", 1), ("hard", 2), ("crowded", 1), ("crowded", 2),
    ]  # fmt: skip
    assert [(one["layer"], list(one["files"])) for one in found[6:]] == [
        (0, ["keys.safetensors"]), (3, ["keys.safetensors"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = [", "not TOML"),
        ("\x00", "not TOML"),
        ("x = " + "[" * 5000, "not TOML"),
        (INSTANCE, "no [[compressor]]; at least one is needed"),
        (DENSE, "no [[instance]]"),
        (f"compressor = []\n{INSTANCE}", "compressor: an empty list"),
        (f"{DENSE}set = {{ bits = [] }}\n{INSTANCE}", "compressor.set.bits: an empty list"),
        (f"{DENSE}bits = 2\n{INSTANCE}", "compressor.bits: an unknown key; target, set, schedule"),
        (f"seeds = 1\n{DENSE}{INSTANCE}", "seeds: an unknown key; audit, compressor, instance are known"),
        (f"audit = 3\n{DENSE}{INSTANCE}", "audit: 3 given, a table is needed"),
        (f"[audit]\nseed = 1.5\n{DENSE}{INSTANCE}", "audit.seed: 1.5 given, an integer is needed"),
        (f"[audit]\nseed = true\n{DENSE}{INSTANCE}", "audit.seed: True given, an integer is needed"),
        (f"[audit]\ntimeout = 0\n{DENSE}{INSTANCE}", "audit.timeout: 0 given, a number above 0"),
        (f"[audit]\nmemory = nan\n{DENSE}{INSTANCE}", "audit.memory: 'nan' is no number"),
        (f"[audit]\ndtype = 'fp8'\n{DENSE}{INSTANCE}", "audit.dtype: 'fp8' given, bfloat16 or float32 is needed"),
        (f"[audit]\nclaim = {{ failure = 0 }}\n{DENSE}{INSTANCE}", "tolerance=E or relative=E with failure=D"),
        (f"[audit]\nclaim = 'x'\n{DENSE}{INSTANCE}", "audit.claim: 'x' given, a table is needed"),
        (f"{DENSE}set = {{ bits = true }}\n{INSTANCE}", "compressor.set.bits: True given, a number or a word"),
        (f"[[compressor]]\nset = {{ bits = 2 }}\n{INSTANCE}", "compressor: no target"),
        (f"[[compressor]]\ntarget = ''\n{INSTANCE}", "compressor.target: '' given, a word is needed"),
        (f"{DENSE}[[instance]]\ntokens = 16", "instance: give --certificate FILE, or --tokens and --head-dim"),
        (f"{DENSE}[[instance]]\ntokens = -16\nhead-dim = 4", "instance.tokens: -16 given, a whole number"),
        (f"{DENSE}{INSTANCE}certificate = 'x.json'", "give it, or other options, not both"),
        (f"{DENSE}[[instance]]\ncertificate = 'x.json'", "instance.certificate: x.json given, which is no file"),
        (f"{DENSE}[[instance]]\ninstance = 'captured'\nkeys = 'x.st'", "instance.keys: x.st given, which is no file"),
        (f"{DENSE}[[instance]]\ninstance = 'captured'", "instance: --instance captured needs --keys"),
        (f"{DENSE}{INSTANCE}instance = 'soft'", "instance: 'soft' given, one of hard, crowded"),
        (f"[audit]\nseed = {list(range(MAX_AUDITS + 1))}\n{DENSE}{INSTANCE}", f"at most {MAX_AUDITS} are played"),
        ("#" * (1 << 21), "the file of a sweep is shorter"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'sweep.toml'}: ")
    assert words in str(error.value)


def test_a_product_is_counted_before_it_is_made(tmp_path: Path) -> None:
    many = list(range(1000))
    with pytest.raises(UsageError, match=f"1000000000 audits; at most {MAX_AUDITS}"):
        read(tmp_path, f"{DENSE}set = {{ a = {many}, b = {many}, c = {many} }}\n{INSTANCE}")


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    path = write(tmp_path / "sweep.toml", "dense")
    path.write_bytes(path.read_bytes() + b"\xff")
    with pytest.raises(UsageError, match="not TOML"):
        read_plan(path)
