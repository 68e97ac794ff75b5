"""The lemmas, one file a field."""

from __future__ import annotations

from kvverify.lemmas.base import Lemma
from kvverify.lemmas.statements import caches, covering, information, keys, payload, softmax, subgen

SECTIONS: dict[str, tuple[Lemma, ...]] = {
    "Attention weights": softmax.LEMMAS,
    "Keys": keys.LEMMAS,
    "Bits, determinants, exact numbers": information.LEMMAS,
    "Secrets in keys, quantisers": payload.LEMMAS,
    "Streams and samples": subgen.LEMMAS,
    "Covers and nets": covering.LEMMAS,
    "Pyramids and tensor caches": caches.LEMMAS,
}
LEMMAS: tuple[Lemma, ...] = tuple(lemma for section in SECTIONS.values() for lemma in section)
