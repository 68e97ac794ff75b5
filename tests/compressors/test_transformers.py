"""The adapter against the real thing: decoding steps of transformers' own caches, one query at a time."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from kvverify.compressors import find
from kvverify.compressors.protocol import Settings, Shape, claimed_bits, residual_length
from kvverify.errors import Incomplete
from tests.conftest import needs

torch = needs("torch", "audit")
needs("transformers", "caches")

from kvverify.compressors import wire  # noqa: E402
from kvverify.compressors.adapters._update import UpdateCache  # noqa: E402
from kvverify.compressors.selftest import stream  # noqa: E402

SHAPE = Shape(kv_heads=2, heads=4, key_dim=64, value_dim=64)
RESIDUAL = 16
CACHES = [("dynamic", 4), ("hqq", 1), ("hqq", 2), ("hqq", 4), ("hqq", 8), ("quanto", 2), ("quanto", 4)]


def compressor(cache: str, bits: int, dtype: str) -> Any:
    if cache == "hqq":
        needs("hqq", "caches")
    if cache == "quanto":
        needs("optimum", "caches")
        if missing := [tool for tool in ("g++", "ninja") if shutil.which(tool) is None]:
            pytest.skip(f"needs {' and '.join(missing)} on the PATH to compile quanto's extension")
    parameters = {"cache": cache, "bits": bits, "residual_length": RESIDUAL}
    return find("transformers")(Settings("transformers", SHAPE, parameters, scale=0.5, dtype=dtype))


def fill(made: Any, schedule: list[int], dtype: str) -> None:
    queries, keys, values = stream(SHAPE, sum(schedule), dtype)
    start = 0
    for tokens in schedule:
        piece = slice(start, start + tokens)
        made.absorb(queries[:, :, piece], keys[:, :, piece], values[:, :, piece])
        start += tokens


@pytest.mark.timeout(600)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("cache", "bits"), CACHES)
@pytest.mark.parametrize("schedule", [[64], [64, 31], [64] + [1] * 5, [64, 8] + [1] * 8])
def test_batched_answers_are_those_of_real_steps(cache: str, bits: int, dtype: str, schedule: list[int]) -> None:
    made = compressor(cache, bits, dtype)
    fill(made, schedule, dtype)
    question = stream(SHAPE, 3, dtype, seed=8)
    answers = made.attend(*question)
    for j in range(3):
        query, own_key, own_value = (part[:, :, j : j + 1] for part in question)
        other = compressor(cache, bits, dtype)  # a real cache, fed alike, that takes this step for good
        fill(other, schedule, dtype)
        keys, values = other.cache.update(own_key, own_value, 0)
        real = torch.nn.functional.scaled_dot_product_attention(
            query.float(), keys.float(), values.float(), scale=0.5, enable_gqa=True
        )
        torch.testing.assert_close(answers[:, :, j : j + 1], real, rtol=1e-5, atol=1e-5)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("cache", "bits"), [(c, b) for c, b in CACHES if c != "dynamic"])
def test_after_one_prefill_the_answers_are_from_quantised_state(cache: str, bits: int) -> None:
    made = compressor(cache, bits, "float32")
    fill(made, [64], "float32")
    exact = compressor("dynamic", 4, "float32")
    fill(exact, [64], "float32")
    question = stream(SHAPE, 3, seed=8)
    error = float((made.attend(*question) - exact.attend(*question)).abs().max())
    assert error > 1e-3 * 2 ** (8 - bits)
    assert residual_length(made) == RESIDUAL
    assert residual_length(exact) == 0


class OwnCache:
    """A third party's cache with the same interface; it writes into a buffer in place."""

    def __init__(self) -> None:
        self.tokens, self.buffer = 0, torch.zeros(2, 1, 2, 128, 64)

    def update(self, keys: Any, values: Any, layer_idx: int) -> tuple[Any, Any]:
        self.buffer[:, :, :, self.tokens : self.tokens + keys.shape[2]] = torch.stack([keys, values])
        self.tokens += keys.shape[2]
        return self.buffer[0, :, :, : self.tokens], self.buffer[1, :, :, : self.tokens]


class NosyCache(OwnCache):
    """Hands the cached values back multiplied by the first coordinate of the newest key: no batch can answer that."""

    def update(self, keys: Any, values: Any, layer_idx: int) -> tuple[Any, Any]:
        cached_keys, cached_values = (side.clone() for side in super().update(keys, values, layer_idx))
        cached_values[:, :, : -keys.shape[2]] *= keys[:, :1, -1:, :1]
        return cached_keys, cached_values


class ShyCache(OwnCache):
    """Hands back what it held before."""

    def update(self, keys: Any, values: Any, layer_idx: int) -> tuple[Any, Any]:
        before = self.tokens
        cached_keys, cached_values = super().update(keys, values, layer_idx)
        return cached_keys[:, :, :before], cached_values[:, :, :before]


def wrapped(cache: Any) -> UpdateCache:
    made = UpdateCache(Settings("own", SHAPE, scale=0.5), cache)
    fill(made, [20, 4], "float32")
    return made


def test_a_cache_that_writes_in_place_is_not_changed_by_questions() -> None:
    made = wrapped(OwnCache())
    dense = find("dense")(Settings("dense", SHAPE, {"dtype": "fp32"}, scale=0.5))
    fill(dense, [24], "float32")
    question = stream(SHAPE, 6, seed=8)
    assert torch.equal(made.attend(*question), dense.attend(*question))
    assert made.cache.tokens == 24
    assert torch.equal(made.attend(*question), dense.attend(*question))
    bob = UpdateCache(made.settings, OwnCache())
    bob.load(wire.decode(wire.encode(made.message(), wire.allowed(made)), wire.allowed(bob)))
    assert torch.equal(bob.attend(*question), dense.attend(*question))


def test_a_cache_that_looks_at_the_newest_token_is_asked_step_by_step() -> None:
    made = wrapped(NosyCache())
    question = stream(SHAPE, 4, seed=8)
    answers = made.attend(*question)
    for j in range(4):
        alone = made.attend(*(part[:, :, j : j + 1] for part in question))
        torch.testing.assert_close(answers[:, :, j : j + 1], alone)
    assert not torch.allclose(answers, wrapped(OwnCache()).attend(*question))


def test_a_cache_that_hands_back_something_else_cannot_be_driven() -> None:
    with pytest.raises(Incomplete, match=r"ShyCache.update does not hand the newest token back last"):
        wrapped(ShyCache()).attend(*stream(SHAPE, 2, seed=8))


def test_a_message_of_another_class_is_refused() -> None:
    with pytest.raises(wire.WireError, match="a ShyCache, not a OwnCache"):
        wrapped(OwnCache()).load(ShyCache())


def test_a_quantised_cache_claims_what_its_name_says() -> None:
    """2 bits for each of the 64 tokens that were quantised, 16 for each of the 5 newest; no other cache has a name."""
    made = compressor("hqq", 2, "bfloat16")
    assert claimed_bits(made) == 0
    fill(made, [64] + [1] * 5, "bfloat16")
    scalars = 2 * (64 + 64)
    assert claimed_bits(made) == scalars * (2 * 64 + 16 * 5)
    assert wire.measure(made.message()).readable_bits >= claimed_bits(made) + scalars * 64 // 2
    fill(made, [1] * 11, "bfloat16")
    assert claimed_bits(made) == scalars * 2 * 80
    assert claimed_bits(compressor("dynamic", 4, "bfloat16")) is None
