"""Unions of cosets of a linear code: sign keys without a group, their distances counted row by row."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from kvverify.codes.base import SignKeys, bit_string, decimal
from kvverify.codes.linear import pack, span
from kvverify.errors import UsageError


@dataclass(frozen=True)
class CosetUnion(SignKeys):
    """``representative + word`` for every representative and every word of the span of ``rows``.

    ``known`` is the histogram where theory gives it; otherwise every representative is compared with every key.
    """

    length: int
    rows: tuple[int, ...]
    representatives: tuple[int, ...]
    label: str
    known: dict[int, int] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The construction."""
        return self.label

    @property
    def size(self) -> int:
        """Representatives times words of the code."""
        return len(self.representatives) << len(self.rows)

    def words(self, tokens: int) -> list[int]:
        """Coset by coset."""
        code = [0]
        for row in self.rows:
            code += [word ^ row for word in code]
        cosets = self.representatives[: -(-tokens // len(code))]
        return [shift ^ word for shift in cosets for word in code][:tokens]

    def exponents(self) -> dict[int, int]:
        """Raises UsageError where two keys coincide."""
        return dict(self._counted if self.known is None else self.known)

    def step(self) -> dict[str, Any]:
        """Rule ``coset-union``."""
        given = {
            "generator": [bit_string(row, self.length) for row in self.rows],
            "representatives": [bit_string(word, self.length) for word in self.representatives],
        }
        return {"rule": "coset-union", "given": given, "gives": {"weights": decimal(self.exponents())}}

    @cached_property
    def _counted(self) -> dict[int, int]:
        shifts = pack(self.representatives, self.length)
        words = (shifts[:, :, None] ^ span(self.length, self.rows)[:, None, :]).reshape(len(shifts), -1)
        most = np.zeros(self.length + 1, np.int64)
        for shift in shifts.T:
            distances = np.bitwise_count(words ^ shift[:, None]).sum(axis=0, dtype=np.int64)
            most = np.maximum(most, np.cumsum(np.bincount(distances, minlength=self.length + 1)))
        if most[0] > 1:
            raise UsageError(f"{self.name}: two keys coincide")
        counts = np.diff(most)
        return {weight: int(count) for weight, count in enumerate(counts, start=1) if count}
