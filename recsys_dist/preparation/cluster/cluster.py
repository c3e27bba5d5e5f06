"""The Dask cluster that runs the tasks: local workers, Slurm jobs or a running scheduler."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import dask
from distributed import Client, LocalCluster, as_completed
from distributed.comm.core import connect
from distributed.scheduler import KilledWorker
from distributed.security import Security

from recsys_dist.errors import BrokenOffError, ConfigError, RecsysDistError
from recsys_dist.preparation.cluster import local_workers
from recsys_dist.preparation.cluster.local_workers import HEAP, ctrl_c_later, start_method
from recsys_dist.preparation.cluster.slurm import slurm_client
from recsys_dist.preparation.settings.prepare import ClusterSettings
from recsys_dist.process.spawning import without_main_program

# Short enough that, including program start, the user gets an answer within ten seconds.
CONNECT_TIMEOUT_S = 7
MAX_LOCAL_WORKERS = 8
LOOPBACK = "127.0.0.1"
SILENCE = logging.CRITICAL + 1
"""Dask's log level: the scheduler logs a critical traceback if its client disconnects during an answer."""
WORKER = "Dask Worker"
"""Dask's name of worker processes."""
Progress = Callable[[str, int, int, int], None]
"""Called with (stage, tasks done, total tasks, rows done)."""


@dataclass(frozen=True)
class Before:
    """The part of a stage that an interrupted run has finished."""

    num_tasks: int = 0
    num_rows: int = 0


NOTHING = Before()


class Cluster:
    """Runs the tasks of one stage at a time."""

    def __init__(self, client: Any, progress: Progress | None) -> None:
        self._client = client
        self._progress = progress or (lambda _stage, _done, _total, _rows: None)

    def run(
        self,
        stage: str,
        task: Callable[..., Any],
        calls: Sequence[tuple[Any, ...]],
        subjects: Sequence[str],
        num_rows: Callable[[Any], int] = lambda _result: 0,
        before: Before = NOTHING,
    ) -> list[Any]:
        """Call `task` with each of `calls` on the workers; return the results in the order of the calls.

        `subjects` names what each call works on, for error messages. A failed call raises the task's own
        `RecsysDistError`, or a `BrokenOffError` if its worker died or could not write its files. `num_rows` gives
        the number of rows in a result.
        """
        total, rows = before.num_tasks + len(calls), before.num_rows
        self._progress(stage, before.num_tasks, total, rows)
        numbers = {
            self._client.submit(_guarded, task, *call, pure=False): number for number, call in enumerate(calls)
        }
        results: list[Any] = [None] * len(calls)
        try:
            for done, future in enumerate(as_completed(numbers), start=before.num_tasks + 1):
                number = numbers[future]
                results[number] = _result(future, stage, subjects[number])
                rows += num_rows(results[number])
                self._progress(stage, done, total, rows)
        finally:
            self._client.cancel(list(numbers))
        return results


def _guarded(task: Callable[..., Any], *arguments: Any) -> Any:
    """Return the task's result or expected error; workers would log a raised one with a traceback."""
    try:
        return task(*arguments)
    except (RecsysDistError, OSError, MemoryError) as error:
        # Pickling drops the cause of the error.
        return _Failure(error, isinstance(error, OSError) or isinstance(error.__cause__, OSError))


@dataclass(frozen=True)
class _Failure:
    error: Exception
    is_of_system: bool
    """Whether the operating system or the storage caused the error."""


def _result(future: Any, stage: str, subject: str) -> Any:
    try:
        result = future.result()
    except KilledWorker as error:
        raise BrokenOffError(
            f"{stage}: every worker that ran {subject} died, most likely out of memory; "
            "raise cluster.memory_limit or lower input.block_bytes"
        ) from error
    if not isinstance(result, _Failure):
        return result
    if isinstance(result.error, OSError):
        reason = result.error.strerror or result.error
        raise BrokenOffError(f"{stage}: {subject}: {reason}") from result.error
    if isinstance(result.error, MemoryError):
        raise BrokenOffError(f"{stage}: {subject} does not fit into memory; raise cluster.memory_limit")
    raise BrokenOffError(str(result.error)) if result.is_of_system else result.error


