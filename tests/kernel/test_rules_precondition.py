"""Determinants through an approximate inverse: never above the true one, close to it, whatever the file may hold."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from flint import arb, fmpq, fmpq_mat
from hypothesis import given
from hypothesis import strategies as st

from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules.attention import Leak, Matrix, Row
from kvverify.kernel.rules.packed import ENTRY, SPAN
from kvverify.kernel.rules.precondition import factors, preconditioned
from tests.kernel.apply import Node, accepts, context
from tests.kernel.mutants import put, without
from tests.kernel.own_controls import KEYS, QUERIES, controls, inverses, tensors
from tests.kernel.real import at_most, ball, log2
from tests.kernel.test_rules_rows import checked

CONTROL, OTHER = (control for control in controls() if "preconditioned" in control.name)
FORM = ("steps", 1, "given")


def triangles(lower: np.ndarray, upper: np.ndarray, bits: int = 40) -> tuple[list[list[int]], list[list[int]]]:
    """As the rule reads them from a file: lower as a whole, upper row by row, to so many bits."""
    first = np.rint(lower / abs(lower).max() * 2**bits)
    second = np.rint(upper / abs(upper).max(axis=1, keepdims=True) * 2**bits)
    n = len(lower)
    return (
        [[int(x) for x in first[i, : i + 1]] for i in range(n)],
        [[int(x) for x in second[i, i:]] for i in range(n)],
    )


def true_log2(low: list[list[int]], share: list[list[Fraction]]) -> arb | None:
    """log2 |det| of a matrix within the enclosures; None where it is singular."""
    entries = [[x + SPAN * s for x, s in zip(a, b, strict=True)] for a, b in zip(low, share, strict=True)]
    found = fmpq_mat([[fmpq(x.numerator, x.denominator << ENTRY) for x in row] for row in entries]).det()
    determinant = abs(Fraction(int(found.p), int(found.q)))
    return log2(determinant) if determinant else None


def matrix(weights: np.ndarray) -> Matrix:
    low = [[int(x) - 9 for x in row] for row in np.rint(weights * 2.0**ENTRY)]
    return Matrix(low, ENTRY, SPAN, ())


@pytest.mark.parametrize("n", [1, 2, 3, 7, 33, 130])
def test_good_factors_lose_next_to_nothing(n: int) -> None:
    random = np.random.default_rng(n)
    scores = random.normal(size=(n, n)) + 5 * np.eye(n)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    enclosed = matrix(weights)
    bound = preconditioned(context(), enclosed, *triangles(*inverses(weights, 40)))
    true = true_log2(enclosed.low, [[Fraction(1, 2)] * n] * n)
    assert at_most(bound, true)
    assert at_most(true - ball(Fraction(1, 1 << 16)), bound)


@given(st.integers(1, 4), st.integers(0, 1 << 32), st.sampled_from([0.0, 0.01, 0.3, 3.0]), st.data())
def test_no_factors_prove_more_than_the_least_determinant(n: int, seed: int, noise: float, data: st.DataObject) -> None:
    """Any triangles, near an inverse or not: what they prove holds of every matrix within the enclosures."""
    random = np.random.default_rng(seed)
    weights = np.exp(-random.exponential(2, size=(n, n)))
    if data.draw(st.booleans()):
        weights[-1] = weights[0]  # singular, or nearly
    lower, upper = inverses(weights + 1e-9 * random.normal(size=(n, n)), 30)
    lower += noise * np.tril(random.normal(size=(n, n)))
    upper += noise * np.triu(random.normal(size=(n, n)))
    enclosed = matrix(weights)
    try:
        bound = preconditioned(context(), enclosed, *triangles(lower, upper))
    except Rejected:
        return
    shares = st.sampled_from([Fraction(0), Fraction(1), Fraction(1, 2)])
    share = data.draw(st.lists(st.lists(shares, min_size=n, max_size=n), min_size=n, max_size=n))
    true = true_log2(enclosed.low, share)
    assert true is not None
    assert at_most(bound, true)


def test_the_error_of_the_enclosures_counts() -> None:
    """One entry of width SPAN: a matrix that may be singular is refused, whatever the factors."""
    one = [[1 << 40], [0, 1 << 40]], [[1 << 40, 0], [1 << 40]]
    for value, accepted in ((40, False), (1 << 20, True)):
        enclosed = Matrix([[1 << ENTRY, 0], [0, value]], ENTRY, SPAN, ())
        if accepted:
            assert at_most(preconditioned(context(), enclosed, *one), log2(Fraction(value, 1 << ENTRY)))
        else:
            with pytest.raises(Rejected, match="dominated"):
                preconditioned(context(), enclosed, *one)


def forged(change: Callable[[np.ndarray, np.ndarray], object]) -> bytes:
    """The control's factors, changed in place."""
    content = dict(CONTROL.files)["f.safetensors"]
    values = np.frombuffer(content[-72:], "<f4").reshape(2, 3, 3)
    lower, upper = values[0].copy(), values[1].copy()
    changed = change(lower, upper)
    return tensors("F32", **(changed if isinstance(changed, dict) else {"l": lower, "u": upper}))


def entry(of: int, i: int, j: int, value: float) -> Callable[[np.ndarray, np.ndarray], object]:
    return lambda *both: both[of].__setitem__((i, j), value)


