"""No native compressor asks which device it has: what is tested on the CPU here is what runs on a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from kvverify.compressors import find
from kvverify.compressors.protocol import Settings
from tests.compressors.test_matrix import MATRIX, attention_of
from tests.conftest import needs

torch = needs("torch", "audit")

from kvverify.compressors.native.dense import Dense  # noqa: E402
from kvverify.compressors.selftest import SHAPE, stream  # noqa: E402

HOST = {"midpoint", "dithered", "net", "subgen", "subgen2", "subgen4"}
"""Whose state is made of integers of any length, or token by token: by numpy in main memory, whatever the device."""
CASES = [(name, parameters) for name, parameters, _ in MATRIX if name != "transformers"]


TOLD, ASKED = stream(SHAPE, 200), stream(SHAPE, 5, seed=1)


def played(name: str, parameters: dict[str, Any], device: str) -> list[Any]:
    """Tensors of the state after 200 tokens in two chunks, and answers of a compressor that was loaded from it."""
    told, asked = ([side.to(device) for side in sides] for sides in (TOLD, ASKED))
    settings = Settings(name, SHAPE, parameters, device=device, attention=attention_of(name))
    compressor, loaded = (find(name)(settings) for _ in range(2))
    asked[0] = asked[0][:, : settings.answer_heads]
    compressor.absorb(*(side[:, :, :120] for side in told))
    compressor.absorb(*(side[:, :, 120:] for side in told))
    loaded.load(compressor.message())
    kept = [part for part in compressor.message().values() if isinstance(part, torch.Tensor)]
    return [*kept, loaded.attend(*asked)]


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_every_tensor_is_made_on_the_device_of_the_settings(name: str, parameters: dict[str, Any]) -> None:
    """Where another device is the default, a tensor that is made without saying where would meet one of ours."""
    expected = played(name, parameters, "cpu")
    with torch.device("meta"):
        found = played(name, parameters, "cpu")
    assert [part.device.type for part in found] == ["cpu"] * len(found)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert bool(found[-1].isfinite().all())


@pytest.mark.parametrize(("name", "parameters"), [case for case in CASES if case[0] not in HOST])
def test_all_of_it_runs_on_another_device(name: str, parameters: dict[str, Any]) -> None:
    """On a device without numbers; a tensor that were left in main memory would not go together with one of it."""
    found = played(name, parameters, "meta")
    assert {part.device.type for part in found} == {"meta"}
    heads = SHAPE.heads // (1 if attention_of(name) == "softmax" else 2)
    assert found[-1].shape == (1, heads, 5, SHAPE.value_dim)


def test_a_stray_tensor_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: Dense) -> tuple[Any, ...]:
        return tuple(side + torch.zeros(1) for side in self.pair())

    monkeypatch.setattr(Dense, "read", read)
    with torch.device("meta"), pytest.raises(RuntimeError, match="device"):
        played("dense", {}, "cpu")
