"""Your keys: a certificate about the keys of a safetensors file, with queries found here and re-proved by the kernel.

Small heads for now: every query stands in the certificate as a row of integers. Source: ours (bounds 6, floor 2).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from kvverify.bounds.certificate import log2_up, volume_step
from kvverify.bounds.search import Bound
from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem

MAX_TOKENS = 1024
_QUERY_BITS = 24
_FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class KeyTensor:
    """A head's keys (tokens, key_dim) as float64, exact, and how a statement names them."""

    values: np.ndarray
    dtype: str
    reference: dict[str, str]
    folder: Path


def read_keys(path: Path, layer: int | None, head: int | None) -> KeyTensor:
    """Keys from ``layers.I.keys`` (kv_heads, tokens, dim), or the one matrix of the file. Raises UsageError."""
    data = path.read_bytes()
    try:
        length = int.from_bytes(data[:8], "little")
        header = {k: v for k, v in json.loads(data[8 : 8 + length]).items() if k != "__metadata__"}
    except ValueError:
        raise UsageError(f"{path}: not a safetensors file") from None
    if layer is None:
        matrices = [name for name, entry in header.items() if len(entry["shape"]) == 2]
        if len(matrices) != 1:
            raise UsageError(f"{path}: {len(matrices)} matrices; choose keys by --layer and --head")
        name = matrices[0]
    else:
        name = f"layers.{layer}.keys"
        if name not in header:
            raise UsageError(f"{path}: no tensor {name!r}; it has {', '.join(sorted(header)[:5])}")
    entry = header[name]
    if entry["dtype"] not in _FORMATS:
        raise UsageError(f"{path}: {name} is {entry['dtype']}; keys are one of {', '.join(_FORMATS)}")
    start, end = (8 + length + offset for offset in entry["data_offsets"])
    raw = np.frombuffer(data[start:end], _FORMATS[entry["dtype"]])
    if entry["dtype"] == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    values = raw.astype(np.float64).reshape(entry["shape"])
    reference = {"name": path.name, "sha256": hashlib.sha256(data).hexdigest(), "tensor": name}
    if values.ndim == 3:
        if head is None or not 0 <= head < len(values):
            raise UsageError(f"{path}: --head {head} given; {name} has heads 0 to {len(values) - 1}")
        values, reference["head"] = values[head], str(head)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise UsageError(f"{path}: {name} must be finite, of shape (tokens, dim) or (heads, tokens, dim)")
    if len(values) > MAX_TOKENS:
        raise UsageError(f"{path}: {len(values)} tokens; at most {MAX_TOKENS} are certified from explicit keys")
    return KeyTensor(values, entry["dtype"], reference, path.parent)


def own_keys_bound(keys: KeyTensor, problem: Problem) -> Bound:
    """The bound for these keys, with ``max_logit`` taken on them; the problem carries the rest of the class."""
    if problem.inputs == "bf16" and keys.dtype != "BF16":
        raise UsageError(f"inputs bf16 given, the keys are {keys.dtype}")
    scale, queries = _queries(keys.values, float(problem.max_logit))
    relative = _relative(keys.values, queries * scale)
    payload = _payload(relative)
    if not len(payload):
        return Bound(problem, Fraction(0), None, "own keys", "no token takes most of the attention of its own query")
    attention = _attention_step(relative, payload, queries, scale)
    bounds = [_finish(keys, problem, attention, relative, payload, form) for form in ("near-identity", "ostrowski")]
    valid = [(result.bits, tree) for tree in bounds for result in (check(tree, keys.folder),)
             if result.verdict is Verdict.VALID and result.bits is not None]  # fmt: skip
    if not valid:
        return Bound(
            problem, Fraction(0), None, "own keys", f"the kernel refused: {check(bounds[0], keys.folder).reason}"
        )
    bits, tree = max(valid, key=lambda pair: pair[0])
    if bits < 1:
        return Bound(problem, Fraction(0), None, "own keys", "the attention is too diffuse for this tolerance")
    return Bound(problem, bits, tree, f"own keys, {len(payload)} of {len(keys.values)} tokens", None)


