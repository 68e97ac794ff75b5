"""The adapter for presses, on specimens with kvpress's interface; and the package itself where it is installed."""

from __future__ import annotations

import importlib.util
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from kvverify.compressors import find
from kvverify.compressors.adapters import kvpress as adapter
from kvverify.compressors.adapters._presses import DECODING, NOT_DRIVEN, PRESSES
from kvverify.compressors.adapters._selection_model import hidden_states
from kvverify.compressors.protocol import Settings, Shape, residual_length
from kvverify.errors import UsageError
from tests.conftest import needs

torch = needs("torch", "audit")
needs("transformers", "caches")

from kvverify.compressors import wire  # noqa: E402
from kvverify.compressors.selftest import selftest, stream  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE = Shape(kv_heads=2, heads=4, key_dim=64, value_dim=64)
SCALE = 0.125
# kvpress is left out of `all` for its size; where it is installed these tests are the ones that count.
with_kvpress = pytest.mark.skipif(importlib.util.find_spec("kvpress") is None, reason="needs kvverify[presses]")


class Press:
    """The interface: hooks on every attention layer while a context is open; ``act`` sees the layer after a pass."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self.buffer: dict[int, Any] = {}

    def hook(self, module: Any, inputs: Any, kwargs: dict[str, Any], output: Any) -> Any:
        layer = kwargs["past_key_values"].layers[module.layer_idx]
        if kwargs["cache_position"][-1] + 1 == kwargs["hidden_states"].shape[1]:
            self.act(module, layer, kwargs["hidden_states"])
        self.buffer[module.layer_idx] = kwargs["hidden_states"][:, -1:].clone()
        return output

    def act(self, module: Any, layer: Any, hidden: Any) -> None:
        """Keeps the oldest tokens, fewer in later layers."""
        kept = int(layer.keys.shape[2] * (1 - self.ratio)) - 8 * module.layer_idx
        layer.keys, layer.values = layer.keys[:, :, :kept].clone(), layer.values[:, :, :kept].clone()

    @contextmanager
    def __call__(self, model: Any) -> Iterator[None]:
        handles = [layer.self_attn.register_forward_hook(self.hook, with_kwargs=True) for layer in model.model.layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class Masking(Press):
    """Masks, head by head, the tokens that the last query of the prompt scores lowest; nothing leaves the cache."""

    def act(self, module: Any, layer: Any, hidden: Any) -> None:
        queries = module.q_proj(hidden)[:, -1].view(1, 2, 2, 64)
        scores = torch.einsum("bkgd,bknd->bkn", queries, layer.keys)
        lowest = scores.argsort(dim=2)[..., : int(scores.shape[2] * self.ratio)]
        heads = torch.arange(2)[None, :, None].expand(lowest.shape)
        module.masked_key_indices = (torch.zeros_like(lowest).flatten(), heads.flatten(), lowest.flatten())


@pytest.fixture
def _specimens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_kvpress", lambda: None)
    monkeypatch.setitem(PRESSES, "knorm", lambda _, ratio, __, ___: Press(ratio))
    monkeypatch.setitem(PRESSES, "adakv", lambda _, ratio, __, ___: Masking(ratio))


def layers(press: str, count: int, chunks: tuple[int, ...], dtype: str = "float32") -> tuple[Any, ...]:
    settings = Settings("kvpress", SHAPE, {"press": press}, scale=SCALE, dtype=dtype)
    made = adapter.PressedLayer.together(settings, count)
    for chunk, tokens in enumerate(chunks):
        for layer in made:
            layer.absorb(*stream(SHAPE, tokens, dtype, seed=chunk))
    return made


def sent(made: tuple[Any, ...]) -> tuple[Any, ...]:
    """Bob's side of a message."""
    others = adapter.PressedLayer.together(made[0].settings, len(made))
    for one, other in zip(made, others, strict=True):
        other.load(wire.decode(wire.encode(one.message(), wire.allowed(one)), wire.allowed(other)))
    return others


def real_step(made: tuple[Any, ...], index: int, question: tuple[Any, ...], row: int) -> Any:
    """The attention layer's own answer to one query, (heads, dim), on a copy of the state."""
    copy = sent(made)[index]
    query, own_key, own_value = (part[:, :, row : row + 1] for part in question)
    hidden = hidden_states(query * (SCALE * 8), own_key, own_value)
    return copy.model.forward(index, hidden, copy.seen)[0, 0, : 4 * 64].view(4, 64)


@pytest.mark.usefixtures("_specimens")
def test_a_press_sees_the_stream_bit_by_bit_and_its_work_is_the_message() -> None:
    for dtype in ("float32", "bfloat16"):
        made = layers("knorm", 2, (40, 1, 1), dtype)
        parts = [stream(SHAPE, tokens, dtype, seed=chunk) for chunk, tokens in enumerate((40, 1, 1))]
        keys, values = (torch.cat(sides, dim=2) for sides in list(zip(*parts, strict=True))[1:])
        for index, one in enumerate(made):
            kept = [*range(20 - 8 * index), 40, 41]
            cache = one.message()["cache"]
            assert torch.equal(cache.keys, keys[:, :, kept])
            assert torch.equal(cache.values, values[:, :, kept])
    question = stream(SHAPE, 3, seed=8)
    made = layers("knorm", 2, (40, 1, 1))
    for index, (one, other) in enumerate(zip(made, sent(made), strict=True)):
        answers = one.attend(*question)
        assert torch.equal(other.attend(*question), answers)
        for row in range(3):
            torch.testing.assert_close(answers[0, :, row], real_step(made, index, question, row))


