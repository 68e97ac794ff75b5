"""State-bits certificates of the claims: keys that separate, at the least logit budget at which they do.

What each of them proves of a claim: docs/proofs/ledger.md. The rules: docs/proofs/softmax.md (separation, levels) and
information.md (random-access-code, counting). Source: the reduction of Haris and Onak (COLT 2025); constants ours.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import comb, floor

from kvverify.bounds.candidate import Candidate, unit
from kvverify.bounds.ceiling import ceiling
from kvverify.bounds.certificate import build
from kvverify.bounds.steps import Node, down, leak_steps, log2_up, step
from kvverify.claims.evidence.program import comparison, ln, sqrt, term, threshold, within
from kvverify.codes import by_name
from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.problem import Problem

TENTH, HALF = Fraction(1, 10), Fraction(1, 2)
MAX_LOGIT = Fraction(4096)  # of the problem class
_GRID = 64  # of the least budget
_MOST_SYMBOLS = 1 << 14  # whose strings are counted
_MASS_BITS = 16


def state(
    keys: str = "kerdock(16)", payload: int | None = None, tokens: int | None = None, head_dim: int | None = None,
    relative: Fraction = HALF, failure: Fraction = TENTH, max_logit: Fraction | None = None, body: str = "cube",
    tolerance: Fraction | None = None,
) -> Node:  # fmt: skip
    """(1 - H(failure)) * payload * head_dim bits of state, at the least.

    ``payload`` of the family's keys carry a secret (all of them by default), the rest of ``tokens`` are pads of value
    0. ``body``: "cube" bounds |q|_1 |k|_inf / scale by ``max_logit``, "ball" |q|_2 |k|_2 / scale; by default that is
    the least multiple of 1/64 at which answers tell the values apart. With ``tolerance`` the error is additive, of
    values in [-1, 1], and ``relative`` is not read. Raises UsageError that names the hypothesis.
    """
    return build(*_separated(keys, payload, tokens, head_dim, relative, failure, max_logit, body, tolerance))


def sparse(
    keys: str = "hypercube(4)", payload: int | None = None, relative: Fraction = HALF, failure: Fraction = TENTH,
    max_logit: Fraction | None = None,
) -> Node:  # fmt: skip
    """HO-6: the same bound on streams whose every causal row has most of its mass on one token, which is stated.

    All tokens carry a secret. Raises UsageError that names the hypothesis.
    """
    tree = state(keys, payload, relative=relative, failure=failure, max_logit=max_logit)
    gives = next(one["gives"] for one in tree["steps"] if one["rule"] == "leak")
    spread = Fraction(gives["off_target_at_most"]) + Fraction(gives["rest_at_most"])
    mass = down(1 / (1 + spread), _MASS_BITS)
    return document.build({**tree["statement"], "top_mass_at_least": str(mass)}, tree["steps"])


def window(
    window: int = 3, keys: str = "paraboloid(2,2)", relative: Fraction = HALF, failure: Fraction = TENTH,
    max_logit: Fraction | None = None, head_dim: int | None = None,
) -> Node:  # fmt: skip
    """HO-8: a window of so many tokens, the asker's among them, so that window - 1 tokens carry a secret.

    Raises UsageError that names the hypothesis.
    """
    if window < 2:
        raise UsageError(f"window: {window} given, at least 2 is needed: the asker's token and one before it")
    return state(keys, window - 1, head_dim=head_dim, relative=relative, failure=failure, max_logit=max_logit)


def counted(bits: int = 16, failure: Fraction = TENTH) -> Node:
    """C1 without logarithms: INDEX on ``bits`` bits, by counting who reads how many strings; in integers.

    The bits are those of ``bits`` keys {-1, 1}^d and one value coordinate. Raises UsageError that names the hypothesis.
    """
    if not 1 <= bits <= _MOST_SYMBOLS:
        raise UsageError(f"bits: {bits} given, 1 to {_MOST_SYMBOLS} is needed: all sums of binomials are exact")
    cube = f"hypercube({max(1, (bits - 1).bit_length())})"
    candidate, problem = _separated(cube, bits, None, None, HALF, failure, None, "cube", None)
    steps = build(candidate, replace(problem, value_dim=1))["steps"][:-1]
    most = _counted(bits, failure)
    if not most:
        raise UsageError(
            f"bits: {bits} given, more are needed: at failure {failure} counting excludes no state of them"
        )
    last = step("bits", "counting", {"reading": "reading"}, {}, {"bits_at_least": str(most)})
    return document.build(replace(problem, value_dim=1).statement(most), [*steps, last])


def gap(
    tokens: int = 256,
    relative: Fraction = HALF,
    scale_square: Fraction = Fraction(1),
    step: Fraction = Fraction(1, 100),
) -> Node:
    """C2, HO-2: the least multiple of ``step`` above scale (ln(n - 1) + ln((1 + eta)/(1 - eta))), enough as the gap
    between <q_i, k_i> and every other <q_i, k_l>. Raises UsageError that names the hypothesis.
    """
    within(tokens >= 2, "n >= 2", tokens)
    within(0 <= relative < 1, "0 <= eta < 1", relative)
    within(scale_square > 0 and step > 0, "a scale and a step above 0", (scale_square, step))
    least = sqrt(scale_square) * ln((tokens - 1) * (1 + relative) / (1 - relative))
    return comparison(*threshold(lambda k: least < term(k * step), 0)[1])


def flat(tokens: int = 16, relative: Fraction = HALF) -> Node:
    """HO-6, Alice's queries 0: her last causal row has the mass 1/tokens on each token, and not (1 + eta)/2 on one.

    Raises UsageError that names the hypothesis.
    """
    if not 0 <= relative < 1:
        raise UsageError(f"relative: {relative} given, at least 0 and below 1 is needed")
    if tokens < 2:
        raise UsageError(f"tokens: {tokens} given, at least 2 is needed: one token has all of the mass")
    return comparison(term(Fraction(1, tokens)) < term(1 + relative) / 2)


def enough(
    tokens: int = 256, head_dim: int = 16, tolerance: Fraction = Fraction(1, 100), failure: Fraction = TENTH,
    max_logit: Fraction = Fraction(8),
) -> Node:  # fmt: skip
    """The other side in bits: so many are enough under an additive tolerance, by a quantiser with public dither.

    Raises UsageError outside of the class, or where no quantiser is found.
    """
    found = ceiling(Problem(tokens, head_dim, head_dim, max_logit, failure, tolerance=tolerance))
    if found.certificate is None:
        raise UsageError(f"tolerance: {tolerance} given, no quantiser keeps it here: {found.reason}")
    return found.certificate


def fano_bits(symbols: int, failure: Fraction = TENTH) -> Fraction:
    """(1 - H(failure)) symbols in bits, rounded down: what INDEX on so many bits needs."""
    if not failure:
        return Fraction(symbols)
    lost = failure * log2_up(1 / failure) + (1 - failure) * log2_up(1 / (1 - failure))
    return symbols * (1 - lost)


def cache_factor(word_bits: int, failure: Fraction = TENTH) -> str:
    """2 n d words of so many bits over the bound on n d symbols, to a tenth, rounded down: what is not excluded."""
    bits = 1 - failure * log2_up(1 / failure) - (1 - failure) * log2_up(1 / (1 - failure))
    tenths = floor(20 * word_bits / bits)
    return f"{tenths // 10}.{tenths % 10}"


def _counted(symbols: int, failure: Fraction) -> int:
    """The most b such that 2^b - 1 states misread too many of the symbols (docs/proofs/information.md, counting)."""
    balls, total = [], 0
    for j in range(symbols):
        total += comb(symbols, j)
        balls.append(total)

    def excluded(bits: int) -> bool:
        states, strings = (1 << bits) - 1, 1 << symbols
        missed = sum(max(0, strings - states * ball) for ball in balls)
        return missed > failure * symbols * strings

    return max((bits for bits in range(1, symbols + 1) if excluded(bits)), default=0)


def _separated(
    keys: str, payload: int | None, tokens: int | None, head_dim: int | None, relative: Fraction, failure: Fraction,
    max_logit: Fraction | None, body: str, tolerance: Fraction | None,
) -> tuple[Candidate, Problem]:  # fmt: skip
    """The candidate and its problem, hypotheses checked."""
    family = by_name(keys)
    many = family.size if payload is None else payload
    if not 1 <= many <= family.size:
        raise UsageError(f"payload: {many} given, 1 to {family.size} is needed: {keys} has {family.size} keys")
    if tokens is not None and tokens < many:
        raise UsageError(f"tokens: {tokens} given, at least {many} is needed: each token of the payload is one")
    dim = family.dim if head_dim is None else head_dim
    if dim < family.dim:
        raise UsageError(f"head-dim: {dim} given, at least {family.dim} is needed: {keys} has so many coordinates")
    problem = Problem(
        tokens or many, dim, dim, MAX_LOGIT, failure, tolerance=tolerance, relative=None if tolerance else relative,
        body=body,
    )  # fmt: skip
    candidate = Candidate(family, many, "levels" if tolerance else "separation", 2, 0.0, 0.0)
    least = _least_logit(candidate, problem)
    if max_logit is None:
        max_logit = least
    elif max_logit <= 0 or not _apart(candidate, problem, max_logit):
        raise UsageError(
            f"max-logit: {max_logit} given, at least {least} is needed: separation, {_condition(tolerance)}, needs the "
            "gap ln(others) + ln((1 + eta)/(1 - eta)) times the scale"
        )
    return candidate, replace(problem, max_logit=max_logit)


def _condition(tolerance: Fraction | None) -> str:
    if tolerance is None:
        return "(1 - eta) W_ii > (1 + eta) sum of other W_il"
    return "W_ii - sum of other W_il > tolerance times the row"


def _least_logit(candidate: Candidate, problem: Problem) -> Fraction:
    """The least multiple of 1/64 at which the answers are apart. Raises UsageError where none is in the class."""
    low, high = 0, int(MAX_LOGIT) * _GRID
    if not _apart(candidate, problem, MAX_LOGIT):
        raise UsageError(
            f"max-logit: {candidate.family.name} with {candidate.payload} keys needs more than {MAX_LOGIT}, the "
            f"largest budget of the class, for separation: {_condition(problem.tolerance)}"
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _apart(candidate, problem, Fraction(middle, _GRID)) else (middle, high)
    return Fraction(high, _GRID)


def _apart(candidate: Candidate, problem: Problem, logit: Fraction) -> bool:
    """The condition of the rule, with the sums as the certificate states them."""
    exponent = logit / unit(candidate.family, problem)
    off_target, _, rest = leak_steps(candidate, replace(problem, max_logit=logit), exponent)[1]
    if problem.relative is not None:
        return 1 - problem.relative > (1 + problem.relative) * off_target
    assert problem.tolerance is not None
    return problem.tolerance * (1 + off_target + rest) + off_target < 1
