"""transformers' static and sliding caches, and versions that the adapter does not drive."""

from __future__ import annotations

from typing import Any

import pytest

from kvverify.compressors import find
from kvverify.compressors.adapters import transformers_cache
from kvverify.compressors.protocol import Settings, Shape
from kvverify.errors import UsageError
from tests.conftest import needs

torch = needs("torch", "audit")
needs("transformers", "caches")

from kvverify.compressors import wire  # noqa: E402
from kvverify.compressors.selftest import selftest, stream  # noqa: E402

SHAPE = Shape(kv_heads=2, heads=4, key_dim=16, value_dim=16)
WINDOW = 24
KINDS: list[dict[str, Any]] = [
    {"cache": "static", "max_cache_len": 80},
    {"cache": "sliding", "window": WINDOW},
    {"cache": "static-sliding", "window": WINDOW},
    {"cache": "static-sliding", "window": 200},
]


def filled(parameters: dict[str, Any], chunks: tuple[int, ...]) -> Any:
    made = find("transformers")(Settings("transformers", SHAPE, parameters, scale=0.5))
    for chunk, tokens in enumerate(chunks):
        made.absorb(*stream(SHAPE, tokens, seed=chunk))
    return made


@pytest.mark.parametrize("parameters", KINDS)
@pytest.mark.parametrize("chunks", [(40,), (40, 1, 1), (10, 1, 1)])
def test_answers_are_those_of_a_dense_cache_of_the_tokens_that_are_in_sight(
    parameters: dict[str, Any], chunks: tuple[int, ...]
) -> None:
    made = filled(parameters, chunks)
    parts = [stream(SHAPE, tokens, seed=chunk) for chunk, tokens in enumerate(chunks)]
    keys, values = (torch.cat(sides, dim=2) for sides in list(zip(*parts, strict=True))[1:])
    if parameters.get("window") == WINDOW:  # of which one is the own token
        keys, values = keys[:, :, -WINDOW + 1 :], values[:, :, -WINDOW + 1 :]
    question = stream(SHAPE, 3, seed=9)
    answers = made.attend(*question)
    for row in range(3):
        query, own_key, own_value = (part[:, :, row : row + 1] for part in question)
        seen = torch.cat([keys, own_key], dim=2), torch.cat([values, own_value], dim=2)
        real = torch.nn.functional.scaled_dot_product_attention(query, *seen, scale=0.5, enable_gqa=True)
        torch.testing.assert_close(answers[:, :, row : row + 1], real)


def test_the_message_of_each_is_its_state() -> None:
    for parameters in KINDS:
        roomy = {**parameters, "max_cache_len": 200} if parameters["cache"] == "static" else parameters
        selftest(find("transformers"), roomy, SHAPE)


def test_a_static_cache_holds_its_buffer_and_a_sliding_one_what_its_view_keeps_alive() -> None:
    token = 2 * 2 * 16 * 32
    assert wire.measure(filled(KINDS[0], (40,)).message()).allocated_bits == 80 * token
    size = wire.measure(filled(KINDS[1], (40,)).message())
    assert size.readable_bits == (WINDOW - 1) * token + 64  # and the window's length as a tensor
    assert size.allocated_bits == 40 * token + 64


def test_a_static_cache_that_is_full_says_so() -> None:
    with pytest.raises(UsageError, match="max_cache_len=80 is too small: 81 tokens come"):
        filled(KINDS[0], (40, 40)).attend(*stream(SHAPE, 1, seed=9))


@pytest.mark.parametrize("version", ["4.57.1", "5.3.0", "5.23.0"])
def test_versions_that_are_not_driven(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_cache._import("transformers"), "__version__", version)
    with pytest.raises(UsageError, match=rf"version {version} is installed; this adapter drives 5.0, 5.1 and 5.2"):
        filled({"cache": "dynamic"}, (4,))
