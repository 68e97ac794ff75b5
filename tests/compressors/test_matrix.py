"""One matrix that every compressor enters: a new one is a line here."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest

from kvverify.compressors import find, names
from kvverify.compressors.protocol import Settings, Shape, claimed_bits, residual_length
from kvverify.errors import UsageError
from tests.conftest import needs

torch = needs("torch", "audit")

from kvverify.compressors import wire  # noqa: E402
from kvverify.compressors.selftest import SHAPE, selftest, stream  # noqa: E402

# Bits that the state holds after 256 tokens of SHAPE in bf16, counted by hand: scalars a token, heads 2.
TOKENS, SCALARS = 256, 2 * 2 * 64
MATRIX: list[tuple[str, dict[str, Any], int | None]] = [
    ("dense", {}, 16 * TOKENS * SCALARS),
    ("dense", {"dtype": "fp32"}, 32 * TOKENS * SCALARS),
    *[("uniform", {"bits": bits}, (2 * bits + 1) * TOKENS * SCALARS // 2) for bits in range(1, 9)],
    ("uniform", {"bits": 2, "group": 16}, 4 * TOKENS * SCALARS),
    ("uniform", {"keys": "per-token", "metadata": "bf16", "residual": 6}, (9 * 250 // 2 + 16 * 6) * SCALARS),
    ("uniform", {"values": "per-channel", "residual": 1}, (9 * 192 // 2 + 16 * 64) * SCALARS),
    ("random-eviction", {}, 16 * TOKENS * SCALARS // 2),
    ("random-eviction", {"keep": "2/3"}, 16 * (44 * 3 + 256 - 66 * 3) * SCALARS),
    ("sliding-window", {"window": 100}, 16 * 100 * SCALARS),
    ("midpoint", {}, 1272 * TOKENS * 2),  # 64 log2(4800) + 64 log2(200), rounded up
    ("midpoint", {"max_logit": 4, "tolerance": "1/16"}, 768 * TOKENS * 2),  # levels 128 and 32
    ("dithered", {}, 1150 * TOKENS * 2),
    ("dithered", {"max_logit": 4, "tolerance": "2^-4", "failure": "1/100", "body": "ball"}, None),
    ("subgen", {"delta": 100, "t": 4, "s": 16}, 2 * (16 * (5 * 64 + 16 * 128) + 3 * 32 + 32)),  # one cell a head
    ("subgen", {"delta": "1/8", "t": 1, "s": 3, "dtype": "fp32"}, 2 * (32 * (256 * 129 + 3 * 128) + 3 * 32)),
    ("net", {}, 2 * (8 + 256 * (783 + 8 + 490))),  # 64 log2(4800), 64 log2(200), rounded up: every token its point
    ("net", {"max_logit": "1/1024", "tolerance": "1/2"}, 1264),  # all on one point: 2 (8 + 1 + 8 + 64 log2(769))
    ("net", {"max_logit": 4, "tolerance": "1/16", "body": "ball"}, None),
    ("kivi", {}, 2 * (192 * (256 + 128) + 16 * 64 * 128)),  # 2 * 64 and 2 groups' 32 a token and side
    ("kivi", {"bits": 3, "residual": 96}, 2 * (256 * (192 + 160) + 16 * 64 * (64 + 96))),
    ("turboquant", {}, 2 * TOKENS * (4 * 128 + 2 * 16)),
    ("turboquant", {"bits": 1, "rotation": "hadamard"}, 2 * TOKENS * (128 + 2 * 16)),
    ("turboquant", {"bits": 3, "keys": "prod"}, 2 * TOKENS * (3 * 128 + 3 * 16)),
    ("qjl", {}, 2 * TOKENS * (256 + 16 + 4 * 64 + 2 * 32)),
    ("qjl", {"sketch": 100, "value_bits": 1, "group": 64}, 2 * TOKENS * (104 + 16 + 64 + 32)),
    ("low-rank", {}, 2 * 16 * 16 * (2 * 256 + 128)),
    ("low-rank", {"rank": 5, "block": 100}, 2 * 16 * (2 * 5 * (2 * 100 + 128) + 56 * 128)),
    ("fp8", {}, (8 * SCALARS + 2 * 32) * TOKENS),
    ("fp8", {"format": "e5m2", "scale": "none"}, 8 * TOKENS * SCALARS),
    ("h2o", {"heavy": 60, "recent": 40}, 100 * (16 * SCALARS + 2 * 32)),
    ("snapkv", {"keep": 90, "window": 10}, 16 * 100 * SCALARS),
    ("snapkv", {"keep": 60, "window": 30, "kernel": 7, "pool": "max"}, 16 * 90 * SCALARS),
    ("streaming-llm", {"window": 96}, 16 * 100 * SCALARS),
    ("two-cache", {}, 16 * 128 * (64 * 64 + 2 * 64)),  # one tensor head of 64 tokens
    ("two-cache", {"dtype": "fp32"}, 32 * 128 * (64 * 64 + 2 * 64)),
    ("subgen4", {"delta": 100, "t": 4, "s": 16}, 2 * (16 * (5 * 64 + 16 * 128) + 3 * 32 + 32)),  # as SubGen's two heads
    ("subgen2", {"delta": 1000, "t": 4, "s": 16}, 16 * (5 * 64 + 16 * 128) + 3 * 32 + 32 + 16 * 2 * 128 * 64),
    ("subgen2", {"delta": 1000, "t": 4, "s": 16, "factors": "drop"}, 16 * (5 * 64 + 16 * 128) + 3 * 32 + 32),
    ("transformers", {}, 16 * TOKENS * SCALARS),
    ("transformers", {"cache": "hqq", "bits": 4, "residual_length": 16}, None),
    ("transformers", {"cache": "hqq", "bits": 1, "residual_length": 16}, None),
    ("transformers", {"cache": "quanto", "bits": 2, "residual_length": 16}, None),
    ("transformers", {"cache": "quanto", "bits": 4, "residual_length": 16}, None),
]
FEWER = {"two-cache": 64, "subgen2": 64}
"""Tokens fed, where the state or the work grows with their square."""
PROMPTS = {"snapkv": 200}
"""Tokens of the first chunk, where a method chooses from that chunk once and for all."""

compiling = pytest.mark.timeout(600)  # quanto compiles its extension the first time
cases = pytest.mark.parametrize(
    ("name", "parameters", "bits"),
    [pytest.param(*row, marks=[compiling] * (row[1].get("cache") == "quanto")) for row in MATRIX],
)


@pytest.fixture(autouse=True)
def _packages(request: pytest.FixtureRequest) -> None:
    """The adapters' packages; quanto's extension is compiled on its first use."""
    parameters = getattr(request.node, "callspec", None)
    if parameters is None or parameters.params.get("name") != "transformers":
        return
    backend = parameters.params.get("parameters", {}).get("cache", "dynamic")
    needs({"dynamic": "transformers", "hqq": "hqq", "quanto": "optimum"}[backend], "caches")
    missing = [tool for tool in ("g++", "ninja") if backend == "quanto" and shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} on the PATH to compile quanto's extension")


def attention_of(name: str) -> str:
    """Softmax, where the compressor answers it."""
    kinds = find(name).attention
    return "softmax" if "softmax" in kinds else kinds[0]


def question_for(settings: Settings, asked: int, dtype: str = "float32", seed: int = 0) -> tuple[Any, ...]:
    """Queries of as many heads as are answered, own keys and own values."""
    queries, *own = stream(SHAPE, asked, dtype, seed)
    return (queries[:, : settings.answer_heads], *own)


def fed(name: str, parameters: dict[str, Any], chunks: list[int], dtype: str = "bfloat16") -> Any:
    """A compressor that took the first tokens of one fixed stream in these chunks."""
    settings = Settings(name, SHAPE, parameters, scale=0.25, dtype=dtype, attention=attention_of(name))
    compressor = find(name)(settings)
    queries, keys, values = stream(SHAPE, TOKENS, dtype)
    start = 0
    for tokens in chunks:
        piece = slice(start, start + tokens)
        compressor.absorb(queries[:, :, piece], keys[:, :, piece], values[:, :, piece])
        start += tokens
    return compressor


@cases
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_selftest(name: str, parameters: dict[str, Any], bits: int | None, dtype: str) -> None:
    selftest(find(name), parameters, dtype=dtype, device="cpu", attention=attention_of(name))


@cases
def test_bits_are_counted_and_claimed_honestly(name: str, parameters: dict[str, Any], bits: int | None) -> None:
    compressor = fed(name, parameters, [FEWER.get(name, TOKENS)])
    size = wire.measure(compressor.message())
    data = wire.encode(compressor.message(), wire.allowed(compressor))
    assert size.allocated_bits == sum(part.allocated_bits for part in size.parts)
    assert size.readable_bits == sum(wire.blob_bits(data)) == 8 * len(data) - wire.header_bits(data)
    if bits is None:
        assert size.readable_bits < 16 * TOKENS * SCALARS
        return
    assert size.readable_bits == size.allocated_bits == bits
    assert claimed_bits(compressor) in (bits, None)
    fresh = find(name)(compressor.settings)
    fresh.load(wire.decode(data, wire.allowed(fresh)))
    assert claimed_bits(fresh) == claimed_bits(compressor)


@pytest.mark.parametrize(("name", "parameters"), [(n, p) for n, p, bits in MATRIX if bits is not None])
def test_chunks_do_not_change_the_state(name: str, parameters: dict[str, Any]) -> None:
    prompt = [PROMPTS[name]] if name in PROMPTS else []
    later = FEWER.get(name, TOKENS) - sum(prompt)
    whole = fed(name, parameters, [*prompt, later])
    for chunks in ([1] * 3 + [later - 3], [later // 5 * 2] * 2 + [later - later // 5 * 4], [later // 4] * 4):
        pieces = fed(name, parameters, [*prompt, *chunks])
        question = question_for(whole.settings, 3, "bfloat16", seed=5)
        assert torch.equal(pieces.attend(*question), whole.attend(*question))
        bits = [wire.measure(compressor.message()).readable_bits for compressor in (pieces, whole)]
        assert bits[0] == bits[1]


@pytest.mark.parametrize("shape", [Shape(1, 1, 64, 64), Shape(2, 6, 32, 96), Shape(3, 3, 96, 32, batch=2)])
@pytest.mark.parametrize(
    "name",
    [
        *("dense", "random-eviction", "sliding-window", "midpoint", "dithered", "net", "subgen", "transformers"),
        *("kivi", "turboquant", "qjl", "low-rank", "fp8", "h2o", "snapkv", "streaming-llm"),
    ],
)
def test_shapes(name: str, shape: Shape) -> None:
    selftest(find(name), shape=shape)


@pytest.mark.parametrize(
    "name", sorted({name for name, _, _ in MATRIX if {"softmax", "tensor"} <= {*find(name).attention}})
)
def test_tensor_attention(name: str) -> None:
    """With heads that share a tensor head, and several of these."""
    selftest(find(name), shape=Shape(4, 8, 32, 64), attention="tensor")


@pytest.mark.parametrize("shape", [Shape(1, 1, 64, 64), Shape(2, 6, 12, 128), Shape(1, 3, 20, 7, batch=2)])
def test_uniform_shapes(shape: Shape) -> None:
    selftest(find("uniform"), shape=shape)


@cases
def test_without_tokens_the_answer_is_ones_own_value(name: str, parameters: dict[str, Any], bits: int | None) -> None:
    settings = Settings(name, SHAPE, parameters, attention=attention_of(name))
    queries, keys, values = question_for(settings, 4)
    own = values if settings.factors == 1 else values[:, :1] * values[:, 1:]
    expected = own.repeat_interleave(2, dim=1)
    torch.testing.assert_close(find(name)(settings).attend(queries, keys, values), expected)


def test_a_kind_of_attention_that_is_not_answered_is_refused_in_one_line() -> None:
    for name, attention, words in (
        ("subgen", "tensor", "subgen does not answer tensor attention, but softmax and visual"),
        ("h2o", "tensor", "h2o does not answer tensor attention, but softmax and visual"),
        ("two-cache", "softmax", "two-cache does not answer softmax attention, but tensor"),
    ):
        with pytest.raises(UsageError, match=words):
            find(name)(Settings(name, SHAPE, {}, attention=attention))


def test_every_built_in_compressor_is_in_the_matrix() -> None:
    """But for presses, which need a package of their own and a model around them: test_adapters_kvpress.py."""
    assert {name for name, _, _ in MATRIX} | {"kvpress"} == set(names())


def test_dense_attends_as_attention_does() -> None:
    compressor = fed("dense", {"dtype": "fp32"}, [TOKENS], "float32")
    queries, keys, values = stream(SHAPE, 2, seed=3)
    _, cached_keys, cached_values = stream(SHAPE, TOKENS)
    for j in range(2):
        seen = [
            torch.cat([cached, own[:, :, j : j + 1]], dim=2)
            for cached, own in ((cached_keys, keys), (cached_values, values))
        ]
        query = queries[:, :, j : j + 1]
        expected = torch.nn.functional.scaled_dot_product_attention(query, *seen, scale=0.25, enable_gqa=True)
        answer = compressor.attend(query, keys[:, :, j : j + 1], values[:, :, j : j + 1])
        torch.testing.assert_close(answer, expected)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("sides", ["per-token", "per-channel"])
def test_uniform_is_off_by_half_a_step_at_most(bits: int, sides: str) -> None:
    compressor = fed("uniform", {"bits": bits, "keys": sides, "values": sides}, [TOKENS], "float32")
    originals = stream(SHAPE, TOKENS)[1:]
    for read, original in zip(compressor.read(), originals, strict=True):
        grouped = original.unflatten(2, (-1, 64)) if sides == "per-channel" else original[:, :, :, None, :]
        axis = 3 if sides == "per-channel" else 4
        span = grouped.amax(axis, keepdim=True) - grouped.amin(axis, keepdim=True)
        error = (read - original).abs().reshape(grouped.shape)
        rounding = 2.0**-10 * grouped.abs().amax(axis, keepdim=True)  # zero and scale are fp16
        assert bool((error <= span / (2**bits - 1) / 2 + rounding).all())
        assert float(error.max()) > 0


def test_a_constant_group_is_kept() -> None:
    compressor = find("uniform")(Settings("uniform", SHAPE, {"bits": 1}))
    ones = torch.full((1, 2, 64, 64), -0.75)
    compressor.absorb(None, ones, ones)
    assert all(torch.equal(side, ones) for side in compressor.read())


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dim", [1, 8, 13])
def test_packing_is_a_bijection(bits: int, dim: int) -> None:
    from kvverify.compressors.packing import pack, unpack

    codes = torch.randint(0, 2**bits, (3, 5, dim), dtype=torch.uint8, generator=torch.Generator().manual_seed(bits))
    packed = pack(codes, bits)
    assert packed.shape == (3, 5, bits, -(-dim // 8))
    assert torch.equal(unpack(packed, dim), codes)


def test_random_eviction_keeps_other_tokens_in_each_head_and_for_each_seed() -> None:
    positions = torch.arange(TOKENS, dtype=torch.float32)[None, None, :, None].expand(1, 2, TOKENS, 64)
    kept = {}
    for seed in (0, 1):
        compressor = find("random-eviction")(Settings("random-eviction", SHAPE, {"keep": "0.25"}, seed=seed))
        compressor.absorb(None, positions, positions)
        keys, values = compressor.read()
        assert torch.equal(keys, values)
        for head in (0, 1):
            kept[seed, head] = keys[0, head, :, 0].tolist()
            assert len(set(kept[seed, head])) == TOKENS // 4
            assert kept[seed, head] == sorted(kept[seed, head])
    assert len({tuple(tokens) for tokens in kept.values()}) == 4


def test_sliding_window_keeps_the_newest_and_lets_the_rest_go() -> None:
    compressor = fed("sliding-window", {"window": 100}, [TOKENS], "float32")
    _, keys, values = stream(SHAPE, TOKENS)
    for read, original in zip(compressor.read(), (keys, values), strict=True):
        assert torch.equal(read, original[:, :, -100:])


def test_residual_length() -> None:
    settings = Settings("uniform", SHAPE, {"residual": 32})
    assert residual_length(find("uniform")(settings)) == 32
    assert residual_length(find("dense")(replace(settings, parameters={}))) == 0
