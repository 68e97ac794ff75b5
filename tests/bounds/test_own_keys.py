"""Own keys: what is proved is true, whatever the keys look like; what cannot be used is dropped and counted."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kvverify.bounds.own_keys import own_keys_bound, read_keys
from kvverify.bounds.payload_choice import choose
from kvverify.bounds.witness import FileBound, write_bound
from kvverify.errors import Incomplete, UsageError
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem
from tests.conftest import needs
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
    fields = {"tolerance": Fraction(1, 100), **changes}
    return Problem(tokens, dim, 4, Fraction(max_logit), Fraction(1, 10), **fields)  # type: ignore[arg-type]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape)


def found(folder: Path, values: np.ndarray, max_logit: int = 20, dtype: str = "F64") -> FileBound:
    keys = read_keys(written(folder, values, dtype), None, None)
    return own_keys_bound(keys, problem(keys.values, max_logit), seconds=2)


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("shape", [(12, 6), (2, 4)])
def test_the_bound_is_proved_and_true(dtype: str, shape: tuple[int, int], tmp_path: Path) -> None:
    keys = read_keys(written(tmp_path, normal(*shape), dtype), None, None)
    bound = own_keys_bound(keys, problem(keys.values, inputs="bf16" if dtype == "BF16" else "real"))
    assert bound.certificate is not None, bound.reason
    result = check(bound.certificate, tmp_path)
    assert result.verdict is Verdict.VALID
    assert result.bits == bound.bits
    assert first_false(bound.certificate, tmp_path) is None
    assert claim_holds(bound.certificate, tmp_path)


def clusters() -> np.ndarray:
    """Keys that lie 40 times nearer to their centre than centres lie to each other."""
    return np.repeat(normal(4, 6), 5, axis=0) + normal(20, 6) / 40


ADVERSARIAL = {
    "clustered": clusters(),
    "one dimension": np.linspace(-1, 1, 9)[:, None] ** 3,
    "one dimension, far from zero": 1e4 + np.arange(6.0)[:, None],
    "a plane in space": normal(12, 2) @ normal(2, 8),
    "huge": normal(8, 5) * 1e300,
    "denormal": np.round(normal(8, 5) * 100) * 5e-324,
    "one huge coordinate": np.concatenate([normal(8, 3), 1e12 + normal(8, 1)], axis=1),
    "one huge key": np.concatenate([normal(8, 4), 1e6 * normal(1, 4)]),
    "a zero key": np.concatenate([np.zeros((1, 4)), normal(7, 4)]),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_keys_of_every_kind(name: str, tmp_path: Path) -> None:
    bound = found(tmp_path, ADVERSARIAL[name])
    assert bound.certificate is not None, bound.reason
    write_bound(tmp_path / "c.json", bound)
    result = check(tmp_path / "c.json")
    assert result.verdict is Verdict.VALID, result.reason
    assert result.bits == bound.bits >= 1
    carry = f"{bound.payload} of {len(ADVERSARIAL[name])} own keys carry values, {bound.dropped} dropped"
    assert bound.family.startswith(carry)
    if "huge" not in name and name != "denormal":  # the oracle is a float there
        assert claim_holds(bound.certificate, tmp_path)


@pytest.mark.parametrize("values", [np.zeros((4, 3)), np.ones((4, 3)), np.zeros((1, 3))], ids=["zero", "equal", "one"])
def test_keys_that_cannot_be_told_apart(values: np.ndarray, tmp_path: Path) -> None:
    bound = found(tmp_path, values)
    assert (bound.bits, bound.certificate, bound.files, bound.payload) == (0, None, {}, 0)
    assert bound.reason


def test_repeated_keys_are_dropped_and_counted(tmp_path: Path) -> None:
    """Of two equal keys one can carry a value. A single readable token among equals is a bound, not zero."""
    values = normal(10, 6)
    values[7] = values[2]
    bound = found(tmp_path, values)
    assert (bound.payload, bound.dropped) == (9, 1)
    assert bound.family == "9 of 10 own keys carry values, 1 dropped, 1 alike"
    lonely = np.concatenate([np.ones((63, 3)), -np.ones((1, 3))])
    bound = found(tmp_path, lonely)
    assert (bound.payload, bound.dropped) == (1, 63)
    assert bound.bits > 4 * 5


def test_dropping_is_best_on_all_subsets() -> None:
    """Against every subset of six tokens, by Ostrowski's bound."""
    random = np.random.default_rng(1)
    worse = 0
    for _ in range(40):
        weights = np.exp(3 * random.normal(size=(6, 7)) - 3)
        np.fill_diagonal(weights, 1.0)
        gain = random.uniform(0.5, 6)

        def total(chosen: list[int], weights: np.ndarray = weights, gain: float = gain) -> float:
            off = weights[np.ix_(chosen, chosen)].sum(axis=1) - 1
            if not chosen or off.max() >= 1:
                return 0.0
            return float((gain + np.log2(1 - off) - np.log2(weights[chosen].sum(axis=1))).sum())

        best = max(total([j for j in range(6) if mask >> j & 1]) for mask in range(64))
        chosen, stated = choose(weights, gain)
        mine = total(chosen.tolist())
        assert stated == pytest.approx(mine, abs=1e-9)
        assert mine >= 0.6 * best
        worse += mine < best - 1e-9
    assert worse <= 6


