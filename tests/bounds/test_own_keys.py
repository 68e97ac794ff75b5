"""Bounds about given keys: proved by the kernel, true on the instance, and zero where the keys do not allow reading."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kvverify.bounds.own_keys import own_keys_bound, read_keys
from kvverify.errors import Incomplete, UsageError
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem
from tests.kernel.controls import safetensors
from tests.kernel.instance import claim_holds
from tests.kernel.oracle import first_false

FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def written(folder: Path, values: np.ndarray, dtype: str = "F32", name: str = "keys") -> Path:
    if dtype == "BF16":
        data = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    else:
        data = values.astype(FORMATS[dtype]).tobytes()
    path = folder / "keys.safetensors"
    path.write_bytes(safetensors(name, dtype, list(values.shape), data))
    return path


def problem(values: np.ndarray, max_logit: int = 20, **changes: object) -> Problem:
    tokens, dim = values.shape[-2:]
    return Problem(tokens, dim, 4, Fraction(max_logit), Fraction(1, 10), tolerance=Fraction(1, 100), **changes)  # type: ignore[arg-type]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape)


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("shape", [(12, 6), (2, 4), (10, 12)])
def test_the_bound_is_proved_and_true(dtype: str, shape: tuple[int, int], tmp_path: Path) -> None:
    keys = read_keys(written(tmp_path, normal(*shape), dtype), None, None)
    bound = own_keys_bound(keys, problem(keys.values, inputs="bf16" if dtype == "BF16" else "real"))
    assert bound.certificate is not None, bound.reason
    result = check(bound.certificate, tmp_path)
    assert result.verdict is Verdict.VALID
    assert result.bits == bound.bits
    assert first_false(bound.certificate, tmp_path) is None
    assert claim_holds(bound.certificate, tmp_path)


def test_one_head_of_a_layer(tmp_path: Path) -> None:
    values = normal(2, 8, 5)
    path = written(tmp_path, values, "F64", "layers.3.keys")
    bounds = []
    for head in (0, 1):
        keys = read_keys(path, 3, head)
        assert (keys.values == values[head]).all()
        bound = own_keys_bound(keys, problem(keys.values))
        assert bound.certificate is not None
        assert check(bound.certificate, tmp_path).verdict is Verdict.VALID
        assert claim_holds(bound.certificate, tmp_path)
        bounds.append(bound)
    swapped = json.loads(json.dumps(bounds[0].certificate).replace('"head": "0"', '"head": "1"'))
    assert check(swapped, tmp_path).verdict is Verdict.INVALID


@pytest.mark.parametrize("values", [np.zeros((4, 3)), np.ones((4, 3)), np.zeros((1, 3))], ids=["zero", "equal", "one"])
def test_keys_that_cannot_be_told_apart(values: np.ndarray, tmp_path: Path) -> None:
    keys = read_keys(written(tmp_path, values), None, None)
    bound = own_keys_bound(keys, problem(values))
    assert bound.bits == 0
    assert bound.certificate is None
    assert bound.reason


def test_a_larger_logit_reads_more(tmp_path: Path) -> None:
    keys = read_keys(written(tmp_path, normal(40, 8)), None, None)
    bits = [own_keys_bound(keys, problem(keys.values, max_logit)).bits for max_logit in (2, 8, 16, 32)]
    assert bits == sorted(bits)
    assert bits[0] < bits[-1]


def test_wrong_use(tmp_path: Path) -> None:
    path = written(tmp_path, normal(2, 4, 3), "F32", "layers.0.keys")
    for layer, head in ((None, None), (1, 0), (0, None), (0, 2), (0, -1)):
        with pytest.raises(UsageError):
            read_keys(path, layer, head)
    keys = read_keys(path, 0, 0)
    with pytest.raises(UsageError):
        own_keys_bound(keys, problem(keys.values, inputs="bf16"))
    for values in (np.full((2, 2), np.nan), np.full((2, 2), np.inf)):
        with pytest.raises(UsageError):
            read_keys(written(tmp_path, values), None, None)
    with pytest.raises(Incomplete):
        read_keys(written(tmp_path, normal(1025, 1)), None, None)
    path.write_bytes(b"no tensors here")
    with pytest.raises(UsageError):
        read_keys(path, None, None)
