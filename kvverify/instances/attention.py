"""The hard instances of every kind."""

from __future__ import annotations

from kvverify.instances.hard import HardInstance
from kvverify.instances.key_payload import KIND, KeyPayloadInstance
from kvverify.instances.tensor import TensorInstance
from kvverify.instances.visual import VisualInstance

ATTENTION: dict[str, type[HardInstance]] = {
    made.attention: made for made in (HardInstance, VisualInstance, TensorInstance)
}
"""The class of instances, by the word for the kind of attention; of softmax attention, that of all but one kind."""


def instance_class(attention: str, kind: str) -> type[HardInstance]:
    """The class of an instance's kind."""
    return KeyPayloadInstance if kind == KIND else ATTENTION[attention]
