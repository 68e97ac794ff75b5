"""The public surface: ``bound``, ``enough``, ``certify``, ``check`` and ``audit``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvverify.bounds import Bound, best_bound
from kvverify.bounds.ceiling import Ceiling, ceiling
from kvverify.errors import UsageError
from kvverify.kernel.check import Result
from kvverify.kernel.check import check as kernel_check
from kvverify.problem import Problem

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from kvverify.audit.report import Report
    from kvverify.bounds.witness import FileBound

DEFAULT_TOLERANCE = Fraction(1, 100)
DEFAULT_FAILURE = Fraction(1, 10)
DEFAULT_MAX_LOGIT = Fraction(24)


def bound(problem: Problem) -> Bound:
    """The best lower bound on the state of any compressor of the problem's class, re-proved by the kernel."""
    return best_bound(problem)


def enough(problem: Problem) -> Ceiling:
    """The other side for the same class: so many bits are enough, by a quantiser that the kernel proved good."""
    return ceiling(problem)


def certify(problem: Problem) -> dict[str, Any]:
    """The certificate of ``bound`` as a JSON tree. Raises UsageError where no family gives a bound above 0."""
    found = best_bound(problem)
    if found.certificate is None:
        raise UsageError(f"no bound above 0: {found.reason}")
    return found.certificate


def certify_keys(
    path: str | os.PathLike[str],
    *,
    max_logit: Fraction | None = None,
    tolerance: Fraction = DEFAULT_TOLERANCE,
    failure: Fraction = DEFAULT_FAILURE,
    value_dim: int | None = None,
    layer: int | None = None,
    head: int | None = None,
    inputs: str = "real",
    queries: str | os.PathLike[str] | None = None,
    query_head: int | None = None,
) -> FileBound:
    """A bound about the given keys of a safetensors file; ``bounds.witness.write_bound`` writes what belongs to it.

    Without ``queries``: under any queries within ``max_logit`` (24) on those keys. With the file of recorded queries,
    divided by the scale: under these only, ``max_logit`` being their largest where none is given. ``query_head``: one
    of the query heads that share KV head ``head``; each of them is tried where none is given, and the best bound kept.
    """
    from kvverify.bounds.key_files import open_tensors
    from kvverify.bounds.own_keys import own_keys_bound
    from kvverify.bounds.own_queries import measured_logit, own_queries_bound

    file = open_tensors(Path(path))
    keys = file.tensor(layer, head)
    tokens, dim = keys.values.shape

    def problem(logit: Fraction) -> Problem:
        return Problem(tokens, dim, value_dim or dim, logit, failure, tolerance=tolerance, inputs=inputs)

    if queries is None:
        if query_head is not None:
            raise UsageError(f"query-head: {query_head} given, but no file of queries")
        return own_keys_bound(keys, problem(DEFAULT_MAX_LOGIT if max_logit is None else max_logit))
    recorded = file if Path(queries) == file.path else open_tensors(Path(queries))
    heads: Iterable[int | None] = (query_head,)
    if layer is not None and head is not None:
        heads = _group(recorded.heads(layer, "queries"), file.heads(layer, "keys"), head, query_head)
    found = []
    for h in heads:
        tensor = recorded.tensor(layer, h, "queries")
        logit = measured_logit(keys, tensor) if max_logit is None else max_logit
        found.append(own_queries_bound(keys, tensor, problem(logit)))
    return max(found, key=lambda bound: bound.bits)


def _group(heads: int, kv_heads: int, head: int, chosen: int | None) -> list[int]:
    """The query heads that read KV head ``head``; the one that was chosen, if any."""
    if heads % kv_heads:
        raise UsageError(f"{heads} query heads given for {kv_heads} KV heads; a multiple is needed")
    group = heads // kv_heads
    if chosen is None:
        return list(range(head * group, (head + 1) * group))
    if chosen // group != head:
        readers = f"{head * group} to {head * group + group - 1}"
        raise UsageError(f"query-head: {chosen} given, KV head {head} is read by {readers}")
    return [chosen]


def check(certificate: str | os.PathLike[str] | dict[str, Any], files: str | os.PathLike[str] | None = None) -> Result:
    """The kernel's verdict on a certificate: a path or a JSON tree. Raises OSError where it cannot be read."""
    return kernel_check(certificate, files)


def audit(compressor: str, certificate: str | os.PathLike[str] | dict[str, Any], **options: Any) -> Report:
    """Play the game: a compressor by name, ``module:name`` or ``path/file.py:name``; options of ``audit.game.play``.

    A ``claim`` is set against the best bound of its class, unless ``floor_for`` gives another.
    """
    from kvverify.audit.claim import Against
    from kvverify.audit.game import play
    from kvverify.bounds.playable import played

    instance = played(certificate)
    return play(compressor, instance, **{"floor_for": Against(instance), **options})
