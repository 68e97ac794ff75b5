"""``sweep``: many audits from one file."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from kvverify.cli.options import Json, count, require
from kvverify.cli.output import apart, progress, save, show
from kvverify.errors import UsageError


def sweep(
    file: Annotated[Path, typer.Argument(help="TOML: [audit], [[compressor]], [[instance]].")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Results, a JSON line each (FILE.jsonl); goes on there.")
    ] = None,
    workers: Annotated[str | None, typer.Option(help="Processes (half of the cores).")] = None,
    cluster: Annotated[str | None, typer.Option(help="Play on the Dask cluster at this address.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write the results as a table, too.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the audits, play none.")] = False,
    as_json: Json = False,
) -> None:
    """Play compressors x settings x instances x seeds; a sweep that was stopped goes on where it was."""
    from kvverify.sweep.plan import read_plan

    if workers is not None and cluster is not None:
        raise UsageError("--workers counts processes of this machine, --cluster has its own; give one of them")
    wanted = max(1, len(os.sched_getaffinity(0)) // 2) if workers is None else count(workers, "workers")
    output = file.with_suffix(".jsonl") if output is None else output
    apart(output, file)
    apart(parquet, file, output)
    jobs = read_plan(file)
    if dry_run:
        from kvverify.sweep.results import read_results

        held = read_results(output, jobs)
        if as_json:
            listed = [{"key": job.key, "done": job.key in held, "request": job.request} for job in jobs]
            show({"schema": "kvverify-sweep-plan/1", "audits": len(jobs), "done": len(held), "plan": listed})
        else:
            said = [f"{job.key} {'done ' if job.key in held else 'to do'} {job}" for job in jobs]
            show("\n".join([*said, f"{len(jobs)} audit(s), {len(held)} of them done."]))
        return
    require("a sweep", "audit", "torch", "scipy")
    if parquet is not None:
        require("--parquet", "sweep", "pyarrow")
    if cluster is not None:
        require("--cluster", "sweep", "distributed")
    from kvverify.sweep import pools
    from kvverify.sweep.results import Results
    from kvverify.sweep.run import run

    pool = pools.processes(min(wanted, len(jobs))) if cluster is None else pools.cluster(cluster)
    with Results(output, jobs) as results:
        before = len(results.lines)
        run(jobs, pool, results, progress)
    lines = [results.lines[job.key] for job in jobs]
    if parquet is not None:
        from kvverify.sweep.parquet import table_bytes

        save(parquet, table_bytes(lines))
    counts = dict(sorted(Counter(line["status"] for line in lines).items()))
    if as_json:
        answer = {"audits": len(jobs), "played": len(jobs) - before, "counts": counts}
        files = {"results": str(output), "parquet": None if parquet is None else str(parquet)}
        show({"schema": "kvverify-sweep-summary/1", **answer, **files})
    else:
        counted = ", ".join(f"{number} {status}" for status, number in counts.items())
        show(f"{len(jobs)} audit(s), {len(jobs) - before} played now: {counted}. Results: {output}")
