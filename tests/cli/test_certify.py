"""``kvverify certify``: from a problem, and from the keys of a file, of which every disorder is one line."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvverify.kernel.check import Verdict, check
from tests.cli.command import kvverify
from tests.conftest import needs

SMALL = ("certify", "--tokens", "64", "--head-dim", "16")
KEYS = np.random.default_rng(3).normal(size=(2, 12, 6)).astype("<f4")
WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I32": 4}


def encoded(values: np.ndarray, dtype: str) -> bytes:
    if dtype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2", "I32": "<i4"}[dtype]).tobytes()


def entry(dtype: str, shape: list[Any], start: int = 0) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, start + WIDTH[dtype] * math.prod(shape)]}


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def key_file(folder: Path, values: np.ndarray = KEYS[0], dtype: str = "F32", name: str = "keys") -> Path:
    path = folder / "keys.safetensors"
    path.write_bytes(safetensors({name: entry(dtype, list(values.shape))}, encoded(values, dtype)))
    return path


def test_to_standard_output_and_to_a_file_is_the_same(tmp_path: Path) -> None:
    printed, path = kvverify(*SMALL), tmp_path / "c.json"
    assert (printed.code, printed.err) == (0, "")
    said = kvverify(*SMALL, "--output", path, "--json")
    assert (said.json["certificate"], said.json["verdict"]) == (str(path), "VALID")
    assert printed.json == json.loads(path.read_text())
    assert check(printed.json).verdict is Verdict.VALID
    assert "Certificate: " in kvverify(*SMALL, "--output", path).out
    assert kvverify(*SMALL, "--json").json["certificate"] is None


def test_no_bound_is_no_certificate(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    words = ("certify", "--tokens", "2^60", "--head-dim", "16", "--output", path)
    kvverify(*words).refuses(3, "no certificate, as no bound above 0 was found: closest: ")
    done = kvverify(*words, "--json")
    assert (done.code, done.json["verdict"], done.json["certificate"]) == (3, "INCOMPLETE", None)
    assert not path.exists()


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_keys_of_a_file(dtype: str, tmp_path: Path) -> None:
    inputs = "bf16" if dtype == "BF16" else "real"
    keys, path = key_file(tmp_path, dtype=dtype), tmp_path / "c.json"
    done = kvverify("certify", "--keys", keys, "--inputs", inputs, "--value-dim", 3, "--output", path, "--json")
    assert (done.code, done.err) == (0, "")
    answer = done.json
    assert (answer["verdict"], answer["budget"], answer["body"]) == ("VALID", "own-keys", "given")
    assert (answer["tokens"], answer["key_dim"], answer["value_dim"], answer["inputs"]) == (12, 6, 3, inputs)
    assert answer["state_bits_at_least"] > 0
    assert json.loads(path.read_text())["statement"]["keys"]["name"] == keys.name
    assert kvverify("check", path).out.endswith("1 valid, 0 invalid, 0 incomplete\n")


def test_layer_and_head_choose(tmp_path: Path) -> None:
    several = tmp_path / "cache.safetensors"
    size = KEYS.nbytes
    header = {
        "__metadata__": {"from": "a test"},
        "layers.0.keys": entry("F32", [2, 12, 6]),
        "layers.1.keys": entry("F32", [2, 12, 6], size),
        "layers.0.queries": entry("F32", [2, 12, 6], 2 * size),
    }
    several.write_bytes(safetensors(header, KEYS.tobytes() + 2 * KEYS.tobytes() + KEYS.tobytes()))
    for layer, head in ((0, 0), (1, 1)):
        done = kvverify("certify", "--keys", several, "--layer", layer, "--head", head)
        assert done.json["statement"]["keys"]["tensor"] == f"layers.{layer}.keys"
        assert done.json["statement"]["keys"]["head"] == str(head)
        assert check(done.json, tmp_path).verdict is Verdict.VALID
    for words, line in (
        ((), "choose by --layer and --head, or give a file with one matrix"),
        (("--layer", 0), "--head: none given, layers.0.keys has heads 0 to 1"),
        (("--layer", 0, "--head", 2), "--head: 2 given, layers.0.keys has heads 0 to 1"),
        (("--layer", 0, "--head", -1), "--head: -1 given"),
        (("--layer", 7, "--head", 0), "no tensor 'layers.7.keys'; it has layers.0.keys, layers.0.queries"),
        (("--layer", "x"), "Invalid value for '--layer'"),
    ):
        kvverify("certify", "--keys", several, *words).refuses(2, line)


def test_queries_of_a_file(tmp_path: Path) -> None:
    """Two query heads read one KV head; the factors are written beside the certificate, and are needed."""
    needs("scipy", "audit")
    path, size = tmp_path / "cache.safetensors", KEYS[:1].nbytes
    header = {"layers.0.keys": entry("F32", [1, 12, 6]), "layers.0.queries": entry("F32", [2, 12, 6], size)}
    path.write_bytes(safetensors(header, encoded(KEYS[:1], "F32") + encoded(3 * KEYS, "F32")))
    words = ("certify", "--keys", path, "--queries", path, "--layer", 0, "--head", 0)
    output = tmp_path / "c.json"
    answer = kvverify(*words, "--output", output, "--json").json
    assert (answer["verdict"], answer["budget"]) == ("VALID", "own-queries")
    assert "of 12 own keys carry values" in answer["family"]
    assert answer["family"].startswith(f"{answer['tokens_that_carry_values']} of 12")
    assert answer["tokens_that_carry_values"] + answer["tokens_dropped"] == 12
    assert kvverify("check", output).code == 0
    assert json.loads(output.read_text())["statement"]["queries"]["head"] == "0"  # the queries that are the keys
    best = kvverify(*words, "--query-head", 0, "--json").json["state_bits_at_least"]
    assert (
        best
        == answer["state_bits_at_least"]
        > kvverify(*words, "--query-head", 1, "--json").json["state_bits_at_least"]
    )
    for word, line in ((2, "KV head 0 is read by 0 to 1"), (-1, "KV head 0 is read by 0 to 1")):
        kvverify(*words, "--query-head", word, "--output", output).refuses(2, line)
    kvverify(*words).refuses(2, "give --output")
    factors = next(tmp_path.glob("factors-*.safetensors"))
    factors.rename(tmp_path / "elsewhere.safetensors")
    assert kvverify("check", output).code == 3


def test_keys_that_nothing_can_tell_apart(tmp_path: Path) -> None:
    for values in (np.zeros((8, 3)), np.ones((8, 3)), np.full((1, 3), 2)):
        done = kvverify("certify", "--keys", key_file(tmp_path, values))
        done.refuses(3, "all keys are the same, so that no query tells them apart")
    done = kvverify("certify", "--keys", key_file(tmp_path), "--max-logit", "1/1000", "--tolerance", "1/2")
    done.refuses(3, "the attention is too diffuse for this tolerance")


@pytest.mark.parametrize("power", [-300, -140, 140, 300])
def test_sizes_of_keys_do_not_matter(power: int, tmp_path: Path) -> None:
    bits = [
        kvverify("certify", "--keys", key_file(tmp_path, KEYS[0].astype(float) * 2.0**shift, "F64"), "--json").json
        for shift in (0, power)
    ]
    assert bits[0]["state_bits_at_least"] == bits[1]["state_bits_at_least"] > 0


def test_large_logits(tmp_path: Path) -> None:
    """Where weights are below every grid, and where queries leave a part of the budget to stay within the kernel's."""
    done = kvverify("certify", "--keys", key_file(tmp_path), "--max-logit", 2048, "--json")
    assert done.json["verdict"] == "VALID"
    done = kvverify("certify", "--keys", key_file(tmp_path), "--max-logit", 4096, "--json")
    assert done.json["verdict"] == "VALID"


