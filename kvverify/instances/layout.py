"""The concrete instance that a certificate speaks of: keys, queries and own keys as arrays, read from its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kvverify.codes.counted_reed_muller import counted
from kvverify.errors import Incomplete, UsageError
from kvverify.instances.hard import HardInstance
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check

if TYPE_CHECKING:
    import os

    from kvverify.kernel.document import Document
    from kvverify.kernel.statement import Statement

MAX_SCALARS = 1 << 27
"""Of the keys, or of the values of all heads: 1 GiB as float64."""
_BF16_BITS = 8


def from_certificate(source: str | os.PathLike[str] | dict[str, Any]) -> HardInstance:
    """The instance of a certificate by the volume rule on sign keys, after the kernel has accepted it.

    Pads are left out: without them every row has less mass off its target, so the determinant's bound still holds.
    Raises UsageError where the certificate is INVALID or has no such instance, Incomplete where it is INCOMPLETE or the
    instance too large to play, OSError where it cannot be read.
    """
    found, claimed = accepted(source)
    steps = {step.rule: step for step in found.steps}
    code = next((steps[rule] for rule in _WORDS if rule in steps), None)
    if code is None or not {"exp-bound", "budget", "leak", "determinant", "volume"} <= steps.keys():
        raise UsageError(
            f"an audit plays certificates by the volume rule on sign keys, this one is by {', '.join(steps)}; "
            "give --tokens and --head-dim, and the audit makes its own"
        )
    payload = int(steps["budget"].given["payload"])
    _require_size(payload, claimed)
    exact = document.rational(steps["exp-bound"].given["exponent"], "exponent") / 2
    odd = exact.numerator // (exact.numerator & -exact.numerator)
    if exact.denominator & exact.denominator - 1 or odd.bit_length() > _BF16_BITS:
        raise UsageError(
            f"an audit plays queries that are exact in bf16, this certificate's have entries of size {exact}; "
            "give --tokens and --head-dim, and the audit makes its own"
        )
    words = _WORDS[code.rule](code.given, payload)
    signs = 1.0 - 2.0 * words
    keys = np.zeros((payload, claimed.key_dim))
    keys[:, : signs.shape[1]] = signs
    scale = float(exact)
    mass = steps["leak"].gives
    off = document.rational(mass["off_target_at_most"], "leak") + document.rational(mass["rest_at_most"], "leak")
    return HardInstance(
        keys=keys, queries=keys * scale, own_keys=-keys,
        log2_det_at_least=document.rational(steps["determinant"].gives["log2_det_at_least"], "determinant"),
        leak_at_most=off / (1 + off), kv_heads=claimed.kv_heads, layers=claimed.layers, value_dim=claimed.value_dim,
        max_logit=claimed.max_logit, tolerance=claimed.tolerance, failure=claimed.failure, inputs=claimed.inputs,
        state_bits_at_least=claimed.state_bits_at_least, certificate=found.digest,
    )  # fmt: skip


def accepted(source: str | os.PathLike[str] | dict[str, Any]) -> tuple[Document, Statement]:
    """A certificate that the kernel has just accepted, and its statement. Raises as ``from_certificate`` does."""
    result = check(source)
    if result.verdict is not Verdict.VALID:
        kind = UsageError if result.verdict is Verdict.INVALID else Incomplete
        raise kind(f"the certificate is {result.verdict.value}: {result.reason}")
    if result.statement is None:
        raise UsageError(f"the certificate is about something else than bits of state: {result.claim}")
    return document.parse(source) if isinstance(source, dict) else document.read(source), result.statement


def _require_size(payload: int, claimed: Statement) -> None:
    scalars = payload * max(claimed.key_dim, claimed.value_dim * claimed.streams)
    if scalars > MAX_SCALARS:
        raise Incomplete(f"a game of {payload} tokens would hold {scalars} scalars, at most {MAX_SCALARS} are played")


def _bits(rows: list[str]) -> np.ndarray:
    return np.array([[int(letter) for letter in row] for row in rows], dtype=np.int64).reshape(len(rows), -1)


def _span(rows: np.ndarray, tokens: int) -> np.ndarray:
    """The first ``tokens`` combinations of the rows: combination i takes the rows at the bits of i."""
    chosen = np.arange(tokens)[:, None] >> np.arange(len(rows)) & 1
    words: np.ndarray = chosen @ rows % 2
    return words


def _linear(given: dict[str, Any], tokens: int) -> np.ndarray:
    return _span(_bits(given["generator"]), tokens)


def _union(given: dict[str, Any], tokens: int) -> np.ndarray:
    """Word by word, one coset after the other."""
    representatives = _bits(given["representatives"])
    rows = _bits(given["generator"]) if given["generator"] else np.zeros((0, representatives.shape[1]), dtype=np.int64)
    base = 1 << len(rows)
    cosets = -(-tokens // base)
    words = (representatives[:cosets, None, :] + _span(rows, base)[None]) % 2
    flat: np.ndarray = words.reshape(-1, representatives.shape[1])
    return flat[:tokens]


def _cube(given: dict[str, Any], tokens: int) -> np.ndarray:
    return _span(np.eye(int(given["dimension"]), dtype=np.int64), tokens)


def _reed_muller(given: dict[str, Any], tokens: int) -> np.ndarray:
    return (1 - counted(given).keys(tokens)) // 2


_WORDS = {"linear-code": _linear, "coset-union": _union, "hypercube": _cube, "reed-muller": _reed_muller}
