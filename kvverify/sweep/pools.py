"""Executors that sweeps run on: processes of this machine, or a Dask cluster. Any other executor serves as well."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import Pipe, get_context
from typing import TYPE_CHECKING

from kvverify.errors import UsageError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Pool = Callable[[], AbstractContextManager[tuple[Executor, int]]]
"""Opens an executor and says how many audits it plays at once; opened anew where the last one broke."""

_REACHED_IN = 15  # seconds
_ENDED_IN = 20  # seconds; killing a player takes five at most


def processes(workers: int) -> Pool:
    """Processes of this machine. They end, with the players that they have, when this process ends or lets go."""

    @contextmanager
    def pool() -> Iterator[tuple[Executor, int]]:
        lifeline, held = Pipe(duplex=False)
        executor = ProcessPoolExecutor(workers, get_context("spawn"), _follow, (lifeline,))
        try:
            yield executor, workers
        except BaseException:
            held.close()  # all that is being played ends at once
            raise
        finally:
            executor.shutdown(cancel_futures=True)
            held.close()
            lifeline.close()

    return pool


def _follow(lifeline: Connection) -> None:
    """A worker is deaf to the keyboard and ends when nobody holds the other end of its lifeline.

    It ends by an exception in its main thread, so that an audit's players and their folders go with it.
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


def cluster(address: str) -> Pool:
    """The workers of a Dask cluster, which has kvverify installed. Raises UsageError where nobody answers."""

    @contextmanager
    def pool() -> Iterator[tuple[Executor, int]]:
        from distributed import Client

        try:
            client = Client(address, timeout=_REACHED_IN, set_as_default=False)
        except (OSError, ValueError, ImportError) as error:
            raise UsageError(f"cluster: no Dask scheduler at {address!r}: {error}") from None
        with client:
            executor = client.get_executor(pure=False)
            try:
                # One more for each thread, so that none waits for the next audit.
                yield executor, 2 * max(1, sum(client.nthreads().values()))
            finally:
                executor.shutdown(wait=False)

    return pool
