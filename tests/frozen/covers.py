"""The claim ``cover`` read by the page: section 5, covering numbers."""

from __future__ import annotations

from typing import Any

from tests.frozen.reader import CLAIMS, Incomplete, Invalid, integer, rational

PI = 314159265358979323846264338327950288419716939937510  # times 10^50, rounded down


def cover(node: dict[str, Any]) -> None:
    ball = node.get("body") == "ball"
    sizes = {"radius", "ball_radius"} if ball else {"angle"}
    bounds = {"at_least", "at_most"} & node.keys()
    if node.keys() != {"claim", "body", "dim"} | sizes | bounds or not (ball or node["body"] == "sphere"):
        raise Invalid("fields and body")
    numbers = [rational(node[name]) for name in sorted(sizes)]
    counts = [integer(node[name]) for name in sorted(bounds)]
    dim = integer(node["dim"])
    if dim < (1 if ball else 2) or min(p for p, _ in numbers) <= 0 or min(counts, default=0) < 1:
        raise Invalid("sizes, bounds and dim")
    if dim > 4096:
        raise Incomplete("4096 dimensions")
    if not ball and numbers[0][0] * 10**50 > numbers[0][1] * PI:
        raise Invalid("an angle below pi")


CLAIMS["cover"] = cover
