"""Given keys in a game: the reads of a certificate about a file's keys, exact in bf16, certified as they are asked.

A game feeds and asks in bf16, so keys and queries are rounded first, and the kernel proves the determinant of what is
then played: the certificate that a game counts with is about these rounded keys and queries. Tokens outside of the
payload stay in the stream with value 0, as in the certificate. Source: ours; docs/proofs/game.md.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kvverify.bounds.key_files import MAX_DIM, MAX_TOKENS, KeyTensor, bf16_matrix, open_tensors
from kvverify.bounds.own_keys import own_keys_bound
from kvverify.bounds.own_queries import measured_logit, own_queries_bound
from kvverify.bounds.own_steps import (
    attention_step,
    certificate,
    determinant_step,
    plain_determinants,
    rows_of,
    short,
)
from kvverify.bounds.preconditioner import factorise
from kvverify.bounds.search import INSTANCE_LOGIT
from kvverify.bounds.witness import FileBound, verdict, witness, write_bound
from kvverify.errors import Incomplete, UsageError
from kvverify.instances.hard import HardInstance
from kvverify.instances.layout import accepted
from kvverify.instances.payload import to_bf16
from kvverify.kernel import document
from kvverify.kernel.check import Verdict
from kvverify.problem import Problem

if TYPE_CHECKING:
    import os

    from kvverify.kernel.document import Document
    from kvverify.kernel.statement import Statement

_SHRINK = (1.0, 1 - 2.0**-9, 1 - 2.0**-7, 1 - 2.0**-5, 1 - 2.0**-3)
"""What rounded queries are scaled by until none exceeds the logit budget."""
_NEAR = 2.0**-24  # scores nearer to each other are compared exactly: floats are off by at most 2^-25 (game.md)


@dataclass(frozen=True)
class _Reads:
    """Keys (tokens, dim) and queries (reads, dim), exact in bf16; query i reads token ``targets[i]``."""

    keys: np.ndarray
    queries: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class _Settled:
    """Reads in the order of the certificate's rows, and the certificate."""

    reads: _Reads
    found: FileBound


