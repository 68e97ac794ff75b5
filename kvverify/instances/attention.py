"""The hard instances of every kind of attention."""

from __future__ import annotations

from kvverify.instances.hard import HardInstance
from kvverify.instances.tensor import TensorInstance
from kvverify.instances.visual import VisualInstance

ATTENTION: dict[str, type[HardInstance]] = {
    made.attention: made for made in (HardInstance, VisualInstance, TensorInstance)
}
"""The class of instances, by the word for the kind of attention."""
