"""What every compressor must pass before an audit means anything: its message is its state, and asking is free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kvverify.compressors import Target, wire
from kvverify.compressors.protocol import Settings, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kvverify.compressors.protocol import Compressor

SHAPE = Shape(kv_heads=2, heads=4, key_dim=64, value_dim=64)


def stream(shape: Shape, tokens: int, dtype: str = "float32", seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random queries (batch, heads, tokens, d_k), keys and values (batch, kv_heads, tokens, d_k or d_v)."""
    draw = torch.Generator().manual_seed(seed)
    layouts = ((shape.heads, shape.key_dim), (shape.kv_heads, shape.key_dim), (shape.kv_heads, shape.value_dim))
    return tuple(
        torch.randn(shape.batch, heads, tokens, dim, generator=draw).to(getattr(torch, dtype)) for heads, dim in layouts
    )


def selftest(
    factory: Callable[[Settings], Compressor],
    parameters: Mapping[str, str | int | float | bool] | None = None,
    shape: Shape = SHAPE,
    dtype: str = "float32",
    device: str = "cpu",
    attention: str = "softmax",
) -> None:
    """Feed, send, answer on both sides; raises AssertionError that says what does not hold.

    ``factory(settings)`` gives a fresh compressor, or a cache with transformers' ``update``.
    """
    name = getattr(factory, "__name__", "compressor")
    make = factory if isinstance(factory, Target) else Target(name, factory, getattr(factory, "parameters", None))
    settings = Settings(
        make.name, shape, parameters or {}, shape.key_dim**-0.5, dtype=dtype, device=device, attention=attention
    )
    alice = make(settings)
    for chunk, tokens in enumerate((128, 56, 8, 1)):
        alice.absorb(*stream(shape, tokens, dtype, seed=chunk))
    queries, *own = stream(shape, 9, dtype, seed=99)
    question = (queries[:, : settings.answer_heads], *own)
    sent = wire.encode(alice.message(), wire.allowed(alice))
    answers = alice.attend(*question)
    expected = (shape.batch, settings.answer_heads, 9, shape.value_dim)
    assert tuple(answers.shape) == expected, f"answers have shape {tuple(answers.shape)}, not {expected}"
    assert bool(answers.isfinite().all()), "some answer is not a finite number"
    assert torch.equal(alice.attend(*question), answers), "asked twice, it answers differently"
    assert wire.encode(alice.message(), wire.allowed(alice)) == sent, "answering changed the state"
    bob = make(settings)
    bob.load(wire.decode(sent, wire.allowed(bob)))
    assert torch.equal(bob.attend(*question), answers), "the message is not the whole state: Bob answers differently"
    alone = torch.cat([bob.attend(*(part[:, :, j : j + 1] for part in question)) for j in range(9)], dim=2)
    torch.testing.assert_close(
        alone, answers, rtol=1e-4, atol=1e-4, msg="one at a time, queries are answered differently"
    )
