"""From reads to bits of state: entropies, determinants, joint secrets, amplitudes. Inequalities of docs/format.md."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from gmpy2 import comb, mpq, mpz

from tests.engines.facts import Determinant, Leak, Node, Reading, Scaled, StateBits, Tilt, family, premise
from tests.engines.interval import (
    Case,
    Interval,
    Number,
    Wide,
    bits_now,
    exp,
    interval,
    log1p,
    log2,
    log2_e,
    must,
    within,
)

ROWS = 64  # of an elimination
SYMBOLS = 4096


def divergence(eps: Number, delta: Number) -> Interval:
    """g(eps, delta) for 0 < eps < 1 and 0 <= delta <= 1 - eps."""
    eps, delta = interval(eps), interval(delta)
    found = (1 - delta) * log2((1 - delta) / eps)
    return found if delta.high == 0 else found + delta * log2(delta / (1 - eps))


def gain(case: Case, more: Any) -> Callable[[], Interval]:
    """g at the tolerance and ``more``, its range condition decided."""
    eps, delta = case.problem.additive + more, case.problem.failure
    must(eps < 1 and delta <= 1 - eps, "failure <= 1 - tolerance")
    return lambda: divergence(eps, delta)


def log_ratio(x: Any) -> Interval:
    """c(x) = sum over k >= 2 of x^(k-2)/k, 0 <= x < 1: the series up to 1/2, and its closed form beyond."""
    if 2 * x > 1:
        return (-log1p(-x) - x) / (interval(x) ** 2)
    total, power, k = interval(0), interval(1), 2
    while power.high > mpq(1, 1 << bits_now()):
        total, power, k = total + power / k, power * x, k + 1
    return total + Interval(interval(0).low, (power * 2 / k).high)  # the rest is at most x^(k-2)/(k (1 - x))


def distortion(leaked: Leak) -> Interval:
    """log2(e) c(off_target) squares."""
    return log2_e() * log_ratio(leaked.off) * leaked.squares


def near_identity(leaked: Leak) -> Interval:
    """A lower bound of log2 |det W|."""
    return -(leaked.payload * (log2(1 + leaked.off + leaked.rest) + distortion(leaked)))


def random_access_code(case: Case, uses: Node, given: Node, gives: Node) -> StateBits:
    reading, stated, delta = premise(uses, "reading", Reading), mpq(gives["bits_at_least"]), case.problem.failure
    alphabet, symbols = reading.alphabet, reading.payload * case.problem.value_dim * case.problem.streams
    must(delta <= 1 - mpq(1, alphabet), "failure <= 1 - 1/alphabet")

    def each() -> Interval:
        if not delta:
            return log2(alphabet)
        entropy = -(delta * log2(delta) + (1 - delta) * log2(1 - delta))
        return log2(alphabet) - entropy - delta * log2(alphabet - 1)

    case.at_most("bits_at_least <= symbols * F(alphabet, failure)", lambda: (stated, symbols * each()))
    return StateBits(stated, reading.top)


def counting(case: Case, uses: Node, given: Node, gives: Node) -> StateBits:
    """No real number: decided in integers."""
    reading, bits, delta = premise(uses, "reading", Reading), int(gives["bits_at_least"]), case.problem.failure
    alphabet, symbols = reading.alphabet, reading.payload * case.problem.value_dim * case.problem.streams
    must(delta <= 1 - mpq(1, alphabet) and bits >= 1, "failure <= 1 - 1/alphabet and bits_at_least >= 1")
    within(symbols <= SYMBOLS and alphabet < 1 << 16, f"{symbols} symbols of {alphabet} levels")
    words, states = mpz(alphabet) ** symbols, (mpz(1) << bits) - 1
    errors, ball = mpz(0), mpz(0)
    for j in range(symbols):
        ball += comb(symbols, j) * mpz(alphabet - 1) ** j
        if states * ball >= words:
            break
        errors += words - states * ball
    must(errors > delta * symbols * words, "errors of 2^bits - 1 states > failure * symbols * words")
    return StateBits(mpq(bits), reading.top)


def determinant(case: Case, uses: Node, given: Node, gives: Node) -> Determinant:
    """``exact`` and ``preconditioned`` are judged by the determinant itself, whatever the factors are.

    Over the limit, or of rows that are, it is left open and taken as stated.
    """
    leaked, stated, form = premise(uses, "leak", Leak), mpq(gives["log2_det_at_least"]), given["form"]
    if form == "near-identity":
        must(leaked.off < 1, "off_target < 1")
        case.at_most("log2_det_at_least <= log2 |det W|", lambda: (stated, near_identity(leaked)))
    elif leaked.unread or (form != "ostrowski" and leaked.payload > ROWS):
        case.open.append(f"limit: rows that were not read, or a determinant of more than {ROWS} rows")
    elif form == "ostrowski":
        case.at_most("off_target of every row < 1", lambda: (_largest(_rows(leaked)), 1), strict=True)
        case.at_most("log2_det_at_least <= log2 |det W|", lambda: (stated, _ostrowski(leaked)))
    else:
        must(leaked.matrix is not None, "rows of an attention-row step")
        case.at_most("log2_det_at_least <= log2 |det W|", lambda: (stated, _exact(leaked)))
    return Determinant(leaked.payload, stated)


def _rows(leaked: Leak) -> list[tuple[Interval, Interval]]:
    """(off_target, rest) of every row, or of the worst one."""
    return leaked.rows() if leaked.rows else [(interval(leaked.off), interval(leaked.rest))]


def _ostrowski(leaked: Leak) -> Interval:
    total = _sum(log2(1 - off) - log2(1 + off + rest) for off, rest in _rows(leaked))
    return total if leaked.rows else total * leaked.payload


def _sum(terms: Any) -> Interval:
    return reduce(Interval.__add__, terms, interval(0))


def _largest(rows: list[tuple[Interval, Interval]]) -> Interval:
    return reduce(Interval.max, (off for off, _ in rows), interval(0))


def _exact(leaked: Leak) -> Interval:
    """log2 |det (I + A)| by elimination in intervals, less the logarithms of the row sums."""
    assert leaked.matrix is not None
    assert leaked.rows is not None
    a, total = [list(row) for row in leaked.matrix()], interval(0)
    while a:
        pivot = max(a, key=lambda row: abs(row[0]).low if not row[0].low <= 0 <= row[0].high else interval(0).low)
        a = [row for row in a if row is not pivot]
        if pivot[0].low <= 0 <= pivot[0].high:
            raise Wide("no pivot")
        total += log2(abs(pivot[0]))
        ratios = [row[0] / pivot[0] for row in a]
        a = [[x - r * y for x, y in zip(row[1:], pivot[1:], strict=True)] for r, row in zip(ratios, a, strict=True)]
    return total - _sum(log2(1 + off + rest) for off, rest in leaked.rows())


def volume(case: Case, uses: Node, given: Node, gives: Node) -> StateBits:
    fact, stated, problem = premise(uses, "determinant", Determinant), mpq(gives["bits_at_least"]), case.problem
    g, coordinates = gain(case, mpq(1, 512) if problem.bf16 else 0), problem.streams * problem.value_dim
    case.at_most(
        "bits_at_least <= streams * value_dim (log2 |det W| + payload g)",
        lambda: (stated, coordinates * (fact.bits + fact.payload * g())),
    )
    return StateBits(stated)


def _tilted(leaked: Leak) -> Tilt:
    lean = family(leaked).tilt
    must(lean is not None, "the key reads' budget has a tilt")
    assert lean is not None
    return lean


def joint(case: Case, uses: Node, given: Node, gives: Node) -> StateBits:
    problem, stated, coordinates = case.problem, mpq(gives["bits_at_least"]), int(given["key_coordinates"])
    values, keys = premise(uses, "values", Leak), premise(uses, "keys", Leak)
    lean, code = _tilted(keys), family(keys).keys
    must(family(values).keys is code and values.payload == keys.payload, "one key step and one payload")
    must(coordinates >= 1 and code.dim + coordinates <= problem.key_dim, "code and payload fit the key dimension")
    must(values.off < 1 and keys.off < 1, "off_target < 1 in both leaks")
    moved = lean.strength / 1024
    if lean.ball is None:
        must(problem.body == "cube", "a tilt of the cube")
    else:
        radius, number = lean.ball
        must(problem.body == "ball" and number == coordinates, "a tilt of the ball, of as many coordinates")
        must(radius <= code.beside, "room beside the shrunk keys")
        power = mpq(1)
        while power / 2 >= radius:
            power /= 2
        moved *= power
    g_value, g_key = gain(case, mpq(1, 512) if problem.bf16 else 0), gain(case, moved if problem.bf16 else 0)

    def total() -> Interval:
        mean, entropy = lean.law()
        value_part = near_identity(values) + values.payload * g_value()
        crowd = log2(1 + (keys.off * mean + keys.rest) / 2)
        key_part = keys.payload * (g_key() + entropy - 2 * crowd - distortion(keys))
        return problem.streams * ((problem.value_dim - 1) * value_part.max(0) + coordinates * key_part.max(0))

    case.at_most("bits_at_least <= streams * (value part + key part)", lambda: (stated, total()))
    return StateBits(stated)


def amplitude(case: Case, uses: Node, given: Node, gives: Node) -> StateBits:
    problem, stated, coordinates = case.problem, mpq(gives["bits_at_least"]), int(given["key_coordinates"])
    w, s, beta, slack = (mpq(given[name]) for name in ("width", "strength", "reference", "slack"))
    must(problem.body == "cube" and not problem.bf16, "the cube, and real inputs")
    must(0 < w < 1 and min(s, beta, slack) > 0 and coordinates >= 0, "parameters in range")
    names = {"values", "values-worst", "amplitudes"} | ({"keys", "keys-worst"} if coordinates else set())
    must(set(uses) == names, "key reads just where there are key coordinates")
    leaks = {name: premise(uses, name, Leak) for name in sorted(names)}
    code, payload = family(leaks["values"]).keys, leaks["values"].payload
    must(all(family(x).keys is code and x.payload == payload for x in leaks.values()), "one key step, one payload")
    must(code.signs and code.dim + coordinates <= problem.key_dim, "sign keys that fit, with the payload")
    parts = [(problem.value_dim - 1, _amplitude_values(case, leaks, w))]
    if coordinates:
        parts.append((coordinates, _amplitude_keys(case, leaks, w)))
    parts.append((1, _amplitudes(case, leaks["amplitudes"], w, s, beta, slack)))

    def total() -> Interval:
        return problem.streams * payload * _sum((many * part()).max(0) for many, part in parts)

    case.at_most("bits_at_least <= streams * payload (three parts)", lambda: (stated, total()))
    return StateBits(stated)


def _scale(case: Case, pool: Scaled, w: Any, beside: Any) -> Any:
    scale = pool.decay.exponent / (2 - w)
    must(scale * pool.keys.dim + beside <= case.problem.max_logit, "C L + b <= max_logit")
    return scale


def _worst(leaks: dict[str, Leak], pool: str, scale: Any, w: Any) -> Leak:
    worst = leaks[f"{pool}-worst"]
    must(family(worst).decay.exponent <= 2 * scale * (1 - w), "e0 <= 2 C (1 - w)")
    must(worst.off < 1, "off_target < 1 in the worst case")
    return worst


def _amplitude_values(case: Case, leaks: dict[str, Leak], w: Any) -> Callable[[], Interval]:
    leaked = leaks["values"]
    scale, g = _scale(case, family(leaked), w, 0), gain(case, 0)
    worst, spread = _worst(leaks, "values", scale, w), family(leaked).keys.dim * (scale * w) ** 2 / 12
    return lambda: g() - log2(1 + exp(spread) * (leaked.off + leaked.rest)) - distortion(worst)


def _amplitude_keys(case: Case, leaks: dict[str, Leak], w: Any) -> Callable[[], Interval]:
    leaked = leaks["keys"]
    lean = _tilted(leaked)
    must(lean.ball is None, "a tilt of the cube")
    scale, g = _scale(case, family(leaked), w, lean.strength), gain(case, 0)
    worst, spread = _worst(leaks, "keys", scale, w), family(leaked).keys.dim * (scale * w) ** 2 / 12

    def part() -> Interval:
        mean, entropy = lean.law()
        crowd = log2(1 + exp(spread) * (leaked.off * mean + leaked.rest) / 2)
        return g() + entropy - 2 * crowd - distortion(worst)

    return part


def _amplitudes(case: Case, leaked: Leak, w: Any, s: Any, beta: Any, slack: Any) -> Callable[[], Interval]:
    pool, problem = family(leaked), case.problem
    length, c = pool.keys.dim, _scale(case, pool, w, s)
    x, k = (c * length + s) * w / 2, ((length - 1) * c**2 + (c + s) ** 2) * w**2 / 24
    must(beta >= 1, "reference >= 1")
    case.at_most("reference <= e^x", lambda: (beta, exp(x)))
    nearest = min(pool.keys.histogram, default=1)

    def widened() -> tuple[Interval, Interval]:
        moved = 2 * beta * slack / ((exp(-x) + beta) ** 2)
        spread = 2 * leaked.squares * (exp(4 * k) - 1)
        missed = 2 * exp(-(slack**2 / (spread + mpq(2, 3) * slack * interval(pool.decay.z) ** nearest * exp(x))))
        return problem.additive + moved, problem.failure + missed

    case.at_most("eps + E + delta + P <= 1", lambda: (_sum(widened()), 1))

    def part() -> Interval:
        eps, delta = widened()
        weight = exp(k) * (1 + leaked.off) + leaked.rest + beta
        read = divergence(eps, delta) + log2(w * s * beta) - 2 * log2(weight)
        return length * read + log2(1 + c * length / s)

    return part


RULES = {
    "random-access-code": random_access_code, "counting": counting, "determinant": determinant, "volume": volume,
    "joint": joint, "amplitude": amplitude,
}  # fmt: skip
