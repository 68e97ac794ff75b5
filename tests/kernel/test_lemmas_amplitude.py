"""The algebra of docs/proofs/amplitude.md, symbolically; its one inequality over the reals by z3."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import needs

sympy = needs("sympy", "lemmas")
z3 = needs("z3", "lemmas")

C, S, W, BETA = sympy.symbols("C s w beta", positive=True)
L = sympy.symbols("L", positive=True, integer=True)


def zero(expression: Any) -> bool:
    return bool(sympy.simplify(expression) == 0)


@pytest.mark.parametrize("length", range(1, 6))
def test_the_determinant_of_amplitude_queries(length: int) -> None:
    """C 1 1^T + s I: s^(L-1) (s + C L); and the constant of h(Q) in bits, exponentiated."""
    queries = C * sympy.ones(length, length) + S * sympy.eye(length)
    determinant = queries.det(method="berkowitz")
    assert zero(determinant - S ** (length - 1) * (S + C * length))
    constant = W**length * determinant * (2 * BETA) ** length
    assert zero(constant - (2 * W * S * BETA) ** length * (1 + C * length / S))


def test_the_answer_and_its_slope() -> None:
    xi, mass, other = sympy.symbols("xi N M", real=True)

    def f(x: Any) -> Any:
        return (x - BETA) / (x + BETA)

    x, y = sympy.symbols("x y", positive=True)
    assert zero(f(x) - f(y) - 2 * BETA * (x - y) / ((x + BETA) * (y + BETA)))
    weight = sympy.exp(xi)
    assert zero(sympy.diff(f(weight + mass), xi) - 2 * BETA * weight / (weight + mass + BETA) ** 2)
    assert zero(f(x + mass) - f(x + other) - 2 * BETA * (mass - other) / ((x + mass + BETA) * (x + other + BETA)))


def test_the_law_of_an_amplitude() -> None:
    b, x = sympy.symbols("b x", positive=True)
    mean = sympy.integrate(sympy.exp(b * x), (x, -W / 2, W / 2)) / W
    assert zero((mean - sympy.sinh(b * W / 2) / (b * W / 2)).rewrite(sympy.exp))
    k = sympy.symbols("k", integer=True, nonnegative=True)
    assert sympy.factor((2 * k + 2) * (2 * k + 3) - 6 * (k + 1)) == 4 * k * (k + 1)  # so (2k+1)! >= 6^k k!
    assert all(sympy.factorial(2 * n + 1) >= 6**n * sympy.factorial(n) for n in range(40))


def test_exponents_of_the_stretches() -> None:
    """a^2/6 at a = C w/2 for 2 L entries; at a = C_m' w/2 for a read's L entries, and at twice that."""
    assert zero(2 * L * (C * W / 2) ** 2 / 6 - L * C**2 * W**2 / 12)
    kappa = ((L - 1) * C**2 + (C + S) ** 2) * W**2 / 24

    def entries(times: int) -> Any:
        return ((L - 1) * (times * C * W / 2) ** 2 + (times * (C + S) * W / 2) ** 2) / 6

    assert zero(entries(1) - kappa)
    assert zero(entries(2) - 4 * kappa)


@pytest.mark.parametrize("agree", [1, -1])
def test_a_place_of_two_keys(agree: int) -> None:
    """One place's part of ln A_il, of ln A'_il, and of a_l's logarithm at the query's entry D there."""
    x_i, x_l, entry = sympy.symbols("x_i x_l D", real=True)
    own, other = W / 2 + x_i, W / 2 + x_l
    differ = (1 - agree) // 2
    relative = C * agree * (1 - other) - C * (1 - own)
    assert zero(relative - (-2 * C * (1 - W / 2) * differ - C * agree * x_l + C * x_i))
    column = C * agree * (1 - other) - C * (1 - other)
    assert zero(column + 2 * C * differ * (1 - other))
    mass = entry * agree * (1 - other) - entry * (1 - W / 2)
    assert zero(mass - (-2 * (1 - W / 2) * differ * entry - entry * agree * x_l))


def test_rows_and_columns_have_one_determinant() -> None:
    kernel = sympy.Matrix(3, 3, lambda i, j: sympy.Symbol(f"k{i}{j}", positive=True))
    rows = sympy.Matrix(3, 3, lambda i, j: kernel[i, j] / kernel[i, i])
    columns = sympy.Matrix(3, 3, lambda i, j: kernel[i, j] / kernel[j, j])
    assert zero(rows.det() - columns.det())


def test_the_askers_own_key() -> None:
    """Relative to the target, in a value read: z^L has the exponent 2 C L (1 - w/2), its mean that and C L w/2."""
    assert zero(C * L + C * L * (1 - W / 2) - 2 * C * L * (1 - W / 2) - C * L * W / 2)
    theta = 1 - W / 2 + sympy.log(BETA) / (C * L + S)  # its weight in an amplitude read is beta
    assert zero((C * L + S) * (theta - (1 - W / 2)) - sympy.log(BETA))


def test_noise_moves_an_answer_by_at_most_the_error() -> None:
    """No X, X' >= m > 0 within slack of each other have answers further apart than 2 beta slack / (m + beta)^2."""
    x, y, low, beta, slack = z3.Reals("x y low beta slack")
    solver = z3.Solver()
    solver.set("timeout", 20_000)
    solver.add(low > 0, beta > 0, x >= low, y >= low, x - y <= slack, y - x <= slack)
    gap = 2 * beta * (x - y) * (low + beta) * (low + beta)
    most = 2 * beta * slack * (x + beta) * (y + beta)
    solver.push()
    solver.add(z3.Or(gap > most, -gap > most))
    assert solver.check() == z3.unsat
    solver.pop()
    solver.add(gap > most / 2)
    assert solver.check() == z3.sat
