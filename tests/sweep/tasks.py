"""Small sweeps, and audits that cost nothing: some go well, some raise, some take their worker with them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from kvverify.sweep.plan import Job, read_plan

if TYPE_CHECKING:
    from pathlib import Path

INSTANCE = "[[instance]]\ntokens = 16\nhead-dim = 16\n"


def write(path: Path, *targets: str, more: str = "") -> Path:
    """The file of a sweep of these targets on one small instance."""
    compressors = "".join(f'[[compressor]]\ntarget = "{target}"\n' for target in targets)
    path.write_text(f"{more}\n{compressors}{INSTANCE}")
    return path


def plan(folder: Path, *targets: str) -> tuple[Job, ...]:
    return read_plan(write(folder / "sweep.toml", *targets))


def task(job: Job, evidence: Path) -> dict[str, Any]:
    """What the name of the target says."""
    match job.request["target"].split("-")[0]:
        case "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raises":
            raise RuntimeError("two\nlines")
        case "dense" | "nothere:Cache":
            from kvverify.sweep.run import play

            return play(job, evidence)
    return {"status": "NO FLAG", "reason": None, "seconds": 0.1, "audit": None}
