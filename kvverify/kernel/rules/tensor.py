"""Tensor attention: what any compressor keeps of four factor caches. Proofs: docs/proofs/tensor.md.

A token is four rows k1, k2 in [-1, 1]^head_dim, v1, v2 in [-1, 1]^value_dim; every pair (i, l) of tokens is a column of
the softmax, with the score <q, k1_i o k2_l> / scale and the value v1_i o v2_l. The asker's own token brings 2 n + 1
more pairs. Secret are rows of v1, and of v2: a row is read through a pair whose other value row is known to be ones.
Source: the reduction is that of Haris and Onak (COLT 2025), for tensor attention of Chen et al. (arXiv 2503.11108), as
recorded; that both value caches are secret, and sentinels of more than one token, are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Malformed, Node, fields, integer, rational
from kvverify.kernel.facts import Fact, Goal, need, of_kind, premise, present
from kvverify.kernel.numbers import fano_lower, power_upper, root_upper
from kvverify.kernel.rules.attention import Decay
from kvverify.kernel.rules.codes import all_words, linear_words
from kvverify.kernel.rules.softmax import MAX_ALPHABET

Terms = list[tuple[int, int]]  # (distance, number of words)


@dataclass(frozen=True)
class Words(Fact):
    """``size`` words, the zero word among them; from each of them ``weights`` counts the others by their distance."""

    size: int
    length: int
    weights: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Secret(Fact):
    """``rows`` secret rows of a tensor head, and what a read of one has beside its targets, relative to their mass.

    ``off_target``: pairs whose values may depend on the secret; ``rest``: pairs of value 0, the asker's own among them.
    """

    rows: int
    off_target: Fraction
    rest: Fraction


@dataclass(frozen=True)
class TensorBits(Fact):
    """log2 of the number of states of all tensor heads together is at least this."""

    at_least: Fraction


@dataclass(frozen=True)
class TensorStateBits(Goal):
    """log2 of the number of states of any compressor of tensor attention is at least ``bits``.

    ``max_logit`` bounds |q|_1 / scale, hence every score; ``max_query``, where given, bounds |q_j|. Exactly one of
    ``tolerance`` (additive) and ``relative`` is given.
    """

    tokens: int
    head_dim: int
    value_dim: int
    kv_heads: int
    scale: Fraction
    max_logit: Fraction
    max_query: Fraction | None
    failure: Fraction
    tolerance: Fraction | None
    relative: Fraction | None
    bits: int

    def said(self) -> str:
        """The number of tokens, and of bits."""
        return f"state of tensor attention over {self.tokens} tokens >= {self.bits} bits"

    def met_by(self, last: Fact) -> Fraction:
        """The last step gives that many bits."""
        proved = of_kind(last, TensorBits, "the last step").at_least
        need(self.bits <= proved, "state_bits_at_least <= what the steps prove", self.bits, proved)
        return proved


def tensor_keys(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Words:
    """All words of a linear code by their weights, or all 2^L words: what a half of a product key is made from."""
    fields(uses, "uses", set())
    context.about(TensorStateBits)
    read = all_words(given, gives) if "dimension" in given else linear_words(context, given, gives)
    size, length, weights = read
    return Words(size, length, tuple(sorted(weights.items())))


def tensor_leak(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Secret:
    """Bounds on all pairs but the targets, over the targets' mass, for queries c u (o) c' 1 within the logit budget.

    With ``held`` (decay y of e^(-2 c')): ``payload`` secret rows of v1 and as many of v2, k1_i = (u_i, 1), k2_l = (1,
    u_l) with the heaviest words u; ``sentinels`` further tokens of the zero word, values 1. A read of row i has the
    off-target mass (1 + sum z^distance + (sentinels - 1) z^lightest)(1 + sum y^weight / sentinels) - 1 at most. Without
    it: secret rows of v1 alone, k2 = v2 = 1. Other tokens, and the asker's own, have factors 0.
    """
    fields(uses, "uses", {"keys", "read"}, {"held"})
    goal, words, read = context.about(TensorStateBits), premise(uses, "keys", Words), premise(uses, "read", Decay)
    held = premise(uses, "held", Decay) if "held" in uses else Decay(Fraction(0), Fraction(1))
    both = "held" in uses
    fields(given, "given", {"payload", "sentinels"} if both else {"payload"})
    names = ("off_target_at_most", "rest_at_most", "logit_at_most")
    off_target, rest, logit = (rational(fields(gives, "gives", set(names))[name], name) for name in names)
    payload = integer(given["payload"], "payload")
    sentinels = integer(given["sentinels"], "sentinels") if both else 0
    need(payload >= 1 and sentinels >= both, "one secret row and one sentinel at least", payload, sentinels)
    need(payload + both <= words.size, "a word for each secret row, and the zero word", payload + both, words.size)
    need(payload + sentinels <= goal.tokens, "secret rows and sentinels <= tokens", payload + sentinels, goal.tokens)
    need(words.length * (1 + both) <= goal.head_dim, "keys fit head_dim", words.length * (1 + both), goal.head_dim)
    cost = (read.exponent + held.exponent) * words.length / 2
    need(cost <= logit, "logit of the queries <= logit_at_most", cost, logit)
    need(logit <= goal.max_logit, "logit_at_most <= max_logit", logit, goal.max_logit)
    entry = max(read.exponent, held.exponent) / 2 * goal.scale
    need(
        goal.max_query is None or entry <= goal.max_query, "entries of the queries <= max_query", entry, goal.max_query
    )
    heaviest = _first(reversed(words.weights), payload) if both else []
    first = _weigh(context, _first(words.weights, payload - 1 + both), read.at_most)
    targets = sentinels if both else goal.tokens
    second = _weigh(context, heaviest, held.at_most) / targets
    if both:
        first += (sentinels - 1) * _weigh(context, [(heaviest[-1][0], 1)], read.at_most)
    found = (1 + first) * (1 + second) - 1
    need(found <= off_target, "off-target mass <= off_target_at_most", found, off_target)
    others = (goal.tokens + 1) ** 2 - (payload + sentinels) * (payload + sentinels if both else goal.tokens)
    zero = root_upper(power_upper(read.at_most * held.at_most, words.length))
    need(others * zero <= rest * targets, "mass of pairs of value 0 <= rest_at_most", others * zero, rest * targets)
    return Secret(payload * (1 + both), off_target, rest)


def tensor_symbols(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> TensorBits:
    """Entries of the secret rows are symbols of ``alphabet`` levels, each read back: bits <= symbols * F(L, failure).

    Additive tolerance eps: L equal steps of [-1, 1], 1/(L - 1) > eps (1 + off_target + rest) + off_target. Relative
    tolerance eta: 0 and 1, (1 - eta) > (1 + eta) off_target. Both strictly. failure <= 1 - 1/L.
    """
    fields(uses, "uses", {"leak"})
    fields(given, "given", set())
    stated = fields(gives, "gives", {"alphabet", "bits_at_least"})
    goal, secret = context.about(TensorStateBits), premise(uses, "leak", Secret)
    alphabet, bits = integer(stated["alphabet"], "alphabet"), rational(stated["bits_at_least"], "bits_at_least")
    need(2 <= alphabet <= MAX_ALPHABET, "2 <= alphabet <= 2^64", alphabet, MAX_ALPHABET)
    if goal.tolerance is not None:
        low = Fraction(1, alphabet - 1)
        high = goal.tolerance * (1 + secret.off_target + secret.rest) + secret.off_target
        need(low > high, "1/(alphabet - 1) > tolerance (1 + off_target + rest) + off_target", low, high)
    else:
        eta = present(goal.relative, "the statement has a tolerance")
        need(alphabet == 2, "alphabet = 2 under a relative tolerance", alphabet, 2)
        low, high = 1 - eta, (1 + eta) * secret.off_target
        need(low > high, "(1 - relative) > (1 + relative) off_target", low, high)
    need(alphabet * goal.failure <= alphabet - 1, "failure <= 1 - 1/alphabet", goal.failure, f"1 - 1/{alphabet}")
    symbols = secret.rows * goal.value_dim * goal.kv_heads
    bound = symbols * fano_lower(alphabet, goal.failure)
    need(bits <= bound, "bits_at_least <= symbols * F(alphabet, failure)", bits, bound)
    return TensorBits(bits)


def _first(weights: Iterable[tuple[int, int]], number: int) -> Terms:
    """The first ``number`` words of a histogram in its order."""
    found = []
    for weight, count in weights:
        if number > 0:
            found.append((weight, min(count, number)))
        number -= count
    return found


def _weigh(context: Context, terms: Terms, z: Fraction) -> Fraction:
    """sum n z^e over terms (e, n), each power rounded up."""
    context.charge(100 * sum(e.bit_length() for e, _ in terms))
    return sum((n * power_upper(z, e) for e, n in terms), Fraction(0))


def state_bits(node: Node) -> Goal:
    """Read a statement about tensor attention. Raises Malformed where a field is missing or out of range."""
    sizes = ("tokens", "head_dim", "value_dim", "kv_heads", "state_bits_at_least")
    one_of = sorted({"tolerance", "relative"} & node.keys())
    fields(node, "statement", {"claim", *sizes, "scale", "max_logit", "failure", *one_of}, {"max_query"})
    size = {name: integer(node[name], f"statement.{name}") for name in sizes}
    names = ("scale", "max_logit", "failure", *one_of, *({"max_query"} & node.keys()))
    number = {name: rational(node[name], f"statement.{name}") for name in names}
    _within(len(one_of) == 1, "exactly one of 'tolerance' and 'relative'")
    for name, value in size.items():
        _within(value >= (name != "state_bits_at_least"), f"{name} at least 1, bits at least 0")
    for name in ("scale", "max_logit", "max_query"):
        _within(number.get(name, 1) > 0, f"{name} above 0")
    _within(0 <= number["failure"] < 1, "failure at least 0 and below 1")
    _within(0 < number.get("tolerance", Fraction(1, 2)) < 1, "tolerance above 0 and below 1")
    _within(0 <= number.get("relative", 0) < 1, "relative at least 0 and below 1")
    bits = size.pop("state_bits_at_least")
    return TensorStateBits(
        **size, scale=number["scale"], max_logit=number["max_logit"], max_query=number.get("max_query"),
        failure=number["failure"], tolerance=number.get("tolerance"), relative=number.get("relative"), bits=bits,
    )  # fmt: skip


def _within(condition: bool, right: str) -> None:
    if not condition:
        raise Malformed(f"statement: expected {right}")


RULES: dict[str, Rule] = {"tensor-keys": tensor_keys, "tensor-leak": tensor_leak, "tensor-symbols": tensor_symbols}
CLAIMS: dict[str, Callable[[Node], Goal]] = {"tensor-state-bits": state_bits}
