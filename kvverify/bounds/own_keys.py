"""Your keys: a certificate about the keys of a safetensors file, with queries found here and re-proved by the kernel.

Any queries with a logit budget on the given keys (docs/proofs/rows.md). Tokens that raise the bound by their absence
carry no value: they weigh as pads, and are counted. Source: ours.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np

from kvverify.bounds.candidate import BF16_ROUNDING, divergence
from kvverify.bounds.key_files import KeyTensor, read_keys
from kvverify.bounds.own_steps import (
    Rows,
    attention_step,
    certificate,
    determinant_step,
    plain_determinants,
    rows_of,
    short,
)
from kvverify.bounds.payload_choice import choose, choose_by_determinant
from kvverify.bounds.preconditioner import MAX_ROWS, Factors, factorise
from kvverify.bounds.queries import own_score, search
from kvverify.bounds.witness import FileBound, verdict, witness
from kvverify.errors import UsageError
from kvverify.kernel.check import Verdict
from kvverify.problem import Problem

__all__ = ["KeyTensor", "own_keys_bound", "read_keys"]

SECONDS = 20.0
_INLINE = 1 << 12  # entries of queries that stand in the certificate itself
_QUERY_BITS = 24
_COLUMNS = 90  # powers of two between the largest and the least factor of a column
_REACH = 2.0**17  # |query| . |key| that the kernel computes with
MAX_SPREAD = 4080.0  # of the scores of one row, within what the kernel computes
_WORTH = 1.002  # by how much the factors of an inverse, which cost time and a file, must beat the plain forms


@dataclass(frozen=True)
class _Candidate:
    """A way to the determinant. ``value``: bits a coordinate, a float; ``tokens``: whose query each row has."""

    value: float
    form: str
    rows: Rows
    tokens: np.ndarray
    bound: Fraction
    factors: Factors | None = None


def own_keys_bound(keys: KeyTensor, problem: Problem, *, seconds: float = SECONDS, device: str = "cpu") -> FileBound:
    """The bound for these keys, with ``max_logit`` taken on them; the problem carries the rest of the class.

    The search for queries takes up to ``seconds``, on torch's ``device``. Raises UsageError for inputs bf16 on keys
    that are not kept in bf16.
    """
    if problem.inputs == "bf16" and keys.dtype != "BF16":
        raise UsageError(f"inputs bf16 given, the keys are {keys.dtype}")
    if not np.ptp(keys.values, axis=0).any():
        return _none(problem, "all keys are the same, so that no query tells them apart")
    gain = value_gain(problem)
    exponents, values = _balanced(keys.values)
    power, queries, payload = _searched(values, float(problem.max_logit), gain, seconds, device)
    scores = (queries * 2.0**power) @ values.T
    top = int(exponents.max())  # back to the file's own coordinates: integers times one power of two
    queries, scale = np.ldexp(queries, top - exponents), Fraction(2) ** (power - top)
    found = sorted(_candidates(scores, payload, gain), key=lambda candidate: -candidate.value)
    reason = "the attention is too diffuse for this tolerance"
    for candidate in found:
        tree, files = _built(keys, problem, candidate, queries, scale)
        result = verdict(tree, [keys], files)
        if result.verdict is not Verdict.VALID or result.bits is None:
            reason = f"the kernel refused: {result.reason}"
        elif result.bits >= 1:
            used = len(candidate.rows.payload)
            return FileBound(problem, result.bits, tree, used_tokens(keys, used), None, used, files)
    return _none(problem, reason)


def value_gain(problem: Problem) -> float:
    """g(eps, delta) in bits, with the rounding of bf16 inputs; 0 beyond its range."""
    if problem.tolerance is None:
        raise UsageError("relative given; bounds on given keys take an additive tolerance")
    eps, delta = float(problem.tolerance), float(problem.failure)
    eps += float(BF16_ROUNDING) if problem.inputs == "bf16" else 0.0
    return divergence(eps, delta) if delta <= 1 - eps else 0.0


def _none(problem: Problem, reason: str) -> FileBound:
    return FileBound(problem, Fraction(0), None, "own keys", reason)


def used_tokens(keys: KeyTensor, used: int) -> str:
    """What became of the tokens, in 60 characters: a report cuts longer lines."""
    tokens = len(keys.values)
    alike = tokens - len(np.unique(keys.values, axis=0))
    found = f"{used} of {tokens} own keys carry values, {tokens - used} dropped"
    return f"{found}, {alike} alike" if alike else found


def _searched(
    keys: np.ndarray, max_logit: float, gain: float, seconds: float, device: str
) -> tuple[int, np.ndarray, np.ndarray]:
    """(power, queries as integers times 2^power, payload): a search for all, then one for those that carry values."""
    begun = time.monotonic()
    budget = min(max_logit * (1 - 2.0**-16), MAX_SPREAD / 2)
    power, queries = _rounded(search(keys, budget, seconds=seconds, device=device), keys, max_logit)
    payload, value = choose(_weights(queries * 2.0**power @ keys.T), gain)
    left = seconds - (time.monotonic() - begun)
    if 0 < len(payload) < len(keys) and left > 0:
        carries = np.isin(np.arange(len(keys)), payload)
        start = queries * 2.0**power
        found = search(keys, budget, carries=carries, start=start, seconds=left, device=device)
        again, better = _rounded(found, keys, max_logit)
        chosen, total = choose(_weights(better * 2.0**again @ keys.T), gain)
        if total > value:
            return again, better, chosen
    return power, queries, payload


def _balanced(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(exponents, keys with each column divided by 2^exponent, at most 1): queries take the factors, scores stay."""
    largest = np.abs(keys).max(axis=0)
    exponents = np.frexp(largest)[1].astype(int)
    exponents = np.maximum(np.where(largest > 0, exponents, exponents.min()), exponents.max() - _COLUMNS)
    values: np.ndarray = np.ldexp(keys, -exponents)
    return exponents, values