def _queries(keys: np.ndarray, max_logit: float) -> tuple[float, np.ndarray]:
    """(scale, integer queries): whitened directions, each scaled to the whole logit budget on the keys."""
    centred = keys - keys.mean(axis=0)
    covariance = centred.T @ centred / len(keys)
    ridge = max(np.trace(covariance) / len(covariance) * 1e-4, 1e-300)
    directions = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), centred.T).T
    reach = np.abs(directions @ keys.T).max(axis=1, keepdims=True)
    queries = directions / np.where(reach > 0, reach, 1) * max_logit * (1 - 2.0**-16)
    scale = 2.0 ** (math.ceil(math.log2(max(np.abs(queries).max(), 1e-300))) - _QUERY_BITS)
    return scale, np.rint(queries / scale)


def _relative(keys: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(tokens, tokens + 1): weights relative to the target; the last column is the asker's own token."""
    scores = queries @ keys.T
    own = np.diag(scores)[:, None]
    weights: np.ndarray = np.exp(np.minimum(np.concatenate([scores - own, -2 * own], axis=1), 700.0))
    return weights


def _payload(relative: np.ndarray) -> np.ndarray:
    """Tokens that keep their row's off-target mass below 1/2, the worst dropped one by one."""
    chosen = np.arange(len(relative))
    while len(chosen):
        off = relative[np.ix_(chosen, chosen)].sum(axis=1) - 1
        if off.max() < 0.5:
            break
        chosen = np.delete(chosen, off.argmax())
    return chosen


def _attention_step(relative: np.ndarray, payload: np.ndarray, queries: np.ndarray, scale: float) -> dict[str, Any]:
    off, squares, rest = _masses(relative, payload)
    slack = 1 + 2.0**-10  # the kernel's grid raises weights by up to 2^-12
    given = {
        "payload": " ".join(map(str, payload)),
        "queries": [" ".join(str(int(x)) for x in queries[i]) for i in payload],
        "query_scale": str(Fraction(scale)),
    }
    names = ("off_target_at_most", "off_target_squares_at_most", "rest_at_most")
    bounds = (off.max(), squares.mean() * slack, rest.max())
    gives = {name: str(_up(float(x) * slack)) for name, x in zip(names, bounds, strict=True)}
    return {"id": "leak", "rule": "attention-row", "uses": {}, "given": given, "gives": gives}


def _masses(relative: np.ndarray, payload: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Off-target mass, sum of its squares, and all other mass of each payload row."""
    block = relative[np.ix_(payload, payload)] - np.eye(len(payload))
    off = block.sum(axis=1)
    return off, (block**2).sum(axis=1), relative[payload].sum(axis=1) - 1 - off


def _finish(
    keys: KeyTensor, problem: Problem, attention: dict[str, Any], relative: np.ndarray, payload: np.ndarray, form: str
) -> dict[str, Any]:
    """Determinant by the named form, the volume rule, and the statement about this file."""
    off, _, rest = (x * (1 + 2.0**-9) for x in _masses(relative, payload))
    if form == "ostrowski":
        logs = np.log2(1 - off) - np.log2(1 + off + rest)
        determinant = Fraction(math.floor(float(logs.sum()) * 2**20) - 1, 2**20)
    else:
        sigma, mean, other = (Fraction(attention["gives"][name]) for name in attention["gives"])
        ratio = sum((sigma ** (k - 2) / k for k in range(2, 32)), Fraction(0)) + sigma**30 / (32 * (1 - sigma))
        loss = log2_up(1 + sigma + other) + Fraction(1442695041, 10**9) * ratio * mean
        determinant = Fraction(math.floor(-len(payload) * loss * 2**20) - 1, 2**20)
    step = {
        "id": "determinant", "rule": "determinant", "uses": {"leak": "leak"},
        "given": {"form": form}, "gives": {"log2_det_at_least": str(determinant)},
    }  # fmt: skip
    steps = [attention, step, volume_step(problem, len(payload), determinant)]
    bits = math.floor(Fraction(steps[-1]["gives"]["bits_at_least"]))
    statement: dict[str, Any] = problem.statement(max(0, bits))
    return document.build({**statement, "budget": "own-keys", "body": "given", "keys": keys.reference}, steps)


def _up(x: float) -> Fraction:
    return Fraction(math.ceil(Fraction(x) * (1 << 60)), 1 << 60)
