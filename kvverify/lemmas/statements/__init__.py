"""The lemmas, one file a field."""

from __future__ import annotations

from kvverify.lemmas.base import Lemma
from kvverify.lemmas.statements import covering, information, keys, payload, softmax, subgen

LEMMAS: tuple[Lemma, ...] = (
    *softmax.LEMMAS, *keys.LEMMAS, *information.LEMMAS, *payload.LEMMAS, *subgen.LEMMAS, *covering.LEMMAS,
)  # fmt: skip
