"""The worker's process: read the settings, work until it is stopped, drain."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import structlog
import uvloop

from sendoff.clock import choose_wake_up_times
from sendoff.context import Context
from sendoff.errors import BadSettings, SendoffError, Unavailable
from sendoff.observability.logging import configure_logging, log_dangers
from sendoff.processes.memory import keep_arenas_few, return_memory_regularly
from sendoff.processes.process import disable_core_dumps, make_files_private, notify_ready, raise_descriptor_limit
from sendoff.processes.startup import open_context
from sendoff.server_urls.database import is_on_this_machine
from sendoff.server_urls.redis import parse_redis_url
from sendoff.settings import Settings, load

from .health import WorkerHealth, serve_health
from .host import WorkerHost

_log = structlog.get_logger(__name__)

_DATABASE_WAIT_SECONDS = 1.0


def run() -> int:
    """Work until SIGTERM or SIGINT. Returns 1, with a sentence on standard error, when that is not possible."""
    disable_core_dumps()
    choose_wake_up_times()
    keep_arenas_few()
    make_files_private()
    try:
        settings = load()
        configure_logging(settings, process="worker")
        log_dangers(settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except SendoffError as error:
        sys.stderr.write(f"worker: {error}\n")
        return 1
    return 0


async def serve(settings: Settings) -> None:
    """Work until the process is signalled or asked to stop, then drain within `SHUTDOWN_GRACE_SECONDS`.

    Raises errors.WrongSchema when the database needs `sendoff migrate`; waits for a database that is away.
    """
    stop = _stop_on_signals()
    raise_descriptor_limit()
    check_public_url(settings)
    health = WorkerHealth()
    server = serve_health(settings, health)
    background = [asyncio.create_task(each) for each in (health.beat(), return_memory_regularly())]
    try:
        while not stop.is_set():
            try:
                async with open_context(settings, traced_as="sendoff-worker") as context:
                    await work(context, stop, health)
            except Unavailable as error:
                health.set_not_ready("waiting for the database")
                _log.warning("waiting_for_database", error=str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _DATABASE_WAIT_SECONDS)
    finally:
        for task in background:
            task.cancel()
        if server is not None:
            server.shutdown()
            server.server_close()


def check_public_url(settings: Settings) -> None:
    """Raise BadSettings where the events of uploads would hold links that lead nowhere.

    Uploads in a folder are downloaded through the API. Without its URL a worker assumes that everything is on this
    machine, as the API does.
    """
    if settings.public_url is not None or not settings.storage_url.startswith("file:"):
        return
    if is_on_this_machine(settings.database_url) and parse_redis_url(settings.redis_url).is_on_this_machine:
        return
    raise BadSettings(
        "SENDOFF_PUBLIC_URL is missing: database or Redis are on another machine, uploads are kept in a folder, and "
        "the events about them hold download links. Set it to the URL that clients reach the API under, such as "
        "https://api.example.com, or keep uploads in a bucket with SENDOFF_STORAGE_URL=s3://…"
    )


async def work(context: Context, stop: asyncio.Event, health: WorkerHealth) -> None:
    """Work until `stop` is set or an operator drains the worker, which sets it."""
    host = WorkerHost(context, health)
    host.start()
    health.set_ready()
    notify_ready()
    waits = (stop.wait(), host.drain_requested.wait(), host.wait())
    ends: list[asyncio.Task[object]] = [asyncio.create_task(wait) for wait in waits]
    done, waiting = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    health.set_not_ready("stopping")
    if host.drain_requested.is_set():
        stop.set()
    await host.stop()
    for task in done:
        task.result()


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
