"""Controls of visual streams: all kernels, both cuts, both tolerances, maps that are not square, words for keys."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

from kvverify.attention.visual import parse_scales
from kvverify.bounds.visual_search import visual_bound
from kvverify.kernel import document
from tests.kernel import seen
from tests.kernel.controls import Control

Node = dict[str, Any]
TENTH = Fraction(1, 10)


def visual(scales: str, kernel: str, cut: str, key_dim: int, max_logit: int = 12, **asked: Any) -> Node:
    """The sharpest certificate of that stream, less what can be done without: key_dim and model_dim are tight."""
    sizes = {"value_dim": 2, "kv_heads": 1} | asked
    sizes |= {} if "relative" in sizes else {"tolerance": TENTH}
    sizes |= {"model_dim": 64, "key_dim": key_dim, "max_logit": Fraction(max_logit)}
    return sharpened(thinned(visual_bound(parse_scales(scales), kernel, cut, **sizes)))


def thinned(tree: Node) -> Node:
    """Without coordinates of keys that are alike everywhere, nor the last where the others tell tokens apart."""
    given, claim = tree["steps"][0]["given"], tree["statement"]
    columns = list(zip(*(row.split(" ") for row in given["keys"]), strict=True))
    kept = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    if len({tuple(columns[i][row] for i in kept[:-1]) for row in range(len(columns[0]))}) == len(columns[0]):
        kept = kept[:-1]
    heads, wide, count = int(claim["kv_heads"]), int(claim["value_dim"]), len(kept)
    rows = {name: [" ".join(row.split(" ")[i] for i in kept) for row in given[name]] for name in ("keys", "queries")}
    chosen = {
        "keys": " ".join(map(str, range(count))),
        "queries": " ".join(map(str, range(count, 2 * count))),
        "values": [" ".join(map(str, range(2 * count + i * wide, 2 * count + (i + 1) * wide))) for i in range(heads)],
    }
    first = tree["steps"][0] | {"given": given | rows | {"projections": chosen}}
    claim = claim | {"key_dim": str(count), "model_dim": str(2 * count + heads * wide)}
    return {"statement": claim, "steps": [first, tree["steps"][1]]}


def sharpened(tree: Node) -> Node:
    """With the strongest numbers."""
    sharp = seen.sharp(tree)
    return document.build(sharp["statement"], sharp["steps"])


@cache
def controls() -> tuple[Control, ...]:
    """All of them."""
    half = Fraction(1, 2)
    return (
        Control("visual, nearest", visual("1,2", "nearest", "all-keys", 4)),
        Control("visual, bilinear", visual("1x2,2x3", "bilinear", "all-keys", 5, failure=Fraction(1, 20))),
        Control("visual, words for keys", visual("1,1x2,2", "nearest", "between-steps", 3, 8, kv_heads=2)),
        Control("visual, between steps", visual("1,1x3,1x4,2x4", "catmull-rom", "between-steps", 7, 20, value_dim=1)),
        Control("visual, relative", visual("1,2x1", "bilinear", "all-keys", 5, relative=half)),
        Control("visual, bicubic", visual("2x1,3x1", "bicubic", "all-keys", 5, 20, relative=TENTH, failure=TENTH)),
        Control("visual, exact", visual("1x2,2x2", "nearest", "between-steps", 4, 2, relative=Fraction(0))),
        Control(
            "visual, often wrong",
            visual("1,2", "nearest", "all-keys", 4, 3, relative=half, failure=Fraction(1, 3), value_dim=16),
        ),
    )
