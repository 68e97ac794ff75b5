"""Tensor attention: masses of pairs and bits of symbols by MPFR; words, orders and patterns are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gmpy2 import mpq

from tests.engines.facts import Decay, premise
from tests.engines.interval import Case, Interval, interval, log2, must, sqrt

Node = dict[str, Any]


@dataclass(frozen=True)
class Words:
    """A code as it is stated."""

    size: int
    length: int
    weights: dict[int, int]


@dataclass(frozen=True)
class Secret:
    """Rows and masses as they are stated."""

    rows: int
    off: Any
    rest: Any


@dataclass(frozen=True)
class Bits:
    """State bits of tensor attention."""

    bits: Any


@dataclass(frozen=True)
class Stated:
    """What a step gives, as it stands."""

    node: Node


def keys(case: Case, uses: Node, given: Node, gives: Node) -> Words:
    case.taken = True
    if "dimension" in given:
        length = int(given["dimension"])
        weights, number = {}, 1
        for w in range(1, length + 1):
            number = number * (length - w + 1) // w
            weights[w] = number
        return Words(int(gives["size"]), length, weights)
    weights = {int(w): int(n) for w, n in gives["weights"].items()}
    return Words(2 ** len(given["generator"]), len(given["generator"][0]), weights)


def leak(case: Case, uses: Node, given: Node, gives: Node) -> Secret:
    words, read, both = premise(uses, "keys", Words), premise(uses, "read", Decay), "held" in uses
    number = {name: mpq(case.node[name]) for name in ("tokens", "head_dim", "scale", "max_logit")}
    payload, n = int(given["payload"]), int(number["tokens"])
    ones = int(given["sentinels"]) if both else 0
    exponents, z, y = [mpq(read.exponent)], mpq(read.z), mpq(1)
    if both:
        held = premise(uses, "held", Decay)
        exponents, y = [*exponents, mpq(held.exponent)], mpq(held.z)
    off, rest, logit = (mpq(gives[f"{name}_at_most"]) for name in ("off_target", "rest", "logit"))
    must(payload >= 1 and ones >= both and payload + both <= words.size and payload + ones <= n, "rows")
    must(len(exponents) * words.length <= number["head_dim"], "head_dim")
    must(sum(exponents) * words.length <= 2 * logit and logit <= number["max_logit"], "the logit budget")
    if "max_query" in case.node:
        must(max(exponents) * number["scale"] <= 2 * mpq(case.node["max_query"]), "entries of the queries")
    ascending = sorted(words.weights)
    near = _first([(w, words.weights[w]) for w in ascending], payload if both else payload - 1)
    far = _first([(w, words.weights[w]) for w in reversed(ascending)], payload if both else 0)
    targets = ones if both else n

    def off_target() -> Interval:
        row = sum((count * interval(z) ** w for w, count in near), interval(1))
        if both:
            row = row + (ones - 1) * interval(z) ** far[-1][0]
        return row * (1 + sum((count * interval(y) ** w for w, count in far), interval(0)) / targets) - 1

    case.at_most("off-target mass", lambda: (off_target(), off))
    seen = (payload + ones) ** 2 if both else payload * n
    zero = ((n + 1) ** 2 - seen) / mpq(targets)
    case.at_most("mass of value 0", lambda: (sqrt(interval(z) * y) ** words.length * zero, rest))
    return Secret(payload * (1 + both), off, rest)


def _first(weights: list[tuple[int, int]], left: int) -> list[tuple[int, int]]:
    found = []
    for weight, count in weights:
        if left > 0:
            found.append((weight, min(left, count)))
        left -= count
    return found


def symbols(case: Case, uses: Node, given: Node, gives: Node) -> Bits:
    secret, alphabet, bits = premise(uses, "leak", Secret), int(gives["alphabet"]), mpq(gives["bits_at_least"])
    delta = mpq(case.node["failure"])
    must(alphabet >= 2 and delta * alphabet <= alphabet - 1, "alphabet and failure")
    if "relative" in case.node:
        eta = mpq(case.node["relative"])
        must(alphabet == 2 and (1 + eta) * secret.off < 1 - eta, "0 and 1 are told apart")
    else:
        reach = mpq(case.node["tolerance"]) * (1 + secret.off + secret.rest) + secret.off
        must((alphabet - 1) * reach < 1, "levels are told apart")
    many = secret.rows * int(case.node["value_dim"]) * int(case.node["kv_heads"])

    def worth() -> Interval:
        each = interval(alphabet.bit_length() - 1) if alphabet & (alphabet - 1) == 0 else log2(alphabet)
        if delta:
            each = each + (1 - delta) * log2(1 - delta) + delta * log2(delta / (alphabet - 1))
        return many * each

    case.at_most("bits of all symbols", lambda: (bits, worth()))
    return Bits(bits)


def claimed(case: Case, last: Any) -> None:
    must(isinstance(last, Bits) and int(case.node["state_bits_at_least"]) <= last.bits, "the claim follows")


def taken(case: Case, uses: Node, given: Node, gives: Node) -> Stated:
    """Equal fractions, multiplications, patterns: no question for real arithmetic."""
    case.taken = True
    return Stated(gives)


def same(case: Case, last: Any) -> None:
    """The same numbers; of bits no more."""
    must(isinstance(last, Stated), "the last step counts")
    for name, value in last.node.items():
        more = int(case.node[name]) - int(value)
        must(more == 0 or (more > 0 and name == "state_bits_at_most"), name)


RULES = {
    "tensor-keys": keys, "tensor-leak": leak, "tensor-symbols": symbols, "tensor-orders": taken,
    "tensor-patterns": taken,
}  # fmt: skip
CLAIMS = {"tensor-state-bits": claimed, "tensor-identity": same, "tensor-patterns": same}
