"""turboquant-kv: a dynamic cache around its quantiser. `kvverify audit THIS_FILE:cache`."""

from __future__ import annotations

from typing import Any

from turboquant import TurboQuantProd
from turboquant.hf_cache import TurboQuantDynamicCache

from kvverify.compressors.adapters._update import config


class Quantiser(TurboQuantProd):
    """The quantiser keeps two methods of its own as attributes; a message has no code, so they are looked up here."""

    @property
    def _quantize_components_impl(self) -> Any:
        return self._quantize_components

    @_quantize_components_impl.setter
    def _quantize_components_impl(self, method: Any) -> None:
        """Nothing to keep: without compilation it is that method."""

    @property
    def _dequantprod_unit_impl(self) -> Any:
        return self._dequantprod_unit

    @_dequantprod_unit_impl.setter
    def _dequantprod_unit_impl(self, method: Any) -> None:
        """As above."""


def cache(settings: Any) -> TurboQuantDynamicCache:
    """Bits from the settings (3)."""
    bits = float(settings.parameters.get("bits", 3))
    quantiser = Quantiser(bits=bits, head_dim=settings.shape.key_dim, device=settings.device, seed=0)
    return TurboQuantDynamicCache(config(settings), quantiser)
