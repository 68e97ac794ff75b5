"""The volume rule: bits of state from the determinant of an attention matrix. Proofs: docs/proofs/volume.md.

No separation is needed: values are uniform on [-1, 1], answers are known up to an interval, and entropy does the rest.
Source: ours; Ostrowski's determinant bound.
"""

from __future__ import annotations

from fractions import Fraction

from kvverify.kernel.context import Context, Rule
from kvverify.kernel.document import Malformed, Node, OverLimit, fields, rational
from kvverify.kernel.facts import Fact, StateBits, need, premise, present
from kvverify.kernel.numbers import LOG2_E_UPPER, divergence_lower, log2_lower, log2_upper, log_ratio_upper, round_up
from kvverify.kernel.rules.attention import Determinant, Leak, Matrix, Row
from kvverify.kernel.rules.precondition import factors, preconditioned

MAX_EXACT = 48  # rows of an exact elimination


def determinant(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> Determinant:
    """log2 |det W| of the payload's square attention matrix W = (I + A) / row sums, by the form that is named.

    - ``near-identity``: zero diagonal and row sums of A at most sigma < 1 give ln |det(I + A)| >= -|A|_F^2 c(sigma).
    - ``ostrowski``: |det(I + A)| >= product of (1 - sigma_i), every factor positive.
    - ``exact``: elimination on a rational matrix within the enclosures, less the most that the enclosures' width can
      change a determinant (it is linear in each row, and at most the product of the rows' absolute sums).
    - ``preconditioned``: |det K| >= |det(U L K)| / |det U det L| with Ostrowski's bound on U L K, for triangles U and L
      of a file whose product is nearly an inverse of K, a matrix of the weights over a factor for each row.
    """
    fields(uses, "uses", {"leak"})
    leak = premise(uses, "leak", Leak)
    form = fields(given, "given", {"form"}, {"factors"})["form"]
    fields(given, "given", {"form", "factors"} if form == "preconditioned" else {"form"})
    stated = rational(fields(gives, "gives", {"log2_det_at_least"})["log2_det_at_least"], "log2_det_at_least")
    if form == "near-identity":
        bound = near_identity(leak)
    elif form == "ostrowski":
        bound = _ostrowski(context, leak)
    elif form == "exact":
        bound = _exact(context, leak)
    elif form == "preconditioned":
        bound = _preconditioned(context, leak, given)
    else:
        raise Malformed("form: expected near-identity, ostrowski, exact or preconditioned")
    need(stated <= bound, "log2_det_at_least <= log2 |det W|", stated, bound)
    return Determinant(leak.payload, stated)


def near_identity(leak: Leak) -> Fraction:
    """A lower bound on log2 |det W| over all rows."""
    return -leak.payload * (log2_upper(_row_sum(leak.worst)) + distortion(leak))


def distortion(leak: Leak) -> Fraction:
    """An upper bound on -log2 |det(I + A)| a row: log2 e * c(sigma) * F."""
    sigma, squares = round_up(leak.worst.off_target), round_up(leak.squares, 256)
    need(sigma < 1, "off_target < 1 (rounded up to 2^-128)", sigma, 1)
    return LOG2_E_UPPER * log_ratio_upper(sigma) * squares


def _ostrowski(context: Context, leak: Leak) -> Fraction:
    rows = leak.rows or (leak.worst,)
    context.charge(256 * len(rows))
    total = Fraction(0)
    for i, row in enumerate(rows):
        need(row.off_target < 1, f"off_target of row {i} < 1", row.off_target, 1)
        total += log2_lower(1 - row.off_target) - log2_upper(_row_sum(row))
    return total if leak.rows else total * leak.payload


def _exact(context: Context, leak: Leak) -> Fraction:
    enclose = present(leak.matrix, "the exact form takes the matrix of an attention-row step")
    if leak.payload > MAX_EXACT:
        raise OverLimit(f"limit: exact elimination of {leak.payload} rows (up to {MAX_EXACT})")
    context.charge(leak.payload**3 * 256)
    matrix = enclose()
    size = width = 1
    for row in matrix.low:
        total = sum(map(abs, row))
        size, width = size * total, width * (total + matrix.span * leak.payload)
    bound = abs(_bareiss(matrix.low)) - (width - size)
    need(bound > 0, "|determinant| exceeds the enclosures' width", bound, 0)
    return log2_lower(bound) - matrix.bits * leak.payload - _log2_totals(matrix)


def _preconditioned(context: Context, leak: Leak, given: Node) -> Fraction:
    enclose = present(leak.matrix, "the preconditioned form takes the matrix of an attention-row step")
    lower, upper = factors(context, leak.payload, given)
    matrix = enclose()
    return preconditioned(context, matrix, lower, upper) - _log2_totals(matrix)


def _log2_totals(matrix: Matrix) -> Fraction:
    return sum(map(log2_upper, matrix.totals), Fraction(0))


def _bareiss(matrix: list[list[int]]) -> int:
    """The determinant, by fraction-free elimination."""
    n, a = len(matrix), [list(row) for row in matrix]
    sign, previous = 1, 1
    for k in range(n - 1):
        pivot = next((i for i in range(k, n) if a[i][k]), None)
        if pivot is None:
            return 0
        if pivot != k:
            a[k], a[pivot], sign = a[pivot], a[k], -sign
        for i in range(k + 1, n):
            for j in range(k + 1, n):
                a[i][j] = (a[i][j] * a[k][k] - a[i][k] * a[k][j]) // previous
        previous = a[k][k]
    return sign * a[n - 1][n - 1]


def _row_sum(row: Row) -> Fraction:
    return 1 + row.off_target + row.rest


def volume(context: Context, uses: dict[str, Fact], given: Node, gives: Node) -> StateBits:
    """S >= streams * value_dim (log2 |det W| + payload * g(eps, delta)), 0 < eps < 1, 0 <= delta <= 1 - eps.

    g(eps, delta) = D(Bern(delta) || Bern(1 - eps)). Streams are independent, so their informations add up. For bf16
    inputs eps grows by the rounding of a value.
    """
    fields(uses, "uses", {"determinant"})
    fields(given, "given", set())
    bits = rational(fields(gives, "gives", {"bits_at_least"})["bits_at_least"], "bits_at_least")
    fact, statement = premise(uses, "determinant", Determinant), context.statement
    tolerance = present(statement.tolerance, "the statement's tolerance is additive")
    eps, delta = tolerance + statement.value_rounding, statement.failure
    need(eps < 1 and delta <= 1 - eps, "failure <= 1 - tolerance (with the rounding of bf16)", delta, 1 - eps)
    coordinates = statement.streams * statement.value_dim
    bound = coordinates * (fact.log2_at_least + fact.payload * divergence_lower(eps, delta))
    need(bits <= bound, "bits_at_least <= streams * value_dim (log2 |det W| + payload g)", bits, bound)
    return StateBits(bits)


RULES: dict[str, Rule] = {"determinant": determinant, "volume": volume}