@pytest.mark.usefixtures("_specimens")
def test_masked_keys_are_state_and_stay_allocated() -> None:
    made = layers("adakv", 1, (40,))
    size = wire.measure(made[0].message())
    cache = 2 * 40 * (64 + 64) * 32
    buffered = 64 * 8 * 32
    assert size.allocated_bits == cache + 3 * 2 * 20 * 64 + buffered
    question = stream(SHAPE, 5, seed=8)
    answers = made[0].attend(*question)
    assert torch.equal(sent(made)[0].attend(*question), answers)
    # Against attention whose scores at the masked places are -inf.
    kept = torch.ones(1, 2, 40, dtype=torch.bool)
    kept[made[0].message()["masked"]] = False
    _, keys, values = stream(SHAPE, 40)
    queries, own_keys, own_values = question
    mask = torch.cat([kept, torch.ones(1, 2, 1, dtype=torch.bool)], dim=2).repeat_interleave(2, dim=1)[:, :, None]
    for row in range(5):
        seen = [torch.cat([s, o[:, :, row : row + 1]], dim=2) for s, o in ((keys, own_keys), (values, own_values))]
        real = torch.nn.functional.scaled_dot_product_attention(
            queries[:, :, row : row + 1], *seen, mask, scale=SCALE, enable_gqa=True
        )
        torch.testing.assert_close(answers[:, :, row : row + 1], real)
    unmasked = sent(made)[0]
    unmasked.model.attention(0).masked_key_indices = None
    assert not torch.allclose(unmasked.attend(*question), answers)


@pytest.mark.usefixtures("_specimens")
def test_the_message_of_a_press_passes_the_common_test() -> None:
    for press in ("knorm", "adakv"):
        selftest(find("kvpress"), {"press": press}, SHAPE)


def test_what_cannot_be_driven_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(**parameters: str) -> Any:
        return find("kvpress")(Settings("kvpress", SHAPE, parameters))

    for name, why in NOT_DRIVEN.items():
        with pytest.raises(UsageError) as raised:
            make(press=name)
        assert str(raised.value) == f"kvpress: {name} cannot be driven without a trained model: {why}"
    with pytest.raises(UsageError, match=r"press=knrom is not legal; legal: knorm \| random"):
        make(press="knrom")
    monkeypatch.setattr(adapter, "_kvpress", lambda: None)
    monkeypatch.setitem(PRESSES, "knorm", lambda _, ratio, __, ___: Press(ratio))
    queries, keys, values = stream(SHAPE, 4)
    with pytest.raises(UsageError, match="no queries given"):
        make().absorb(None, keys, values)
    with pytest.raises(UsageError, match="key_dim=64, value_dim=32 given"):
        make().absorb(queries, keys, values[..., :32])


@with_kvpress
def test_versions_that_are_not_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter.importlib.metadata, "version", lambda name: "0.6.1")
    with pytest.raises(UsageError, match=r"version 0.6.1 is installed; this adapter drives 0.5"):
        adapter._kvpress()


@with_kvpress
def test_every_press_of_the_package_is_driven_or_has_its_reason() -> None:
    import kvpress

    bases = {"BasePress", "ScorerPress"}
    known = {name.removesuffix("Press") for name in dir(kvpress) if name.endswith("Press")} - {
        base.removesuffix("Press") for base in bases
    }
    spelt = {
        "non-causal-attention": "NonCausalAttn", "leverage": "LeverageScore", "per-layer": "PerLayerCompression",
        "ratio-decoding": "CompressionRatioDecoding", "fast-kvzip": "FastKVzip",
    }  # fmt: skip
    ours = {spelt.get(name, name).replace("-", "").lower() for name in (*PRESSES, *NOT_DRIVEN)}
    assert {name.lower() for name in known} - {"composed"} == ours - {"composed"}


@with_kvpress
@pytest.mark.parametrize("press", sorted(PRESSES))
def test_answers_are_those_of_the_package_s_own_decoding_steps(press: str) -> None:
    steps = 20 if press in DECODING else 1
    made = layers(press, 2, (300, *[1] * steps))
    fed = stream(SHAPE, 300)[1]
    question = stream(SHAPE, 2, seed=8)
    for index, one in enumerate(made):
        real = real_step(made, index, question, index)
        torch.testing.assert_close(one.attend(*question)[0, :, index], real, rtol=1e-4, atol=1e-5)
    cache, masked = (made[0].message()[part] for part in ("cache", "masked"))
    assert cache.keys.shape[2] < 301 or masked is not None or press == "think"
    assert residual_length(made[0]) == (32 if press in DECODING else 0)
    # Those that change the keys they keep are left out: a step overwrites masked keys by keys of no weight, for one.
    if masked is None and press not in ("think", "composed", "key-rerotation"):
        there = (cache.keys[0, 0, :, None] == fed[0, 0]).all(dim=2).any(dim=1)
        assert int(there.sum()) >= cache.keys.shape[2] - steps