FORGED: dict[str, tuple[Callable[[np.ndarray, np.ndarray], object], str]] = {
    "an entry above the diagonal": (entry(0, 0, 2, 2.0**-100), "lower triangular"),
    "an entry just above the diagonal": (entry(0, 1, 2, 2.0**-100), "lower triangular"),
    "an entry just below the diagonal": (entry(1, 1, 0, 2.0**-100), "upper triangular"),
    "a zero inside the upper diagonal": (entry(1, 1, 1, 0), "not zero"),
    "an entry below the diagonal": (entry(1, 2, 0, -(2.0**-100)), "upper triangular"),
    "a zero on the lower diagonal": (entry(0, 1, 1, 0), "diagonals"),
    "a zero on the upper diagonal": (entry(1, 2, 2, 0), "not zero"),
    "a diagonal that is lost in rounding": (entry(0, 2, 2, 2.0**-80), "diagonals"),
    "a zero matrix": (lambda low, up: up.fill(0), "diagonals"),
    "NaN": (entry(1, 0, 1, np.nan), "finite"),
    "infinity": (entry(0, 2, 0, np.inf), "finite"),
    "another inverse": (entry(1, 0, 0, 1e6), "log2_det_at_least"),
    "a large entry": (entry(0, 2, 0, 1e6), "dominated"),
    "rows swapped": (lambda low, up: {"l": low, "u": np.triu(up[[1, 0, 2]])}, ""),
    "factors exchanged": (lambda low, up: {"l": up, "u": low}, "triangular"),
    "too few rows": (lambda low, up: {"l": low[:2, :2], "u": up[:2, :2]}, "matrix"),
    "a tensor too few": (lambda low, up: {"l": low}, "tensor"),
    "not square": (lambda low, up: {"l": low[:, :2], "u": up}, "columns"),
    "heads": (lambda low, up: {"l": low[None], "u": up}, "head"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_factors_are_invalid(name: str, tmp_path: Path) -> None:
    change, reason = FORGED[name]
    result = checked(CONTROL, tmp_path, f=forged(change))
    assert (result.verdict, result.step) == (Verdict.INVALID, "det")
    assert reason in result.reason


def test_the_factors_file(tmp_path: Path) -> None:
    good = forged(lambda low, up: None)
    assert checked(CONTROL, tmp_path, f=good).verdict is Verdict.VALID
    for content in (good[:-1], good[:30], b""):
        assert checked(CONTROL, tmp_path, f=content).verdict is Verdict.INVALID
    (tmp_path / "f.safetensors").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    stale = check(put(CONTROL.tree, ("digest",), CONTROL.tree["digest"]), tmp_path)
    assert (stale.verdict, "digest" in stale.reason) == (Verdict.INVALID, True)
    (tmp_path / "f.safetensors").unlink()
    assert check(CONTROL.tree, tmp_path).verdict is Verdict.INCOMPLETE


@pytest.mark.parametrize(
    "change",
    [
        lambda t: without(t, (*FORM, "factors")),
        lambda t: put(t, (*FORM, "form"), "exact"),
        lambda t: put(t, (*FORM, "factors", "lower"), "u"),
        lambda t: put(t, (*FORM, "factors", "upper"), "x"),
        lambda t: put(t, (*FORM, "factors", "name"), "/f.safetensors"),
        lambda t: put(t, (*FORM, "factors", "head"), "0"),
        lambda t: put(t, ("steps", 0, "given", "rows"), "1 0 2"),
        lambda t: put(t, ("steps", 0, "given", "payload"), "1 2 0"),
        lambda t: put(t, ("steps", 0, "given", "rows"), "0 1 1"),
    ],
)
def test_factors_of_something_else_are_invalid(change: Callable[[Node], Node], tmp_path: Path) -> None:
    assert checked(CONTROL, tmp_path, change).verdict is Verdict.INVALID


@pytest.mark.parametrize("equal", [True, False])
def test_equal_keys_are_refused_by_the_determinant_itself(equal: bool, tmp_path: Path) -> None:
    """Two tokens of the payload with one key make two columns equal: no factors help."""
    keys = KEYS.copy()
    keys[1] = keys[2] + (0 if equal else 2.0**-4)
    scores = QUERIES[[0, 1, 2]] @ keys.T
    relative = np.exp(scores - scores.max(axis=1, keepdims=True))[:, [2, 1, 0]]
    relative[:, 1] += 0 if not equal else [0, 2.0**-20, 2.0**-30]

    def weak(tree: Node) -> Node:
        tree["statement"]["state_bits_at_least"] = tree["steps"][2]["gives"]["bits_at_least"] = "1"
        tree["steps"][1]["gives"]["log2_det_at_least"] = "-20"
        return tree

    lower, upper = inverses(relative, 20)
    files = {"keys": tensors("F64", k=keys), "f": tensors("F64", l=lower, u=upper)}
    result = checked(CONTROL, tmp_path, weak, **files)
    assert (result.verdict, result.step) == ((Verdict.INVALID, "det") if equal else (Verdict.VALID, None)), (
        result.reason
    )


def test_limits() -> None:
    with pytest.raises(OverLimit, match="1024"):
        factors(context(), 1025, {"factors": {}})
    nothing = {"factors": {"name": "f", "sha256": "", "lower": "l", "upper": "u"}, "form": "preconditioned"}
    family = Leak(3, Row(Fraction(0), Fraction(0)), Fraction(0))
    assert not accepts("determinant", {"leak": family}, nothing, {"log2_det_at_least": -99})
    short = context()
    short.work = 10**6
    size = 256
    with pytest.raises(OverLimit, match="work"):
        preconditioned(short, Matrix([[0] * size] * size, ENTRY, SPAN, ()), *triangles(np.eye(size), np.eye(size)))
