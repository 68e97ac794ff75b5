"""Your keys: a certificate about the keys of a safetensors file, with queries found here and re-proved by the kernel.

Small heads for now: every query stands in the certificate as a row of integers. Source: ours.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from kvverify.bounds.certificate import log2_up, volume_step
from kvverify.bounds.search import Bound
from kvverify.errors import Incomplete, UsageError
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.problem import Problem

MAX_TOKENS, MAX_DIM = 768, 1024
_ALWAYS = 512  # keys whose every exponential the kernel may work out anew, within the work of one check
MAX_BYTES = 1 << 28
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
    """Keys from ``layers.I.keys`` (kv_heads, tokens, dim), or the one matrix of the file.

    Raises UsageError where there are none, Incomplete where they are too many.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", path.name):
        raise UsageError(f"{path}: a certificate names its key file by letters, digits and . _ - only; rename it")
    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Incomplete(f"{path}: more than {MAX_BYTES} bytes; certify from explicit keys reads small files for now")
    header, body = _header(path, data)
    name = _chosen(path, header, layer)
    values, dtype = _tensor(path, name, header[name], body)
    reference = {"name": path.name, "sha256": hashlib.sha256(data).hexdigest(), "tensor": name}
    if values.ndim == 3:
        if head is None or not 0 <= head < len(values):
            given = "none" if head is None else head
            raise UsageError(f"{path}: --head: {given} given, {name} has heads 0 to {len(values) - 1}")
        values, reference["head"] = values[head], str(head)
    elif head is not None:
        raise UsageError(f"{path}: --head: {head} given, but {name} is one matrix of shape {values.shape}")
    if max(values.shape[0] / MAX_TOKENS, values.shape[1] / MAX_DIM) > 1:
        given = "{} keys of dimension {}".format(*values.shape)
        raise Incomplete(f"{path}: {given}; up to {MAX_TOKENS} of dimension {MAX_DIM} are certified from explicit keys")
    if not np.isfinite(values).all():
        raise UsageError(f"{path}: {name} holds NaN or infinity; keys must be finite")
    return KeyTensor(values, dtype, reference, path.parent)


