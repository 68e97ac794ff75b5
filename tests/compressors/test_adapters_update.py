"""Other people's caches by their class: how they are made, and asked when they quantise the newest token too."""

from __future__ import annotations

from typing import Any

import pytest

from kvverify.compressors import Target
from kvverify.compressors.protocol import Settings, Shape, residual_length
from kvverify.errors import Incomplete, UsageError
from tests.conftest import needs

torch = needs("torch", "audit")

from kvverify.compressors import wire  # noqa: E402
from kvverify.compressors.adapters._update import UpdateCache  # noqa: E402
from kvverify.compressors.selftest import selftest, stream  # noqa: E402

SHAPE = Shape(kv_heads=2, heads=4, key_dim=64, value_dim=64)


class Rounding:
    """Rounds every token as it comes, own tokens too, to multiples of ``step``; the interface of many packages."""

    def __init__(self, head_dim: int, step: float = 0.5, name: str | None = None, *, eager: bool = False) -> None:
        self.head_dim, self.step, self.name, self.eager = head_dim, step, name, eager
        self.residual_len = 7
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.calls = 0

    def update(self, keys: Any, values: Any, layer_idx: int) -> tuple[Any, Any]:
        assert keys.shape[3] == self.head_dim
        assert layer_idx == 0
        self.keys.append((keys / self.step).round() * self.step)
        self.values.append((values / self.step).round() * self.step)
        return torch.cat(self.keys, dim=2), torch.cat(self.values, dim=2)


class Shared(Rounding):
    """Rounds to multiples of the largest entry of a chunk: several own tokens at once are not what each is alone."""

    def update(self, keys: Any, values: Any, layer_idx: int) -> tuple[Any, Any]:
        self.step = float(keys.abs().max()) / 2
        return super().update(keys, values, layer_idx)


class Backwards(Rounding):
    """Hands the newest token back first."""

    def update(self, keys: Any, values: Any, layer_idx: int) -> tuple[Any, Any]:
        return tuple(side.flip(2) for side in super().update(keys, values, layer_idx))  # type: ignore[return-value]


def made(kind: Any = Rounding, **parameters: Any) -> Any:
    return Target("own", kind, None)(Settings("own", SHAPE, parameters, scale=0.5))


def filled(kind: Any = Rounding) -> Any:
    cache = made(kind)
    for chunk, tokens in enumerate((20, 4)):
        cache.absorb(*stream(SHAPE, tokens, seed=chunk))
    return cache


def alone(cache: Any, question: tuple[Any, ...], row: int) -> Any:
    """One query's real step: a copy of the cache takes the own token, and attention reads all that it hands back."""
    query, own_key, own_value = (part[:, :, row : row + 1] for part in question)
    copy = wire.decode(wire.encode(cache.cache, wire.allowed(cache)), wire.allowed(cache))
    keys, values = copy.update(own_key, own_value, 0)
    return torch.nn.functional.scaled_dot_product_attention(query, keys, values, scale=0.5, enable_gqa=True)


@pytest.mark.parametrize("kind", [Rounding, Shared])
def test_a_rounded_own_token_is_attended_to_as_it_was_rounded(kind: Any) -> None:
    cache = filled(kind)
    question = stream(SHAPE, 5, seed=8)
    answers = cache.attend(*question)
    for row in range(5):
        torch.testing.assert_close(answers[:, :, row : row + 1], alone(cache, question, row))


def test_tokens_that_are_rounded_alone_are_asked_for_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    update = UpdateCache.update
    monkeypatch.setattr(UpdateCache, "update", lambda s, c, k, v: (calls.append(k.shape[2]), update(s, c, k, v))[1])
    filled().attend(*stream(SHAPE, 40, seed=8))
    assert max(calls) == 40
    assert len(calls) == 2 + 2 * 2 + 1  # two chunks; two steps, each with its opposite; all together
    calls.clear()
    filled(Shared).attend(*stream(SHAPE, 40, seed=8))
    assert len(calls) > 40


def test_a_cache_with_the_newest_token_elsewhere_cannot_be_driven() -> None:
    with pytest.raises(Incomplete, match=r"Backwards.update does not hand the newest token back last"):
        filled(Backwards).attend(*stream(SHAPE, 2, seed=8))


def test_the_class_of_a_cache_gets_its_settings_by_keyword_and_what_the_shape_decides() -> None:
    cache = made(step="0.25", name="plain", eager="True").cache
    assert (cache.head_dim, cache.step, cache.name, cache.eager) == (64, 0.25, "plain", True)
    assert made(head_dim=32).cache.head_dim == 32
    assert residual_length(made()) == 7
    selftest(Rounding, {"step": 0.125})


class Configured:
    """Asks for what cannot be guessed."""

    def __init__(self, config: Any, quantizer: Any) -> None:
        self.config, self.quantizer = config, quantizer

    def update(self, keys: Any, values: Any, layer_idx: int) -> tuple[Any, Any]:
        return keys, values


def test_settings_that_a_class_does_not_have_or_needs() -> None:
    with pytest.raises(UsageError, match="own has no setting 'bits'; it has head_dim, step, name, eager"):
        made(bits=2)
    needs("transformers", "caches")
    with pytest.raises(UsageError, match="own needs quantizer: give --set, or write a factory in a file"):
        made(Configured)
    config = made(Configured, quantizer="none").cache.config
    assert (config.num_key_value_heads, config.num_attention_heads, config.head_dim) == (2, 4, 64)
    assert config.num_hidden_layers == 1


class Inherited(torch.nn.Module, Rounding):
    """A cache with bases in other packages."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        Rounding.__init__(self, 64)


def test_a_message_may_name_the_modules_of_all_bases() -> None:
    assert {"tests", "torch"} <= set(made(Inherited).allow)
    assert "made.here" in UpdateCache(made().settings, Rounding(64), "made.here").allow


def test_devices_may_be_keys_of_a_message() -> None:
    message = {(64, torch.device("cpu")): torch.ones(2), torch.device("meta"): 1}
    back = wire.decode(wire.encode(message))
    assert list(back) == list(message)
    assert torch.equal(back[64, torch.device("cpu")], torch.ones(2))
