"""The worker's process: read the settings, work until it is stopped, drain."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import structlog
import uvloop
from prometheus_client import start_http_server

from sendoff import settings
from sendoff.context import Context
from sendoff.errors import Invalid, SendoffError, Unavailable
from sendoff.logging import configure_logging, log_dangers
from sendoff.metrics import REGISTRY
from sendoff.process import disable_core_dumps, make_files_private, notify_ready, raise_descriptor_limit
from sendoff.settings import Settings
from sendoff.startup import open_context

from .host import WorkerHost

_log = structlog.get_logger(__name__)

_DATABASE_WAIT_SECONDS = 1.0


def run() -> int:
    """Work until SIGTERM or SIGINT. Returns 1, with a sentence on standard error, when that is not possible."""
    disable_core_dumps()
    make_files_private()
    try:
        loaded = settings.load()
        configure_logging(loaded)
        log_dangers(loaded)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(loaded))
    except SendoffError as error:
        sys.stderr.write(f"worker: {error}\n")
        return 1
    return 0


async def serve(settings: Settings) -> None:
    """Work until the process is signalled to stop, then drain within `SHUTDOWN_GRACE_SECONDS`.

    Raises errors.WrongSchema when the database needs `sendoff migrate`; waits for a database that is away.
    """
    stop = _stop_on_signals()
    raise_descriptor_limit()
    serve_metrics(settings)
    while not stop.is_set():
        try:
            async with open_context(settings) as context:
                await _work(context, stop)
        except Unavailable as error:
            _log.warning("waiting_for_database", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _DATABASE_WAIT_SECONDS)


def serve_metrics(settings: Settings) -> None:
    """Serve the metrics from a thread if the settings name a port. Raises Invalid when it cannot be listened on."""
    host, port = settings.worker_metrics_host, settings.worker_metrics_port
    if port is None:
        return
    try:
        start_http_server(port, host, registry=REGISTRY)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Invalid(
            f"The worker's metrics cannot be served on {host}:{port}: {reason}. Set SENDOFF_WORKER_METRICS_HOST to an "
            "address of this machine and SENDOFF_WORKER_METRICS_PORT to a free port, or to nothing."
        ) from error


async def _work(context: Context, stop: asyncio.Event) -> None:
    host = WorkerHost(context)
    host.start()
    notify_ready()
    ends = [asyncio.create_task(stop.wait()), asyncio.create_task(host.wait())]
    done, waiting = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await host.stop()
    for task in done:
        task.result()


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
