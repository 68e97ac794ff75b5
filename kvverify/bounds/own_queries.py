"""Your keys and your queries: a certificate about the attention that a model really paid to these keys.

Of the recorded queries and the keys, as many rows and columns as pay for themselves; the determinant is proved through
an approximate inverse (docs/proofs/rows.md, volume.md). Tokens outside of it have value 0. Source: ours.
"""

from __future__ import annotations

import math
from fractions import Fraction
from importlib.util import find_spec

import numpy as np

from kvverify.bounds.key_files import KeyTensor
from kvverify.bounds.own_keys import MAX_SPREAD, used_tokens, value_gain
from kvverify.bounds.own_steps import attention_step, certificate, determinant_step, rows_of, short
from kvverify.bounds.preconditioner import MAX_ROWS, factorise
from kvverify.bounds.queries import own_score
from kvverify.bounds.volume_choice import select
from kvverify.bounds.witness import FileBound, verdict
from kvverify.errors import UsageError
from kvverify.kernel.check import Verdict
from kvverify.problem import Problem

MAX_LOGIT = 4096
_SHRINK = 0.9  # of the rows stay when the factors of all prove nothing


def measured_logit(keys: KeyTensor, queries: KeyTensor) -> Fraction:
    """The largest |<query, key>| of the files, rounded up to a sixteenth (and a little, for the float's sake)."""
    largest = float(np.abs(_scores(keys, queries)).max()) * (1 + 2.0**-30)
    if largest > MAX_LOGIT:
        raise UsageError(
            f"{queries.path}: logits of up to {largest:.4g}, at most {MAX_LOGIT} are certified; "
            "recorded queries are taken after division by the scale"
        )
    return Fraction(max(1, math.ceil(16 * largest)), 16)


def own_queries_bound(keys: KeyTensor, queries: KeyTensor, problem: Problem) -> FileBound:
    """The bound for these keys (n, d) read by these queries (m, d), which are taken as they are, scale included.

    Queries beyond ``max_logit`` on some key are left out. Raises UsageError where keys and queries do not fit, or
    inputs are bf16 and the keys are not.
    """
    if problem.inputs == "bf16" and keys.dtype != "BF16":
        raise UsageError(f"inputs bf16 given, the keys are {keys.dtype}")
    if find_spec("scipy") is None:
        raise UsageError("bounds on recorded queries need scipy: pip install 'kvverify[audit]'")
    gain = value_gain(problem)
    scores = _scores(keys, queries)
    within = np.abs(scores).max(axis=1) <= float(problem.max_logit) * (1 - 2.0**-40)
    allowed = np.flatnonzero(within & (2 * np.abs(scores).max(axis=1) <= MAX_SPREAD))
    if not len(allowed):
        return _none(problem, "every recorded query exceeds max_logit, or a logit of 2040, on some key")
    rows, columns = select(_attention(scores[allowed]), gain, MAX_ROWS)
    rows = allowed[rows]
    reason = "the recorded queries spread their attention too much for this tolerance"
    while len(rows):
        chosen = rows_of(scores[rows], columns)
        if (factors := factorise(chosen.block)) is None:
            reason = "the matrix of the chosen rows is too near to singular"
            rows, columns = _leading(rows, columns)
            continue
        chosen = chosen.reordered(factors.order)
        bound = short(factors.log2_det - float(chosen.log2_sums.sum()))
        step, files = determinant_step("preconditioned", bound, factors)
        given = {"rows": " ".join(map(str, rows[factors.order])), "query_scale": "1"}
        tree = certificate(problem, keys, queries, [attention_step(chosen, given), step], len(rows))
        if tree["statement"]["state_bits_at_least"] == "0":
            break
        result = verdict(tree, [keys, queries], files)
        if result.verdict is Verdict.VALID and result.bits is not None:
            family = f"{used_tokens(keys, len(rows))}, own queries"
            return FileBound(problem, result.bits, tree, family, None, len(rows), files)
        reason = f"the kernel refused: {result.reason}"
        if result.verdict is Verdict.INCOMPLETE:
            break
        rows, columns = _leading(rows, columns)
    return _none(problem, reason)


def _scores(keys: KeyTensor, queries: KeyTensor) -> np.ndarray:
    """(m, n) scores. Raises UsageError where the dimensions differ."""
    given, right = queries.values.shape[1], keys.values.shape[1]
    if given != right:
        raise UsageError(f"{queries.path}: queries of dimension {given}, the keys have {right}")
    scores: np.ndarray = queries.values @ keys.values.T
    return scores


def _attention(scores: np.ndarray) -> np.ndarray:
    """(m, n) attention weights with the asker's own token in the softmax."""
    full = np.concatenate([scores, own_score(scores)], axis=1)
    weights = np.exp(full - full.max(axis=1, keepdims=True))
    attention: np.ndarray = weights[:, :-1] / weights.sum(axis=1, keepdims=True)
    return attention


def _leading(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = int(len(rows) * _SHRINK)
    return rows[:kept], columns[:kept]


def _none(problem: Problem, reason: str) -> FileBound:
    return FileBound(problem, Fraction(0), None, "own keys and queries", reason)
