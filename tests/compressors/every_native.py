"""A factory whose n-th layer is the n-th native compressor of the field: one game is played with all of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from kvverify.compressors import find

# Settings under which even the short streams of tests are quantised and evicted from.
CASES: dict[str, dict[str, Any]] = {
    "kivi": {"group": 8, "residual": 16},
    "turboquant": {"keys": "prod", "rotation": "hadamard"},
    "qjl": {"sketch": 64, "value_bits": 2, "group": 16},
    "low-rank": {"rank": 3, "block": 48},
    "fp8": {},
    "h2o": {"heavy": 30, "recent": 20},
    "snapkv": {"keep": 16, "window": 8},
    "streaming-llm": {"sinks": 3, "window": 40},
}
_turn = itertools.cycle(CASES.items())


def layer(settings: Any) -> Any:
    """The next one."""
    name, parameters = next(_turn)
    return find(name)(replace(settings, compressor=name, parameters=parameters))
