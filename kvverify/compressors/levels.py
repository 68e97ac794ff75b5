"""The base of quantisers with a proved guarantee: a token is one mixed-radix integer, packed to the bit.

The numbers of levels are those of ``bounds.ceiling``, whose certificate says how many bits a token needs and why no
answer (or no more than the failure's share of them) is off by more than the tolerance. That is about real arithmetic:
levels and softmax are computed in float64 here, and an answer is rounded to float32 where the query was.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from kvverify.bounds.ceiling import Ceiling, ceiling
from kvverify.compressors.base import StoredCache
from kvverify.compressors.parameters import choice, rational
from kvverify.errors import UsageError
from kvverify.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from kvverify.compressors.protocol import Settings

_BLOCK = 4096  # tokens that are coded at a time
_WORD = 1 << 62


class LevelCache(StoredCache):
    """Every coordinate one of a fixed number of levels of [-1, 1]; what lies outside is clamped.

    State: ``packed``, uint8, the tokens one after the other, of each token its streams (batch, kv_heads), of each
    stream an integer of ``bits_per_token`` bits; zeros fill the last byte. The number of tokens goes with the message.
    """

    method: ClassVar[str]
    parameters = (
        rational("max_logit", "24", Fraction(1, 1024), 4096),
        rational("tolerance", "1/100", Fraction(1, 1 << 20), Fraction(99, 100)),
        rational("failure", "1/10", 0, Fraction(99, 100)),
        choice("body", "cube", "ball"),
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.ceiling = self._ceiling()
        shape = settings.shape
        self.streams = shape.batch * shape.kv_heads
        self.radices = np.repeat(
            [self.ceiling.key_levels, self.ceiling.value_levels], [shape.key_dim, shape.value_dim]
        ).astype(np.int64)
        self.packing = Packing.of([int(radix) for radix in self.radices], int(self.ceiling.bits or 0))
        self.tokens = 0
        self.state = {"packed": torch.empty(0, dtype=torch.uint8, device=settings.device)}
        self._seen: tuple[Tensor, Tensor] | None = None

    def _ceiling(self) -> Ceiling:
        """The certified bits and levels of one token of one stream."""
        options, shape = self.options, self.settings.shape
        problem = Problem(
            1, shape.key_dim, shape.value_dim, Fraction(str(options["max_logit"])), Fraction(str(options["failure"])),
            tolerance=Fraction(str(options["tolerance"])), body=str(options["body"]),
        )  # fmt: skip
        found = _certified(problem, self.method)
        if found.bits is None:
            raise UsageError(f"{self.settings.compressor}: {found.reason}")
        return found

    @abstractmethod
    def encode(self, units: np.ndarray, first: int) -> np.ndarray:
        """Levels of ``units`` (tokens, streams, key_dim + value_dim) in [0, 1]; ``first`` is the first one's index."""

    @abstractmethod
    def decode(self, levels: np.ndarray, first: int) -> np.ndarray:
        """What `encode` stands for, in the same units."""

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Code the chunk and append its bits."""
        both = torch.cat([keys.double(), values.double()], dim=3).flatten(0, 1).transpose(0, 1).cpu().numpy()
        units = np.clip((both + 1) / 2, 0.0, 1.0)
        for start in range(0, len(units), _BLOCK):
            levels = self.encode(units[start : start + _BLOCK], self.tokens)
            self._append(self.packing.pack(levels.reshape(-1, len(self.radices))))
            self.tokens += len(levels)
        self._seen = None

    def _append(self, bits: np.ndarray) -> None:
        packed = self.state["packed"].cpu().numpy()
        used = self.tokens * self.streams * self.packing.bits
        whole = used // 8
        joined = np.packbits(np.concatenate([np.unpackbits(packed[whole:], count=used % 8), bits.reshape(-1)]))
        grown = torch.from_numpy(np.concatenate([packed[:whole], joined]))
        self.state = {"packed": grown.to(self.settings.device)}

    def read(self) -> tuple[Tensor, Tensor]:
        """All tokens at their levels, float64."""
        if self._seen is None:
            shape = self.settings.shape
            found = [*self._blocks()]
            both = np.concatenate(found) if found else np.empty((0, self.streams, len(self.radices)))
            tensor = torch.from_numpy(2 * both - 1).transpose(0, 1)
            tensor = tensor.reshape(shape.batch, shape.kv_heads, self.tokens, len(self.radices))
            tensor = tensor.to(self.settings.device)
            self._seen = tensor[..., : shape.key_dim], tensor[..., shape.key_dim :]
        return self._seen

    def _blocks(self) -> Iterator[np.ndarray]:
        packed = self.state["packed"].cpu().numpy()
        row = self.streams * self.packing.bits
        for first in range(0, self.tokens, _BLOCK):
            tokens = min(_BLOCK, self.tokens - first)
            start, end = first * row, (first + tokens) * row
            bits = np.unpackbits(packed[start // 8 : -(-end // 8)])[start % 8 :][: end - start]
            levels = self.packing.unpack(bits.reshape(tokens * self.streams, self.packing.bits))
            yield self.decode(levels.reshape(tokens, self.streams, len(self.radices)), first)

    def message(self) -> dict[str, Any]:
        """The packed bits, and the number of tokens."""
        return {**self.state, "tokens": self.tokens}

    def load(self, message: Mapping[str, Any]) -> None:
        """Become the state of that message."""
        self.tokens, self._seen = int(message["tokens"]), None
        super().load({"packed": message["packed"]})

    def attend(self, queries: Tensor, own_keys: Tensor, own_values: Tensor) -> Tensor:
        """In float64, then rounded to float32 unless the queries were float64."""
        answers = super().attend(queries.double(), own_keys, own_values)
        return answers if queries.dtype == torch.float64 else answers.float()

    def claimed_bits(self) -> int:
        """``bits_per_token`` a token and stream, up to a whole byte."""
        return -(-self.tokens * self.streams * self.packing.bits // 8) * 8


_certified = lru_cache(maxsize=64)(ceiling)  # one search for all layers


@dataclass(frozen=True)
class Packing:
    """Rows of digits as integers of ``bits`` bits: groups of digits make machine words, words make a long integer."""

    bits: int
    starts: tuple[int, ...]
    radices: tuple[int, ...]
    words: tuple[int, ...]

    @staticmethod
    def of(radices: list[int], bits: int) -> Packing:
        """For digits 0 <= d_j < radices[j]; ``bits`` must hold all of them."""
        starts, words = [0], [1]
        for j, radix in enumerate(radices):
            if words[-1] * radix > _WORD:
                starts.append(j)
                words.append(1)
            words[-1] *= radix
        return Packing(bits, tuple(starts), tuple(radices), tuple(words))

    def pack(self, digits: np.ndarray) -> np.ndarray:
        """Bits (rows, bits), most significant first, of digits (rows, len(radices))."""
        words = np.stack([self._word(digits, *span) for span in self._spans()], axis=1)
        size = -(-self.bits // 8)
        found = []
        for row in words.tolist():
            value = 0
            for word, radix in zip(row, self.words, strict=True):
                value = value * radix + word
            found.append(value.to_bytes(size, "big"))
        whole = np.frombuffer(b"".join(found), dtype=np.uint8).reshape(len(found), size)
        bits: np.ndarray = np.unpackbits(whole, axis=1)[:, 8 * size - self.bits :]
        return bits

    def unpack(self, bits: np.ndarray) -> np.ndarray:
        """The digits that `pack` packed."""
        size = -(-self.bits // 8)
        data = np.packbits(np.pad(bits, ((0, 0), (8 * size - self.bits, 0))), axis=1).tobytes()
        rows = []
        for start in range(0, len(data), size):
            value, row = int.from_bytes(data[start : start + size], "big"), []
            for radix in reversed(self.words):
                value, word = divmod(value, radix)
                row.append(word)
            rows.append(row[::-1])
        digits = np.empty((len(rows), len(self.radices)), dtype=np.int64)
        for word, (start, stop) in zip(np.array(rows, dtype=np.int64).T, self._spans(), strict=True):
            left = word
            for j in reversed(range(start, stop)):
                left, digits[:, j] = np.divmod(left, self.radices[j])
        return digits

    def _spans(self) -> list[tuple[int, int]]:
        return [*zip(self.starts, [*self.starts[1:], len(self.radices)], strict=True)]

    def _word(self, digits: np.ndarray, start: int, stop: int) -> np.ndarray:
        word = np.zeros(len(digits), dtype=np.int64)
        for j in range(start, stop):
            word = word * self.radices[j] + digits[:, j]
        return word
