"""Net merging: keys go to the points of a net, tokens on one point are merged; proof in docs/proofs/net_merging.md."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kvverify.attention.softmax_torch import attend_with_own
from kvverify.compressors import nets
from kvverify.compressors.levels import Packing
from kvverify.compressors.parameters import choice, complete, rational

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from kvverify.compressors.protocol import Settings


class NetMerging:
    """Deterministic: on every input of the class no answer is off by more than ``tolerance``.

    The class: keys in the ``body``, values in [-1, 1], |<q, k>| * scale at most ``max_logit`` on the whole body; what
    lies outside is moved to it. A ``share`` of the tolerance goes to keys (a grid of the cube, A_d* in the ball), the
    rest to values (middles of equal cells). Of a point of the net that keys went to there are its digits, the number
    of its tokens and the sums of their levels; so the state does not depend on the order of the tokens. The message is
    packed: of each stream the number of points less 1, then points, counts less 1, sums; zeros fill the last byte.
    """

    parameters = (
        rational("max_logit", "24", Fraction(1, 1024), 4096),
        rational("tolerance", "1/100", Fraction(1, 1 << 20), Fraction(99, 100)),
        rational("share", "1/2", Fraction(1, 100), Fraction(99, 100)),
        choice("body", "cube", "ball"),
    )

    def __init__(self, settings: Settings) -> None:
        options = complete(settings.compressor, self.parameters, settings.parameters)
        self.settings = replace(settings, parameters=options)
        max_logit, tolerance, share = (Fraction(str(options[name])) for name in ("max_logit", "tolerance", "share"))
        shape = settings.shape
        make = nets.Grid.of if options["body"] == "cube" else nets.DualRootLattice.of
        self.net: nets.Net = make(shape.key_dim, tolerance * share / max_logit)
        self.value_levels = math.ceil(1 / (tolerance * (1 - share)))
        self.error_at_most = nets.error_at_most(max_logit**2 * self.net.moved_squared(), self.value_levels)
        self.tokens = 0
        self.streams = [_Cells.empty(shape.key_dim, shape.value_dim) for _ in range(shape.batch * shape.kv_heads)]

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Round the chunk and merge it; shapes as in `Compressor.absorb`."""
        keys, values = (side.double().cpu().flatten(0, 1) for side in (keys, values))
        units = (values.numpy().clip(-1, 1) + 1) / 2
        levels = np.minimum(np.floor(units * self.value_levels).astype(np.int64), self.value_levels - 1)
        one = np.ones(keys.shape[1], dtype=np.int64)
        self.streams = [
            stream.merged(_Cells(self.net.nearest(key), one, level))
            for stream, key, level in zip(self.streams, keys.numpy(), levels, strict=True)
        ]
        self.tokens += keys.shape[1]

    def read(self, stream: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of one (batch, kv_head): points (m, key_dim), mean values (m, value_dim), and tokens on them (m,)."""
        cells = self.streams[stream]
        means = cells.sums / cells.counts[:, None]
        return self.net.points(cells.digits), (2 * means + 1) / self.value_levels - 1, cells.counts

    def attend(self, queries: Tensor, own_keys: Tensor, own_values: Tensor) -> Tensor:
        """In float64, then rounded to float32 unless the queries were float64.

        A point of c tokens is one token whose key has the coordinate log c more, where queries have 1 / scale.
        """
        shape, settings = self.settings.shape, self.settings
        asked = queries.double().reshape(len(self.streams), 1, shape.group, *queries.shape[2:])
        own = [side.double().reshape(len(self.streams), 1, 1, *side.shape[2:]) for side in (own_keys, own_values)]
        answers = []
        for stream in range(len(self.streams)):
            points, means, counts = self.read(stream)
            keys = torch.from_numpy(np.column_stack([points, np.log(counts)])).to(settings.device)[None, None]
            values = torch.from_numpy(means).to(settings.device)[None, None]
            group = torch.nn.functional.pad(asked[stream], (0, 1), value=1 / settings.scale).to(settings.device)
            own_key, own_value = torch.nn.functional.pad(own[0][stream], (0, 1)), own[1][stream]
            sides = (own_key.to(settings.device), own_value.to(settings.device))
            answers.append(attend_with_own(group, keys, values, *sides, settings.scale))
        found = torch.cat(answers).reshape(shape.batch, shape.heads, queries.shape[2], shape.value_dim)
        return found if queries.dtype == torch.float64 else found.float()

    def message(self) -> dict[str, Any]:
        """The packed bits, and the number of tokens."""
        bits = np.concatenate([self._bits(cells) for cells in self.streams])
        return {"packed": torch.from_numpy(np.packbits(bits)), "tokens": self.tokens}

    def load(self, message: Mapping[str, Any]) -> None:
        """Become the state of that message."""
        self.tokens = int(message["tokens"])
        packed = _Bits(np.unpackbits(message["packed"].cpu().numpy()))
        self.streams = [self._unpacked(packed) for _ in self.streams]

    def claimed_bits(self) -> int:
        """Of each stream's cells, up to a whole byte; at most `nets.state_bits_at_most`."""
        shape, count_bits = self.settings.shape, nets.count_bits(self.tokens)
        point = nets.digits_bits(self.net.radix, shape.key_dim) + count_bits
        total = 0
        for cells in self.streams:
            counts, times = np.unique(cells.counts, return_counts=True)
            total += count_bits + point * len(cells.counts)
            for count, number in zip(counts.tolist(), times.tolist(), strict=True):
                total += number * nets.sums_bits(count, self.value_levels, shape.value_dim)
        return -(-total // 8) * 8

    def _point_packing(self) -> Packing:
        dim = self.settings.shape.key_dim
        return Packing.of([self.net.radix] * dim, nets.digits_bits(self.net.radix, dim))

    def _sum_packing(self, count: int) -> Packing:
        dim = self.settings.shape.value_dim
        radix = count * (self.value_levels - 1) + 1
        return Packing.of([radix] * dim, nets.sums_bits(count, self.value_levels, dim))

    def _bits(self, cells: _Cells) -> np.ndarray:
        """Bits of one stream's cells."""
        if not self.tokens:
            return np.empty(0, dtype=np.uint8)
        places = np.arange(nets.count_bits(self.tokens))[::-1]
        less_one = np.concatenate([[len(cells.counts)], cells.counts]) - 1
        number, *counts = (less_one[:, None] >> places & 1).astype(np.uint8)
        parts = [number, self._point_packing().pack(cells.digits), *counts]
        for count in np.unique(cells.counts).tolist():
            parts.append(self._sum_packing(count).pack(cells.sums[cells.counts == count]))
        return np.concatenate([part.reshape(-1) for part in parts])

    def _unpacked(self, bits: _Bits) -> _Cells:
        """The next stream's cells."""
        if not self.tokens:
            return _Cells.empty(self.settings.shape.key_dim, self.settings.shape.value_dim)
        width = nets.count_bits(self.tokens)
        places = 1 << np.arange(width)[::-1]
        number = 1 + int(bits.take(1, width)[0] @ places)
        points = self._point_packing()
        digits = points.unpack(bits.take(number, points.bits))
        counts = bits.take(number, width) @ places + 1
        sums = []
        for count, rows in zip(*(part.tolist() for part in np.unique(counts, return_counts=True)), strict=True):
            packing = self._sum_packing(count)
            sums.append(packing.unpack(bits.take(rows, packing.bits)))
        return _Cells(digits, counts, np.concatenate(sums))


@dataclass
class _Bits:
    """Bits that are taken from the front."""

    bits: np.ndarray
    used: int = 0

    def take(self, rows: int, width: int) -> np.ndarray:
        """The next rows * width, (rows, width)."""
        start, self.used = self.used, self.used + rows * width
        return self.bits[start : self.used].reshape(rows, width)


@dataclass(frozen=True)
class _Cells:
    """Points of the net that tokens went to: digits (m, key_dim), tokens (m,), sums of levels (m, value_dim)."""

    digits: np.ndarray
    counts: np.ndarray
    sums: np.ndarray

    @staticmethod
    def empty(key_dim: int, value_dim: int) -> _Cells:
        """No token."""
        return _Cells(*(np.empty(shape, dtype=np.int64) for shape in ((0, key_dim), 0, (0, value_dim))))

    def merged(self, other: _Cells) -> _Cells:
        """Both, each point once; in one order, by counts and then digits."""
        digits, place = np.unique(np.concatenate([self.digits, other.digits]), axis=0, return_inverse=True)
        counts, sums = np.zeros(len(digits), dtype=np.int64), np.zeros((len(digits), self.sums.shape[1]), np.int64)
        np.add.at(counts, place.reshape(-1), np.concatenate([self.counts, other.counts]))
        np.add.at(sums, place.reshape(-1), np.concatenate([self.sums, other.sums]))
        order = np.argsort(counts, kind="stable")
        return _Cells(digits[order], counts[order], sums[order])
