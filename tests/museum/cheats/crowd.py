"""Several cheats in one game, a layer each."""

from __future__ import annotations

import importlib

from kept import Kept


class Crowd(Kept):
    @classmethod
    def together(cls, settings, layers):
        names = str(settings.parameters["names"]).split("+")
        places = (name.partition(":") for name in names)
        return [getattr(importlib.import_module(module), kind)(settings) for module, _, kind in places]
