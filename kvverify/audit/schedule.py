"""The feeding schedule: into which chunks the stream is cut. It changes what a cache stores, so it is committed to."""

from __future__ import annotations

from kvverify.errors import UsageError


def parse(text: str, tokens: int) -> tuple[int, ...]:
    """Chunk lengths of ``prefill:1792,step:256`` or ``chunk:8x256`` (mixed freely). Raises UsageError."""
    chunks: list[int] = []
    for part in text.split(","):
        kind, _, amount = part.strip().partition(":")
        times, _, length = amount.rpartition("x") if kind == "chunk" and "x" in amount else ("1", "", amount)
        counts = [int(number) if number.isascii() and number.isdigit() else 0 for number in (times, length)]
        if kind not in ("prefill", "step", "chunk") or min(counts) < 1 or max(counts) > tokens:
            words = "decode, or prefill:N, step:N or chunk:NxM"
            raise UsageError(f"schedule {part!r}: expected {words} of {tokens} tokens in all")
        chunks += [1] * counts[1] if kind == "step" else [counts[1]] * counts[0]
        if sum(chunks) > tokens:
            break
    if sum(chunks) != tokens:
        raise UsageError(f"schedule {text!r} does not sum to {tokens} tokens")
    return tuple(chunks)


def written_out(text: str, tokens: int) -> str:
    """The schedule in chunks; ``decode`` is a prefill of an eighth of the tokens, and all others in single steps.

    A quantised cache then requantises as often as its residual fills up.
    """
    return _prefill(max(1, tokens // 8), tokens) if text.strip() == "decode" else text


def default(tokens: int, residual_length: int) -> str:
    """One prefill, then twice the residual length (at most half of the tokens) as single steps."""
    return _prefill(tokens - min(tokens // 2, 2 * max(0, residual_length)), tokens)


def _prefill(length: int, tokens: int) -> str:
    return f"prefill:{length}" + (f",step:{tokens - length}" if length < tokens else "")


def without_first(chunks: tuple[int, ...], dropped: int) -> tuple[int, ...]:
    """The same schedule for a stream that lacks its first ``dropped`` tokens."""
    left = list(chunks)
    while dropped:
        taken = min(dropped, left[0])
        left[0] -= taken
        dropped -= taken
        if not left[0]:
            left.pop(0)
    return tuple(left)
