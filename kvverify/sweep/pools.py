"""Executors that sweeps run on: processes of this machine, or a Dask cluster. Any other executor serves as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager

from kvverify import batch
from kvverify.errors import UsageError

Pool = Callable[[], AbstractContextManager[tuple[Executor, int]]]
"""Opens an executor and says how many audits it plays at once; opened anew where the last one broke."""

_REACHED_IN = 15  # seconds


def processes(workers: int) -> Pool:
    """Processes of this machine. They end, with the players that they have, when this process ends or lets go."""

    @contextmanager
    def pool() -> Iterator[tuple[Executor, int]]:
        with batch.workers(workers) as executor:
            yield executor, workers

    return pool


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