def test_elsewhere_than_its_keys(tmp_path: Path) -> None:
    keys, folder = key_file(tmp_path), tmp_path / "certificates"
    folder.mkdir()
    done = kvverify("certify", "--keys", keys, "--output", folder / "c.json")
    assert done.code == 0
    assert "the certificate refers to keys.safetensors: check it beside that file, or with --files" in done.err
    assert kvverify("check", folder).code == 3
    assert kvverify("check", folder, "--files", tmp_path).code == 0


NAN, INFINITE = KEYS[0].copy(), KEYS[0].copy()
NAN[3, 1], INFINITE[0, 0] = np.nan, -np.inf
WHOLE = safetensors({"keys": entry("F32", [12, 6])}, encoded(KEYS[0], "F32"))
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a safetensors file"),
    "no tensors": (safetensors({}), "it has no tensor; choose"),
    "text": (b"these are no tensors at all", "not a safetensors file (cut short)"),
    "eight bytes of nothing": (bytes(8), "not a safetensors file"),
    "header cut": (WHOLE[:40], "not a safetensors file (cut short)"),
    "data cut": (WHOLE[:-1], "keys needs 288 bytes that are not there"),
    "header of 2^63 bytes": (struct.pack("<Q", 1 << 63) + b"{}", "cut short"),
    "not JSON": (safetensors(b"{'keys'}"), "not a safetensors file"),
    "not UTF-8": (safetensors(b'{"\xff": 1}'), "not a safetensors file"),
    "a list": (safetensors([1, 2]), "not a safetensors file"),
    "nested": (safetensors(b"[" * 100_000), "not a safetensors file"),
    "twice the same name": (
        safetensors(b'{"keys":%s,"keys":%s}' % ((json.dumps(entry("F32", [12, 6])).encode(),) * 2), WHOLE[-288:]),
        "a name stands twice in the header",
    ),
    "an entry that is none": (safetensors({"keys": 7}), "keys has no shape"),
    "no shape": (safetensors({"keys": {"dtype": "F32"}}), "keys has no shape"),
    "a shape of words": (safetensors({"keys": {"dtype": "F32", "shape": ["a", 2]}}), "keys has no shape"),
    "a negative shape": (safetensors({"keys": {"dtype": "F32", "shape": [-2, -3]}}), "keys has no shape"),
    "no offsets": (safetensors({"keys": {"dtype": "F32", "shape": [2, 2]}}, bytes(16)), "keys needs 16 bytes"),
    "offsets beyond": (safetensors({"keys": entry("F32", [2, 2], 8)}, bytes(16)), "keys needs 16 bytes"),
    "negative offsets": (
        safetensors({"keys": {**entry("F32", [2, 2]), "data_offsets": [-16, 0]}}, bytes(16)),
        "keys needs 16 bytes",
    ),
    "fewer bytes than its shape": (safetensors({"keys": {**entry("F32", [2, 2]), "shape": [9, 9]}}, bytes(16)), "324"),
    "a format of integers": (
        safetensors({"keys": entry("I32", [2, 2])}, bytes(16)),
        "keys is I32; keys are one of F64",
    ),
    "no rows": (safetensors({"keys": entry("F32", [0, 4])}), "keys has shape [0, 4]; (tokens, dim)"),
    "one dimension": (safetensors({"keys": entry("F32", [4])}, bytes(16)), "it has keys; choose"),
    "four dimensions": (
        safetensors({"layers.0.keys": entry("F32", [1, 1, 2, 2])}, bytes(16)),
        "it has layers.0.keys; choose",
    ),
    "two matrices": (
        safetensors({"a": entry("F32", [2, 2]), "b": entry("F32", [2, 2], 16)}, bytes(32)),
        "it has a, b; choose",
    ),
    "NaN": (safetensors({"keys": entry("F32", [12, 6])}, NAN.tobytes()), "keys holds NaN or infinity"),
    "infinity": (safetensors({"keys": entry("F32", [12, 6])}, INFINITE.tobytes()), "keys holds NaN or infinity"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.safetensors"
    data, line = BROKEN[name]
    path.write_bytes(data)
    kvverify("certify", "--keys", path).refuses(2, f"{path}: ", line)


def test_four_dimensions_by_name_and_a_head_of_a_matrix(tmp_path: Path) -> None:
    path = tmp_path / "keys.safetensors"
    path.write_bytes(BROKEN["four dimensions"][0])
    kvverify("certify", "--keys", path, "--layer", 0, "--head", 0).refuses(2, "has shape [1, 1, 2, 2]; (tokens, dim)")
    kvverify("certify", "--keys", key_file(tmp_path), "--head", 1).refuses(2, "--head: 1 given, but keys is one matrix")


def test_more_than_is_certified_yet(tmp_path: Path) -> None:
    many, wide = np.zeros((4097, 1)), np.zeros((2, 1025))
    limits = "up to 4096 of dimension 1024 are certified from a file"
    kvverify("certify", "--keys", key_file(tmp_path, many)).refuses(3, "4097 keys of dimension 1", limits)
    kvverify("certify", "--keys", key_file(tmp_path, wide)).refuses(3, "2 keys of dimension 1025", limits)
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as stream:
        stream.truncate((1 << 28) + 1)  # a hole: takes no disk
    kvverify("certify", "--keys", huge).refuses(3, "files of up to 268435456 bytes")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--tokens", "64"), "its tokens, key dimension and body come from the file"),
        (("--head-dim", "6"), "key dimension"),
        (("--relative", "1/2"), "--tolerance"),
        (("--body", "ball"), "body"),
        (("--kv-heads", "2"), "one head's keys"),
        (("--inputs", "bf16"), "inputs bf16 given, the keys are F32"),
        (("--inputs", "fp8"), "inputs: fp8 given, real or bf16 is needed"),
        (("--max-logit", "0"), "max-logit: 0 given"),
        (("--failure", "1"), "failure: 1 given"),
        (("--tolerance", "1"), "tolerance: 1 given"),
        (("--value-dim", "0"), "value-dim: 0 given"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else None,
)
def test_words_that_do_not_go_with_keys(words: tuple[str, ...], line: str, tmp_path: Path) -> None:
    kvverify("certify", "--keys", key_file(tmp_path), *words).refuses(2, line)


def test_places_and_names(tmp_path: Path) -> None:
    kvverify("certify", "--keys", tmp_path / "no.safetensors").refuses(2, "no.safetensors: No such file")
    kvverify("certify", "--keys", tmp_path).refuses(2, f"{tmp_path}: Is a directory")
    spaced = key_file(tmp_path).rename(tmp_path / "my keys.safetensors")
    kvverify("certify", "--keys", spaced).refuses(2, "letters, digits and . _ - only; rename it")
    kvverify("certify").refuses(2, "give --tokens and --head-dim for a class, or --keys FILE.safetensors")
    kvverify(*SMALL, "--layer", 0).refuses(2, "--keys FILE.safetensors (--queries, --layer, --head)")
    kvverify(*SMALL, "--output", tmp_path / "no" / "c.json").refuses(2, "no/c.json cannot be written")
