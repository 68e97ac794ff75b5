"""The compressors of the field, native: what all of them keep, and one game that all of them play."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kvverify.audit.game import play
from kvverify.compressors import find
from kvverify.compressors.protocol import Settings, Shape
from kvverify.errors import UsageError
from tests.audit.small import instance
from tests.compressors.every_native import CASES
from tests.conftest import needs

torch = needs("torch", "audit")
needs("scipy", "audit")

from kvverify.compressors import wire  # noqa: E402
from kvverify.compressors.selftest import SHAPE, selftest, stream  # noqa: E402

SHAPES = [Shape(1, 1, 16, 64), Shape(2, 6, 32, 16), Shape(3, 3, 8, 32, batch=2)]
cases = pytest.mark.parametrize(("name", "parameters"), [*CASES.items()])


@cases
@pytest.mark.parametrize("shape", SHAPES)
def test_heads_groups_and_batches(name: str, parameters: dict[str, Any], shape: Shape) -> None:
    selftest(find(name), parameters, shape=shape)


@cases
def test_each_sequence_and_head_is_compressed_by_itself(name: str, parameters: dict[str, Any]) -> None:
    """Two sequences of two heads answer as four caches of one head, with the same coins."""
    shape, alone = Shape(2, 4, 16, 16, batch=2), Shape(1, 2, 16, 16)
    together = find(name)(Settings(name, shape, parameters))
    told, asked = stream(shape, 100), stream(shape, 5, seed=1)
    together.absorb(*told)
    answers = together.attend(*asked)
    for row, head in ((0, 0), (0, 1), (1, 0), (1, 1)):
        heads = slice(2 * head, 2 * head + 2), slice(head, head + 1), slice(head, head + 1)
        one = find(name)(Settings(name, alone, parameters))
        one.absorb(*(side[row : row + 1, at] for side, at in zip(told, heads, strict=True)))
        found = one.attend(*(side[row : row + 1, at] for side, at in zip(asked, heads, strict=True)))
        torch.testing.assert_close(found, answers[row : row + 1, heads[0]])


@cases
def test_a_stream_goes_on_from_a_message(name: str, parameters: dict[str, Any]) -> None:
    """The message is all that later tokens depend on: sent in the middle, it leads to the same state."""
    settings = Settings(name, SHAPE, parameters, dtype="bfloat16")
    first, second = stream(SHAPE, 150, "bfloat16", seed=1), stream(SHAPE, 90, "bfloat16", seed=2)
    straight, before, after = (find(name)(settings) for _ in range(3))
    straight.absorb(*first)
    straight.absorb(*second)
    before.absorb(*first)
    after.load(wire.decode(wire.encode(before.message())))
    after.absorb(*second)
    assert wire.encode(after.message()) == wire.encode(straight.message())


@cases
def test_a_null_vector_is_no_special_case(name: str, parameters: dict[str, Any]) -> None:
    queries, keys, values = stream(SHAPE, 100)
    compressor = find(name)(Settings(name, SHAPE, parameters))
    compressor.absorb(queries, torch.zeros_like(keys), torch.zeros_like(values))
    kept_keys, kept_values = compressor.read()
    assert not bool(kept_keys.any())
    assert not bool(kept_values.any())


def test_all_of_them_play_the_game() -> None:
    """One game of eight layers, each layer another compressor: none claims less than it holds, none hides state."""
    layers = instance(32, kv_heads=2, layers=len(CASES), value_dim=16)
    target = f"{Path(__file__).with_name('every_native.py')}:layer"
    report = play(target, layers, group=2, seed=4, timeout=60)
    found = report.to_json()
    assert (found["status"], found["flags"], found["reason"]) == ("NO FLAG", [], None)
    assert found["schedule"] == "prefill:32,step:32"
    assert found["held_bits"] == found["readable_bits"] == found["claimed_bits"] < found["wire_bits"]
    header = found["wire_bits"] - found["held_bits"]
    sums = 32 * 50 * 2  # of h2o: no answer depends on them, later evictions do
    assert found["wire_bits"] - found["live_bits"] == sums
    assert header < (1 << 12) * len(CASES)
    assert 0 < found["certified_floor_bits"] < found["wire_bits"]


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("kivi", {"residual": 100}, "kivi: residual=100 is not legal; legal: a multiple of group=32"),
        ("kivi", {"group": 48, "residual": 48}, "kivi: group=48 does not divide the 64 channels of the values"),
        ("turboquant", {"bits": 1, "keys": "prod"}, "bits=1 is not legal for keys=prod; legal: an integer from 2 to 8"),
        ("turboquant", {"bits": 9}, "turboquant: bits=9 is not legal; legal: an integer from 1 to 8"),
        ("turboquant", {"rotation": "householder"}, "legal: orthogonal | hadamard"),
        ("qjl", {"group": 48}, "qjl: group=48 does not divide the 64 channels of the values"),
        ("qjl", {"sketch": 0}, "qjl: sketch=0 is not legal; legal: an integer from 1 to 65536"),
        ("low-rank", {"rank": 65}, "low-rank: rank=65 is not legal; legal: an integer from 1 to 64, the least of"),
        ("low-rank", {"block": 8}, "low-rank: rank=16 is not legal; legal: an integer from 1 to 8"),
        ("fp8", {"format": "e3m4"}, "fp8: format=e3m4 is not legal; legal: e4m3 | e5m2"),
        ("h2o", {"heavy": 0}, "h2o: heavy=0 is not legal; legal: an integer from 1"),
        ("snapkv", {"kernel": 4}, "snapkv: kernel=4 is not legal; legal: an odd integer"),
        ("streaming-llm", {"window": 0}, "streaming-llm: window=0 is not legal; legal: an integer from 1"),
        ("streaming-llm", {"sink": 4}, "streaming-llm has no setting 'sink'; it has sinks, window"),
    ],
)
def test_illegal_settings_are_one_line(name: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        find(name)(Settings(name, SHAPE, given))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_hadamard_matrix_has_a_power_of_two() -> None:
    with pytest.raises(UsageError, match="rotation=hadamard needs a head dimension that is a power of two, 96 given"):
        find("turboquant")(Settings("turboquant", Shape(1, 1, 64, 96), {"rotation": "hadamard"}))


@pytest.mark.parametrize("name", ["h2o", "snapkv"])
def test_methods_of_attention_need_queries(name: str) -> None:
    _, keys, values = stream(SHAPE, 100)
    compressor = find(name)(Settings(name, SHAPE, CASES[name]))
    with pytest.raises(UsageError, match=f"{name}: the .* came without queries"):
        compressor.absorb(None, keys, values)
