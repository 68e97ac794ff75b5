"""What steps state, and the statement: as docs/format.md gives them. Numbers are mpq, and integers of Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from gmpy2 import mpq

from tests.engines.interval import Interval, must

Node = dict[str, Any]


class Problem:
    """A statement: fields that are numbers as numbers."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.tokens, self.key_dim, self.value_dim = (int(node[name]) for name in ("tokens", "key_dim", "value_dim"))
        self.streams = int(node["kv_heads"]) * int(node["layers"])
        self.body, self.budget, self.bf16 = node["body"], node["budget"], node["inputs"] == "bf16"
        self.max_logit, self.failure = mpq(node["max_logit"]), mpq(node["failure"])
        self.tolerance = mpq(node["tolerance"]) if "tolerance" in node else None
        self.relative = mpq(node["relative"]) if "relative" in node else None
        self.enough = node["claim"] == "state-bits-enough"
        self.top = mpq(node.get("top_mass_at_least", 0))
        self.claimed = int(node["state_bits_enough" if self.enough else "state_bits_at_least"])

    @property
    def additive(self) -> Any:
        must(self.tolerance is not None, "the statement's tolerance is additive")
        return self.tolerance


@dataclass(frozen=True)
class Keys:
    """``pad`` may be a half; ``beside``: the radius that shrunk keys leave."""

    size: int
    dim: int
    histogram: dict[int, int]
    unit: Any
    pad: Any
    own: int
    bf16: bool
    signs: bool = False
    beside: Any = 0


@dataclass(frozen=True)
class Decay:
    exponent: Any
    z: Any


@dataclass(frozen=True)
class Tilt:
    """``law``: (mean, entropy) at the present precision. ``ball``: (R, key_coordinates)."""

    strength: Any
    law: Callable[[], tuple[Interval, Interval]]
    ball: tuple[Any, int] | None = None


@dataclass(frozen=True)
class Scaled:
    keys: Keys
    decay: Decay
    payload: int
    tilt: Tilt | None


@dataclass(frozen=True)
class Leak:
    """``rows``: (off_target, rest) of every row at the present precision; ``matrix``: relative weights, 1 diagonal.

    ``unread``: of an attention-row step over the limit.
    """

    payload: int
    off: Any
    squares: Any
    rest: Any
    scaled: Scaled | None = None
    rows: Callable[[], list[tuple[Interval, Interval]]] | None = None
    matrix: Callable[[], list[list[Interval]]] | None = None
    unread: bool = False


@dataclass(frozen=True)
class Reading:
    alphabet: int
    payload: int
    top: Any = 0


@dataclass(frozen=True)
class Determinant:
    payload: int
    bits: Any


@dataclass(frozen=True)
class StateBits:
    bits: Any
    top: Any = 0


@dataclass(frozen=True)
class Enough:
    bits: int


T = TypeVar("T")


def premise(uses: Node, name: str, kind: type[T]) -> T:
    """The premise of that name and kind."""
    fact = uses.get(name)
    must(isinstance(fact, kind), f"premise {name!r} is of the kind {kind.__name__}")
    assert isinstance(fact, kind)
    return fact


def family(leak: Leak) -> Scaled:
    """The keys and the scale that a leak of a family is about."""
    must(leak.scaled is not None, "the reads are of a family of keys")
    assert leak.scaled is not None
    return leak.scaled
