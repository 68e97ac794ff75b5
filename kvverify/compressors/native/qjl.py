"""QJL: keys as signs of a random projection (Zandieh, Daliri, Han 2024, arXiv:2406.03482)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvverify.compressors.base import StoredCache
from kvverify.compressors.groups import Groups
from kvverify.compressors.parameters import integer
from kvverify.compressors.projections import gaussian, sketch, unit, unsketch
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from kvverify.compressors.protocol import Settings


class Qjl(StoredCache):
    """The quantised Johnson-Lindenstrauss transform: of a key k the ``sketch`` signs of S k and |k|_2 are kept.

    S is Gaussian, public (the settings' seed), one for all heads. A score is estimated without bias over S as
    sqrt(pi / 2) / m |k| <S q, sign(S k)>, m = sketch; that is linear in q, so attention sees the key
    sqrt(pi / 2) / m |k| S^T sign(S k). Values are quantised per token to ``value_bits`` bits in groups of ``group``
    channels (one group where a head has fewer). The paper's separate treatment of outlier channels is left out. The
    state does not depend on how the stream was cut.

    State bits of a head and token: 8 ceil(m / 8) + 16, and value_bits 8 ceil(d_v / 8) + 32 d_v / group.
    """

    parameters = (
        integer("sketch", 256, 1, 1 << 16),
        integer("value_bits", 4, 1, 8),
        integer("group", 32, 1, 1 << 16),
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.rows, bits, group = (int(self.options[name]) for name in ("sketch", "value_bits", "group"))
        shape = self.settings.shape
        width = min(group, shape.value_dim)
        if shape.value_dim % width:
            raise UsageError(f"qjl: group={group} does not divide the {shape.value_dim} channels of the values")
        self.groups = Groups(bits, 1, width)
        seed = (self.settings.seed % (1 << 64),)
        self.projection = gaussian(self.rows, shape.key_dim, seed).to(self.settings.device)

    def absorb(self, queries: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Sketch the keys in float64, so that no sign depends on the chunk; quantise the values."""
        norms, units = unit(keys.to(self.settings.device))
        parts = self.groups.quantise(values.to(self.settings.device))
        self.append(
            signs=sketch(units, self.projection), norms=norms.half(), **{f"values_{n}": p for n, p in parts.items()}
        )

    def read(self) -> tuple[Tensor, Tensor]:
        """The keys that stand for the estimator, and values at their levels."""
        if "signs" not in self.state:
            return self.pair()
        parts = {name: self.state[f"values_{name}"] for name in ("codes", "scale", "zero")}
        keys = unsketch(self.state["signs"], self.projection).mul_(self.state["norms"])
        return keys, self.groups.levels(parts, self.settings.shape.value_dim)

    def claimed_bits(self) -> int:
        """Signs, norms, and codes, zeros and scales of values."""
        shape = self.settings.shape
        tokens = self.state["signs"].shape[2] if self.state else 0
        key = -(-self.rows // 8) * 8 + 16
        return (tokens * key + self.groups.state_bits(tokens, shape.value_dim)) * shape.batch * shape.kv_heads
