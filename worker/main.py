"""The worker's life: start, hear the bell, run arq's loop and the schedule, drain and stop."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from functools import partial

import structlog
from prometheus_client import start_http_server

from sendoff import garbage
from sendoff.bell import DUE, DUE_IN_BULK
from sendoff.errors import Unavailable
from sendoff.metrics import REGISTRY
from sendoff.operations.bury import bury_closed
from sendoff.operations.dispatcher import Dispatcher
from sendoff.operations.remove_orphan_files import remove_orphan_files
from sendoff.operations.retention import tidy
from sendoff.operations.runtime import Runtime, open_runtime
from sendoff.readiness import announce_ready
from sendoff.settings import Settings
from worker.arq_loop import supervise_arq
from worker.clock_watch import watch_clock
from worker.doorbell import Doorbell
from worker.schedule import BURY_SECONDS, FIND_ORPHAN_FILES_SECONDS, TIDY_SECONDS, repeat
from worker.sweeps import run_sweeps

_log = structlog.get_logger(__name__)

_DATABASE_WAIT_SECONDS = 1.0
_CANCEL_AGAIN_SECONDS = 0.5


async def serve(settings: Settings) -> None:
    """Work until the process is told to stop, then drain within `SHUTDOWN_GRACE_SECONDS`.

    Raises errors.WrongSchema when the database needs `sendoff migrate`; waits for a database that is away.
    """
    stop = _stop_on_signals()
    _allow_many_connections()
    if settings.worker_metrics_port is not None:
        start_http_server(settings.worker_metrics_port, registry=REGISTRY)
    while not stop.is_set():
        try:
            async with open_runtime(settings) as runtime:
                await _work(runtime, stop)
        except Unavailable as error:
            _log.warning("worker_waits", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _DATABASE_WAIT_SECONDS)


async def _work(runtime: Runtime, stop: asyncio.Event) -> None:
    dispatcher = Dispatcher(runtime)
    doorbell, doorbell_of_bulk = Doorbell(runtime, dispatcher, DUE), Doorbell(runtime, dispatcher, DUE_IN_BULK)
    loops = [
        asyncio.create_task(doorbell.listen()),
        asyncio.create_task(doorbell_of_bulk.listen()),
        asyncio.create_task(supervise_arq(runtime)),
        asyncio.create_task(run_sweeps(runtime, dispatcher, doorbell)),
        asyncio.create_task(watch_clock(runtime)),
        asyncio.create_task(repeat("bury", BURY_SECONDS, partial(bury_closed, runtime))),
        asyncio.create_task(repeat("tidy", TIDY_SECONDS, partial(tidy, runtime))),
        asyncio.create_task(repeat("orphan files", FIND_ORPHAN_FILES_SECONDS, partial(remove_orphan_files, runtime))),
    ]
    garbage.settle()
    announce_ready()
    _log.info("worker_ready")
    await _until_stopped(stop, loops)
    await _end(loops)
    await dispatcher.drain(runtime.settings.shutdown_grace_seconds)
    _log.info("worker_stopped")


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _until_stopped(stop: asyncio.Event, loops: list[asyncio.Task[None]]) -> None:
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *loops], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in done - {stopped}:
        task.result()  # a loop that ended by itself has failed: let the process end with its error


async def _end(loops: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: one whose Redis fails at that very moment sees the failure, not the cancellation."""
    running = set(loops)
    while running:
        for loop in running:
            loop.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*loops, return_exceptions=True)