def random_keys(tokens: int, dim: int) -> np.ndarray:
    """(tokens, dim) directions that are uniform on the sphere, the same for everybody, rounded to bf16."""
    drawn = np.random.default_rng([tokens, dim]).standard_normal((tokens, dim))
    return to_bf16(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def search_instance(
    keys: np.ndarray, queries: np.ndarray | None = None, *, value_dim: int | None = None,
    max_logit: Fraction | None = None,
) -> HardInstance:  # fmt: skip
    """The instance of given keys (tokens, dim), one stream; the keys are rounded to bf16 first.

    Queries are found here, with logits up to ``max_logit`` (24) on these keys; or taken from the recorded ``queries``
    (m, dim), as many as pay for themselves. Raises Incomplete where nothing is proved, or the keys are too many.
    """
    tokens, dim = keys.shape
    if tokens > MAX_TOKENS or dim > MAX_DIM:
        raise Incomplete(f"{tokens} keys of dimension {dim}; up to {MAX_TOKENS} of dimension {MAX_DIM} are certified")
    with tempfile.TemporaryDirectory(prefix="kvverify-") as name:
        folder = Path(name)
        tensor = _written(folder, *bf16_matrix(to_bf16(keys)))

        def problem(logit: Fraction) -> Problem:
            return Problem(tokens, dim, value_dim or dim, logit, Fraction(1, 10), tolerance=Fraction(1, 100))

        if queries is None:
            found = own_keys_bound(tensor, problem(INSTANCE_LOGIT if max_logit is None else max_logit))
        else:
            file, sha256, data = witness("queries", {"queries": to_bf16(queries)})
            reference = {"name": file, "sha256": sha256, "tensor": "queries"}
            recorded = _written(folder, KeyTensor(to_bf16(queries), "F32", reference, folder), data)
            logit = measured_logit(tensor, recorded) if max_logit is None else max_logit
            found = own_queries_bound(tensor, recorded, problem(logit))
        if found.certificate is None:
            raise Incomplete(f"no game on these keys: {found.reason}")
        write_bound(folder / "bound.json", found)
        return given_instance(folder / "bound.json")


def _written(folder: Path, tensor: KeyTensor, data: bytes) -> KeyTensor:
    """The tensor, whose file is written into the folder."""
    (folder / tensor.reference["name"]).write_bytes(data)
    return replace(tensor, folder=folder)


def given_instance(source: str | os.PathLike[str]) -> HardInstance:
    """The instance of a VALID certificate about given keys, or about given keys and queries.

    Raises as ``instances.layout.accepted``; Incomplete also where the rounded reads can no longer be certified.
    """
    found, claimed = accepted(source)
    if claimed.keys is None or claimed.relative is not None:
        raise UsageError("a certificate about the keys of a file is needed")
    problem = Problem(
        claimed.tokens, claimed.key_dim, claimed.value_dim, claimed.max_logit, claimed.failure,
        tolerance=claimed.tolerance, inputs=claimed.inputs,
    )  # fmt: skip
    reads = _stated(found, claimed, Path(source).parent)
    return _instance(_settle(_rounded(reads, problem.max_logit), problem), problem, claimed.budget)


def given_bound(instance: HardInstance, problem: Problem) -> FileBound:
    """The bound on these keys for the tolerance and failure of ``problem``, of one stream; 0 without a proof."""
    problem = replace(problem, kv_heads=1, layers=1)
    if problem.tolerance is None:
        return FileBound(problem, Fraction(0), None, "own keys", "bounds on given keys take an additive tolerance")
    try:
        return _settle(_Reads(instance.keys, instance.queries, instance.targets), problem).found
    except Incomplete as reason:
        return FileBound(problem, Fraction(0), None, "own keys", str(reason))


def arranged(one: HardInstance, scale: np.ndarray, carriers: np.ndarray) -> HardInstance:
    """One stream of an instance in other coordinates and with fewer carriers, certified anew as given keys.

    Channels of keys are multiplied by ``scale`` (key_dim,), powers of two, and those of queries divided, so that every
    score stays. Of the secret's tokens only those among ``carriers`` keep theirs; the order of the stream is then part
    of the instance. Raises Incomplete where the kernel accepts no bound.
    """
    chosen = np.isin(one.targets, carriers)
    if not chosen.any():
        raise Incomplete("none of these tokens carries a value")
    problem = Problem(
        one.tokens, one.key_dim, one.value_dim, one.max_logit, one.failure,
        tolerance=one.tolerance if one.tolerance is not None else Fraction(1, 100), inputs=one.inputs,
    )  # fmt: skip
    reads = _Reads(one.keys * scale, one.queries[chosen] / scale, one.targets[chosen])
    made = _instance(_settle(reads, problem), problem, "own-keys")
    return replace(made, in_order=one.in_order or not chosen.all(), kind=one.kind)


def _stated(found: Document, claimed: Statement, folder: Path) -> _Reads:
    """What the certificate's rows say; its files were read by the kernel just now."""
    (step,) = (step for step in found.steps if step.rule == "attention-row")
    given = step.given
    assert claimed.keys is not None
    keys = _tensor(folder, claimed.keys.name, claimed.keys.tensor, claimed.keys.head)
    scale = document.rational(given["query_scale"], "query_scale")
    if claimed.queries is not None:
        table = _tensor(folder, claimed.queries.name, claimed.queries.tensor, claimed.queries.head)
    elif isinstance(given["queries"], dict):
        table = _tensor(folder, given["queries"]["name"], given["queries"]["tensor"], None)
    else:
        table = np.array([[float(int(word)) for word in row.split()] for row in given["queries"]])
    rows = [int(word) for word in given["rows"].split()] if "rows" in given else slice(None)
    return _Reads(keys, table[rows] * float(scale), np.array([int(word) for word in given["payload"].split()]))


def _tensor(folder: Path, name: str, tensor: str, head: int | None) -> np.ndarray:
    return open_tensors(folder / name).named(tensor, head).values


def _rounded(reads: _Reads, max_logit: Fraction) -> _Reads:
    """Keys and queries rounded to bf16, queries scaled down where rounding took them over the budget."""
    keys, queries = to_bf16(reads.keys), to_bf16(reads.queries)
    for shrink in _SHRINK:
        peak = np.abs(queries @ keys.T).max(axis=1, keepdims=True)
        over = peak > float(max_logit) * (1 - 2.0**-40)
        queries = np.where(over, to_bf16(reads.queries * shrink), queries)
    return _Reads(keys, queries, reads.targets)


def _settle(reads: _Reads, problem: Problem) -> _Settled:
    """The certificate about exactly these reads. Raises Incomplete where the kernel accepts none."""
    tensor, data = bf16_matrix(reads.keys)
    rows = rows_of(reads.queries @ reads.keys.T, reads.targets)
    forms: list[tuple[Any, ...]] = [
        (bound, form, rows, reads.queries, None)
        for form, bound in plain_determinants(rows, attention_step(rows, {})).items()
    ]
    if not forms and (factors := factorise(rows.block)) is not None:
        paired = rows.reordered(factors.order)
        bound = short(factors.log2_det - float(paired.log2_sums.sum()))
        forms = [(bound, "preconditioned", paired, reads.queries[factors.order], factors)]
    reason = "their attention is too diffuse once they are rounded to bf16"
    for bound, form, ordered, queries, factors in sorted(forms, key=lambda one: -one[0]):
        name, sha256, table = witness("queries", {"queries": queries})
        given = {
            "query_scale": "1", "queries": {"name": name, "sha256": sha256, "tensor": "queries"},
            "rows": " ".join(map(str, range(len(queries)))),
        }  # fmt: skip
        step, files = determinant_step(form, bound, factors)
        tree = certificate(problem, tensor, None, [attention_step(ordered, given), step], len(queries))
        files = {**files, name: table, tensor.reference["name"]: data}
        result = verdict(tree, [], files)
        if result.verdict is Verdict.VALID and result.bits is not None:
            found = FileBound(problem, result.bits, tree, "own keys", None, len(queries), files)
            return _Settled(_Reads(reads.keys, queries, reads.targets), found)
        reason = f"the kernel refused: {result.reason}"
    raise Incomplete(f"no game on these keys: {reason}")


def _instance(settled: _Settled, problem: Problem, budget: str) -> HardInstance:
    reads, tree = settled.reads, settled.found.certificate
    assert tree is not None
    leak, determinant = (step["gives"] for step in tree["steps"][:2])
    off = Fraction(leak["off_target_at_most"]) + Fraction(leak["rest_at_most"])
    return HardInstance(
        keys=reads.keys, queries=reads.queries, own_keys=_own_keys(reads),
        log2_det_at_least=Fraction(determinant["log2_det_at_least"]), leak_at_most=off / (1 + off),
        kv_heads=1, layers=1, value_dim=problem.value_dim, max_logit=problem.max_logit, tolerance=problem.tolerance,
        failure=problem.failure, inputs=problem.inputs,
        state_bits_at_least=int(tree["statement"]["state_bits_at_least"]), certificate=tree["digest"],
        payload=tuple(map(int, reads.targets)), in_order=True, budget=budget, kind="captured",
    )  # fmt: skip


def _own_keys(reads: _Reads) -> np.ndarray:
    """(reads, dim): plus or minus the key of each query's largest absolute score, so that its score is minus that.

    Which score is largest is decided exactly: the certificate's row sums count the own token with exactly this score.
    """
    scores = reads.queries @ reads.keys.T
    own = np.empty_like(reads.queries)
    for i, (query, row) in enumerate(zip(reads.queries, scores, strict=True)):
        near = np.flatnonzero(np.abs(row) >= np.abs(row).max() - _NEAR)
        place, score = int(near[0]), row[near[0]]
        if len(near) > 1:
            exact = {int(at): _score(query, reads.keys[at]) for at in near}
            place, score = max(exact.items(), key=lambda one: abs(one[1]))
        own[i] = -reads.keys[place] if score > 0 else reads.keys[place]
    return own


def _score(query: np.ndarray, key: np.ndarray) -> Fraction:
    return sum((Fraction(a) * Fraction(b) for a, b in zip(query.tolist(), key.tolist(), strict=True)), Fraction(0))
