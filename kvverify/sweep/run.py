"""Play the audits of a sweep that have no result yet, and keep each result as it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from fractions import Fraction
from pathlib import Path
from time import monotonic as _now
from typing import Any

from kvverify.audit.instances import InstanceOptions
from kvverify.audit.request import AuditRequest, run_audit
from kvverify.batch import obedient
from kvverify.errors import Incomplete, UsageError
from kvverify.sweep.plan import Job
from kvverify.sweep.pools import Pool
from kvverify.sweep.results import Results

Progress = Callable[[str, float], None]
Task = Callable[[Job, Path], dict[str, Any]]
_TWICE = "its worker process ended early, also when it played this audit alone"


def play(job: Job, evidence: Path) -> dict[str, Any]:
    """One audit's ``status``, ``reason``, ``seconds`` and ``audit`` (the object of ``audit --json``, or None).

    ``status`` is the report's, or REFUSED for what ``kvverify audit`` calls wrong usage. Evidence against a claim is
    written to the folder ``evidence``.
    """
    begun = _now()
    audit, status, reason = None, "INCOMPLETE", None
    try:
        audit = obedient(run_audit, _asked(job, evidence), _silent)
        status, reason = audit["status"], audit["reason"]
    except UsageError as error:
        status, reason = "REFUSED", str(error)
    except Incomplete as error:
        reason = str(error)
    return {"status": status, "reason": reason, "seconds": round(_now() - begun, 1), "audit": audit}


def run(jobs: Iterable[Job], pool: Pool, results: Results, progress: Progress, task: Task = play) -> None:
    """Play every audit that ``results`` does not hold. Raises what interrupts; what is finished is then kept.

    An executor that breaks (a worker process was killed) is opened anew. Audits that it had are played once more, each
    alone; one that breaks its executor again is INCOMPLETE.
    """
    waiting = deque(job for job in jobs if job.key not in results.lines)
    suspects: deque[Job] = deque()
    begun, before, total = _now(), len(results.lines), len(results.lines) + len(waiting)

    def record(job: Job, result: dict[str, Any]) -> None:
        results.add(job, result)
        count = len(results.lines)
        left = (_now() - begun) / (count - before) * (total - count)
        progress(f"{count} of {total}, {_spoken(left)} left: {job}: {result['status']}", count / total)

    while waiting or suspects:
        alone = bool(suspects)
        with pool() as (executor, width):
            broken = _round(executor, suspects or waiting, 1 if alone else width, task, record, results.path.parent)
        if alone:
            for job in broken:
                record(job, {"status": "INCOMPLETE", "reason": _TWICE, "seconds": None, "audit": None})
        else:
            suspects += broken


def _round(
    executor: Executor, waiting: deque[Job], width: int, task: Task, record: Callable[[Job, dict[str, Any]], None],
    evidence: Path,
) -> list[Job]:  # fmt: skip
    """Play until nothing waits, or until the executor breaks; returns the audits that it had then."""
    playing: dict[Future[dict[str, Any]], Job] = {}
    broken: list[Job] = []
    while playing or (waiting and not broken):
        while waiting and not broken and len(playing) < width:
            job = waiting.popleft()
            try:
                playing[executor.submit(task, job, evidence)] = job
            except BrokenExecutor:
                broken.append(job)
        for future in wait(playing, return_when=FIRST_COMPLETED).done:
            job = playing.pop(future)
            try:
                error = future.exception()
            except CancelledError:
                raise Incomplete(
                    "the executor gave up its work; what is finished is kept, run again to go on"
                ) from None
            if isinstance(error, BrokenExecutor):
                broken.append(job)
            else:
                record(job, future.result() if error is None else _failed(error))
    return broken


def _failed(error: BaseException) -> dict[str, Any]:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:600]
    return {"status": "INCOMPLETE", "reason": reason, "seconds": None, "audit": None}


def _asked(job: Job, evidence: Path) -> AuditRequest:
    """The request in the words of ``kvverify audit``; files are those beside the sweep's own."""
    one = dict(job.request)
    place, _, name = one["target"].rpartition(":")
    claim = one["claim"]
    options = {name: one[name] for name in ("schedule", "payload", "alphabet", "dtype", "reads", "seed", "device")}
    return AuditRequest(
        target=f"{job.folder / place}:{name}" if place.endswith(".py") else one["target"],
        instance=InstanceOptions(
            certificate=None if one["certificate"] is None else job.folder / one["certificate"],
            keys=None if one["keys"] is None else job.folder / one["keys"],
            max_logit=None if one["max_logit"] is None else Fraction(one["max_logit"]),
            **{name: one[name] for name in ("instance", "tokens", "head_dim", "value_dim", "kv_heads", "layers")},
            **{name: one[name] for name in ("layer", "head", "query_head", "rehearsals")},
            **{name: one[name] for name in ("attention", "scales", "kernel", "cut")},
        ),
        heads=one["heads"],
        settings=[f"{name}={value}" for name, value in one["settings"].items()],
        claim=None if claim is None else ",".join(f"{name}={value}" for name, value in claim.items()),
        output=evidence,
        options={
            **options, "isolation": one["isolation"], "timeout": one["timeout"],
            "memory_bytes": int(one["memory"] * (1 << 30)),
        },
    )  # fmt: skip


def _silent(stage: str, done: float) -> None:
    """A sweep counts audits, not their stages."""


def _spoken(seconds: float) -> str:
    if seconds < 100:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 6000 else f"about {seconds / 3600:.1f} h"
