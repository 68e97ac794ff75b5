"""SubGen: clusters of keys and a sample of values (Zandieh, Han, Mirrokni, Karbasi 2024, arXiv:2402.06082)."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch

from kvverify.compressors.coins import public_coins
from kvverify.compressors.parameters import choice, complete, integer, rational
from kvverify.compressors.reservoirs import Cells, NormSample, state_bits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from kvverify.compressors.protocol import Settings

_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_BLOCK = 1 << 22  # coins that are drawn, or scores that are computed, at a time


class SubGen:
    """The algorithm as this ledger records it (docs/subgen.md), one pass, for each KV head by itself.

    Keys go to cells: to the nearest representative within ``delta``, or to a new cell; of each cell ``t`` slots hold
    i.i.d. uniform keys. ``s`` slots hold i.i.d. tokens with probability |v|^2 / sum |v|^2. An answer is z / tau: the
    estimate of sum e^<q, k> v over the estimate of sum e^<q, k>; the own token enters both exactly. Keys and values are
    rounded to ``dtype`` as they come. Coins are public, of 53 bits: the settings' seed and the token's index.
    """

    parameters = (
        rational("delta", "1", 0, 1 << 20),
        integer("t", 8, 1, 1 << 20),
        integer("s", 64, 1, 1 << 20),
        choice("dtype", "bf16", "fp32"),
    )

    def __init__(self, settings: Settings) -> None:
        options = complete(settings.compressor, self.parameters, settings.parameters)
        self.settings = replace(settings, parameters=options)
        self.t, self.s, self.dtype = int(options["t"]), int(options["s"]), _DTYPES[str(options["dtype"])]
        self.radius_squared = float(Fraction(str(options["delta"])) ** 2)
        shape = settings.shape
        self.streams = shape.batch * shape.kv_heads
        self.cells = [Cells.empty(shape.key_dim, self.radius_squared) for _ in range(self.streams)]
        self.samples = [NormSample.empty(self.s, shape.key_dim, shape.value_dim) for _ in range(self.streams)]

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Take the chunk token by token; shapes as in `Compressor.absorb`."""
        keys, values = (side.to(self.dtype).double().cpu().flatten(0, 1) for side in (keys, values))
        row = self.streams * (self.t + self.s)
        step = max(1, _BLOCK // row)
        first = sum(self.cells[0].counts)
        for start in range(0, keys.shape[1], step):
            block = slice(start, start + step)
            self._take(keys[:, block].numpy(), values[:, block].numpy(), first + start)

    def _take(self, keys: np.ndarray, values: np.ndarray, first: int) -> None:
        coins = self._coins(keys.shape[1], first)
        for stream, (cells, sample) in enumerate(zip(self.cells, self.samples, strict=True)):
            cells.add(np.ascontiguousarray(keys[stream]), coins[:, stream, : self.t])
            sample.add(keys[stream], np.ascontiguousarray(values[stream]), coins[:, stream, self.t :])

    def _coins(self, tokens: int, first: int) -> np.ndarray:
        """Uniform on [0, 1), (tokens, streams, t + s); those of a token do not depend on how the stream was cut."""
        drawn = public_coins(self.settings.seed, tokens, self.streams * (self.t + self.s), first)
        return drawn.reshape(tokens, self.streams, self.t + self.s)

    def message(self) -> dict[str, Tensor]:
        """Cells of all streams one after the other, then the slots, in main memory; keys and values in ``dtype``."""
        key_dim = self.settings.shape.key_dim
        counts = [count for cells in self.cells for count in cells.counts]
        slots = [slot for cells in self.cells for slot in cells.samples]
        return {
            "cells": torch.tensor([len(cells.counts) for cells in self.cells], dtype=torch.int32, device="cpu"),
            "counts": torch.tensor(counts, dtype=torch.int32, device="cpu"),
            "representatives": self._packed(np.concatenate([cells.representatives for cells in self.cells])),
            "samples": self._packed(np.stack(slots) if slots else np.empty((0, self.t, key_dim))),
            "keys": self._packed(np.stack([sample.keys for sample in self.samples])),
            "values": self._packed(np.stack([sample.values for sample in self.samples])),
            "norms": torch.tensor([sample.total for sample in self.samples], dtype=torch.float64, device="cpu"),
        }

    def _packed(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.dtype)

    def load(self, message: Mapping[str, Tensor]) -> None:
        """Become the state of that message."""
        arrays = {
            name: message[name].cpu().double().numpy() for name in ("representatives", "samples", "keys", "values")
        }
        counts, ends = message["counts"].tolist(), message["cells"].cumsum(0).tolist()
        self.cells = []
        for start, end in zip([0, *ends], ends, strict=False):
            representatives, samples = arrays["representatives"][start:end], [*arrays["samples"][start:end].copy()]
            self.cells.append(Cells(self.radius_squared, representatives, samples, counts[start:end]))
        sides = zip(arrays["keys"].copy(), arrays["values"].copy(), message["norms"].tolist(), strict=True)
        self.samples = [NormSample(keys, values, total) for keys, values, total in sides]

    def attend(self, queries: Tensor, own_keys: Tensor, own_values: Tensor) -> Tensor:
        """z / tau in float64, then rounded to float32 unless the queries were float64; shapes as in the protocol."""
        shape = self.settings.shape
        reads = queries.shape[2]
        asked = queries.double().cpu().numpy().reshape(self.streams, shape.group, reads, shape.key_dim)
        own_key, own_value = (side.double().cpu().flatten(0, 1).numpy() for side in (own_keys, own_values))
        answers = np.empty((self.streams, shape.group, reads, shape.value_dim))
        for stream, (cells, sample) in enumerate(zip(self.cells, self.samples, strict=True)):
            parts = (*cells.weighted(), *sample.weighted())
            step = max(1, _BLOCK // (len(parts[0]) + self.s))
            for head in range(shape.group):
                for start in range(0, reads, step):
                    rows = slice(start, start + step)
                    query = asked[stream, head, rows] * self.settings.scale
                    own = np.einsum("rd,rd->r", query, own_key[stream, rows])
                    z, tau, own_weight = estimates(query, own, *parts)
                    answers[stream, head, rows] = (z + own_weight * own_value[stream, rows]) / (tau + own_weight)
        found = torch.from_numpy(answers).reshape(shape.batch, shape.heads, reads, shape.value_dim)
        return found.to(self.settings.device, queries.dtype if queries.dtype == torch.float64 else torch.float32)

    def claimed_bits(self) -> int:
        """`state_bits` of the cells that there are."""
        shape = self.settings.shape
        return state_bits(
            sum(len(cells.counts) for cells in self.cells), t=self.t, s=self.s, key_dim=shape.key_dim,
            value_dim=shape.value_dim, scalar_bits=8 * self.dtype.itemsize, streams=self.streams,
        )  # fmt: skip


def estimates(
    queries: np.ndarray,
    own_scores: np.ndarray,
    cell_logs: np.ndarray,
    cell_keys: np.ndarray,
    logs: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z (r, d_v), tau (r, 1) and the own token's weight (r, 1), all divided by one number a query: no overflow.

    Queries (r, d_k) are scaled; the rest is what `Cells.weighted` and `NormSample.weighted` give.
    """
    cell_scores, scores = queries @ cell_keys.T + cell_logs, queries @ keys.T + logs
    own = own_scores[:, None]
    largest = np.concatenate([cell_scores, scores, own], axis=1).max(axis=1, keepdims=True)
    tau = np.exp(cell_scores - largest).sum(axis=1, keepdims=True)
    return np.exp(scores - largest) @ values, tau, np.exp(own - largest)
