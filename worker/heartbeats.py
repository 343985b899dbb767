"""The loop that tells the database that this worker is alive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from sendoff.errors import Unavailable
from sendoff.operators.installation.workers import HEARTBEAT_SECONDS, Heartbeat

if TYPE_CHECKING:
    from sendoff.delivery.dispatcher import Dispatcher

    from .health import WorkerHealth

_log = structlog.get_logger(__name__)


async def send_heartbeats(
    heartbeat: Heartbeat, dispatcher: Dispatcher, health: WorkerHealth, drain: asyncio.Event
) -> None:
    """Beat until cancelled, through times without a database, in which the worker is not ready.

    Sets `drain` when an operator has asked the worker to finish and stop.
    """
    while True:
        try:
            if await heartbeat.beat(in_flight=dispatcher.in_flight) and not drain.is_set():
                _log.info("worker_drains")
                drain.set()
            health.set_failing("database", None)
        except Exception as error:
            _log.warning("heartbeat_failed", error=str(error))
            health.set_failing("database", "The database does not take the worker's heartbeat.")
        await asyncio.sleep(HEARTBEAT_SECONDS)


async def end_heartbeats(heartbeat: Heartbeat) -> None:
    """Take the worker off the list; without a database it vanishes by itself a little later."""
    try:
        await heartbeat.end()
    except Unavailable as error:
        _log.warning("heartbeat_failed", error=str(error))
