"""Tensor attention: the best lower bound found, as a certificate. Floats rank, the kernel decides.

The instance (docs/proofs/tensor.md): secret rows in both value caches, product keys (u, w) of one code in either half
of the key coordinates, sentinels whose values are ones ("halves"); or secret rows in the first value cache only, the
second factors all ones, which is ordinary attention ("skeleton"). Closed forms in the code's weights: no loop over
tokens. Tokens stand in this order: secret rows (`heaviest_words`), sentinels, others with factors 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
from flint import arb

from kvverify.bounds.candidate import fano
from kvverify.bounds.steps import DECAY_BITS, SLACK, Node, ball_up, down, exact, log2_up, step, up
from kvverify.codes.base import SignKeys
from kvverify.codes.catalogue import catalogue
from kvverify.codes.hypercube import Hypercube
from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check

_ATTEMPTS = 6
_SPLITS = np.linspace(0.3, 0.98, 35)  # of the logit: the part of the half that is read
_MAX_TOKENS = 1 << 128


@dataclass(frozen=True)
class TensorProblem:
    """Tensor attention over ``tokens`` tokens of four factor rows, and what is asked of every compressor of the class.

    Factors lie in [-1, 1]; a score is <q, k1 o k2> / ``scale`` (the paper's is head_dim), at most ``max_logit`` in size
    for all factors; ``max_query``, where given, bounds |q_j|. ``tolerance`` (additive) or ``relative``, exactly one, is
    exceeded with probability at most ``failure``. Raises UsageError outside the class.
    """

    tokens: int
    head_dim: int
    value_dim: int
    scale: Fraction
    max_logit: Fraction
    failure: Fraction
    tolerance: Fraction | None = None
    relative: Fraction | None = None
    kv_heads: int = 1
    max_query: Fraction | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "head_dim", "value_dim", "kv_heads"):
            value = getattr(self, name)
            _require(1 <= value <= _MAX_TOKENS, name, value, "a whole number from 1 to 2^128")
        for name, most in (("scale", _MAX_TOKENS), ("max_logit", 4096), ("max_query", _MAX_TOKENS)):
            value = getattr(self, name)
            _require(value is None or 0 < value <= most, name, value, f"a number above 0 and at most {most}")
        if (self.tolerance is None) == (self.relative is None):
            raise UsageError("give exactly one of tolerance (additive) and relative")
        _require(self.tolerance is None or 0 < self.tolerance < 1, "tolerance", self.tolerance, "above 0 and below 1")
        _require(self.relative is None or 0 <= self.relative < 1, "relative", self.relative, "at least 0 and below 1")
        _require(0 <= self.failure < 1, "failure", self.failure, "at least 0 and below 1")

    @property
    def dense_words(self) -> int:
        """Words of the four caches, 4 n d a head where value_dim = head_dim: what the record calls the dense size."""
        return 2 * self.tokens * (self.head_dim + self.value_dim) * self.kv_heads

    def statement(self, bits: int) -> Node:
        """The certificate's statement that any compressor of this class keeps at least so many bits."""
        named = ("tokens", "head_dim", "value_dim", "kv_heads", "scale", "max_logit", "failure")
        found = {name: str(getattr(self, name)) for name in named}
        for name in ("tolerance", "relative", "max_query"):
            if getattr(self, name) is not None:
                found[name] = str(getattr(self, name))
        return {"claim": "tensor-state-bits", **found, "state_bits_at_least": str(bits)}


@dataclass(frozen=True)
class TensorCandidate:
    """Codes and numbers of one instance. ``sentinels`` 0: the skeleton. ``read``, ``held``: exponents 2 c and 2 c'.

    ``bits`` of all heads, a float; ``miss`` the factor by which the condition failed, at most 1 when it holds.
    """

    family: SignKeys
    payload: int
    sentinels: int
    read: Fraction
    held: Fraction
    alphabet: int
    bits: float
    miss: float

    @property
    def form(self) -> str:
        """ "halves" or "skeleton"."""
        return "halves" if self.sentinels else "skeleton"


@dataclass(frozen=True)
class TensorBound:
    """The best bound found. ``bits``, of all heads, was proved by the kernel; 0 with a reason when nothing held."""

    problem: TensorProblem
    bits: Fraction
    certificate: Node | None
    family: str
    form: str
    reason: str | None

    @property
    def bits_per_token(self) -> Fraction:
        """Total over heads."""
        return self.bits / self.problem.tokens


def tensor_bound(
    tokens: int,
    head_dim: int,
    value_dim: int,
    scale: Fraction,
    max_logit: Fraction,
    *,
    tolerance: Fraction | None = None,
    relative: Fraction | None = None,
    failure: Fraction = Fraction(0),
    kv_heads: int = 1,
    max_query: Fraction | None = None,
    form: str | None = None,
    scale_bits: int | None = None,
) -> TensorBound:
    """The best bound whose certificate the kernel accepts, of both forms or of one ("halves", "skeleton").

    With ``scale_bits`` half of each exponent, hence c and c' in the queries, is rounded down to that many significant
    bits, so that a played instance's queries are exact in a short format. Raises UsageError outside the class.
    """
    problem = TensorProblem(
        tokens, head_dim, value_dim, scale, max_logit, failure, tolerance, relative, kv_heads, max_query
    )
    found = candidates(problem, form, scale_bits)
    refusal = "the best instance gives less than one bit"
    for candidate in [c for c in found if c.bits >= 1][:_ATTEMPTS]:
        tree = build(candidate, problem)
        result = check(tree)
        if result.verdict is Verdict.VALID and result.bits is not None:
            return TensorBound(problem, result.bits, tree, candidate.family.name, candidate.form, None)
        refusal = f"the kernel refused {candidate.family.name} at step {result.step}: {result.reason}"
    if not found:
        return TensorBound(problem, Fraction(0), None, "", "", "no code fits the head dimension")
    best = min(found, key=lambda candidate: candidate.miss)
    if best.miss > 1:
        refusal = f"closest: {best.family.name} ({best.form}), which misses by a factor of {best.miss:.4g}"
    return TensorBound(problem, Fraction(0), None, best.family.name, best.form, refusal)


def candidates(problem: TensorProblem, form: str | None = None, scale_bits: int | None = None) -> list[TensorCandidate]:
    """The best instance of every code in either form, best first."""
    if form not in (None, "halves", "skeleton"):
        raise UsageError(f"form {form!r}: expected halves or skeleton")
    found = []
    for both in (True, False):
        if form in (None, "halves" if both else "skeleton"):
            for family in _families(problem, problem.head_dim // (1 + both)):
                if family.size > both:
                    found.append(_best(problem, family, both, scale_bits))
    return sorted(found, key=lambda c: (-c.bits, c.miss, c.family.size))


def build(candidate: TensorCandidate, problem: TensorProblem) -> Node:
    """The certificate's JSON tree, numbers rounded to the safe side."""
    family, both = candidate.family, candidate.sentinels > 0
    written = family.step()
    decays = {"read": candidate.read} | ({"held": candidate.held} if both else {})
    z = {name: _decay(exponent) for name, exponent in decays.items()}
    off_target, rest = _masses(candidate, problem, z["read"], z.get("held", Fraction(1)))
    payload = {"payload": candidate.payload} | ({"sentinels": candidate.sentinels} if both else {})
    leak = {
        "off_target_at_most": off_target, "rest_at_most": rest,
        "logit_at_most": (candidate.read + candidate.held) * family.length / 2,
    }  # fmt: skip
    alphabet, delta = candidate.alphabet, problem.failure
    each = Fraction(alphabet.bit_length() - 1)
    if delta or alphabet & alphabet - 1:
        each = -log2_up(Fraction(1, alphabet)) - SLACK
    if delta:
        each -= (1 - delta) * log2_up(1 / (1 - delta)) + delta * log2_up((alphabet - 1) / delta)
    symbols = candidate.payload * (1 + both) * problem.value_dim * problem.kv_heads
    bits = down(symbols * each, 20)
    steps = [
        {"id": "keys", "rule": "tensor-keys", "uses": {}, "given": written["given"], "gives": written["gives"]},
        *(step(name, "exp-bound", {}, {"exponent": e}, {"exp_minus_at_most": z[name]}) for name, e in decays.items()),
        step("leak", "tensor-leak", {"keys": "keys"} | {name: name for name in decays}, payload, leak),
        step("bits", "tensor-symbols", {"leak": "leak"}, {}, {"alphabet": alphabet, "bits_at_least": bits}),
    ]
    return document.build(problem.statement(max(0, floor(bits))), steps)


def _decay(exponent: Fraction) -> Fraction:
    """exp(-exponent), rounded up."""
    return up(ball_up(lambda: arb(exact(-exponent)).exp()), DECAY_BITS)


def heaviest_words(family: SignKeys, payload: int) -> list[int]:
    """The ``payload`` heaviest words, heaviest first, in the family's order among equals: the instance's secret rows.

    Bit j of a word is letter j, whose key entry is -1 where the letter is 1. For families that can be listed.
    """
    words = family.words(family.size)
    return sorted(words, key=int.bit_count, reverse=True)[:payload]


def _masses(candidate: TensorCandidate, problem: TensorProblem, z: Fraction, y: Fraction) -> tuple[Fraction, Fraction]:
    """Off-target and rest of the instance, rounded up (docs/proofs/tensor.md, tensor-leak)."""
    weights, both = sorted(candidate.family.exponents().items()), candidate.sentinels > 0
    heavy = _first(weights[::-1], candidate.payload) if both else []
    targets = candidate.sentinels or problem.tokens
    first = sum((n * z**e for e, n in _first(weights, candidate.payload - 1 + both)), Fraction(0))
    second = sum((n * y**e for e, n in heavy), Fraction(0)) / targets
    if both:
        first += (candidate.sentinels - 1) * z ** heavy[-1][0]
    rows = candidate.payload + candidate.sentinels
    others = (problem.tokens + 1) ** 2 - rows * (rows if both else problem.tokens)
    zero = up(ball_up(lambda: arb(exact((z * y) ** candidate.family.length)).sqrt()), 400)
    return up((1 + first) * (1 + second) - 1, 64), up(others * zero / targets, 64)


def _first(weights: list[tuple[int, int]], number: int) -> list[tuple[int, int]]:
    found = []
    for weight, count in weights:
        if number > 0:
            found.append((weight, min(count, number)))
        number -= count
    return found


def _families(problem: TensorProblem, length: int) -> Iterator[SignKeys]:
    """Linear codes of at most that length and about as many words as tokens, or fewer; hypercubes."""
    for entry in catalogue():
        if entry.length <= length and entry.size <= 4 * problem.tokens:
            yield entry
    for dimension in range(1, min(length, 128) + 1):
        yield Hypercube(dimension)


def _best(problem: TensorProblem, family: SignKeys, both: bool, scale_bits: int | None) -> TensorCandidate:
    """Over payload sizes, numbers of sentinels and ways to split the logit: the most bits, or the least miss."""
    weights = sorted(family.exponents().items())
    payloads = _payloads(min(problem.tokens, family.size) - both)
    exponent = 2 * problem.max_logit / family.length
    most = 2 * problem.max_query / problem.scale if problem.max_query is not None else exponent
    reads = [min(_rounded(exponent * Fraction(x), scale_bits), most) for x in (_SPLITS if both else (1.0,))]
    helds = [min(_rounded(exponent - read, scale_bits), most) if both else Fraction(0) for read in reads]
    z, y = (np.exp(-np.array([float(x) for x in side])) for side in (reads, helds))
    e, n = (np.array([float(pair[i]) for pair in weights]) for i in (0, 1))
    secret = np.array([float(x) for x in payloads])
    near = _capped(n, secret - 1 + both) @ z[None, :] ** e[:, None]
    shares = [(problem.tokens - x) >> j for j in range(12) for x in payloads]
    sentinels = np.maximum(np.array(shares, dtype=float).reshape(12, -1), 1.0)[:, :, None]
    total, second, rows = float(problem.tokens), 0.0, secret[:, None]
    if both:
        heavy = _capped(n[::-1], secret)
        lightest = e[::-1][np.maximum((heavy > 0).sum(axis=1) - 1, 0)]
        second = (heavy @ y[None, :] ** e[::-1, None]) / sentinels
        near = near + (sentinels - 1) * z[None, None, :] ** lightest[None, :, None]
        rows = rows + sentinels
    off = (1 + near) * (1 + second) - 1
    others = (total + 1) ** 2 - rows * (rows if both else total)
    rest = others * np.sqrt(z * y) ** family.length / (sentinels if both else total)
    alphabet, bits, miss = _read(problem, off, rest)
    bits = np.broadcast_to(bits * secret[:, None] * (1 + both) * problem.value_dim * problem.kv_heads, miss.shape)
    place = np.unravel_index(int(np.argmax(bits) if bits.max() > 0 else np.argmin(miss)), bits.shape)
    payload, split = int(place[-2]), int(place[-1])
    held = max(1, (problem.tokens - payloads[payload]) >> int(place[0])) if both else 0
    return TensorCandidate(
        family, payloads[payload], held, reads[split], helds[split],
        int(np.broadcast_to(alphabet, bits.shape)[place]), float(bits[place]), float(miss[place]),
    )  # fmt: skip


def _read(problem: TensorProblem, off: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels, bits a symbol and the factor by which the condition fails."""
    failure = float(problem.failure)
    if problem.relative is not None:
        miss = off * float((1 + problem.relative) / (1 - problem.relative))
        alphabet = np.full(off.shape, 2.0)
        return alphabet, np.where(miss < 1 - 1e-9, np.maximum(fano(alphabet, failure), 0.0), 0.0), miss
    assert problem.tolerance is not None
    room = float(problem.tolerance) * (1 + off + rest) + off
    gaps = np.minimum(np.ceil((1 - 1e-9) / room) - 1, 2.0**62)
    alphabet = np.maximum(gaps + 1, 2)
    possible = (gaps >= 1) & (failure <= 1 - 1 / alphabet)
    return alphabet, np.where(possible, np.maximum(fano(alphabet, failure), 0.0), 0.0), room


def _payloads(most: int) -> list[int]:
    """Sizes up to ``most``, 15 % apart, and closer to ``most`` at powers of two below it."""
    if most < 1:
        return [1]
    sizes = {most} | {most - (most >> j) for j in range(1, 14)} | {1 << j for j in range(most.bit_length())}
    sizes |= {int(1.15**k) for k in range(600) if 1.15**k <= most}
    return sorted(size for size in sizes if 1 <= size <= most)


def _capped(numbers: np.ndarray, most: np.ndarray) -> np.ndarray:
    """(sizes, weights): the histogram in its order up to so many words."""
    reached = np.minimum(np.cumsum(numbers)[None, :], most[:, None])
    capped: np.ndarray = np.diff(reached, prepend=0.0, axis=1)
    return capped


def _rounded(exponent: Fraction, bits: int | None) -> Fraction:
    """Rounded down to 24 significant bits, or half of it to ``bits`` of them."""
    shift = (bits or 24) - 1 - math.frexp(float(exponent))[1] + 1
    grid = Fraction(2) ** shift
    return Fraction(floor(exponent * grid)) / grid


def _require(condition: bool, name: str, given: object, right: str) -> None:
    if not condition:
        raise UsageError(f"{name.replace('_', '-')}: {given} given, {right} is needed")