def _header(path: Path, data: bytes) -> tuple[dict[str, Any], bytes]:
    """(tensors by name, their bytes) of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    try:
        if len(data) < 8 + length:
            raise ValueError("cut short")
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_once)
        return {name: entry for name, entry in header.items() if name != "__metadata__"}, data[8 + length :]
    except (ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: not a safetensors file ({error})") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    node = dict(pairs)
    if len(node) != len(pairs):
        raise ValueError("a name stands twice in the header")
    return node


def _chosen(path: Path, header: dict[str, Any], layer: int | None) -> str:
    """The name of the tensor that was asked for."""
    some = ", ".join(sorted(header)[:5]) or "no tensor"
    if layer is not None:
        if (name := f"layers.{layer}.keys") not in header:
            raise UsageError(f"{path}: --layer {layer} given, but there is no tensor {name!r}; it has {some}")
        return name
    matrices = [name for name, entry in header.items() if len(_shape(path, name, entry)) == 2]
    if len(matrices) != 1:
        raise UsageError(f"{path}: it has {some}; choose by --layer and --head, or give a file with one matrix")
    return matrices[0]


def _shape(path: Path, name: str, entry: Any) -> list[int]:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise UsageError(f"{path}: not a safetensors file ({name} has no shape)")
    return shape


def _tensor(path: Path, name: str, entry: Any, body: bytes) -> tuple[np.ndarray, str]:
    """A tensor of two or three dimensions as float64, and the format it was kept in."""
    shape, dtype = _shape(path, name, entry), entry.get("dtype")
    if dtype not in _FORMATS:
        raise UsageError(f"{path}: {name} is {dtype}; keys are one of {', '.join(_FORMATS)}")
    if len(shape) not in (2, 3) or 0 in shape:
        raise UsageError(f"{path}: {name} has shape {shape}; (tokens, dim) or (heads, tokens, dim) is needed")
    width = np.dtype(_FORMATS[dtype]).itemsize * math.prod(shape)
    match entry.get("data_offsets"):
        case [int(start), int(end)] if 0 <= start <= end <= len(body) and end - start == width:
            raw = np.frombuffer(body[start:end], _FORMATS[dtype])
        case _:
            raise UsageError(f"{path}: not a whole safetensors file ({name} needs {width} bytes that are not there)")
    if dtype == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float64).reshape(shape), dtype


def own_keys_bound(keys: KeyTensor, problem: Problem) -> Bound:
    """The bound for these keys, with ``max_logit`` taken on them; the problem carries the rest of the class."""
    if problem.inputs == "bf16" and keys.dtype != "BF16":
        raise UsageError(f"inputs bf16 given, the keys are {keys.dtype}")
    if not np.ptp(keys.values, axis=0).any():
        return Bound(problem, Fraction(0), None, "own keys", "all keys are the same, so that no query tells them apart")
    size = 2.0 ** math.frexp(np.abs(keys.values).max())[1]  # sizes of keys matter no more than the scale of queries
    values = keys.values / size
    scale, queries = _queries(values, float(problem.max_logit))
    relative = _relative(values, queries * scale)
    payload = _payload(relative)
    if not len(payload):
        return Bound(problem, Fraction(0), None, "own keys", "no token takes most of the attention of its own query")
    attention = _attention_step(relative, payload, queries, Fraction(scale) / Fraction(size))
    best, reason = Bound(problem, Fraction(0), None, "own keys", ""), "the attention is too diffuse for this tolerance"
    for form in ("near-identity", "ostrowski"):
        tree = _finish(keys, problem, attention, relative, payload, form)
        if Fraction(tree["steps"][-1]["gives"]["bits_at_least"]) < 1:
            continue
        result = check(tree, keys.folder)
        if result.verdict is Verdict.INCOMPLETE:  # the steps before the determinant are the same
            fits = f"{_ALWAYS} keys of dimension up to 128 and logits to 2048 always fit"
            reason = f"the kernel refused: {result.reason}; {fits}"
            break
        if result.verdict is Verdict.INVALID:
            reason = f"the kernel refused: {result.reason}"
        elif result.bits is not None and result.bits > best.bits:
            best = Bound(problem, result.bits, tree, f"own keys, {len(payload)} of {len(keys.values)} tokens", None)
    return best if best.certificate is not None else replace(best, reason=reason)


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


def _attention_step(relative: np.ndarray, payload: np.ndarray, queries: np.ndarray, scale: Fraction) -> dict[str, Any]:
    off, squares, rest = _masses(relative, payload)
    slack = 1 + 2.0**-10  # the kernel's grid raises weights by up to 2^-12, and each to 2^-80 at least
    least = Fraction(relative.shape[1], 1 << 80)
    given = {
        "payload": " ".join(map(str, payload)),
        "queries": [" ".join(str(int(x)) for x in queries[i]) for i in payload],
        "query_scale": str(scale),
    }
    names = ("off_target_at_most", "off_target_squares_at_most", "rest_at_most")
    bounds = (off.max(), squares.mean() * slack, rest.max())
    gives = {name: str(_up(float(x) * slack) + least) for name, x in zip(names, bounds, strict=True)}
    return {"id": "leak", "rule": "attention-row", "uses": {}, "given": given, "gives": gives}


def _masses(relative: np.ndarray, payload: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Off-target mass, sum of its squares, and all other mass of each payload row."""
    block = relative[np.ix_(payload, payload)] - np.eye(len(payload))
    rest = np.delete(relative[payload], payload, axis=1)  # summed by itself: as a difference it would drown in rounding
    return block.sum(axis=1), (block**2).sum(axis=1), rest.sum(axis=1)


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
