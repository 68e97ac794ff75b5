"""What decoding from each native compressor costs, in units of one plain attention pass over the tokens that it holds.

One thread; medians over interleaved repetitions, after warm-up, in seconds of processor time. The plain pass is
``scaled_dot_product_attention`` over the keys and values that the compressor's answers rest on, in float32, same heads,
same queries, without anybody's own token. Side by side with it: ``attend_with_own`` on those tokens (what the own token
costs), and the compressor, which also unpacks its state each time.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import torch
from bench_decode import GOAL, medians
from torch.nn.functional import scaled_dot_product_attention

from kvverify.attention.softmax_torch import attend_with_own
from kvverify.compressors import find, wire
from kvverify.compressors.protocol import Settings, Shape

if TYPE_CHECKING:
    from kvverify.compressors.base import StoredCache

CASES: list[tuple[str, dict[str, Any]]] = [
    ("dense", {"dtype": "fp32"}),
    ("uniform", {}),
    ("kivi", {}),
    ("turboquant", {}),
    ("turboquant", {"keys": "prod"}),
    ("qjl", {}),
    ("low-rank", {}),
    ("fp8", {}),
    ("fp8", {"format": "e5m2", "scale": "none"}),
    ("h2o", {"heavy": 512, "recent": 512}),
    ("snapkv", {"keep": 992}),
    ("streaming-llm", {"window": 1020}),
]


def stream(shape: Shape, tokens: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Random queries, keys and values, float32."""
    draw = torch.Generator().manual_seed(seed)
    layouts = ((shape.heads, shape.key_dim), (shape.kv_heads, shape.key_dim), (shape.kv_heads, shape.value_dim))
    return tuple(torch.randn(1, heads, tokens, dim, generator=draw) for heads, dim in layouts)


def case(name: str, parameters: dict[str, Any], shape: Shape, given: argparse.Namespace) -> tuple[Any, ...]:
    """Tokens held, bits a token that was fed, and seconds: plain, with own tokens, from the compressor's state."""
    scale = shape.key_dim**-0.5
    settings = Settings(name, shape, parameters, scale=scale, dtype="bfloat16")
    compressor: StoredCache = find(name)(settings)  # type: ignore[assignment]
    with torch.no_grad():
        compressor.absorb(*(side.bfloat16() for side in stream(shape, given.tokens, 0)))
        queries, own_keys, own_values = stream(shape, given.reads, 1)
        keys, values = (side.float() for side in compressor.read())
        seconds = medians(
            [
                lambda: scaled_dot_product_attention(queries, keys, values, scale=scale, enable_gqa=shape.group > 1),
                lambda: attend_with_own(queries, keys, values, own_keys, own_values, scale),
                lambda: compressor.attend(queries, own_keys, own_values),
            ],
            given.repetitions,
        )
    return keys.shape[2], wire.measure(compressor.message()).readable_bits / given.tokens, seconds


def main() -> None:
    """Print the table; exit code 1 if a compressor misses the goal."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tokens", type=int, default=2048)
    options.add_argument("--reads", type=int, default=2048)
    options.add_argument("--head-dim", type=int, default=128)
    options.add_argument("--kv-heads", type=int, default=2)
    options.add_argument("--group", type=int, default=4)
    options.add_argument("--repetitions", type=int, default=7)
    given = options.parse_args()
    torch.set_num_threads(1)
    shape = Shape(given.kv_heads, given.kv_heads * given.group, given.head_dim, given.head_dim)
    print(
        f"tokens {given.tokens}, reads {given.reads}, head dimension {given.head_dim}, {given.kv_heads} KV heads of "
        f"{given.group} query heads, fed in bf16, 1 thread, torch {torch.__version__}"
    )
    print(f"ratios to one plain pass over the tokens held, goal {GOAL}; bits a token of all KV heads, dense in bf16: "
          f"{16 * given.kv_heads * 2 * given.head_dim}")  # fmt: skip
    print(f"{'compressor':>46} {'held':>6} {'bits':>8} {'plain s':>8} {'own token':>9} {'compressor':>10}")
    missed = False
    for name, parameters in CASES:
        held, bits, (plain, own, compressed) = case(name, parameters, shape, given)
        label = " ".join([name, *(f"{key}={value}" for key, value in parameters.items())])
        figures = f"{plain:8.4f} {own / plain:9.2f} {compressed / plain:10.2f}"
        print(f"{label:>46} {held:6} {bits:8.1f} {figures}", flush=True)
        missed |= compressed / plain > GOAL
    raise SystemExit(int(missed))


if __name__ == "__main__":
    main()
