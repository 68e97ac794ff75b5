"""What the rules on attention hand to each other: keys at a scale, what leaks off the target, what can be read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from kvverify.kernel.facts import Fact


@dataclass(frozen=True)
class Keys(Fact):
    """``size`` distinct keys with queries such that token l weighs exp(-c e_il) relative to target i, for any c > 0.

    ``exponents`` dominates every row: at most as many off-target tokens with e_il <= e as its counts up to e say.
    ``unit``: the logit that a query costs on the whole body, per unit of c. ``pad_twice``: twice the least exponent of
    a fixed further key in the body; ``own``: the least exponent of a key that the asker chooses. ``bf16``: keys are
    exact in bf16. ``beside``: in a ball, the radius that all these keys leave for a secret in further coordinates.
    ``signs``: keys are sign vectors (divided by one number in a ball), e_il the places where two differ, the pad is 0.
    """

    size: int
    dim: int
    exponents: tuple[tuple[int, int], ...]
    unit: Fraction
    pad_twice: int
    own: int
    bf16: bool
    beside: Fraction = Fraction(0)
    signs: bool = False


@dataclass(frozen=True)
class Decay(Fact):
    """exp(-exponent) <= at_most."""

    exponent: Fraction
    at_most: Fraction


@dataclass(frozen=True)
class Tilt(Fact):
    """A key query's tilt along one secret coordinate y, and the law of u = e^(strength y), symmetric about y = 0.

    E u <= ``mean``; a token's h(u) - 2 E log2(1 + u) is at least ``entropy`` bits for each of its secret coordinates.
    ``ball``: radius and number of coordinates where y is uniform in a ball. |y| <= ``reach``, a power of two.
    """

    strength: Fraction
    mean: Fraction
    entropy: Fraction
    ball: tuple[Fraction, int] | None = None
    reach: Fraction = Fraction(1)


@dataclass(frozen=True)
class Scaled(Fact):
    """Keys and a scale within the budget: weights exp(-exponent e) <= decay^e; ``payload`` tokens carry the secret.

    With a tilt the budget leaves room for one more coordinate of the query, of the tilt's strength.
    """

    keys: Keys
    decay: Fraction
    payload: int
    tilt: Tilt | None = None
    exponent: Fraction = Fraction(0)


@dataclass(frozen=True)
class Row:
    """One row relative to its target: bounds on the other payload tokens' mass, and on all further tokens' mass."""

    off_target: Fraction
    rest: Fraction


@dataclass(frozen=True)
class Matrix:
    """Weights among payload tokens, each row over a factor of its own that leaves none above 1 + 2^-40.

    low[i][l] <= 2^bits * weight <= low[i][l] + span. ``totals``: upper bounds of the rows' whole masses over the same
    factors, the asker's own token included.
    """

    low: list[list[int]]
    bits: int
    span: int
    totals: tuple[Fraction, ...]


@dataclass(frozen=True)
class Leak(Fact):
    """Attention relative to the target, over ``payload`` rows: bounds for the worst row, and row by row where known.

    ``squares`` bounds the mean over rows of the sum of squared off-target weights. ``matrix`` encloses the weights
    among payload tokens of explicit instances. ``scaled``: the keys and the scale that it is about, where they come
    from a family.
    """

    payload: int
    worst: Row
    squares: Fraction
    scaled: Scaled | None = None
    rows: tuple[Row, ...] = ()
    matrix: Callable[[], Matrix] | None = None


@dataclass(frozen=True)
class Reading(Fact):
    """Every payload value can be read back within the tolerance when it is one of ``alphabet`` levels.

    ``top_mass``: so much lies on one token in every causal row, the asker's own too; 0 where that is not known.
    """

    alphabet: int
    payload: int
    top_mass: Fraction = Fraction(0)


@dataclass(frozen=True)
class Determinant(Fact):
    """log2 |det W| >= log2_at_least for the payload's square attention matrix (it may be negative)."""

    payload: int
    log2_at_least: Fraction
