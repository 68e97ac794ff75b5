"""Compressors of several layers at once: layers that know which one they are."""

from __future__ import annotations

from kvverify.compressors.base import StoredCache


class Together(StoredCache):
    """Layer i keeps the tokens of its chunk whose number is a multiple of i + 1."""

    layer = -1

    @classmethod
    def together(cls, settings, layers):
        made = [cls(settings) for _ in range(layers)]
        for number, one in enumerate(made):
            one.layer = number
        return made

    def absorb(self, queries, keys, values):
        self.append(keys=keys[:, :, :: self.layer + 1], values=values[:, :, :: self.layer + 1])

    def read(self):
        return self.pair()


class TooFew(Together):
    """One layer short."""

    @classmethod
    def together(cls, settings, layers):
        return super().together(settings, layers - 1)


class Nothing(Together):
    """Layers that are no compressors."""

    @classmethod
    def together(cls, settings, layers):
        return [None] * layers
