"""Leaves of tensor attention, as docs/proofs/tensor.md states them; orders of evaluation and patterns stay with the
kernel."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import comb

from kvverify.export.exact import Exact
from kvverify.export.expression import Expression, Number, at_most, below, log2, sqrt, total
from kvverify.export.facts import Bits, Case, Decay, Fact
from kvverify.kernel.document import Malformed, OverLimit, counts, integer, rational, strings

_LENGTH = 1024


@dataclass(frozen=True)
class Words(Fact):
    """Size, length and weights of a code, as stated."""

    size: int
    length: int
    weights: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Secret(Fact):
    """Secret rows, and the stated masses."""

    rows: int
    off_target: Fraction
    rest: Fraction


def keys(case: Case) -> Fact:
    """Words by weight: counting."""
    case.kept("the words of the code, and how many have each weight")
    if "dimension" in case.step.given:
        length = case.count("dimension")
        if not 1 <= length <= _LENGTH:
            raise OverLimit(f"limit: dimension {length}, from 1 to {_LENGTH} are written out")
        return Words(1 << length, length, tuple((w, comb(length, w)) for w in range(1, length + 1)))
    rows = strings(case.step.given.get("generator"), "given.generator")
    if not rows or len(rows) > _LENGTH:
        raise Malformed("given.generator: at least one row")
    return Words(1 << len(rows), len(rows[0]), tuple(sorted(counts(case.step.gives.get("weights"), "weights").items())))


def leak(case: Case) -> Fact:
    """Sizes that fit, the logit, and the masses of both kinds of pairs times the targets'."""
    words, read = case.premise("keys", Words), case.premise("read", Decay)
    both = "held" in case.step.uses
    held = case.premise("held", Decay) if both else Decay(Fraction(0), Fraction(1))
    tokens, dim = _size(case, "tokens"), _size(case, "head_dim")
    payload, sentinels = case.count("payload"), case.count("sentinels") if both else 0
    off_target, rest, logit = (case.gives(f"{name}_at_most") for name in ("off_target", "rest", "logit"))
    case.leaf("rows", "at least one secret row and one sentinel", at_most(1, payload), at_most(int(both), sentinels))
    case.leaf("words", "a word for each secret row, and the zero word", at_most(payload + both, words.size))
    case.leaf("tokens", "secret rows and sentinels <= tokens", at_most(payload + sentinels, tokens))
    case.leaf("dimension", "keys fit head_dim", at_most(words.length * (1 + both), dim))
    cost = (Number(read.exponent) + held.exponent) * words.length / 2
    most = _number(case, "max_logit")
    case.leaf("cost", "logit of the queries <= logit_at_most <= max_logit", at_most(cost, logit), at_most(logit, most))
    if "max_query" in case.fields:
        entry = Number(max(read.exponent, held.exponent)) / 2 * _number(case, "scale")
        case.leaf("query", "entries of the queries <= max_query", at_most(entry, _number(case, "max_query")))
    z, y = Number(read.z), Number(held.z)
    heavy = _first(words.weights[::-1], payload if both else 0)
    terms: list[Expression] = [n * z**e for e, n in _first(words.weights, payload - 1 + both)]
    targets = Number(Fraction(sentinels if both else tokens))
    if heavy:
        terms.append((sentinels - 1) * z ** heavy[-1][0])
    row, column = 1 + total(terms), targets + total([n * y**e for e, n in heavy])
    text = "row times column <= (1 + off_target_at_most) targets"
    case.leaf("off_target", text, at_most(row * column, (1 + Number(off_target)) * targets))
    others = (tokens + 1) ** 2 - (payload + sentinels) * (payload + sentinels if both else tokens)
    zero = sqrt((z * y) ** words.length)
    case.leaf("rest", "pairs of value 0 <= rest_at_most targets", at_most(others * zero, Number(rest) * targets))
    return Secret(payload * (1 + both), off_target, rest)


def symbols(case: Case) -> Fact:
    """Symbols are told apart, and Fano's inequality for each."""
    found, alphabet = case.premise("leak", Secret), integer(case.step.gives.get("alphabet"), "gives.alphabet")
    case.leaf("alphabet", "alphabet >= 2", at_most(2, alphabet))
    off_target = Number(found.off_target)
    if "relative" in case.fields:
        eta = _number(case, "relative")
        case.leaf("apart", "(1 + relative) off_target < 1 - relative", below((1 + eta) * off_target, 1 - eta))
        case.leaf("binary", "alphabet = 2", at_most(alphabet, 2))
    else:
        room = _number(case, "tolerance") * (1 + off_target + found.rest) + off_target
        words = "tolerance (1 + off_target + rest) + off_target < 1/(alphabet - 1)"
        case.leaf("apart", words, below(room, 1 / (Number(Fraction(alphabet)) - 1)))
    delta, levels, bits = _number(case, "failure"), Number(Fraction(alphabet)), case.gives("bits_at_least")
    case.leaf("range", "alphabet failure <= alphabet - 1", at_most(levels * delta, levels - 1))
    each = log2(levels)
    if delta.value:
        each = each + (1 - delta) * log2(1 - delta) + delta * log2(delta / (levels - 1))
    many = found.rows * _size(case, "value_dim") * _size(case, "kv_heads")
    words = "bits_at_least <= symbols (log2 L - H(failure) - failure log2(L - 1))"
    case.leaf("bits", words, at_most(bits, Number(Fraction(many)) * each))
    return Bits(bits)


def claim(case: Case, last: Fact) -> None:
    """The statement's numbers, and its bits against those of the last step."""
    if not isinstance(last, Bits):
        raise Malformed("the last step gives no bits")
    for name in sorted({"tolerance", "relative", "failure"} & case.fields.keys()):
        value = _number(case, name)
        least = below(0, value) if name == "tolerance" else at_most(0, value)
        case.leaf(name, f"0 {'<' if least.strict else '<='} {name} < 1", least, below(value, 1))
    for name in sorted({"scale", "max_logit", "max_query"} & case.fields.keys()):
        case.leaf(name, f"{name} > 0", below(0, _number(case, name)))
    claimed = _size(case, "state_bits_at_least")
    case.leaf("bits", "state_bits_at_least <= what the steps give", at_most(claimed, last.value))


def orders(case: Case) -> Fact:
    """Equal fractions, and multiplications that are counted."""
    case.kept("three orders of evaluation give equal fractions with so many multiplications; entries fit their words")
    return Exact()


def patterns(case: Case) -> Fact:
    """An enumeration."""
    case.kept("so many patterns occur")
    return Exact()


def _first(weights: tuple[tuple[int, int], ...], left: int) -> list[tuple[int, int]]:
    found = []
    for weight, count in weights:
        if left > 0:
            found.append((weight, min(count, left)))
        left -= count
    return found


def _size(case: Case, name: str) -> int:
    return integer(case.fields.get(name), f"statement.{name}")


def _number(case: Case, name: str) -> Number:
    return Number(rational(case.fields.get(name), f"statement.{name}"))