def test_no_compressor_does_better_than_the_plain_one(tmp_path: Path) -> None:
    """Rounding each value to the middle of one of ceil(1/eps) intervals answers everything: so many states do."""
    for tokens in (1, 2, 3):
        for denominator in (2, 3, 10):
            keys = read_keys(written(tmp_path, normal(3, 4)[:tokens], "F64"), None, None)
            question = Problem(
                tokens, 4, 1, Fraction(40), Fraction(0), tolerance=Fraction(2, 2 * denominator - 1)
            )  # ceil(1/eps) = denominator
            bound = own_keys_bound(keys, question)
            if tokens > 1:
                assert bound.bits > 0
            assert bound.bits <= tokens * math.log2(denominator)


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
    resigned = document.build(swapped["statement"], swapped["steps"])
    assert check(resigned, tmp_path).verdict is Verdict.INVALID


def test_a_larger_logit_reads_more(tmp_path: Path) -> None:
    bits = [found(tmp_path, normal(24, 8), max_logit).bits for max_logit in (2, 8, 24)]
    assert bits == sorted(bits)
    assert bits[0] < bits[-1]


def test_many_queries_lie_in_a_file(tmp_path: Path) -> None:
    """Named by its content; without it nothing is decided, and any change of it is refused."""
    bound = found(tmp_path, normal(80, 64), 12)
    assert bound.certificate is not None
    (name,) = bound.files
    assert check(bound.certificate, tmp_path).verdict is Verdict.INCOMPLETE
    write_bound(tmp_path / "c.json", bound)
    assert check(tmp_path / "c.json").verdict is Verdict.VALID
    assert bound.certificate["steps"][0]["given"]["queries"]["name"] == name
    witness = tmp_path / name
    data = bytearray(witness.read_bytes())
    data[-2] ^= 1
    witness.write_bytes(data)
    assert check(tmp_path / "c.json").verdict is Verdict.INVALID
    again = found(tmp_path, normal(80, 64), 12)
    assert again.files.keys() == bound.files.keys()


def test_diffuse_attention_goes_through_the_inverse(tmp_path: Path) -> None:
    """Where every query spreads its weight, a determinant is left that no row's dominance shows."""
    needs("scipy", "audit")
    bound = found(tmp_path, normal(24, 24), 2)
    assert bound.certificate is not None
    step = bound.certificate["steps"][1]
    assert step["given"]["form"] == "preconditioned"
    write_bound(tmp_path / "c.json", bound)
    assert check(tmp_path / "c.json").verdict is Verdict.VALID
    assert first_false(bound.certificate, tmp_path) is None
    assert claim_holds(bound.certificate, tmp_path)


def test_wrong_use(tmp_path: Path) -> None:
    path = written(tmp_path, normal(2, 4, 3), "F32", "layers.0.keys")
    for layer, head in ((None, None), (1, 0), (0, None), (0, 2), (0, -1)):
        with pytest.raises(UsageError):
            read_keys(path, layer, head)
    keys = read_keys(path, 0, 0)
    with pytest.raises(UsageError):
        own_keys_bound(keys, problem(keys.values, inputs="bf16"))
    with pytest.raises(UsageError, match="relative"):
        own_keys_bound(keys, problem(keys.values, tolerance=None, relative=Fraction(1, 10)))
    for values in (np.full((2, 2), np.nan), np.full((2, 2), np.inf)):
        with pytest.raises(UsageError):
            read_keys(written(tmp_path, values), None, None)
    with pytest.raises(Incomplete):
        read_keys(written(tmp_path, normal(4097, 1)), None, None)
    path.write_bytes(b"no tensors here")
    with pytest.raises(UsageError):
        read_keys(path, None, None)
