"""The worker's life: start, hear the bell, run arq's loop and the schedule, drain and stop."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from functools import partial

import structlog
from prometheus_client import start_http_server

from sendoff.context import Context
from sendoff.delivery.dead_letters import drain_inactive_endpoints
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.errors import Unavailable
from sendoff.maintenance.purge import tidy
from sendoff.metrics import REGISTRY
from sendoff.process import notify_ready, tune_garbage_collector
from sendoff.queue import DUE, DUE_IN_BULK
from sendoff.settings import Settings
from sendoff.startup import open_context
from sendoff.uploads.orphan_files import remove_orphan_files

from .arq_loop import supervise_arq
from .clock_watch import watch_clock
from .doorbell import Doorbell
from .schedule import BURY_SECONDS, FIND_ORPHAN_FILES_SECONDS, TIDY_SECONDS, repeat
from .sweeps import run_sweeps

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
            async with open_context(settings) as context:
                await _work(context, stop)
        except Unavailable as error:
            _log.warning("worker_waits", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _DATABASE_WAIT_SECONDS)


async def _work(context: Context, stop: asyncio.Event) -> None:
    dispatcher = Dispatcher(context)
    doorbell, doorbell_of_bulk = Doorbell(context, dispatcher, DUE), Doorbell(context, dispatcher, DUE_IN_BULK)
    loops = [
        asyncio.create_task(doorbell.listen()),
        asyncio.create_task(doorbell_of_bulk.listen()),
        asyncio.create_task(supervise_arq(context)),
        asyncio.create_task(run_sweeps(context, dispatcher, doorbell)),
        asyncio.create_task(watch_clock(context)),
        asyncio.create_task(repeat("bury", BURY_SECONDS, partial(drain_inactive_endpoints, context))),
        asyncio.create_task(repeat("tidy", TIDY_SECONDS, partial(tidy, context))),
        asyncio.create_task(repeat("orphan files", FIND_ORPHAN_FILES_SECONDS, partial(remove_orphan_files, context))),
    ]
    tune_garbage_collector()
    notify_ready()
    _log.info("worker_ready")
    await _until_stopped(stop, loops)
    await _end(loops)
    await dispatcher.drain(context.settings.shutdown_grace_seconds)
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