def _rounded(queries: np.ndarray, keys: np.ndarray, max_logit: float) -> tuple[int, np.ndarray]:
    """(power, integers of 24 bits, exact in float32): queries within the budget after rounding, keys at most 1.

    Those whose entries cancel by more than the kernel's fields hold are scaled down.
    """
    queries = queries * np.minimum(1, _REACH / np.maximum(np.abs(queries).sum(axis=1, keepdims=True), 1e-300))
    power = math.frexp(max(np.abs(queries).max(), 1e-300))[1] - _QUERY_BITS
    integers = np.rint(queries / 2.0**power)
    for shrink in (2.0**-12, 2.0**-6, 1.0):
        peak = np.abs(integers * 2.0**power @ keys.T).max(axis=1, keepdims=True)
        over = peak > max_logit * (1 - 2.0**-30)
        integers = np.where(over, np.rint(integers * (1 - shrink) * max_logit / np.maximum(peak, 1e-300)), integers)
    return power, integers


def _weights(scores: np.ndarray) -> np.ndarray:
    """(n, n + 1) weights relative to the target's, on the diagonal; the last column is the asker's own token."""
    full = np.concatenate([scores, own_score(scores)], axis=1) - np.diag(scores)[:, None]
    weights: np.ndarray = np.exp(np.minimum(full, 700.0))
    return weights


def _candidates(scores: np.ndarray, payload: np.ndarray, gain: float) -> list[_Candidate]:
    found = []
    if len(payload):
        rows = rows_of(scores[payload], payload)
        for form, bound in plain_determinants(rows, attention_step(rows, {})).items():
            found.append(_Candidate(float(bound) + len(payload) * gain, form, rows, payload, bound))
    best = max((candidate.value for candidate in found), default=0.0)
    if find_spec("scipy") is None or best >= len(scores) * gain / _WORTH:
        return found
    chosen = choose_by_determinant(_weights(scores), gain, MAX_ROWS)
    if not len(chosen):
        return found
    rows = rows_of(scores[chosen], chosen)
    if (factors := factorise(rows.block)) is None:
        return found
    rows, tokens = rows.reordered(factors.order), chosen[factors.order]
    bound = short(factors.log2_det - float(rows.log2_sums.sum()))
    value = float(bound) + len(chosen) * gain
    if value > best * _WORTH:
        found.append(_Candidate(value, "preconditioned", rows, tokens, bound, factors))
    return found


def _built(
    keys: KeyTensor, problem: Problem, candidate: _Candidate, queries: np.ndarray, scale: Fraction
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The certificate, and the files that it refers to."""
    rows, files = queries[candidate.tokens], {}
    given: dict[str, Any] = {"query_scale": str(scale)}
    if rows.size <= _INLINE:
        given["queries"] = [" ".join(str(int(x)) for x in row) for row in rows]
    else:
        name, sha256, data = witness("queries", {"queries": rows})
        given["queries"] = {"name": name, "sha256": sha256, "tensor": "queries"}
        given["rows"] = " ".join(map(str, range(len(rows))))
        files[name] = data
    step, more = determinant_step(candidate.form, candidate.bound, candidate.factors)
    tree = certificate(problem, keys, None, [attention_step(candidate.rows, given), step], len(rows))
    return tree, {**files, **more}