@contextmanager
def open_cluster(
    settings: ClusterSettings, num_blocks: int, progress: Progress | None = None
) -> Iterator[Cluster]:
    """Start or join a cluster, and leave it at the end. Raises `ConfigError` if no scheduler answers.

    A local cluster has at most `num_blocks` workers by default, as more would only take time to start.
    """
    timeout = {"distributed.comm.timeouts.connect": f"{CONNECT_TIMEOUT_S}s"}
    with dask.config.set(timeout), _opened(settings, num_blocks) as client:
        yield Cluster(client, progress)


def _opened(settings: ClusterSettings, num_blocks: int) -> AbstractContextManager[Any]:
    match settings.kind:
        case "local":
            return _local(settings, num_blocks)
        case "address":
            return _joined(settings)
        case "slurm":
            return slurm_client(settings, dashboard=f"{LOOPBACK}:0")


@contextmanager
def _local(settings: ClusterSettings, num_blocks: int) -> Iterator[Any]:
    workers = settings.workers or min(MAX_LOCAL_WORKERS, len(os.sched_getaffinity(0)), max(1, num_blocks))
    options: dict[str, Any] = {"distributed.worker.preload": [local_workers.__name__]}
    options |= {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in HEAP.items()}
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": start_method(), **options}),
        # Covers the whole run, as workers that die are replaced.
        without_main_program(WORKER),
        tempfile.TemporaryDirectory(prefix="recsys-dist-", ignore_cleanup_errors=True) as folder,
        ExitStack() as starting,
    ):
        # Dask cannot close a half-started cluster and prints tracebacks.
        starting.enter_context(ctrl_c_later())
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=settings.memory_limit,
                host=LOOPBACK,
                dashboard_address=f"{LOOPBACK}:0",
                worker_dashboard_address=f"{LOOPBACK}:0",
                local_directory=folder,
                # A forked worker otherwise has the older environment of the fork server.
                env=dict(os.environ),
                silence_logs=SILENCE,
            ) as cluster,
            Client(cluster) as client,
        ):
            starting.close()
            yield client


@contextmanager
def _joined(settings: ClusterSettings) -> Iterator[Any]:
    security = None
    if settings.tls is not None:
        tls = settings.tls
        security = Security(
            tls_ca_file=tls.ca, tls_client_cert=tls.cert, tls_client_key=tls.key, require_encryption=True
        )
    _require_scheduler(settings, security)
    with Client(settings.address, timeout=CONNECT_TIMEOUT_S, security=security) as client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_TIMEOUT_S)
        except TimeoutError as error:
            raise ConfigError(
                f"cluster.address: the scheduler at {settings.address} has no workers; start some"
            ) from error
        yield client


def _require_scheduler(settings: ClusterSettings, security: Security | None) -> None:
    """Raise `ConfigError` if no scheduler answers. A `Client` would wait forever for a silent peer."""
    options = (security or Security()).get_connection_args("client")

    async def greet() -> None:
        comm = await asyncio.wait_for(connect(settings.address, CONNECT_TIMEOUT_S, **options), CONNECT_TIMEOUT_S)
        comm.abort()

    try:
        # In a separate thread: in a notebook, this thread already runs an event loop.
        with ThreadPoolExecutor(1) as aside:
            aside.submit(lambda: asyncio.run(greet())).result()
    # Another service at this address may answer with bytes that cause any kind of error.
    except Exception as error:
        raise ConfigError(
            f"cluster.address: no scheduler answers at {settings.address} within {CONNECT_TIMEOUT_S} s"
        ) from error
