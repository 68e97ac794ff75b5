"""The question: a class of attention problems, and numbers as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from kvverify.errors import UsageError

MAX_DIGITS = 200
MAX_WHOLE = 1 << 128
SIZES = Fraction(1, 1 << 500), Fraction(1 << 500)
"""Least and largest size of a number other than 0: floats, which rank candidates, hold all that comes of them."""


def number(text: str | int | Fraction, name: str) -> Fraction:
    """A rational from "p/q", an integer, a decimal ("0.01", "1e-2") or a power of two ("2^-8"). Raises UsageError."""
    if isinstance(text, int | Fraction):
        return Fraction(text)
    word = text.strip()
    if len(word) > MAX_DIGITS:
        raise UsageError(f"{name}: a number of {len(word)} characters; at most {MAX_DIGITS} are read")
    if match := re.fullmatch(r"2\^(-?\d{1,4})", word):
        return Fraction(2) ** int(match[1])
    if re.fullmatch(r"[+-]?\d+(/\d+)?|[+-]?\d*\.?\d+(e[+-]?\d{1,3})?", word, re.ASCII | re.IGNORECASE):
        try:
            return Fraction(word)
        except ZeroDivisionError:
            pass  # said below, in the words of every other bad number
    raise UsageError(f"{name}: {word!r} is no number; give p/q, a decimal or 2^k")


def whole(text: str | int, name: str) -> int:
    """A positive integer, also written 2^k. Raises UsageError."""
    value = number(text, name)
    if value.denominator != 1 or not 1 <= value <= MAX_WHOLE:
        raise UsageError(f"{name}: {_shown(value)} given, a whole number from 1 to 2^128 is needed")
    return int(value)


@dataclass(frozen=True)
class Problem:
    """Softmax attention over ``tokens`` cached tokens, and what is asked of every compressor of the class.

    ``key_dim``, ``value_dim``: scalars a key and a value of one head. ``tolerance`` (additive) or ``relative``, exactly
    one. ``failure``: allowed probability that a read is off by more. ``max_logit``: largest |<q, k>|/scale over the
    whole body of keys (cube: |k_j| <= 1, ball: |k|_2 <= 1). ``inputs``: "real", or "bf16" when keys and values are
    given in bf16. Heads and layers are independent streams. Raises UsageError outside the class.
    """

    tokens: int
    key_dim: int
    value_dim: int
    max_logit: Fraction
    failure: Fraction
    tolerance: Fraction | None = None
    relative: Fraction | None = None
    body: str = "cube"
    inputs: str = "real"
    kv_heads: int = 1
    layers: int = 1

    def __post_init__(self) -> None:
        for name in ("tokens", "key_dim", "value_dim", "kv_heads", "layers"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("max_logit", "failure", "tolerance", "relative"):
            size = getattr(self, name)
            _check(not size or SIZES[0] <= abs(size) <= SIZES[1], name, size, "0 or a size from 2^-500 to 2^500")
        _check(self.max_logit > 0, "max-logit", self.max_logit, "above 0")
        _check(self.max_logit <= 4096, "max-logit", self.max_logit, "at most 4096")
        _check(self.body in ("cube", "ball"), "body", self.body, "cube or ball")
        _check(self.inputs in ("real", "bf16"), "inputs", self.inputs, "real or bf16")
        if (self.tolerance is None) == (self.relative is None):
            raise UsageError("give exactly one of tolerance (additive) and relative")
        if self.tolerance is not None:
            _check(0 < self.tolerance < 1, "tolerance", self.tolerance, "a number above 0 and below 1")
            most = 1 - self.tolerance
            _check(0 <= self.failure <= most, "failure", self.failure, f"0 to {_shown(most)}")
        if self.relative is not None:
            _check(0 <= self.relative < 1, "relative", self.relative, "at least 0 and below 1")
            _check(0 <= self.failure <= Fraction(1, 2), "failure", self.failure, "0 to 1/2 under a relative tolerance")

    @property
    def streams(self) -> int:
        """Independent streams: KV heads times layers."""
        return self.kv_heads * self.layers

    def dense_bits(self, bits_per_scalar: int = 16) -> int:
        """Bits of the uncompressed cache."""
        return self.tokens * self.streams * (self.key_dim + self.value_dim) * bits_per_scalar

    def statement(self, state_bits_at_least: int) -> dict[str, str]:
        """The certificate's statement that any compressor of this class keeps at least so many bits."""
        tolerance = {"tolerance": self.tolerance} if self.relative is None else {"relative": self.relative}
        fields = {
            "claim": "state-bits", "attention": "softmax", "budget": "class", "body": self.body, "inputs": self.inputs,
            "tokens": self.tokens, "key_dim": self.key_dim, "value_dim": self.value_dim,
            "kv_heads": self.kv_heads, "layers": self.layers, "max_logit": self.max_logit, "failure": self.failure,
            **tolerance, "state_bits_at_least": state_bits_at_least,
        }  # fmt: skip
        return {name: str(value) for name, value in fields.items()}


def _check(condition: bool, name: str, given: object, right: str) -> None:
    if not condition:
        raise UsageError(f"{name.replace('_', '-')}: {_shown(given)} given, {right} is needed")


def _shown(value: object) -> str:
    """A number for people: a long one by its size."""
    text = str(value)
    if len(text) <= 60 or not isinstance(value, int | Fraction):
        return text
    size = Fraction(value)
    return f"about {'-' if size < 0 else ''}2^{size.numerator.bit_length() - size.denominator.bit_length()}"
