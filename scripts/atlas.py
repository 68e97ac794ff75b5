#!/usr/bin/env python3
"""The atlas of both bounds: ``python scripts/atlas.py [FOLDER] [--workers 2] [--fresh] [--limit N] [--render]``.

Computes every cell, one line of FOLDER/atlas.jsonl (docs/ by default) as soon as it is known, then writes the page
atlas.md and the picture atlas.png beside it. Interrupted, it goes on from there. Cells of this version and these rules
stay as they are but for ``--fresh``; ``--limit`` stops after so many cells, ``--render`` computes none. Exit code 1
where cells are missing or a goal is missed, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread

from atlas_cells import Cell, Record, compute, grid, line, up_to_date
from atlas_page import missed_goals, picture, render

from kvverify.kernel.document import write_bytes

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def read(path: Path) -> dict[Cell, Record]:
    """The cells of the file, the last line of each; a line that was cut off by a crash is left out."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    records = [json.loads(text) for text in whole.splitlines()]
    return {Cell.of(record): record for record in records}


def write(path: Path, known: dict[Cell, Record]) -> None:
    """The file anew, in the order of the grid."""
    write_bytes(path, b"".join(line(known[cell]) for cell in grid() if cell in known))


def run(path: Path, cells: list[Cell], known: dict[Cell, Record], workers: int) -> bool:
    """Compute and keep the cells; False where Ctrl-C came in between."""
    start = time.monotonic()
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker)
    try:
        for done, future in enumerate(as_completed([pool.submit(compute, cell) for cell in cells]), 1):
            record = future.result()
            with path.open("ab", buffering=0) as stream:  # one write for a line
                stream.write(line(record))
            known[cell := Cell.of(record)] = record
            left = (time.monotonic() - start) / done * (len(cells) - done)
            where = f"{cell.tokens} tokens, d {cell.dim}, {cell.body} {cell.inputs}, logit {cell.max_logit}, "
            where += f"error {cell.tolerance}, failure {cell.failure}: {record['seconds']} s"
            print(f"{done}/{len(cells)}, {left / 60:.0f} min left; {where}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        for worker in active_children():  # they write nothing
            worker.terminate()
        print(f"stopped; {len(known)} cells are kept, the same command goes on", file=sys.stderr)
        return False
    finally:
        pool.shutdown(cancel_futures=True)
    return True


def _begin_worker() -> None:
    """Ctrl-C is the parent's alone, and a worker ends when its parent was killed: it would wait for work for ever."""

    def watch() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=watch, daemon=True).start()


def main(words: Iterable[str] | None = None) -> int:
    """The exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parents[1] / "docs")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--limit", type=int)
    options.add_argument("--fresh", action="store_true")
    options.add_argument("--render", action="store_true")
    given = options.parse_args(None if words is None else list(words))
    path = given.folder / "atlas.jsonl"
    known = read(path)
    if not given.render:
        write(path, known)
        wanted = [c for c in grid() if given.fresh or c not in known or not up_to_date(known[c])][: given.limit]
        os.environ.update(dict.fromkeys(THREADS, "1"))
        if wanted and not run(path, wanted, known, given.workers):
            return 130
        write(path, known)
    write_bytes(given.folder / "atlas.md", render(known).encode())
    write_bytes(given.folder / "atlas.png", picture(known))
    missing = len([cell for cell in grid() if cell not in known])
    missed = missed_goals(known)
    print(f"{len(known)} cells, {missing} missing; {len(missed)} goals missed")
    return int(bool(missing or missed))


if __name__ == "__main__":
    sys.exit(main())
