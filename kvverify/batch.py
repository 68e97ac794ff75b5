"""What long runs share: results as lines of a file, and worker processes that end with the run. Source: ours."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import Pipe, get_context
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

_ENDED_IN = 20  # seconds; killing a player takes five at most


def append(path: Path, stream: IO[bytes], line: Mapping[str, Any]) -> None:
    """Add a line to the unbuffered stream of that file in one write, on the disk before the next one counts.

    Raises OSError where it does not fit as a whole; the file is then as before.
    """
    raw, written = json.dumps(line, allow_nan=False).encode() + b"\n", 0
    try:
        written = stream.write(raw)
        if written < len(raw):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(stream.fileno())
    except OSError as error:
        if written:
            stream.truncate(stream.tell() - written)
        error.filename = str(path)
        raise


@contextmanager
def workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of this machine. They end, with what they are at, when this process ends or lets go."""
    lifeline, held = Pipe(duplex=False)
    executor = ProcessPoolExecutor(count, get_context("spawn"), _follow, (lifeline,))
    try:
        yield executor
    except BaseException:
        held.close()  # all that is being done ends at once
        raise
    finally:
        executor.shutdown(cancel_futures=True)
        held.close()
        lifeline.close()


def obedient(task: Callable[Given, Answer], *words: Given.args, **more: Given.kwargs) -> Answer:
    """Do a task in a worker; one that was told to end meanwhile is gone when the task has cleaned up."""
    try:
        return task(*words, **more)
    except SystemExit:
        os._exit(1)  # the pool would go on to the next task, and nobody waits for an answer


def _follow(lifeline: Connection) -> None:
    """A worker is deaf to the keyboard and ends when nobody holds the other end of its lifeline.

    It ends by an exception in its main thread, so that an audit's players and temporary folders go with it.
    """

    def watch() -> None:
        lifeline.poll(None)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_ENDED_IN)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=watch, daemon=True).start()


def _end(*_: object) -> None:
    raise SystemExit(1)
