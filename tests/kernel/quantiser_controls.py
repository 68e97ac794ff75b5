"""Controls whose bits are enough: midpoints without a level to spare, dither with few (the kernel is then quick)."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

from kvverify.kernel import document
from tests.kernel.controls import Control, statement, step


def enough(name: str, rule: str, levels: tuple[int, int], tail: str | None = None, **changes: object) -> Control:
    """The least claim that these levels allow."""
    plain = statement(**{"key_dim": 2, **changes})
    del plain["state_bits_at_least"]
    words = levels[0] ** int(plain["key_dim"]) * levels[1] ** int(plain["value_dim"])
    each = next(bits for bits in range(4096) if 1 << bits >= words)
    total = each * int(plain["tokens"]) * int(plain["kv_heads"]) * int(plain["layers"])
    given = {"key_levels": levels[0], "value_levels": levels[1]} | ({"tail": tail} if tail else {})
    steps = [step("bits", rule, {}, given, {"bits_per_token": each})]
    return Control(
        name, document.build({**plain, "claim": "state-bits-enough", "state_bits_enough": str(total)}, steps)
    )


SIXTEENTH = Fraction(1, 16)
DITHERED: list[tuple[str, tuple[int, int], str, dict[str, object]]] = [
    ("plain", (840, 107), "log-concave", {}),
    ("few levels", (11, 7), "log-concave", {"max_logit": 2, "tolerance": Fraction(1, 4)}),
    ("fails often", (80, 12), "log-concave", {"tolerance": SIXTEENTH, "failure": Fraction(1, 2)}),
    ("fails seldom", (127, 17), "gaussian", {"tolerance": Fraction(1, 8), "failure": Fraction(1, 100)}),
    ("fails hardly ever", (1796, 228), "gaussian", {"failure": Fraction(1, 1000), "inputs": "bf16"}),
    ("ball", (150, 22), "log-concave", {"tolerance": SIXTEENTH, "key_dim": 3, "body": "ball"}),
    (
        "streams",
        (99, 15),
        "log-concave",
        {"tolerance": SIXTEENTH, "failure": Fraction(1, 3), "kv_heads": 3, "layers": 2},
    ),
    ("finer values than keys", (660, 172), "log-concave", {"key_dim": 4, "value_dim": 1}),
]


@cache
def controls() -> tuple[Control, ...]:
    """All of them."""
    quarter, half = Fraction(1, 4), Fraction(1, 2)
    return (
        enough("midpoints", "quantiser", (16, 8), max_logit=2, tolerance=quarter),
        enough("midpoints, streams", "quantiser", (3200, 200), max_logit=16, kv_heads=3, layers=2),
        enough("midpoints, bf16", "quantiser", (9, 9), max_logit=1, tolerance=Fraction(2, 9), failure=0, inputs="bf16"),
        enough("midpoints, ball", "quantiser", (32, 8), max_logit=2, tolerance=quarter, key_dim=4, body="ball"),
        enough("midpoints, ball, a root", "quantiser", (46, 8), max_logit=4, tolerance=quarter, body="ball"),
        enough("midpoints, values alone", "quantiser", (1, 4), max_logit=quarter, tolerance=half, value_dim=3),
        *(enough(f"dither, {name}", "dithered", levels, tail, **changes) for name, levels, tail, changes in DITHERED),
    )
